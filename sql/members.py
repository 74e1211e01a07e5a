"""What the loyalty app and operators enter about members: who they are, tiers, referrals.

Nothing is changed: a correction is another row, and the last one counts. Asking again for what is
so already adds nothing. The caller owns the transaction; members whose points depend on it are
marked by the database, and the award step posts the difference.
"""

from dataclasses import dataclass
from datetime import datetime

from loyalty.corrections import Author, Decision, Reason
from sql import audit, member_events
from sql.corrections import (
    CorrectionRefusedError,
    UnknownMemberError,
    find_member,
    find_owner,
    member_of_phone,
)
from sql.db import DbConnection
from sql.named_queries import query

__all__ = [
    "Author", "Decision", "MemberDetails", "Reason", "ReferralCircleError", "ReferralEntered",
    "Registered", "TierEntered", "TierRow", "UnknownTierError", "details", "number_of", "register",
    "set_referral", "set_tier", "tiers",
]  # fmt: skip


class UnknownTierError(CorrectionRefusedError):
    """The program has no such tier at that instant."""


class ReferralCircleError(CorrectionRefusedError):
    """The referral would make somebody, over others, their own referrer."""


@dataclass(frozen=True)
class Registered:
    """A member with a phone; `repeated`: they were here already."""

    #: The member; whoever earns for the phone, where its member was merged.
    member_id: int
    repeated: bool

    def to_text(self) -> str:
        """One line."""
        return f"Member {self.member_id} " + ("was here already" if self.repeated else "is new")


@dataclass(frozen=True)
class MemberDetails:
    """A member, without what they bought."""

    #: Our number.
    member_id: int
    #: The random id for use outside; None once the member was erased.
    public_id: str | None
    #: When the first sale, or a registration, made the member.
    created_at: datetime
    #: The tier in force now.
    tier: str
    #: From when on; None: from the beginning.
    tier_since: datetime | None
    #: Who earns for them; None: they themselves.
    merged_into: int | None
    #: Who referred them; None: nobody.
    referrer_id: int | None
    referred_at: datetime | None
    #: The referral gives nothing: over others the member referred their own referrer.
    referral_in_circle: bool


@dataclass(frozen=True)
class TierRow:
    """A tier that was set; the next row ends it."""

    valid_from: datetime
    #: None: from then on nothing is set.
    tier: str | None
    #: When it was entered.
    recorded_at: datetime
    reason: str | None


@dataclass(frozen=True)
class TierEntered:
    """A tier that was set or ended; `repeated`: it was so already, and nothing was added."""

    member_id: int
    #: None: a tier ends then.
    tier: str | None
    valid_from: datetime
    repeated: bool

    def to_text(self) -> str:
        """One line."""
        what = "no set tier" if self.tier is None else f"tier {self.tier}"
        repetition = "; it was so before" if self.repeated else ""
        return f"Member {self.member_id} has {what} from {self.valid_from:%Y-%m-%d %H:%M} on" + (
            repetition
        )


@dataclass(frozen=True)
class ReferralEntered:
    """Who referred a member now; `repeated`: it was so already, and nothing was added."""

    member_id: int
    #: None: nobody.
    referrer_id: int | None
    referred_at: datetime | None
    repeated: bool

    def to_text(self) -> str:
        """One line."""
        who = "nobody" if self.referrer_id is None else f"member {self.referrer_id}"
        return f"Member {self.member_id} was referred by {who}" + (
            "; it was so before" if self.repeated else ""
        )


def number_of(connection: DbConnection, member: str) -> int:
    """The number of a member who is named by number or by public id.

    Raises UnknownMemberError: nobody has that public id. Numbers are not looked up.
    """
    if member.isdigit():
        return int(member)
    row = connection.execute(query("members", "number"), {"public_id": member}).fetchone()
    if row is None:
        message = "no member has this public id"
        raise UnknownMemberError(message)
    return int(row[0])


def register(connection: DbConnection, phone: str, run_id: str) -> Registered:
    """The member with this phone (E.164), made if nobody has it: before the first sale.

    That they registered is noted once, also of a member whom a sale has made.
    """
    row = connection.execute(query("members", "register"), {"phone": phone}).fetchone()
    if row is None:
        known = member_of_phone(connection, phone)
        assert known is not None
        member_events.note_sign_up(connection, known.owner_id, run_id)
        return Registered(known.owner_id, repeated=True)
    audit.record(connection, "member.register", f"member {row[0]}", records=1, run_id=run_id)
    member_events.note_sign_up(connection, int(row[0]), run_id)
    return Registered(int(row[0]), repeated=False)


