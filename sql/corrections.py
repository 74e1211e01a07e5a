"""What people decide about members: adjustments, merges, phones.

Each decision is a row that stays; undoing is another row.

The caller owns the transaction. Nothing here computes points of sales: members are marked, and the
award step posts the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from loyalty.corrections import Adjustment, Decision
from sql.db import DbConnection
from sql.named_queries import query


class CorrectionRefusedError(ValueError):
    """What was asked for contradicts what is stored. The message says what to do instead."""


class UnknownMemberError(CorrectionRefusedError):
    """There is no such member."""


class MergedMemberError(CorrectionRefusedError):
    """Another member earns for this one: only theirs can be changed."""


class MemberErasedError(CorrectionRefusedError):
    """The member's personal data was removed: nobody can be them any more."""


class PhoneTakenError(CorrectionRefusedError):
    """The phone is another member's."""


#: Whose tiers count after a merge: of both the better one at each instant, or those of the member
#: who is kept.
MergedTiers = Literal["better", "into"]


@dataclass(frozen=True)
class Member:
    """A member as named, and who earns for them: the same number, unless they were merged."""

    #: The member as named.
    member_id: int
    #: Who earns for them.
    owner_id: int


@dataclass(frozen=True)
class Adjusted:
    """An adjustment and the balance with it.

    `repeated`: it was there already, and nothing was added.
    """

    adjustment_id: int
    #: Number of the member.
    member_id: int
    #: Who gets the points: another member after a merge.
    owner_id: int
    #: What it adds to the balance; negative: takes.
    points: int
    #: The owner's balance with it.
    balance_points: int
    repeated: bool

    def to_text(self) -> str:
        """One line."""
        whose = f"member {self.owner_id}" + (
            "" if self.owner_id == self.member_id else f" (into whom {self.member_id} was merged)"
        )
        repetition = "; it was entered before, and nothing was added now" if self.repeated else ""
        return (
            f"Adjustment {self.adjustment_id}: {self.points:+d} points to {whose}, "
            f"balance {self.balance_points}{repetition}"
        )


@dataclass(frozen=True)
class Merged:
    """A merge (or its undoing): `member_id` is, or is no longer, `owner_id`.

    `repeated`: it was so already.
    """

    merge_id: int
    #: The member whose sales go over.
    member_id: int
    #: Who earns for them now; the same member: nobody else.
    owner_id: int
    repeated: bool = False

    def to_text(self) -> str:
        """One line."""
        if self.member_id == self.owner_id:
            return (
                f"Member {self.member_id} stands alone again "
                f"(row {self.merge_id} takes the merge back)"
            )
        repetition = "; it was so before" if self.repeated else ""
        return (
            f"Member {self.member_id} is member {self.owner_id} now "
            f"(merge {self.merge_id}){repetition}"
        )


@dataclass(frozen=True)
class PhoneChanged:
    """A member with another phone.

    `former_member_id` holds the former number for them; None: it was given up.
    """

    #: Number of the member.
    member_id: int
    former_member_id: int | None

    def to_text(self) -> str:
        """One line, without the numbers."""
        kept = (
            "sales under the former one are a new customer's from now on"
            if self.former_member_id is None
            else "sales under the former one still count here "
            f"(member {self.former_member_id}, merged)"
        )
        return f"Member {self.member_id} has the new phone; {kept}"


def find_member(connection: DbConnection, member_id: int) -> Member:
    """Raises CorrectionRefusedError if there is no such member."""
    row = connection.execute(query("corrections", "member"), {"member_id": member_id}).fetchone()
    if row is None:
        message = (
            f"there is no member {member_id}; `twezah member find` finds the number of a phone"
        )
        raise UnknownMemberError(message)
    return Member(*row)


def find_owner(connection: DbConnection, member_id: int, what: str) -> None:
    """Raises UnknownMemberError, and MergedMemberError if another member earns for this one.

    `what` of the other one is to be changed instead, e.g. phone.
    """
    owner = find_member(connection, member_id).owner_id
    if owner != member_id:
        message = f"member {member_id} was merged into {owner}: change that one's {what}"
        raise MergedMemberError(message)


def refuse_erased(connection: DbConnection, members: Sequence[int], what: str) -> None:
    """Raises MemberErasedError if the personal data of one of these members was removed.

    `what` of them cannot be done, as in "their points cannot be spent".
    """
    row = connection.execute(
        query("corrections", "erased_one"), {"members": list(members)}
    ).fetchone()
    if row is not None:
        message = f"the personal data of member {row[0]} was removed; {what}"
        raise MemberErasedError(message)


def member_of_phone(connection: DbConnection, phone: str) -> Member | None:
    """The member with this phone (E.164)."""
    row = connection.execute(query("corrections", "member_by_phone"), {"phone": phone}).fetchone()
    return None if row is None else Member(*row)


