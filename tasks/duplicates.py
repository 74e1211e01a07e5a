"""One sale told by several systems: shows it, tries a precedence, and declares one.

What is declared changes points of stored sales, as a change of the rules does: it is computed for
everybody concerned first, and kept with who decided it and why.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import ValidationError

from connectors import DESCRIBED, SYSTEMS
from connectors.kit.errors import block_name, system_name
from loyalty.corrections import Decision
from loyalty.duplicates import Precedence, left_out
from loyalty.masking import identifier, message
from loyalty.types import BEGINNING
from settings import settings
from sql import duplicates
from sql import member_history as facts
from sql.db import DbConnection, connect
from tasks.program.change_limit import beyond_limit
from tasks.program.preview import MEMBERS_AT_ONCE, Trial, try_rules

#: Documents that a preview names.
SHOWN = 50


class DeclarationRefusedError(ValueError):
    """Nothing was declared; the message says what must be decided first.

    `preview` is what it would mean; None: it cannot be computed.
    """

    def __init__(self, message: str, preview: "DuplicatesPreview | None" = None) -> None:
        self.preview = preview
        super().__init__(message)


@dataclass(frozen=True)
class Pair:
    """A document that would be left out, and the one that counts."""

    system: str
    account: str
    external_id: str
    member_id: int
    #: Points posted for it now.
    points: int
    by_system: str
    by_account: str
    by_external_id: str
    matched_by: str


@dataclass(frozen=True)
class DuplicatesPreview:
    """What a precedence means for the stored sales."""

    #: The precedence that was looked at.
    precedence: Precedence
    #: The one in force; without systems: none.
    declared: Precedence
    #: Whether `precedence` is only all accounts by name, because none was given.
    is_example: bool
    #: What it changes, compared with nothing being declared, or with what is declared.
    trial: Trial
    #: Documents left out, by account and the account that counts.
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: By how they were recognised: payment, id, number, ...
    kinds: Counter[str] = field(default_factory=Counter)
    #: Some of them.
    pairs: Sequence[Pair] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        begin = self.precedence.valid_from
        return {
            "declared": list(self.declared.systems),
            "order": [] if self.is_example else list(self.precedence.systems),
            "within_hours": self.precedence.within_hours,
            "since": None if begin <= BEGINNING else begin.isoformat(),
            "documents": sum(self.counts.values()),
            "by_account": [
                {"account": account, "by": by, "documents": documents}
                for (account, by), documents in sorted(self.counts.items())
            ],
            "matched_by": dict(self.kinds),
            "members": len(self.trial.members),
            "points": self.trial.points,
            "pairs": [asdict(pair) for pair in self.pairs],
        }


@dataclass(frozen=True)
class ToldTwice:
    """Documents of one system that tell sales of another one."""

    system: str
    #: The system whose document stands first.
    sale_at: str
    documents: int
    #: How they were recognised: payment, id, number, ...
    recognised_by: str


@dataclass(frozen=True)
class Declared:
    """A precedence that was declared."""

    #: Its number; None: it was in force already.
    precedence_no: int | None
    preview: DuplicatesPreview


def wanted_precedence(
    order: Sequence[str], within_hours: int | None = None, since: date | None = None
) -> Precedence:
    """The precedence that an operator asks for.

    Args:
        order: Systems, or `system/account`, the one that counts first.
        within_hours: The rule by amount and time; None: off.
        since: Sales dated from this day on, in the company's time zone; None: all.

    Raises:
        DeclarationRefusedError: A system is not known, or named twice, or alone.
    """
    begin = BEGINNING
    if since is not None:
        zone = ZoneInfo(settings().timezone)
        begin = datetime(since.year, since.month, since.day, tzinfo=zone)
    names = tuple(_known(name) for name in order)
    try:
        return Precedence(systems=names, within_hours=within_hours, valid_from=begin)
    except ValidationError as error:
        words = "; ".join(p["msg"].removeprefix("Value error, ") for p in error.errors())
        raise DeclarationRefusedError(words) from error


def _known(name: str) -> str:
    system, slash, account = name.strip().partition("/")
    known = system_name(system)
    if known not in SYSTEMS and known not in DESCRIBED:
        names = ", ".join(sorted(map(block_name, [*SYSTEMS, *DESCRIBED])))
        raise DeclarationRefusedError(f"there is no billing system {system!r}; there are {names}")
    return f"{known}{slash}{account}"


def find(connection: DbConnection, precedence: Precedence | None = None) -> DuplicatesPreview:
    """Which documents tell a sale that another one tells. Changes nothing that is kept.

    Args:
        connection: Of the ledger; whoever only looks does not commit.
        precedence: What to try; None: what is declared, compared with nothing. Where nothing is
            declared, all accounts in the order of their names, to see what belongs together.
    """
    duplicates.fill_references(connection)
    rules = facts.rules(connection)
    in_force = rules.precedence or duplicates.NONE_DECLARED
    is_example = precedence is None and not in_force.systems
    if precedence is not None:
        before, after = rules, replace(rules, precedence=precedence)
    elif is_example:
        precedence = _by_name(connection)
        before, after = rules, replace(rules, precedence=precedence)
    else:
        precedence = in_force
        before, after = replace(rules, precedence=None), rules
    members = duplicates.concerned(connection)
    trial = try_rules(connection, members, before, after)
    preview = DuplicatesPreview(precedence, in_force, is_example, trial)
    return _with_pairs(connection, members, preview) if precedence.systems else preview


def told_twice(connection: DbConnection, precedence: Precedence) -> list[ToldTwice]:
    """How many documents tell a sale that another system's document tells.

    As `find`, without the points of everybody concerned, which take far longer.
    """
    duplicates.fill_references(connection)
    members = duplicates.concerned(connection)
    counts = Counter(
        (row["system"], row["by_system"], row["matched_by"].partition(" ")[0])
        for row in _left_out(connection, members, precedence)
    )
    return [
        ToldTwice(block_name(system), block_name(by), documents, how)
        for (system, by, how), documents in sorted(counts.items())
    ]


def declare(
    dsn: str, precedence: Precedence, decision: Decision, run_id: str, *, confirm: int = 0
) -> Declared:
    """Declares a precedence; the members concerned are marked for the award step.

    Args:
        dsn: The ledger.
        precedence: From now on in force; without systems: nothing is declared any more.
        decision: Who and why.
        run_id: Kept with it.
        confirm: A change of so many points, given and taken together, is agreed to.

    Raises:
        DeclarationRefusedError: It moves more points than the limit, and is not confirmed.
    """
    with connect(dsn) as connection:
        # What is stored from now on sees the declaration, and what was stored before is seen by it.
        duplicates.lock(connection)
        preview = find(connection, precedence)
        if precedence == preview.declared:
            return Declared(None, preview)
        if message := beyond_limit(preview.trial, confirm):
            raise DeclarationRefusedError(message, preview)
        trial = preview.trial
        number = duplicates.declare(
            connection,
            precedence,
            decision,
            members=len(trial.members),
            points=trial.points,
            run_id=run_id,
        )
        connection.commit()
    return Declared(number, preview)


def _by_name(connection: DbConnection) -> Precedence:
    names = tuple("/".join(account) for account in duplicates.accounts(connection))
    return Precedence(systems=names if len(names) > 1 else ())


def _with_pairs(
    connection: DbConnection, members: Sequence[int], preview: DuplicatesPreview
) -> DuplicatesPreview:
    pairs: list[dict[str, Any]] = []
    for row in _left_out(connection, members, preview.precedence):
        account, by = (
            f"{row['system']}/{row['account']}",
            f"{row['by_system']}/{row['by_account']}",
        )
        preview.counts[account, by] += 1
        preview.kinds[row["matched_by"].partition(" ")[0]] += 1
        if len(pairs) < SHOWN:
            pairs.append(row)
    sales = [(row["system"], row["account"], row["external_id"]) for row in pairs]
    points = duplicates.points_of(connection, sales)
    names = [name.name for name in fields(Pair) if name.name != "points"]
    shown_pairs = [
        Pair(points=posted, **{name: row[name] for name in names})
        for row, posted in zip(pairs, points, strict=True)
    ]
    return replace(preview, pairs=shown_pairs)


def _left_out(
    connection: DbConnection, members: Sequence[int], precedence: Precedence
) -> Iterator[dict[str, Any]]:
    """The members' documents of which something counts elsewhere, as rows of LEFT_OUT."""
    for at in range(0, len(members), MEMBERS_AT_ONCE):
        chunk = members[at : at + MEMBERS_AT_ONCE]
        documents = duplicates.documents(connection, chunk)
        own = left_out(documents, precedence).filter(pl.col("member_id").is_in(chunk))
        yield from own.iter_rows(named=True)


