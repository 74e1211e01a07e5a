"""Points that members spend: redemptions, holds, and what becomes of them.

Whoever spends points of a member holds the lock on whoever earns for them, reads the balance after
that, and enters the redemption in the same transaction. So of requests at the same instant exactly
those succeed that the points suffice for. Nothing is ever changed: a redemption is a row, and each
step of it another. A hold ends at its own instant, without anybody having to notice.

The caller owns the transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from loyalty.redemptions import HoldSeconds, Points, RedemptionRequest, Reference, Why
from sql import balance
from sql.actor import actor
from sql.balance import MemberBalance
from sql.corrections import (
    CorrectionRefusedError,
    MemberErasedError,
    UnknownMemberError,
    refuse_erased,
)
from sql.db import DbConnection
from sql.named_queries import query

__all__ = [
    "HoldSeconds", "InsufficientPointsError", "KeyReusedError", "MemberErasedError", "Points",
    "Redemption", "RedemptionRefusedError", "RedemptionRequest", "Reference", "Spent",
    "UnknownRedemptionError", "Why", "WrongStateError", "cancel", "confirm",
    "find", "redeem", "reverse",
]  # fmt: skip
Step = Literal["redeemed", "cancelled", "reversed"]
#: What a redemption is before each step.
_BEFORE: dict[Step, str] = {"redeemed": "held", "cancelled": "held", "reversed": "redeemed"}
_VERB: dict[Step, str] = {
    "redeemed": "confirmed", "cancelled": "cancelled", "reversed": "reversed",
}  # fmt: skip


class RedemptionRefusedError(CorrectionRefusedError):
    """Nothing was spent and nothing changed. The message says why."""


class UnknownRedemptionError(RedemptionRefusedError):
    """The member has no such redemption."""


class KeyReusedError(RedemptionRefusedError):
    """The key was used for another request."""


class WrongStateError(RedemptionRefusedError):
    """The redemption is past that step, or not there yet."""


class InsufficientPointsError(RedemptionRefusedError):
    """The member has fewer points than were asked for; `balance` says how many."""

    def __init__(self, has: MemberBalance) -> None:
        """`has`: the balance that was found."""
        over = has.balance_points - has.held_points - has.pending_points - has.available_points
        parts = [
            f"{has.held_points} are on hold" if has.held_points else "",
            f"{has.pending_points} are pending" if has.pending_points else "",
            f"{over} have expired" if over > 0 else "",
            f"{has.available_points} can be spent",
        ]
        why = f". {has.below_zero}" if has.below_zero else ""
        super().__init__(
            f"The balance is {has.balance_points} points: {', '.join(filter(None, parts))}{why}. "
            "Nothing was spent"
        )
        self.balance = has


@dataclass(frozen=True)
class Redemption:
    """A redemption, and what became of it."""

    redemption_id: int
    #: The member as named in the request.
    member_id: int
    #: The member it counts for; another one after a merge.
    owner_id: int
    #: Points spent or reserved.
    points: int
    #: held, redeemed, cancelled, ended (a hold that nobody confirmed) or reversed.
    state: str
    #: What the points are spent on, as the sender numbers it.
    reference: str
    reason: str
    #: When the points were spent or reserved.
    requested_at: datetime
    #: Until when the hold reserves them; None: it never was a hold.
    hold_ends_at: datetime | None
    #: When the points were spent.
    redeemed_at: datetime | None
    #: When the hold was cancelled.
    cancelled_at: datetime | None
    #: When the points were given back.
    reversed_at: datetime | None
    #: Why the hold was cancelled, or the points were given back.
    released_why: str | None


@dataclass(frozen=True)
class Spent:
    """A redemption as it is now, and the balance with it.

    `repeated`: the request was known already, and nothing was added.
    """

    redemption: Redemption
    #: Of whoever the redemption counts for.
    balance: MemberBalance
    repeated: bool

    def to_text(self) -> str:
        """One line."""
        done, has = self.redemption, self.balance
        repetition = "; it was so before, and nothing was added now" if self.repeated else ""
        return (
            f"Redemption {done.redemption_id} ({done.points} points of member {done.owner_id}) is "
            f"{done.state}; balance {has.balance_points}, available "
            f"{has.available_points}{repetition}"
        )


def redeem(connection: DbConnection, asked: RedemptionRequest, run_id: str) -> Spent:
    """Spends the points, or holds them; once per key.

    Raises CorrectionRefusedError: there are too few, the key was used for something else, there is
    no such member, or their personal data was removed. Raises psycopg.OperationalError where the
    member is locked for too long.
    """
    owner = _locked(connection, asked.member_id)
    values = asked.model_dump()
    if (known := _known(connection, values)) is not None:
        return known
    # Asked once the lock is held: an erasure may have been waited for.
    refuse_erased(connection, [owner], "their points cannot be spent")
    has = _balance(connection, owner)
    if asked.points > has.available_points:
        raise InsufficientPointsError(has)
    values |= {"at": _clock(connection), "by": actor(), "run_id": run_id}
    row = connection.execute(query("redemptions", "add"), values).fetchone()
    if row is None:  # another request entered the key meanwhile, for another member
        raise _reused(asked.key)
    if asked.hold_seconds is None:
        _add_step(connection, {**values, "redemption_id": row[0], "key": None}, "redeemed", None)
    return _spent(connection, row[0], repeated=False)


def confirm(
    connection: DbConnection, member_id: int, redemption_id: int, key: str, run_id: str
) -> Spent:
    """Spends the points of a hold. Raises RedemptionRefusedError: it ended, or is no hold.

    A hold is confirmed even where a refund has taken points of it since: it was spent first.
    """
    return _step(connection, member_id, redemption_id, "redeemed", key, None, run_id)


def cancel(
    connection: DbConnection, member_id: int, redemption_id: int, key: str, reason: str | None,
    run_id: str,
) -> Spent:  # fmt: skip
    """Gives the points of a hold free. Raises RedemptionRefusedError: it ended, or is no hold."""
    return _step(connection, member_id, redemption_id, "cancelled", key, reason, run_id)


def reverse(
    connection: DbConnection, member_id: int, redemption_id: int, key: str, reason: str,
    run_id: str,
) -> Spent:  # fmt: skip
    """Gives spent points back, all of them, once; they keep the dates at which they expire.

    Raises RedemptionRefusedError: they are not spent, or were given back already.
    """
    return _step(connection, member_id, redemption_id, "reversed", key, reason, run_id)


def find(connection: DbConnection, redemption_id: int) -> Redemption:
    """Raises UnknownRedemptionError if there is none."""
    row = connection.execute(
        query("redemptions", "redemption"), {"redemption_id": redemption_id}
    ).fetchone()
    if row is None:
        message = f"there is no redemption {redemption_id}"
        raise UnknownRedemptionError(message)
    return Redemption(*row)


def _step(
    connection: DbConnection, member_id: int, redemption_id: int, step: Step, key: str,
    reason: str | None, run_id: str,
) -> Spent:  # fmt: skip
    owner = _locked(connection, member_id)
    found = find(connection, redemption_id)
    if owner != found.owner_id:
        message = f"there is no redemption {redemption_id} of member {member_id}"
        raise UnknownRedemptionError(message)
    known = connection.execute(query("redemptions", "step_of_key"), {"key": key}).fetchone()
    if known is not None:
        if known != (redemption_id, step):
            raise _reused(key)
        return _spent(connection, redemption_id, repeated=True)
    at = _clock(connection)
    state = _state_at(found, at)
    if state != _BEFORE[step]:
        message = f"redemption {redemption_id} is {state} and cannot be {_VERB[step]}"
        raise WrongStateError(message)
    values = {
        "redemption_id": redemption_id, "member_id": found.member_id, "points": found.points,
        "key": key, "at": at, "by": actor(), "run_id": run_id,
    }  # fmt: skip
    _add_step(connection, values, step, reason)
    return _spent(connection, redemption_id, repeated=False)


def _state_at(found: Redemption, at: datetime) -> str:
    """The state at an instant: a hold may have ended while the request waited for the lock."""
    if found.state == "held" and found.hold_ends_at is not None and found.hold_ends_at <= at:
        return "ended"
    return found.state


def _add_step(
    connection: DbConnection, values: Mapping[str, Any], step: Step, reason: str | None
) -> None:
    sign = {"redeemed": -1, "cancelled": 0, "reversed": 1}[step]
    parameters = {**values, "step": step, "points": sign * values["points"], "reason": reason}
    row = connection.execute(query("redemptions", "add_step"), parameters).fetchone()
    if row is None:  # another request entered the key meanwhile, for another redemption
        raise _reused(values["key"])


def _locked(connection: DbConnection, member_id: int) -> int:
    """Locks whoever earns for the member until the transaction ends; returns who that is."""
    row = connection.execute(
        query("redemptions", "lock_owner"), {"member_id": member_id}
    ).fetchone()
    if row is None or row[0] is None:
        message = f"there is no member {member_id}"
        raise UnknownMemberError(message)
    return int(row[0])


def _known(connection: DbConnection, values: Mapping[str, Any]) -> Spent | None:
    """The redemption of the key, if it was used. Raises KeyReusedError: for another request."""
    row = connection.execute(query("redemptions", "of_key"), values).fetchone()
    if row is None:
        return None
    names = ("member_id", "points", "reference", "reason", "hold_seconds")
    if row[1:] != tuple(values[name] for name in names):
        raise _reused(values["key"])
    return _spent(connection, row[0], repeated=True)


def _reused(key: str) -> KeyReusedError:
    return KeyReusedError(f"the key {key!r} was used for another request; take a new one")


def _balance(connection: DbConnection, owner: int) -> MemberBalance:
    has = balance.read(connection, owner)
    assert has is not None
    return has


def _clock(connection: DbConnection) -> datetime:
    row: Sequence[Any] | None = connection.execute(query("redemptions", "clock")).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


def _spent(connection: DbConnection, redemption_id: int, *, repeated: bool) -> Spent:
    redemption = find(connection, redemption_id)
    return Spent(redemption, _balance(connection, redemption.owner_id), repeated)
