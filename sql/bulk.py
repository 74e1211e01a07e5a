"""Imports of opening balances, tiers, referrals and lists. The caller owns the transaction.

What is there already is not entered again, so a file can be imported as often as one likes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loyalty.bulk import BadImportError, BulkKind, BulkRow, MemberName
from loyalty.corrections import Decision
from sql import audit
from sql.db import DbConnection
from sql.named_queries import query

#: What a line is about: a member and an instant (of a referral, the friend alone), and which list.
_Key = tuple[int, datetime | None, str]


@dataclass
class Imported:
    """What became of the lines of a file."""

    kind: BulkKind
    #: Lines read.
    rows: int
    #: Lines that were entered.
    added: int = 0
    #: Lines that were there already.
    known: int = 0
    #: Lines that replace what was there.
    corrected: int = 0
    #: Members made of phones that nobody had.
    new_members: int = 0
    #: Points given and taken together, both counted as positive.
    moved: int = 0
    #: Points added to balances.
    points: int = 0
    #: Nothing was kept.
    dry_run: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing had to be entered."""
        return not (self.added or self.corrected or self.new_members)

    def to_text(self) -> str:
        """One line."""
        points = f", {self.points:+d} points" if self.kind == "balances" else ""
        new = f", {self.new_members} new members" if self.new_members else ""
        begin = "Nothing was kept. It would be: " if self.dry_run else ""
        return (
            f"{begin}{self.added} {self.kind} added, {self.corrected} corrected, "
            f"{self.known} known before{new}{points}"
        )


@dataclass(frozen=True)
class _Line:
    """A line whose members are known by number."""

    number: int
    key: _Key
    #: Points, tier, the referrer and when, or until when somebody is on the list.
    value: Any


def import_rows(
    connection: DbConnection,
    kind: BulkKind,
    rows: Sequence[BulkRow],
    decision: Decision,
    run_id: str,
    *,
    tiers_at: Callable[[datetime], Collection[str]],
    correct: bool = False,
) -> Imported:
    """Enters what is not there yet, and an entry of the audit log.

    Args:
        connection: Of the caller.
        kind: What the rows are.
        rows: Of a file.
        decision: Who and why; kept with every row that has a place for it.
        run_id: Kept as well.
        tiers_at: Tells those of the program at an instant.
        correct: Lines that differ from what is there replace it (not referrals); of a list, until
            when somebody is on it.

    Raises:
        BadImportError: With all problems at once. The caller rolls back.
    """
    connection.execute(query("bulk", "lock"))
    imported = Imported(kind, len(rows))
    numbers = _members(connection, rows, imported)
    problems = _unknown(connection, rows)
    if kind == "tiers":
        problems += [
            f"line {row.line}: tier: the program has none of that name then; it has "
            f"{', '.join(sorted(known))}"
            for row in rows
            if row.tier not in (known := tiers_at(row.at))
        ]
    if problems:
        raise BadImportError(problems)
    lines = _distinct(kind, rows, numbers.__getitem__)
    who = decision.model_dump() | {"run_id": run_id}
    _ENTER[kind](connection, lines, who, imported, correct=correct)
    if not imported.is_empty:
        details = {
            "kind": kind, "rows": imported.rows, "corrected": imported.corrected,
            "new_members": imported.new_members, "author": decision.author,
        }  # fmt: skip
        audit.record(
            connection, "import", kind, details=details, records=imported.added,
            points=imported.points, run_id=run_id,
        )  # fmt: skip
    return imported


def _names(rows: Sequence[BulkRow]) -> set[MemberName]:
    return {name for row in rows for name in (row.member, row.referrer) if name is not None}


def _members(
    connection: DbConnection, rows: Sequence[BulkRow], imported: Imported
) -> dict[MemberName, int]:
    """The number of everybody who is named; members are made of phones that nobody has."""
    names = _names(rows)
    phones = {"phones": ",".join(sorted(name for name in names if isinstance(name, str)))}
    numbers: dict[MemberName, int] = {name: name for name in names if isinstance(name, int)}
    if phones["phones"]:
        imported.new_members = connection.execute(query("store", "add_members"), phones).rowcount
        numbers |= dict(connection.execute(query("store", "members"), phones).fetchall())
    return numbers