def owners(connection: DbConnection, members: Sequence[int]) -> dict[int, int]:
    """Merged members -> who earns for them.

    Answers for those among `members`, and for everybody for whom one of `members` earns.
    """
    rows = connection.execute(query("corrections", "owners"), {"members": list(members)}).fetchall()
    return {int(member): int(owner) for member, owner in rows}


def earning_for(connection: DbConnection, members: Sequence[int]) -> list[int]:
    """The members whose sales count for one of `members`.

    These are the members themselves, unless they were merged into somebody, and everybody who was
    merged into them.
    """
    merged, wanted = owners(connection, members), set(members)
    return sorted(
        (wanted - merged.keys()) | {member for member, owner in merged.items() if owner in wanted}
    )


def adjust(connection: DbConnection, adjustment: Adjustment, run_id: str) -> Adjusted:
    """Adds the adjustment, unless one with its key is there.

    Raises CorrectionRefusedError: no such member, or the key was used for something else.
    """
    member = find_member(connection, adjustment.member_id)
    values = adjustment.model_dump() | {"voids_id": None, "run_id": run_id}
    return _add(connection, member, values)


def void_adjustment(
    connection: DbConnection,
    adjustment_id: int,
    decision: Decision,
    key: str,
    run_id: str,
    *,
    of_member: int | None = None,
) -> Adjusted:
    """Takes an adjustment back, whole, by adding its opposite at the same date.

    Raises CorrectionRefusedError: there is none (`of_member`), it is a void itself, or it was taken
    back under another key.
    """
    row = connection.execute(
        query("corrections", "adjustment"), {"adjustment_id": adjustment_id}
    ).fetchone()
    if row is None or (of_member is not None and row[0] != of_member):
        message = f"there is no adjustment {adjustment_id}" + (
            "" if of_member is None else f" of member {of_member}"
        )
        raise CorrectionRefusedError(message)
    member_id, points, voids_id, event_at, kind = row
    if kind == "event":
        message = (
            f"adjustment {adjustment_id} is what a rule gives for an event of the member; change "
            "the rule, or enter an adjustment of your own"
        )
        raise CorrectionRefusedError(message)
    if voids_id is not None:
        message = (
            f"adjustment {adjustment_id} takes adjustment {voids_id} back; "
            "enter the points anew instead"
        )
        raise CorrectionRefusedError(message)
    values = decision.model_dump() | {
        "member_id": member_id, "points": -points, "event_at": event_at, "key": key,
        "voids_id": adjustment_id, "run_id": run_id,
    }  # fmt: skip
    # Asked for once the row is locked: another void may just have been entered.
    voided_by = connection.execute(
        query("corrections", "voided_by"), {"adjustment_id": adjustment_id}
    ).fetchone()
    if voided_by is not None and not _is_known(connection, values):
        message = f"adjustment {adjustment_id} was taken back already, by adjustment {voided_by[0]}"
        raise CorrectionRefusedError(message)
    return _add(connection, find_member(connection, member_id), values)


def _is_known(connection: DbConnection, values: Mapping[str, Any]) -> bool:
    return (
        connection.execute(query("corrections", "adjustment_of_key"), values).fetchone() is not None
    )


def _add(connection: DbConnection, member: Member, values: Mapping[str, Any]) -> Adjusted:
    row = connection.execute(query("corrections", "adjust"), values).fetchone()
    stored = connection.execute(query("corrections", "adjustment_of_key"), values).fetchone()
    assert stored is not None
    if stored[1:] != (values["member_id"], values["points"], values["voids_id"]):
        message = (
            f"the key {values['key']!r} was used for another adjustment ({stored[0]}); "
            "take a new key"
        )
        raise CorrectionRefusedError(message)
    balance = connection.execute(
        query("corrections", "balance"), {"member_id": member.owner_id}
    ).fetchone()
    assert balance is not None
    return Adjusted(
        stored[0],
        member.member_id,
        member.owner_id,
        values["points"],
        int(balance[0]),
        repeated=row is None,
    )


def merge(
    connection: DbConnection,
    member_id: int,
    into_id: int,
    decision: Decision,
    run_id: str,
    *,
    tiers: MergedTiers = "better",
) -> Merged:
    """From now on (and for all that was) `into_id` earns for `member_id`.

    Of the tiers that were set for them the better one counts at each instant, unless `tiers` says
    otherwise.

    Raises CorrectionRefusedError: one is unknown or was erased, they are the same, or it
    contradicts an earlier merge.
    """
    connection.execute(query("corrections", "lock_merges"))
    member, into = find_member(connection, member_id), find_member(connection, into_id)
    if member.member_id == into.member_id:
        message = f"member {member_id} cannot be merged with itself"
        raise CorrectionRefusedError(message)
    if into.owner_id == member.member_id:
        message = (
            f"member {into_id} was merged into {member_id}; "
            f"undo that first (`twezah member unmerge {into_id}`)"
        )
        raise CorrectionRefusedError(message)
    active = _active(connection, member_id)
    if active is not None:
        if active[1] == into_id:
            return Merged(active[0], member_id, into.owner_id, repeated=True)
        message = (
            f"member {member_id} was merged into {active[1]} already; "
            f"undo that first (`twezah member unmerge {member_id}`)"
        )
        raise CorrectionRefusedError(message)
    refuse_erased(connection, [member_id, into.owner_id], "nobody can be merged with them")
    return _merge(connection, member_id, into, decision, run_id, tiers)


