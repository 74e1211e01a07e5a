"""Codes of promotions that members enter.

Whoever enters a code holds the lock on it, counts its uses after that, and adds the entry in the
same transaction: of requests at the same instant no more succeed than the code has uses. The caller
commits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from loyalty import program_words
from loyalty.corrections import Decision
from loyalty.program_words import PromotionWords
from loyalty.promotions import Promotion
from loyalty.promotions.codes import PATTERN, Code
from loyalty.types import spans
from sql import audit, ledger
from sql.actor import acting_as, actor
from sql.corrections import CorrectionRefusedError, find_member, refuse_erased
from sql.db import DbConnection
from sql.named_queries import query

__all__ = [
    "CodeByHand",
    "CodeEntered",
    "CodeNotValidError",
    "CodeUsedError",
    "CodeUsedUpError",
    "Opened",
    "UnknownCodeError",
    "enter",
    "enter_by_hand",
]  # fmt: skip
#: Later than any promotion.
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


class UnknownCodeError(CorrectionRefusedError):
    """No promotion of now has that code."""


class CodeNotValidError(CorrectionRefusedError):
    """The code cannot be entered yet, or not any more."""


class CodeUsedError(CorrectionRefusedError):
    """The member has entered it as often as a member may."""


class CodeUsedUpError(CorrectionRefusedError):
    """All members together have entered it as often as it may be."""


@dataclass(frozen=True)
class Opened:
    """A promotion by which the member's sales earn from now on."""

    promotion: PromotionWords
    #: Until when; None: no end is set.
    counts_until: datetime | None


@dataclass(frozen=True)
class CodeEntered:
    """A code that was entered, and what it opens."""

    entry_no: int
    #: The member as named.
    member_id: int
    #: In capital letters.
    code: str
    entered_at: datetime
    opened: tuple[Opened, ...]


@dataclass(frozen=True)
class CodeByHand:
    """A code that a person entered; `repeated`: the same run had entered it already."""

    entry_no: int
    member_id: int
    code: str
    entered_at: datetime
    #: Promotions that it opens, by id, and until when each counts; None: no end is set.
    opened: tuple[tuple[str, datetime | None], ...]
    repeated: bool

    def to_text(self) -> str:
        """One line."""
        text = f"Member {self.member_id} has entered code {self.code} (number {self.entry_no})"
        if self.repeated:
            return f"{text}; it was so before"
        names = ", ".join(
            name if until is None else f"{name} (until {_minute(until)})"
            for name, until in self.opened
        )
        return f"{text}: sales from {_minute(self.entered_at)} on may earn by {names}"


def enter_by_hand(
    connection: DbConnection,
    member_id: int,
    code: str,
    at: datetime | None,
    decision: Decision,
    run_id: str,
) -> CodeByHand:
    """Enters a code for a member who could not, as `enter` does; once for each run.

    `at` is when the member entered it, as they say; None: now.

    Raises CorrectionRefusedError and psycopg.OperationalError as `enter` does; the former also
    where `at` is in the future.
    """
    code = code.strip().upper()
    if not re.fullmatch(PATTERN, code):
        message = (
            "that is no code: 3 to 32 letters, digits and dashes; `twezah program show` has them"
        )
        raise UnknownCodeError(message)
    which = {"member_id": member_id, "code": code, "run_id": run_id}
    stored = connection.execute(query("promotion_codes", "of_run"), which).fetchone()
    if stored is not None:
        return CodeByHand(stored[0], member_id, code, stored[1], (), repeated=True)
    if at is not None and at > _clock(connection):
        message = "the code is said to be entered in the future; leave the time empty for now"
        raise CodeNotValidError(message)
    try:
        with acting_as(decision.author):
            entered = enter(connection, member_id, code, run_id, at=at, decision=decision)
    except UnknownCodeError as error:
        message = f"{error}; `twezah program show` has the codes of the rules"
        raise UnknownCodeError(message) from None
    except CodeUsedError as error:
        last = connection.execute(query("promotion_codes", "last_entry"), which).fetchone()
        assert last is not None
        message = (
            f"{error}: the last time was {_minute(last[0])}. Why a sale since then did not earn "
            "by it, `twezah explain SYSTEM INVOICE` says"
        )
        raise CodeUsedError(message) from None
    opened = tuple((each.promotion.promotion_id, each.counts_until) for each in entered.opened)
    return CodeByHand(entered.entry_no, member_id, code, entered.entered_at, opened, repeated=False)


