"""Everything that the points of some members depend on, as frames.

Only what the rules in force ask for is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from loyalty.consent import settled_without_consent
from loyalty.duplicates import LEFT_OUT, Precedence, left_out, settled
from loyalty.inputs import (
    CODES,
    GRANTS,
    LINES,
    LISTS,
    REFERRALS,
    SALE,
    SALE_PLACES,
    ZONES,
    Facts,
)
from loyalty.program import Program
from loyalty.promotions import ProductBonus, Promotion, ReferralReward
from loyalty.types import BEGINNING
from sql import consent, duplicates, fx, ledger
from sql.corrections import earning_for
from sql.db import DbConnection, read_frame
from sql.named_queries import query

#: After every sale.
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rules:
    """What points are computed with.

    All versions of the program, the promotions that speak, and which system's document counts.
    """

    #: All versions of the program.
    programs: list[Program]
    #: All versions of the promotions.
    promotions: list[Promotion]
    #: Of stored rules, what tells whether any were added since; None: these are not stored.
    stamp: tuple[int, int, int] | None = None
    #: Which system's document counts where several tell one sale; None: never declared.
    precedence: Precedence | None = None

    @property
    def budgets(self) -> dict[tuple[str, int], int]:
        """Budget per promotion and version."""
        return {
            (p.promotion_id, p.version): p.limits.budget
            for p in self.promotions
            if p.limits.budget is not None
        }

    @property
    def returns(self) -> bool:
        """Whether any version brings credit documents home by their products."""
        return any(p.unlinked_credits == "returned_sales" for p in self.programs)

    @property
    def _lines(self) -> tuple[datetime, datetime | None] | None:
        """In which time lines are looked at; None: never."""
        asking = [
            p
            for p in self.promotions
            if isinstance(p.rule, ProductBonus) or p.when.bought_before is not None
        ]
        if not asking:
            return None
        ends = [p.valid_to for p in asking if p.valid_to is not None]
        begins = [p.valid_from if p.when.bought_before is None else BEGINNING for p in asking]
        return min(begins), max(ends) if len(ends) == len(asking) else None


@dataclass(frozen=True)
class Stored:
    """The stored history of some members (and, where referrals count, of their friends)."""

    #: All sales of the members: HISTORY.
    history: pl.DataFrame
    #: Tiers that were set for them: TIERS.
    tiers: pl.DataFrame
    #: What else the rules ask for.
    facts: Facts
    #: LEFT_OUT: documents of which something counts at another system's document.
    left_out: pl.DataFrame


def rules(connection: DbConnection) -> Rules:
    """The rules as they are now. Raises UnknownPromotionKindError, pydantic.ValidationError."""
    stamp = _stamp(connection)
    # Where none was ever declared, nothing is asked about it, here or later.
    precedence = duplicates.declared(connection) if stamp[2] else None
    return Rules(ledger.programs(connection), ledger.promotions(connection), stamp, precedence)


def are_current(connection: DbConnection, rules: Rules) -> bool:
    """Whether no version was added since `rules` were read, as this transaction sees it."""
    return _stamp(connection) == rules.stamp


def _stamp(connection: DbConnection) -> tuple[int, int, int]:
    row = connection.execute(query("member_history", "stamp")).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def read(connection: DbConnection, members: Sequence[int], rules: Rules) -> Stored:
    """What `loyalty.award` needs to compute the points of `members`.

    All of it is read in one snapshot of the database.
    """
    referrals = REFERRALS.to_frame()
    if any(isinstance(p.rule, ReferralReward) for p in rules.promotions):
        referrals = read_frame(
            connection, query("member_history", "referrals"), {"members": list(members)}, REFERRALS
        )
    # Whether a sale is a friend's first one depends on all sales of that friend.
    brought = referrals.filter(pl.col("referrer_id").is_in(list(members)))["friend_id"]
    everybody = sorted({*members, *brought})
    elsewhere = _left_out(connection, everybody, rules)
    history, tiers = ledger.history(connection, everybody), ledger.tiers(connection, everybody)
    facts = Facts(
        lines=_lines(connection, everybody, rules),
        referrals=referrals,
        zones=_zones(connection, everybody, rules),
        codes=_codes(connection, everybody, rules),
        lists=_lists(connection, everybody, rules),
        places=_places(connection, everybody, rules),
        settled=_settled(connection, everybody, history, elsewhere),
        fx=fx.rates(connection, rules.programs),
        grants=_grants(connection, members) if rules.budgets else None,
        members=pl.Series(list(members), dtype=pl.Int64) if len(everybody) > len(members) else None,
    )
    return Stored(history, tiers, facts, elsewhere)


def _left_out(connection: DbConnection, members: Sequence[int], rules: Rules) -> pl.DataFrame:
    if rules.precedence is None or not rules.precedence.systems:
        return LEFT_OUT.to_frame()
    return left_out(duplicates.documents(connection, members), rules.precedence)


def _settled(
    connection: DbConnection,
    members: Sequence[int],
    history: pl.DataFrame,
    elsewhere: pl.DataFrame,
) -> pl.DataFrame:
    """SETTLED: what counts at another document, and what is of a time without consent."""
    refused = settled_without_consent(history, consent.withdrawn(connection, members))
    counted = settled(elsewhere)
    if refused.is_empty():
        return counted
    # (All of it: a document that counts elsewhere in part earns nothing with its other part.)
    return pl.concat([refused, counted.join(refused, on=SALE, how="anti")])


def _lines(connection: DbConnection, members: Sequence[int], rules: Rules) -> pl.DataFrame:
    earning = earning_for(connection, members)
    returning = _returning(connection, earning) if rules.returns else []
    span = rules._lines  # noqa: SLF001  its own module
    if span is None:
        # None of any time, for those who returned something have all of theirs.
        if not returning:
            return LINES.to_frame()
        earning, span = returning, (_NEVER, _NEVER)
    since, until = span
    # A sale that tells its day only may use what begins on that day.
    parameters = {
        "members": earning, "returning": returning,
        "since": since - timedelta(days=1) if since > BEGINNING else since, "until": until,
    }  # fmt: skip
    return read_frame(connection, query("member_history", "lines"), parameters, LINES)


def _returning(connection: DbConnection, members: Sequence[int]) -> list[int]:
    """Those of the members who returned something."""
    asked = query("member_history", "returning_members")
    return [row[0] for row in connection.execute(asked, {"members": list(members)}).fetchall()]


def _zones(connection: DbConnection, members: Sequence[int], rules: Rules) -> pl.DataFrame:
    if not any(p.when.clock == "customer" for p in rules.promotions):
        return ZONES.to_frame()
    return read_frame(
        connection, query("member_history", "zones"), {"members": list(members)}, ZONES
    )


def _codes(connection: DbConnection, members: Sequence[int], rules: Rules) -> pl.DataFrame:
    if not any(p.when.code for p in rules.promotions):
        return CODES.to_frame()
    which = {"members": list(members)}
    return read_frame(connection, query("member_history", "codes"), which, CODES)


def _lists(connection: DbConnection, members: Sequence[int], rules: Rules) -> pl.DataFrame:
    names = sorted({name for p in rules.promotions for name in p.when.lists})
    if not names:
        return LISTS.to_frame()
    which = {"members": list(members), "lists": names}
    return read_frame(connection, query("member_history", "lists"), which, LISTS)


def _places(connection: DbConnection, members: Sequence[int], rules: Rules) -> pl.DataFrame:
    if not any(p.when.places for p in rules.promotions):
        return SALE_PLACES.to_frame()
    which = {"members": list(members)}
    return read_frame(connection, query("member_history", "places"), which, SALE_PLACES)


def _grants(connection: DbConnection, members: Sequence[int]) -> pl.DataFrame:
    return read_frame(
        connection, query("member_history", "grants"), {"members": list(members)}, GRANTS
    )