def _merge(
    connection: DbConnection,
    member_id: int,
    into: Member,
    decision: Decision,
    run_id: str,
    tiers: MergedTiers,
) -> Merged:
    values = decision.model_dump() | {
        "member_id": member_id,
        "into_id": into.member_id,
        "tiers": tiers,
        "run_id": run_id,
    }
    row = connection.execute(query("corrections", "merge"), values).fetchone()
    assert row is not None
    return Merged(row[0], member_id, into.owner_id)


def unmerge(
    connection: DbConnection,
    member_id: int,
    decision: Decision,
    run_id: str,
    *,
    of_member: int | None = None,
) -> Merged:
    """Takes the merge of `member_id` (into `of_member`) back.

    Everybody then has what they would have had without the merge.

    Raises CorrectionRefusedError if the member is unknown or not merged.
    """
    connection.execute(query("corrections", "lock_merges"))
    find_member(connection, member_id)
    active = _active(connection, member_id)
    if active is None or of_member not in (None, active[1]):
        message = f"member {member_id} is not merged into " + (
            "another one" if of_member is None else f"member {of_member}"
        )
        raise CorrectionRefusedError(message)
    alone = Member(member_id, member_id)
    return _merge(connection, member_id, alone, decision, run_id, "better")


def _active(connection: DbConnection, member_id: int) -> tuple[int, int] | None:
    """The member's merge in force: its number, and into whom."""
    row = connection.execute(
        query("corrections", "last_merge"), {"member_id": member_id}
    ).fetchone()
    return None if row is None or row[1] == member_id else (row[0], row[1])


def change_phone(
    connection: DbConnection,
    member_id: int,
    phone: str,
    decision: Decision,
    run_id: str,
    *,
    keep_former: bool = True,
) -> PhoneChanged:
    """Gives the member another phone (E.164).

    Billing systems go on naming the former number for a while: with `keep_former` a member of its
    own holds it and is merged into this one, so those sales still count here. Without, the next
    sale under it is a new customer's. Raises CorrectionRefusedError: unknown, merged or erased
    member, or the phone is somebody else's.
    """
    connection.execute(query("corrections", "lock_merges"))
    find_owner(connection, member_id, "phone")
    row = connection.execute(
        query("corrections", "lock_member"), {"member_id": member_id}
    ).fetchone()
    refuse_erased(connection, [member_id], "they get no phone again")
    former = row[0] if row else None
    if former == phone:
        message = f"member {member_id} has that phone already"
        raise CorrectionRefusedError(message)
    holder = member_of_phone(connection, phone)
    if holder is not None and holder.owner_id != member_id:
        message = (
            f"that phone is member {holder.member_id}'s. If both are one customer, merge them: "
            f"`twezah member merge {holder.member_id} {member_id}`; both numbers then count here"
        )
        raise PhoneTakenError(message)
    former_id = _swap(
        connection, member_id, former, phone, holder, decision, run_id, keep_former=keep_former
    )
    values = decision.model_dump() | {
        "member_id": member_id,
        "former_id": former_id,
        "run_id": run_id,
    }
    connection.execute(query("corrections", "phone_change"), values)
    return PhoneChanged(member_id, former_id)


def _swap(
    connection: DbConnection,
    member_id: int,
    former: str | None,
    phone: str,
    holder: Member | None,
    decision: Decision,
    run_id: str,
    *,
    keep_former: bool,
) -> int | None:
    """Writes the numbers; returns who holds the former one for the member, if anybody does."""

    def write(member: int, number: str | None) -> None:
        connection.execute(
            query("corrections", "set_phone"), {"member_id": member, "phone": number}
        )

    kept = former if keep_former else None
    if holder is not None:  # the member takes an earlier number of theirs again
        write(holder.member_id, None)
        write(member_id, phone)
        write(holder.member_id, kept)
        return holder.member_id if kept else None
    write(member_id, phone)
    if kept is None:
        return None
    row = connection.execute(query("corrections", "add_member"), {"phone": kept}).fetchone()
    assert row is not None
    # Whoever only holds a number has no tiers.
    _merge(connection, row[0], Member(member_id, member_id), decision, run_id, "into")
    return int(row[0])
