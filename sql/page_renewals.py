"""Who renews a page that many want renewed at once: one of them, for all."""

import time
from collections.abc import Callable
from typing import Final

from sql.db import DbConnection, connect
from sql.named_queries import query

#: Between two renewals, so that runs which end together are served by one.
_PAUSE_SECONDS: Final = 1.0
#: Nobody renews longer than that for others: the next one who asks goes on.
_SECONDS_MAX: Final = 60.0


def renew_together(dsn: str, renew: Callable[[], object]) -> int:
    """Calls `renew` unless somebody else is at it, who then does it once more for us.

    The wish is noted first. Whoever renews looks for new wishes after having let go of the lock, so
    none is lost between the two; one who is killed leaves its work to the next who asks. Returns
    how often `renew` was called. Raises psycopg.Error, and what `renew` raises.
    """
    deadline, renewals = time.monotonic() + _SECONDS_MAX, 0
    with connect(dsn) as connection:
        connection.autocommit = True
        try:
            connection.execute(query("panel_pages", "ask_for_renewal"))
            while _number(connection, "try_to_renew"):
                try:
                    asked = _number(connection, "renewals_asked")
                    renew()
                    renewals += 1
                finally:
                    connection.execute(query("panel_pages", "end_renewal"))
                if _number(connection, "renewals_asked") == asked or time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE_SECONDS)
        finally:
            connection.autocommit = False
    return renewals


def _number(connection: DbConnection, name: str) -> int:
    row = connection.execute(query("panel_pages", name)).fetchone()
    return int(row[0]) if row else 0