def _unknown(connection: DbConnection, rows: Sequence[BulkRow]) -> list[str]:
    asked = [name for name in _names(rows) if isinstance(name, int)]
    stored = connection.execute(query("bulk", "members"), {"members": asked}).fetchall()
    unknown = {*asked} - {row[0] for row in stored}
    return [
        f"line {row.line}: there is no member of that number"
        for row in rows
        for name in (row.member, row.referrer)
        if name in unknown
    ]


def _distinct(
    kind: BulkKind, rows: Sequence[BulkRow], number_of: Callable[[MemberName], int]
) -> list[_Line]:
    """One line for each thing. Raises BadImportError where two say something else of one."""
    lines: dict[_Key, _Line] = {}
    problems = []
    for row in rows:
        member = number_of(row.member)
        if kind == "referrals":
            assert row.referrer is not None
            referrer = number_of(row.referrer)
            line = _Line(row.line, (member, None, ""), (referrer, row.at))
            if referrer == member:
                problems.append(f"line {row.line}: friend and referrer are the same member")
        else:
            values = {"balances": row.points, "tiers": row.tier, "lists": row.until}
            line = _Line(row.line, (member, row.at, row.list_name), values[kind])
        other = lines.get(line.key)
        if other is not None and other.value != line.value:
            problems.append(
                f"line {row.line}: says something else than line {other.number} "
                "of the same member and date"
            )
        lines[line.key] = line
    if problems:
        raise BadImportError(problems)
    return list(lines.values())


def _judge(
    lines: Sequence[_Line], stored: Mapping[_Key, Any], imported: Imported, *, correct: bool
) -> list[_Line]:
    """The lines to enter. Raises BadImportError for those that contradict what is stored."""
    fresh, problems = [], []
    for line in lines:
        # (A tier that was ended, or a referral that was withdrawn, is stored as None.)
        if line.key in stored and stored[line.key] == line.value:
            imported.known += 1
            continue
        fresh.append(line)
        if line.key not in stored:
            imported.added += 1
        else:
            imported.corrected += 1
            problems.append(f"line {line.number}: something else is entered for that member")
    if problems and not correct:
        raise BadImportError(
            [*problems, "if the file is right, import it as a correction (--correct)"]
        )
    return fresh


def _refuse_gone(connection: DbConnection, lines: Sequence[_Line], merged_into: str | None) -> None:
    """Raises BadImportError for lines about members whose personal data was removed.

    `merged_into` says what must be entered for whoever earns for a merged member instead, as for
    one member alone; None: theirs may be entered.
    """
    named = {line: _members_of(line) for line in lines}
    asked = sorted({member for members in named.values() for member in members})
    rows = connection.execute(query("bulk", "gone"), {"members": asked}).fetchall()
    gone = {member: (erased, owner) for member, erased, owner in rows}
    problems = []
    for line, members in named.items():
        for erased, owner in (gone[member] for member in members if member in gone):
            if erased:
                problems.append(f"line {line.number}: the personal data of that member was removed")
            elif merged_into is not None and owner is not None:
                problems.append(
                    f"line {line.number}: that member was merged into {owner}: enter that one's "
                    f"{merged_into}"
                )
    if problems:
        raise BadImportError(problems)


def _members_of(line: _Line) -> list[int]:
    """Members whom a line is about; of a referral, the friend and the referrer."""
    return [line.key[0], *(line.value[:1] if isinstance(line.value, tuple) else ())]