def enter(
    connection: DbConnection,
    member_id: int,
    code: str,
    run_id: str,
    *,
    at: datetime | None = None,
    decision: Decision | None = None,
) -> CodeEntered:
    """Enters a code for a member: sales from then on earn by its promotions.

    `at` is when; None: now, as asked for once the lock is held. `decision` is who entered it and
    why, where a person did.

    Raises CorrectionRefusedError: there is no such member or code, their personal data was removed,
    it is not its time, or it was used up. Raises psycopg.OperationalError where others enter the
    code for too long.
    """
    code = code.upper()
    owner = find_member(connection, member_id).owner_id
    refuse_erased(connection, [owner, member_id], "no code can be entered for them")
    # What adding the entry would do at the end: whoever waits for an award step holds no code.
    connection.execute(query("promotion_codes", "mark"), {"member_id": member_id})
    connection.execute(query("promotion_codes", "lock"), {"code": code})
    entered_at = at or _clock(connection)
    promotions = _open_to(ledger.promotions(connection), code, entered_at)
    for promotion in promotions:
        assert promotion.when.code is not None
        _refuse_used(connection, promotion.when.code, owner)
    values = {
        "member_id": member_id, "code": code, "at": entered_at, "by": actor(), "run_id": run_id,
    }  # fmt: skip
    row = connection.execute(query("promotion_codes", "add"), values).fetchone()
    assert row is not None
    details = {"entry_no": row[0], "code": code}
    if decision is not None:
        details |= decision.model_dump()
    audit.record(
        connection, "code.enter", f"member {member_id}", records=1, details=details, run_id=run_id
    )
    opened = (Opened(program_words.promotion(p), _counts_until(p, entered_at)) for p in promotions)
    return CodeEntered(row[0], member_id, code, entered_at, tuple(opened))


def _open_to(promotions: Sequence[Promotion], code: str, at: datetime) -> list[Promotion]:
    """The promotions that the code opens when it is entered at an instant.

    Raises UnknownCodeError, CodeNotValidError.
    """
    current = [p for p in _current(promotions, at) if p.when.code and p.when.code.code == code]
    if not current:
        message = "no promotion has this code"
        raise UnknownCodeError(message)
    times = [(p, *_may_be_entered(p)) for p in current]
    open_now = [p for p, begin, end in times if begin <= at < end]
    if not open_now:
        if any(at < begin for _, begin, _ in times):
            message = "this code cannot be entered yet"
        else:
            message = "this code cannot be entered any more: its time is over"
        raise CodeNotValidError(message)
    return open_now


def _current(promotions: Sequence[Promotion], at: datetime) -> list[Promotion]:
    """Of each promotion the version in force, or the first one to come; switched off: none."""
    by_name: dict[str, list[Promotion]] = {}
    for promotion in promotions:
        by_name.setdefault(promotion.promotion_id, []).append(promotion)
    found = []
    for versions in by_name.values():
        in_order = [version for version, _, _ in spans(versions)]
        begun = [version for version in in_order if version.valid_from <= at]
        found.append(begun[-1] if begun else in_order[0])
    return [promotion for promotion in found if promotion.enabled]


def _may_be_entered(promotion: Promotion) -> tuple[datetime, datetime]:
    code, ends = promotion.when.code, promotion.valid_to or _NEVER
    assert code is not None
    return code.valid_from or promotion.valid_from, min(code.valid_to or _NEVER, ends)


def _counts_until(promotion: Promotion, at: datetime) -> datetime | None:
    code = promotion.when.code
    assert code is not None
    ends = [end for end in (code.counts_until(at), promotion.valid_to) if end is not None]
    return min(ends, default=None)


def _refuse_used(connection: DbConnection, code: Code, owner_id: int) -> None:
    which = {"code": code.code, "owner_id": owner_id}
    if _count(connection, "used_by_member", which) >= code.uses_per_member:
        often = "" if code.uses_per_member == 1 else f" {code.uses_per_member} times"
        message = f"the member has entered this code{often} already, and may not again"
        raise CodeUsedError(message)
    if code.uses is None:
        return
    if _count(connection, "used_by_all", {"code": code.code, "at_most": code.uses}) >= code.uses:
        message = "this code is used up: it was entered as often as it may be"
        raise CodeUsedUpError(message)


def _count(connection: DbConnection, name: str, which: dict[str, Any]) -> int:
    row = connection.execute(query("promotion_codes", name), which).fetchone()
    assert row is not None
    return int(row[0])


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _clock(connection: DbConnection) -> datetime:
    row = connection.execute(query("promotion_codes", "clock")).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at.astimezone(UTC)