def shown(preview: DuplicatesPreview, zone: ZoneInfo) -> list[str]:
    """A preview in lines of text."""
    documents = sum(preview.counts.values())
    lines = [*_order(preview, zone)]
    if not documents:
        return [*lines, "No document tells a sale that another system's document tells as well."]
    lines.append(f"{documents} documents tell a sale that counts at another system:")
    lines += [
        f"    {n} of {account} at {by}" for (account, by), n in sorted(preview.counts.items())
    ]
    recognised = ", ".join(f"{n} by {kind}" for kind, n in preview.kinds.most_common())
    trial = preview.trial
    lines += [
        f"Recognised: {recognised}.",
        (
            f"Points of {len(trial.members)} members: {trial.points:+d} "
            f"({trial.added:+d}, {trial.taken:+d}; {trial.percent:.1f} % of {trial.before})."
        ),
    ]
    lines += [f"    {_pair_line(pair)}" for pair in preview.pairs]
    if documents > len(preview.pairs):
        lines.append(f"    ... and {documents - len(preview.pairs)} more")
    return lines


def _pair_line(pair: Pair) -> str:
    """A pair in one line; a document that is numbered by a phone is masked."""
    document, by = identifier(pair.external_id), identifier(pair.by_external_id)
    return (
        f"{pair.system}/{pair.account} {document} = {pair.by_system}/{pair.by_account} {by}: "
        f"{message(pair.matched_by)}; member {pair.member_id}, {pair.points} points posted"
    )


def _order(preview: DuplicatesPreview, zone: ZoneInfo) -> list[str]:
    """Which precedence the lines are about."""
    if preview.is_example:
        return [
            (
                "No precedence is declared: every document counts. What looks like one sale, with the "
                "accounts in the order of their names (try another one with --order):"
            )
        ]
    wanted, declared = preview.precedence, preview.declared
    words = "Declared" if wanted == declared else "Tried"
    if not wanted.systems:
        return [f"{words}: no precedence, every document counts."]
    rule = (
        f"the rule is on, within {wanted.within_hours} hours"
        if wanted.within_hours
        else "the rule by amount and time is off"
    )
    begins = ""
    if wanted.valid_from > BEGINNING:
        begins = f", for sales from {wanted.valid_from.astimezone(zone):%Y-%m-%d} on"
    return [f"{words}: {', then '.join(wanted.systems)}{begins}; {rule}."]
