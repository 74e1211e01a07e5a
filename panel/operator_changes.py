"""Records in the audit log what is changed in Prefect: blocks, their secrets, schedules, pauses.

Prefect keeps no history of them. So this compares every setting with what it was at the last look,
which `twezah up` takes as soon as a setting was changed. A text or a secret is stored only as a digest made with the
installation's key, from which it cannot be guessed. Numbers and switches are stored as they are.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.sorting import DeploymentSort

from panel.blocks.connected import saved
from sql import audit
from sql.actor import acting_as
from sql.db import DbConnection, connect
from tasks.actor import OPERATOR

#: Prefect returns at most this many rows at a time.
_PAGE: Final = 200
#: What is known of a block or a deployment: settings by name, texts as digests.
State = dict[str, Any]


def record_operator_changes(
    dsn: str, key: bytes, actor: str = OPERATOR, *, begin: bool = True
) -> int:
    """Records what differs from the last look, in one transaction; returns how many changes.

    The first look stores the present state: the base line of later changes.

    Args:
        dsn: The ledger database.
        key: Makes digests of texts and secrets.
        actor: Who made the changes.
        begin: False: nothing is done where there is no base line yet.
    """
    with acting_as(actor), connect(dsn) as connection:
        # Locked before the settings are read: what another look has seen later must not be undone.
        if not audit.seen(connection) and not begin:
            return 0
        with get_client(sync_client=True) as client:
            now = {**_blocks(client, key), **_deployments(client)}
        changes = compare(connection, now)
        connection.commit()
    return changes


def compare(connection: DbConnection, now: Mapping[tuple[str, str], State]) -> int:
    """Records the differences between `now` and what was seen last, and remembers `now`.

    The caller commits. Returns the number of changes.
    """
    before = audit.seen(connection)
    first = not before
    changes = 0
    for kind, name in sorted({*before, *now}):
        old, new = before.get((kind, name)), now.get((kind, name))
        if old == new:
            continue
        audit.save_seen(connection, kind, name, new)
        if not first:
            _record(connection, kind, name, old, new)
            changes += 1
    if first and now:
        _record_base_line(connection, now)
    return changes


def _record_base_line(connection: DbConnection, now: Mapping[tuple[str, str], State]) -> None:
    """The first entry about settings: what there is when the log begins."""
    blocks = sorted(name for kind, name in now if kind == "block")
    scheduled = sorted(
        name
        for (kind, name), state in now.items()
        if kind == "deployment" and any("(off)" not in text for text in state["schedules"])
    )
    details = {"blocks": blocks, "scheduled": scheduled}
    audit.record(
        connection, "settings.baseline", "blocks and deployments", details=details, records=len(now)
    )


def _record(
    connection: DbConnection, kind: str, name: str, old: State | None, new: State | None
) -> None:
    what = "changed" if old and new else "created" if new else "deleted"
    was, is_now = old or {}, new or {}
    names = sorted(name for name in {*was, *is_now} if was.get(name) != is_now.get(name))
    plain = {
        name: [_plain(was.get(name)), _plain(is_now.get(name))]
        for name in names
        if _is_plain(was.get(name), is_now.get(name))
    }
    details: dict[str, Any] = {"settings": names}
    if what == "changed":
        details["from_to"] = plain
    else:
        state = new or old or {}
        details["values"] = {name: state[name] for name in names if _is_plain(state[name])}
    system = (new or old or {}).get("system")
    audit.record(connection, f"settings.{what}", f"{kind} {name}", details=details, system=system)


def _is_plain(*values: Any) -> bool:
    return not any(isinstance(value, str) and value.startswith("hmac:") for value in values)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | list) else None


def _blocks(client: SyncPrefectClient, key: bytes) -> dict[tuple[str, str], State]:
    states: dict[tuple[str, str], State] = {}
    for system, document in saved(client, include_secrets=True):
        if document.name:
            values = {name: fingerprint(value, key) for name, value in document.data.items()}
            states["block", document.name] = {"system": system, **values}
    return states


def fingerprint(value: Any, key: bytes) -> Any:
    """A number or a switch as it is; of anything else a digest.

    Only the holder of the key can compare the digest with a guess.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    secret = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return (
        "hmac:"
        + hmac.digest(key, b"twezah setting " + repr(secret).encode(), hashlib.sha256).hex()[:32]
    )


def _deployments(client: SyncPrefectClient) -> dict[tuple[str, str], State]:
    states: dict[tuple[str, str], State] = {}
    for deployment in client.read_deployments(limit=_PAGE, sort=DeploymentSort.NAME_ASC):
        schedules = sorted(
            f"{_every(s.schedule)}{'' if s.active else ' (off)'}" for s in deployment.schedules
        )
        states["deployment", deployment.name] = {
            "paused": deployment.paused,
            "schedules": schedules,
        }
    return states


def _every(schedule: Any) -> str:
    interval = getattr(schedule, "interval", None)
    if interval is not None:
        return f"every {interval.total_seconds():.0f} s"
    return str(getattr(schedule, "cron", None) or getattr(schedule, "rrule", "?"))
