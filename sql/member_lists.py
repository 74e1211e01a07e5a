"""Lists of members: who is on them, and when. The caller commits.

Nothing is changed: an end, or a correction, is another row for the same beginning.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from loyalty.corrections import Decision
from sql.corrections import CorrectionRefusedError, find_member, refuse_erased
from sql.db import DbConnection
from sql.named_queries import query

__all__ = ["ListSpan", "ListTimesError", "of_member", "put", "take_off"]


class ListTimesError(CorrectionRefusedError):
    """The end is not after the beginning."""


@dataclass(frozen=True)
class ListSpan:
    """When a customer is on a list."""

    list: str
    valid_from: datetime
    #: Until before this instant; None: for good.
    valid_to: datetime | None
    #: The member as named when it was entered.
    member_id: int

    def has(self, at: datetime) -> bool:
        """Whether an instant is in it."""
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)


def of_member(connection: DbConnection, member_id: int) -> list[ListSpan]:
    """Lists of the customer, the latest first. Raises CorrectionRefusedError."""
    find_member(connection, member_id)
    rows = connection.execute(query("member_lists", "spans"), {"member_id": member_id}).fetchall()
    return [ListSpan(*row) for row in rows]


def put(
    connection: DbConnection,
    member_id: int,
    name: str,
    times: tuple[datetime | None, datetime | None],
    decision: Decision,
    run_id: str,
) -> bool:
    """Puts a member on a list from an instant on (None: now), until another one (None: for good).

    A row of the same beginning is corrected. Returns False where it is so already.

    Raises CorrectionRefusedError: there is no such member, their personal data was removed, or the
    end is not after the beginning.
    """
    now = _locked(connection, member_id)
    refuse_erased(connection, [member_id], "they can be put on no list")
    begins, ends = times[0] or now, times[1]
    if ends is not None and ends <= begins:
        message = "valid_to must be after valid_from; to take somebody off a list, end it"
        raise ListTimesError(message)
    known = [span for span in of_member(connection, member_id) if span.list == name]
    same = [span for span in known if (span.valid_from, span.member_id) == (begins, member_id)]
    if any(span.valid_to == ends for span in same) or (
        times[0] is None and any(span.has(now) and span.valid_to == ends for span in known)
    ):
        return False
    _add(connection, member_id, name, (begins, ends), decision, run_id)
    return True


def take_off(
    connection: DbConnection,
    member_id: int,
    name: str,
    at: datetime | None,
    decision: Decision,
    run_id: str,
) -> bool:
    """Takes a customer off a list from an instant on (None: now); what was before stays.

    Returns False where they are not on it. Raises CorrectionRefusedError: no such member.
    """
    now = _locked(connection, member_id)
    ends = at or now
    on_it = [
        span
        for span in of_member(connection, member_id)
        if span.list == name and (span.valid_to is None or span.valid_to > ends)
    ]
    for span in on_it:
        # Where it would only begin later, it never does.
        times = (span.valid_from, max(ends, span.valid_from))
        _add(connection, span.member_id, name, times, decision, run_id)
    return bool(on_it)


def _locked(connection: DbConnection, member_id: int) -> datetime:
    find_member(connection, member_id)
    row = connection.execute(query("member_lists", "lock"), {"member_id": member_id}).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now.astimezone(UTC)


def _add(
    connection: DbConnection,
    member_id: int,
    name: str,
    times: tuple[datetime, datetime | None],
    decision: Decision,
    run_id: str,
) -> None:
    values = decision.model_dump() | {
        "member_id": member_id, "list": name, "valid_from": times[0], "valid_to": times[1],
        "run_id": run_id,
    }  # fmt: skip
    connection.execute(query("member_lists", "add"), values)