def _balances(
    connection: DbConnection, lines: Sequence[_Line], who: dict[str, Any], imported: Imported,
    *, correct: bool,
) -> None:  # fmt: skip
    rows = connection.execute(query("bulk", "balances"), _asked(lines)).fetchall()
    stored = {(row[0], row[1], ""): row[4] for row in rows if row[3] is not None}
    times = {(row[0], row[1], ""): (row[2], row[3]) for row in rows}
    fresh = _judge(lines, stored, imported, correct=correct)
    _refuse_gone(connection, fresh, None)
    replaced = [times[line.key][1] for line in fresh if line.key in stored]
    connection.execute(query("bulk", "take_back"), who | {"adjustments": replaced})
    keys = [
        f"opening balance/{line.key[0]}/{line.key[1]:%Y-%m-%dT%H:%M:%S.%f}"
        f"/{times.get(line.key, (0,))[0] + 1}"
        for line in fresh
    ]
    points = [line.value for line in fresh]
    values = {"keys": keys, "points": points, **_columns(fresh)}
    connection.execute(query("bulk", "add_balances"), who | values)
    imported.points = sum(points) - sum(stored.get(line.key, 0) for line in fresh)
    imported.moved = sum(abs(line.value - stored.get(line.key, 0)) for line in fresh)


def _tiers(
    connection: DbConnection, lines: Sequence[_Line], who: dict[str, Any], imported: Imported,
    *, correct: bool,
) -> None:  # fmt: skip
    rows = connection.execute(query("bulk", "tiers"), _asked(lines)).fetchall()
    stored = {(member, at, ""): tier for member, at, tier in rows}
    fresh = _judge(lines, stored, imported, correct=correct)
    _refuse_gone(connection, fresh, "tier")
    values = {"tiers": [line.value for line in fresh], **_columns(fresh)}
    connection.execute(query("bulk", "add_tiers"), who | values)


def _referrals(
    connection: DbConnection, lines: Sequence[_Line], who: dict[str, Any], imported: Imported,
    *, correct: bool,  # noqa: ARG001  a referral is corrected one by one
) -> None:  # fmt: skip
    connection.execute(query("members", "lock_referrals"))
    rows = connection.execute(query("bulk", "referrals"), _asked(lines)).fetchall()
    stored: dict[_Key, Any] = {(friend, None, ""): (referrer, at) for friend, referrer, at in rows}
    changed = [
        f"line {line.number}: another referral of that friend is entered, or it was withdrawn; "
        "correct it with `twezah member referral`"
        for line in lines
        if stored.get(line.key, line.value) != line.value
    ]
    if changed:
        raise BadImportError(changed)
    fresh = _judge(lines, stored, imported, correct=False)
    _refuse_gone(connection, fresh, "referral")
    values = {
        "members": [line.key[0] for line in fresh],
        "referrers": [line.value[0] for line in fresh], "at": [line.value[1] for line in fresh],
    }  # fmt: skip
    connection.execute(query("bulk", "add_referrals"), who | values)
    circles = connection.execute(query("bulk", "in_circles"), _asked(fresh)).fetchall()
    closing = {row[0] for row in circles}
    if closing:
        raise BadImportError(
            [
                f"line {line.number}: closes a circle: over others the friend referred their "
                "own referrer"
                for line in fresh
                if line.key[0] in closing
            ]
        )


def _lists(
    connection: DbConnection, lines: Sequence[_Line], who: dict[str, Any], imported: Imported,
    *, correct: bool,
) -> None:  # fmt: skip
    rows = connection.execute(query("member_lists", "imported"), _asked(lines)).fetchall()
    stored = {(member, at, name): until for member, at, name, until in rows}
    fresh = _judge(lines, stored, imported, correct=correct)
    _refuse_gone(connection, fresh, None)
    values = {
        "lists": [line.key[2] for line in fresh], "until": [line.value for line in fresh],
        **_columns(fresh),
    }  # fmt: skip
    connection.execute(query("member_lists", "import"), who | values)


def _asked(lines: Sequence[_Line]) -> dict[str, list[int]]:
    return {"members": [line.key[0] for line in lines]}


def _columns(lines: Sequence[_Line]) -> dict[str, list[Any]]:
    return {**_asked(lines), "at": [line.key[1] for line in lines]}


_ENTER = {"balances": _balances, "tiers": _tiers, "referrals": _referrals, "lists": _lists}
