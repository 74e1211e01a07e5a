"""Birthdays that have begun become events."""

from sql import expiry, ledger, member_events
from tasks.run_database import RunDatabase


def note_birthdays(run: RunDatabase) -> int:
    """Enters birthdays that have begun, and returns how many members they are of.

    In a transaction of its own: each entry marks its member, and whoever then marks others in the
    same transaction marks them out of order, so that two such runs could wait for each other.
    """
    with run.transaction() as connection:
        programs, now = ledger.programs(connection), expiry.now(connection)
        noted = member_events.note_birthdays(connection, programs, now, run.run_id)
        run.commit(connection)
    return noted