def details(connection: DbConnection, member_id: int) -> MemberDetails:
    """Raises UnknownMemberError if there is no such member."""
    row = connection.execute(query("members", "member"), {"member_id": member_id}).fetchone()
    if row is None:
        message = f"there is no member {member_id}"
        raise UnknownMemberError(message)
    return MemberDetails(*row)


def tiers(connection: DbConnection, member_id: int) -> list[TierRow]:
    """The tiers that were set for a member, the latest first. Raises UnknownMemberError."""
    find_member(connection, member_id)
    rows = connection.execute(query("members", "tiers"), {"member_id": member_id}).fetchall()
    return [TierRow(*row) for row in rows]


def set_tier(
    connection: DbConnection,
    member_id: int,
    tier: str | None,
    valid_from: datetime | None,
    decision: Decision,
    run_id: str,
) -> TierEntered:
    """Sets a tier from an instant on (None: from now on), or ends the one in force (`tier` None).

    Sales since then are computed again. To correct a row, set another tier at the same instant.
    Raises CorrectionRefusedError: unknown or merged member, or the program has no such tier.
    """
    connection.execute(query("members", "lock"), {"member_id": member_id})
    find_owner(connection, member_id, "tier")
    names = connection.execute(query("members", "tier_names"), {"at": valid_from}).fetchone()
    known, at = names or ([], valid_from)
    if tier is not None and tier not in known:
        message = f"the program has no tier {tier!r} then: tiers are {', '.join(known)}"
        raise UnknownTierError(message)
    before = connection.execute(
        query("members", "tier_at"), {"member_id": member_id, "at": at}
    ).fetchone()
    now, since = before or (None, None)
    if now == tier and (valid_from is None or since in (valid_from, None)):
        return TierEntered(member_id, tier, since or at, repeated=True)
    values = decision.model_dump() | {
        "member_id": member_id, "tier": tier, "valid_from": at, "run_id": run_id,
    }  # fmt: skip
    connection.execute(query("members", "add_tier"), values)
    return TierEntered(member_id, tier, at, repeated=False)


def set_referral(
    connection: DbConnection,
    member_id: int,
    referrer_id: int | None,
    referred_at: datetime | None,
    decision: Decision,
    run_id: str,
) -> ReferralEntered:
    """Enters who referred a member, corrects it, or (`referrer_id` None) withdraws it.

    `referred_at` None: as before, or now. Rewards that were given for another referrer are taken
    back. Raises CorrectionRefusedError: unknown or merged members, the member themselves, or
    (ReferralCircleError) somebody whom they referred, over however many others.
    """
    connection.execute(query("members", "lock_referrals"))
    find_owner(connection, member_id, "referral")
    if referrer_id is not None:
        find_owner(connection, referrer_id, "referral")
    if referrer_id == member_id:
        message = f"member {member_id} cannot be their own referrer"
        raise ReferralCircleError(message)
    which = {"member_id": member_id}
    stored = connection.execute(query("members", "referrals_of"), which).fetchall()
    first_at = stored[0][2] if stored else None
    at = referred_at or first_at
    if (stored and stored == [(member_id, referrer_id, at)]) or (
        not stored and referrer_id is None
    ):
        return ReferralEntered(member_id, referrer_id, at, repeated=True)
    values = decision.model_dump() | {"run_id": run_id}
    # Of members who were merged into this one as well: the earlier referral would count.
    for friend_id, _, former_at in stored:
        if referrer_id is None or friend_id != member_id:
            former = {"friend_id": friend_id, "referrer_id": None, "referred_at": former_at}
            connection.execute(query("members", "add_referral"), values | former)
    if referrer_id is None:
        return ReferralEntered(member_id, None, None, repeated=False)
    new = {"friend_id": member_id, "referrer_id": referrer_id, "referred_at": at}
    row = connection.execute(query("members", "add_referral"), values | new).fetchone()
    assert row is not None
    if connection.execute(query("members", "in_circle"), which).fetchone() == (True,):
        message = (
            f"member {member_id} referred member {referrer_id}, directly or over others: "
            "referrals in a circle give nothing"
        )
        raise ReferralCircleError(message)
    return ReferralEntered(member_id, referrer_id, row[0], repeated=False)
