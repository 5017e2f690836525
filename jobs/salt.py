"""The secret that customer pseudonyms are made with: from the setting, or made once and kept in the home."""

import os
import secrets

from warehouse.errors import SettingsError
from warehouse.settings import Settings


def pseudonym_salt(settings: Settings) -> str:
    """The salt. Made on first use where the setting is absent and the platform runs locally.

    Raises:
        SettingsError: the setting is absent and this is not a local platform: every worker must share one salt.
    """
    if settings.pseudonym_salt:
        return settings.pseudonym_salt.get_secret_value()
    if settings.env != "local":
        raise SettingsError(
            f"REPLENISH_PSEUDONYM_SALT is not set, which REPLENISH_ENV={settings.env} needs: "
            "set a secret of 32 characters"
        )
    path = settings.home / "pseudonym-salt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text()
