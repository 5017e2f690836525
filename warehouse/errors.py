"""The exceptions that Replenish raises, drawn once so that callers can tell what a retry would change.

    ReplenishError
    ├── PermanentError          the same call fails again: mend the input, the setting or the code
    │   ├── SettingsError       a REPLENISH_* variable has a value that cannot be used
    │   ├── EnvironmentProblem  Java, a jar or a package that the platform needs is missing
    │   ├── AccessRefused       a store refuses the credentials in use, or there are none
    │   ├── MissingDataset      a required landing folder holds no file
    │   ├── MissingMonth        a month was asked for whose upstream month is not there
    │   ├── ContractError       a frame does not have the columns or types of its table
    │   ├── QualityGateError    a blocking check failed: nothing is published
    │   └── UnknownVersion      a published version was named that the store does not hold
    └── TransientError          the same call may succeed later
        ├── StoreUnavailable    the lake, the vector store or the serving store did not answer
        └── LlmUnavailable      the model's server, or the service that runs it, cannot be asked

Not here: rows that are merely bad. They are data, go to ``bronze/quarantine`` and raise nothing.
"""


class ReplenishError(Exception):
    """Root of all errors raised on purpose; its text says what to mend."""


class PermanentError(ReplenishError):
    """The same call fails again until something is mended."""


class SettingsError(PermanentError):
    """A setting cannot be used."""


class EnvironmentProblem(PermanentError):
    """Something that the platform needs is not installed."""


class AccessRefused(PermanentError):
    """A store refuses the credentials in use, or none were found."""


class MissingDataset(PermanentError):
    """A required landing folder holds no file."""


class MissingMonth(PermanentError):
    """The month before, or an upstream month, has not been computed."""


class ContractError(PermanentError):
    """A frame does not fit its table's contract."""


class QualityGateError(PermanentError):
    """A blocking check failed."""


class UnknownVersion(PermanentError):
    """The serving store does not hold that version."""


class TransientError(ReplenishError):
    """The same call may succeed later."""


class StoreUnavailable(TransientError):
    """A store did not answer."""


class LlmUnavailable(TransientError):
    """The model cannot be asked."""
