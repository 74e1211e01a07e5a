"""A restored copy stands by: it uses no stored token and awards no webhook until it goes live."""

from dataclasses import dataclass
from datetime import datetime

from sql import audit
from sql.db import DbConnection
from sql.named_queries import query

RESTORED = "restored from a backup"
WHAT_HELPS = (
    "Once the installation it was copied from is stopped for good, `twezah go-live` switches it on"
)


@dataclass(frozen=True)
class Standby:
    """Since when the installation stands by, and why."""

    #: When the backup was restored.
    since: datetime
    #: Why, in one line.
    reason: str

    def to_text(self) -> str:
        """What it means, and what to do."""
        return (
            f"This installation is a copy on standby ({self.reason}, {self.since:%Y-%m-%d %H:%M} "
            "UTC): schedules are off, stored tokens are not used and webhooks not awarded, so that "
            f"the original can still log in. {WHAT_HELPS}."
        )


def read(connection: DbConnection) -> Standby | None:
    """Since when, and why, the installation stands by; None where it is live."""
    row = connection.execute(query("standby", "read")).fetchone()
    return None if row is None else Standby(*row)


def begin(connection: DbConnection, reason: str = RESTORED) -> None:
    """Lets the installation stand by from now on; the caller commits."""
    connection.execute(query("standby", "begin"), {"reason": reason})
    audit.record(connection, "standby.begin", "installation", details={"reason": reason})


def end(connection: DbConnection) -> bool:
    """Ends the standby; False where there was none. The caller commits."""
    row = connection.execute(query("standby", "finish")).fetchone()
    if row is None:
        return False
    audit.record(connection, "standby.end", "installation", details={"since": str(row[0])})
    return True
