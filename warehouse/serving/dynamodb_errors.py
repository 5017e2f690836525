"""What DynamoDB and its client say when something is wrong, in our words: one line and the mend.

Not here: when to try again (``dynamodb_table.py``).
"""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
    TokenRetrievalError,
    WaiterError,
)

from warehouse.errors import ReplenishError, SettingsError, StoreUnavailable

THROTTLED = frozenset(
    {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "Throttling"}
)
_CONDITION = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
_REFUSED = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "IncompleteSignatureException",
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
    }
)
_EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken", "RequestExpired"})
_MISSING = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
_CREATE = "`python -m warehouse.serving.dynamodb_table`"


def code_of(error: ClientError) -> str:
    """DynamoDB's name for the error."""
    return error.response.get("Error", {}).get("Code", "")


def reasons_of(error: ClientError) -> set[str]:
    """Why a transaction was cancelled: a code for each part that stood in its way."""
    return {reason["Code"] for reason in error.response.get("CancellationReasons", [])}


def region_problem(table: str) -> SettingsError:
    """No region is configured, so nobody knows which of AWS's tables is meant."""
    return SettingsError(
        f"REPLENISH_SERVING is 'dynamodb:{table}' and no AWS region is set: set AWS_REGION, or "
        "REPLENISH_DYNAMODB_ENDPOINT for a server of your own"
    )


def explain(error: ClientError | BotoCoreError, table: str, place: str) -> ReplenishError | None:
    """Our error for one of the client's; None for a failed condition, which the caller expects.

    Args:
        error: what the client raised.
        table: the table's name.
        place: endpoint, or AWS and its region.
    """
    what = f"the DynamoDB table {table} at {place}"
    if isinstance(error, ClientError):
        return _explain_answer(code_of(error), str(error), what)
    if isinstance(error, _MISSING):
        return SettingsError(
            f"{what} needs AWS credentials ({_one_line(error)}): give the process a role, or run 'aws configure' or "
            "'aws sso login'; a local server takes any AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if isinstance(error, SSLError):
        return SettingsError(
            f"{what} cannot be asked over TLS ({_one_line(error)}): where its certificate is not trusted, name its "
            "authority in AWS_CA_BUNDLE"
        )
    if isinstance(error, ConnectionError | HTTPClientError | WaiterError):
        return StoreUnavailable(
            f"{what} does not answer ({_one_line(error)}): see that it is up and reachable from here, and that "
            "REPLENISH_DYNAMODB_ENDPOINT or the AWS region is right"
        )
    return StoreUnavailable(f"{what} cannot be asked: {_one_line(error)}")


def _explain_answer(code: str, text: str, what: str) -> ReplenishError | None:
    if code in _CONDITION:
        return None
    if code == "ResourceNotFoundException":
        return SettingsError(
            f"{what} does not exist: create it with {_CREATE}, or mend REPLENISH_SERVING, the AWS region or "
            "REPLENISH_DYNAMODB_ENDPOINT"
        )
    if code in _REFUSED:
        return SettingsError(f"{what} refuses the AWS credentials ({code}): mend the access key or the profile")
    if code in _EXPIRED:
        return SettingsError(
            f"{what} says that the AWS session has expired ({code}): sign in again ('aws sso login') or renew the "
            "session token"
        )
    if code == "AccessDeniedException":
        return SettingsError(f"{what} may not be used so ({_one_line(text)}): docs/operations.md lists the rights")
    if code == "ValidationException":
        return SettingsError(f"{what} does not take this ({_one_line(text)}): is it a table made by {_CREATE}?")
    if code in THROTTLED:
        return StoreUnavailable(f"{what} is throttled ({code}): raise its capacity, or try again later")
    return StoreUnavailable(f"{what} failed: {_one_line(text)}")


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
