"""What a part that runs alone must be told: nothing of it may be made by each machine for itself."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

from settings import Settings
from twezah.stack.errors import StackError

Name = Literal["prefect", "services", "caretaker", "worker", "api"]
#: Stands in the examples where a secret belongs.
EXAMPLE: Final = "change-me"
_PREFECTS: Final = ("prefect", "services")
_LEDGERS: Final = ("caretaker", "worker", "api")


class SettingsMissing(StackError):
    """A part lacks settings that all machines share, or has ones that protect nothing.

    The message names them all.
    """


def require_shared(
    settings: Settings, part: Name, environment: Mapping[str, str] | None = None
) -> None:
    """Checks that the part gets everything that machines share from its settings.

    Args:
        settings: This machine's.
        part: Which one.
        environment: Where Prefect's own variables are, `os.environ` by default.

    Raises:
        SettingsMissing: something is missing, is an example's word, or goes to another machine in
            the clear.

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
    _refuse_unsafe(settings, variables)
    uses_redis = part in _PREFECTS and settings.prefect_redis_url is not None
    if uses_redis and importlib.util.find_spec("prefect_redis") is None:
        raise SettingsMissing(
            "TWEZAH_PREFECT_REDIS_URL needs prefect-redis, which is not installed: "
            "`python3 scripts/bootstrap.py --group cluster`."
        )


def _refuse_unsafe(settings: Settings, variables: Mapping[str, str]) -> None:
    examples = sorted(name for name, value in _shared(settings, variables) if EXAMPLE in value)
    if examples:
        raise SettingsMissing(
            f'{", ".join(examples)} still hold the word "{EXAMPLE}" of the examples: put your own '
            "there."
        )
    redis = settings.prefect_redis_url
    if redis is not None and not is_private(redis.get_secret_value()):
        raise SettingsMissing(
            "TWEZAH_PREFECT_REDIS_URL names another machine without TLS: its password and Prefect's "
            "messages would go there in the clear. Use rediss:// or rediss+sentinel://."
        )


def _shared(settings: Settings, variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names and values of the settings that are secrets or hold one."""
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_API_DATABASE_CONNECTION_URL")
    fields = ("database_url", "prefect_redis_url", "secret_key", "data_key")
    secrets = {f"TWEZAH_{name.upper()}": getattr(settings, name) for name in fields}
    return [(name, variables.get(name, "")) for name in names] + [
        (name, secret.get_secret_value()) for name, secret in secrets.items() if secret is not None
    ]


def is_private(redis_url: str) -> bool:
    """Whether nobody between can listen: TLS, or all of it on this machine."""
    if redis_url.startswith("rediss"):
        return True
    hosts = urlsplit(redis_url).netloc.rpartition("@")[2].split(",")
    return all(_is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    """Of "name", "name:port", "address:port" or "[address]:port"."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:  # another machine's name, or none
        return False


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
