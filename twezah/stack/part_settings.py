"""What a part that runs alone must be told: nothing of it may be made by each machine for itself."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import Final, Literal

from settings import Settings
from twezah.stack.errors import StackError

Name = Literal["prefect", "services", "caretaker", "worker", "api"]
_PREFECTS: Final = ("prefect", "services")
_LEDGERS: Final = ("caretaker", "worker", "api")


class SettingsMissing(StackError):
    """A part lacks settings that all machines share. The message names them all."""


def require_shared(
    settings: Settings, part: Name, environment: Mapping[str, str] | None = None
) -> None:
    """Checks that the part gets everything that machines share from its settings.

    Args:
        settings: This machine's.
        part: Which one.
        environment: Where Prefect's own variables are, `os.environ` by default.

    Raises:
        SettingsMissing: something is missing.

    """
    variables = os.environ if environment is None else environment
    wanted = _wanted(settings, variables)
    missing = [
        f"{name} ({meaning})"
        for name, (parts, meaning, is_there) in wanted.items()
        if part in parts and not is_there()
    ]
    if missing:
        raise SettingsMissing(
            f"The part {part} runs alone, so it needs settings that are the same on every machine: "
            f"{'; '.join(missing)}."
        )
    uses_redis = part in _PREFECTS and settings.prefect_redis_url is not None
    if uses_redis and importlib.util.find_spec("prefect_redis") is None:
        raise SettingsMissing(
            "TWEZAH_PREFECT_REDIS_URL needs prefect-redis, which is not installed: "
            "`python3 scripts/bootstrap.py --group cluster`."
        )


def _wanted(
    settings: Settings, variables: Mapping[str, str]
) -> dict[str, tuple[tuple[str, ...], str, Callable[[], bool]]]:
    """By name of the setting: the parts that need it, what it is, whether it is there."""
    every = (*_PREFECTS, *_LEDGERS)
    keys = (settings.data_key, settings.data_key_command, settings.data_key_file)
    return {
        "TWEZAH_DATABASE_URL": (
            every, "the ledger's PostgreSQL", lambda: not settings.is_embedded,
        ),
        "PREFECT_API_AUTH_STRING": (
            every, "user:password of Prefect's server",
            lambda: bool(variables.get("PREFECT_API_AUTH_STRING")),
        ),
        "PREFECT_API_DATABASE_CONNECTION_URL": (
            _PREFECTS, "Prefect's own database, postgresql+asyncpg://...",
            lambda: bool(variables.get("PREFECT_API_DATABASE_CONNECTION_URL")),
        ),
        "TWEZAH_PREFECT_REDIS_URL": (
            ("services",), "without Redis, the part prefect does this itself",
            lambda: settings.prefect_redis_url is not None,
        ),
        "PREFECT_API_URL": (
            ("services", *_LEDGERS), "address of Prefect's API", lambda: not settings.starts_prefect,
        ),
        "TWEZAH_SECRET_KEY": (
            _LEDGERS, "the key of stored tokens", lambda: settings.secret_key is not None,
        ),
        "TWEZAH_DATA_KEY_FILE": (
            _LEDGERS, "or TWEZAH_DATA_KEY_COMMAND or TWEZAH_DATA_KEY: the keys of stored pages",
            lambda: any(key is not None for key in keys),
        ),
    }  # fmt: skip
