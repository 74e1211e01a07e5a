"""Explains how the points of a sale come about, rule by rule, in words and plain values.

It also says which promotions were considered and not applied, and why.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from loyalty.award import Evaluation
from loyalty.currency import EXPONENTS
from loyalty.duplicates import COUNTED_AT
from loyalty.masking import message
from loyalty.pending import with_pending
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.promotions.considered import considered
from loyalty.types import BEGINNING, BPS

#: Why a promotion gave nothing, or less.
WHY: Final[Mapping[str, str]] = {
    "worth": (
        "the sale is worth nothing (void, refunded, a credit, without consent, or without a rate)"
    ),
    "enabled": "it is switched off",
    "currency": "not in this currency",
    "system": "not in this billing system",
    "account": "not in this account",
    "kind": "not for this kind of document",
    "tier": "not for this tier",
    "minimum": "below the minimum purchase",
    "store": "not in this store, or the document names none",
    "channel": "not sold in this way, or the document does not say how",
    "city": "not in this city, or the document names none",
    "region": "not in this region, or the document names none",
    "lists": "the member is on none of its lists at that time",
    "code": "its code was not entered before, or does not count any more",
    "lapsed": "the member had bought too recently, or never",
    "bought_before": "the member had not bought such a product before",
    "bought_lately": "the member had not bought enough in the days before",
    "first_purchase": "not the first purchase",
    "date": "not on this date",
    "weekday": "not on this day of the week",
    "time_of_day": "its document tells a day and no time",
    "hours": "not at this time of day",
    "nth_purchase": "another purchase has its turn: only every n-th that fits counts",
    "streak": "it completes no streak of purchases",
    "product": "no line fits",
    "referral": "not the sale that brings the reward",
    "alone": "another promotion applies alone",
    "group": "another promotion of its group is worth more",
    "limit": "cut by its limit",
    "together": "cut by the limit over all promotions together",
    "budget": "cut by its budget",
    "applied": "applied",
}


@dataclass(frozen=True)
class Part:
    """Points of one rule: `base`, `tier`, or a promotion and version (`black-november@2`)."""

    #: `base`, `tier`, or the promotion's key.
    rule: str
    #: Negative where points are taken back.
    points: int
    #: For people.
    words: str


@dataclass(frozen=True)
class Considered:
    """A promotion that was in force at the time of the sale, and what became of it."""

    #: The promotion's id.
    promotion: str
    #: Its version.
    version: int
    #: A key of `WHY`.
    outcome: str
    #: What it gave.
    points: int
    #: Why, for people.
    words: str


@dataclass(frozen=True)
class Returned:
    """A credit document that was brought home to a sale, as either of them tells it."""

    #: The other one's id: the credit's at the sale, the sale's at the credit.
    external_id: str
    #: What of the sale came back, in whole units of the sale's currency.
    amount: Decimal
    #: By what the credit found its sale, for people.
    words: str


#: By what a credit found its sale; see `loyalty.returns.How`.
HOW: Final[Mapping[str, str]] = {
    "link": "the credit names the sale",
    "product": "the latest sale of the product",
    "amount": "the latest sale of enough amount",
    "vendor": "the billing system counts it at the sale; the credit names the products",
}


@dataclass(frozen=True)
class ExplainedSale:
    """The points due for one sale to one member, and how they come about."""

    #: The sale: its billing system, account and id.
    system: str
    account: str
    external_id: str
    #: Who gets the points.
    member_id: int
    #: Points; None: they cannot be computed, and `problem` says why.
    due: int | None
    #: What earns, in whole units of `currency`.
    net_amount: Decimal
    #: The sale's own.
    currency: str
    #: The same in the program's base currency, `converted_to`; None: it is not converted.
    converted_amount: Decimal | None
    converted_to: str | None
    #: The base rate; None: there is none.
    points_per_unit: Decimal | None
    #: The amount of which only full ones earn the rate, in whole units; None: every unit does.
    per_full: Decimal | None
    #: The tier in force, and its factor.
    tier: str | None
    tier_factor: Decimal | None
    #: From when on the loyalty app's tier is in force; None: it set none.
    tier_since: datetime | None
    #: Where the tier is from, in words.
    tier_source: str
    #: The version in force; None: none was.
    program_version: int | None
    #: Its rule for fractions of a point.
    rounding: str | None
    #: Points per rule; they sum to `due`.
    parts: tuple[Part, ...]
    #: The promotions in force, and what became of each.
    considered: tuple[Considered, ...]
    #: Why it cannot be computed, and what to do.
    problem: str | None = None
    #: Of a sale: what came back of it. Of a credit: what it returns.
    returned: tuple[Returned, ...] = ()
    #: Of a basket that is tried: what whoever referred the member gets for it; None: nothing.
    referrer_points: int | None = None
    #: When the pending days of its points are over, in the program's time zone; None: there are
    #: none.
    available_at: datetime | None = None
    #: Whether its points cannot be spent until it is paid.
    awaits_payment: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def to_lines(self) -> list[str]:
        """For a person: the amount, each rule, and what did not apply."""
        if self.problem is not None:
            return [f"cannot be computed: {self.problem}"]
        amount = f"{self.net_amount} {self.currency}"
        if self.converted_to is not None:
            amount += f" = {self.converted_amount} {self.converted_to}"
        since = "" if self.tier_since is None else f" since {self.tier_since:%Y-%m-%d}"
        lines = [
            (
                f"{amount}; {self.tier}{since} ({self.tier_source}); "
                f"program version {self.program_version}, "
                f"rounded {(self.rounding or '').replace('_', ' ')}"
            )
        ]
        lines += [
            f"  {back.amount} came back, {message(back.external_id)}: {back.words}"
            for back in self.returned
        ]
        lines += [f"  {part.points:+d}  {message(part.rule)}: {part.words}" for part in self.parts]
        lines.append(f"  {self.due}  due in all")
        if self.available_at is not None or self.awaits_payment:
            lines.append(f"  can be spent {self._from_when_on()}")
        if self.referrer_points is not None:
            lines.append(f"  {self.referrer_points:+d}  for whoever referred the member")
        left_out = [promotion for promotion in self.considered if promotion.outcome != "applied"]
        lines += [
            f"  not {promotion.promotion}@{promotion.version}: {promotion.words}"
            for promotion in left_out
            if promotion.points == 0
        ]
        lines += [
            f"  less of {promotion.promotion}@{promotion.version}: {promotion.words}"
            for promotion in left_out
            if promotion.points != 0
        ]
        return lines

    def _from_when_on(self) -> str:
        conditions = [
            "once it is paid" if self.awaits_payment else "",
            f"from {self.available_at:%Y-%m-%d %H:%M} on" if self.available_at else "",
        ]
        return ", ".join(filter(None, conditions))


def explained_sales(
    evaluation: Evaluation,
    tiers: pl.DataFrame,
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
) -> list[ExplainedSale]:
    """Every sale of the evaluation, in its order.

    A reward of a referrer stands for the friend's sale.
    """
    frame = evaluation.inputs.frame
    sales = {_sale(row): row for row in frame.iter_rows(named=True)}
    weighed = considered(evaluation.inputs, evaluation.parts).filter(
        pl.col("outcome") != "validity"
    )
    by_sale: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in weighed.iter_rows(named=True):
        by_sale.setdefault((row["_row"], row["member_id"]), []).append(row)
    rules = _RulesByName({p.version: p for p in programs}, {p.key: p for p in promotions}, tiers)
    returned = _returned(evaluation)
    explained = []
    for due in with_pending(evaluation.due, programs).iter_rows(named=True):
        row = sales[_sale(due)]
        explained.append(
            replace(
                _explained(due, row, by_sale.get((row["_row"], due["member_id"]), []), rules),
                returned=tuple(returned.get(row["_row"], ())),
            )
        )
    return explained


def _returned(evaluation: Evaluation) -> dict[int, list[Returned]]:
    """What came back, told at the sales and at the credits, by row."""
    told: dict[int, list[Returned]] = {}
    matches = evaluation.inputs.returns.matches
    if matches.is_empty():
        return told
    ids = evaluation.inputs.frame.select("_row", "external_id", "currency").rows()
    names = {row: (external_id, currency) for row, external_id, currency in ids}
    for credit, sale, how, minor in matches.rows():
        amount = _amount(minor, EXPONENTS.get(names[sale][1], 2))
        for at, other in ((sale, credit), (credit, sale)):
            told.setdefault(at, []).append(Returned(names[other][0], amount, HOW[how]))
    return told


@dataclass(frozen=True)
class _RulesByName:
    programs: Mapping[int, Program]
    promotions: Mapping[str, Promotion]
    tiers: pl.DataFrame

    def tier_set(self, member_id: int, at: datetime) -> tuple[str, datetime] | None:
        """The tier that the loyalty app had set at an instant, and since when."""
        history = self.tiers.filter(
            (pl.col("member_id") == member_id) & (pl.col("valid_from") <= at)
        ).sort("valid_from")
        return None if history.is_empty() else (history["tier"][-1], history["valid_from"][-1])


def _sale(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["system"], row["account"], row["external_id"]


def _explained(
    due: Mapping[str, Any],
    row: Mapping[str, Any],
    weighed: Sequence[Mapping[str, Any]],
    rules: _RulesByName,
) -> ExplainedSale:
    program = rules.programs.get(due["program_version"])
    own_sale = due["member_id"] == row["member_id"]
    tier_source, tier_since = _origin_of_tier(due, row, rules, program)
    breakdown: dict[str, int] = json.loads(due["breakdown"]) if due["breakdown"] else {}
    converted = (
        program is not None
        and row["currency"] not in program.base_rate_bps
        and row["base_rate_bps"] is not None
    )
    words = {
        key: promotion.title or promotion.kind.replace("_", " ")
        for key, promotion in rules.promotions.items()
    }
    rate, factor = (
        _factor(row["base_rate_bps"]),
        _factor(row["tier_rate_bps"] if own_sale else None),
    )
    full_minor = row["per_full_minor"]
    per_full = None if full_minor is None else _amount(full_minor, row["exponent"])
    return ExplainedSale(
        system=row["system"], account=row["account"], external_id=row["external_id"],
        member_id=due["member_id"], due=due["due"],
        net_amount=_amount(due["net_minor"], _exponent(row, converted=converted)),
        currency=row["currency"],
        converted_amount=_amount(row["earn_minor"], row["exponent"]) if converted else None,
        converted_to=program.base_currency if converted and program else None,
        points_per_unit=rate, per_full=per_full, tier=due["tier"], tier_factor=factor,
        tier_since=tier_since, tier_source=tier_source,
        program_version=due["program_version"], rounding=program.rounding if program else None,
        parts=tuple(
            part_of(rule, points, rate, factor, due["tier"], words, per_full)
            for rule, points in breakdown.items()
        ) if due["due"] is not None else (),
        available_at=_in_zone(due["available_at"], program),
        awaits_payment=due["awaits_payment"],
        considered=tuple(
            Considered(
                outcome["promotion_id"], outcome["version"], outcome["outcome"],
                outcome["points"], _weighed(outcome),
            )
            for outcome in weighed
        ),
        problem=(
            None
            if due["due"] is not None
            else not_computed(program, row["currency"], due["tier"], row["issued_at"])
        ),
    )  # fmt: skip


def _origin_of_tier(
    due: Mapping[str, Any], row: Mapping[str, Any], rules: _RulesByName, program: Program | None
) -> tuple[str, datetime | None]:
    """Where the tier in force is from, in words, and since when it is set (None: it is not)."""
    tier_set = rules.tier_set(due["member_id"], row["issued_at"])
    if tier_set is not None and tier_set[0] == due["tier"]:
        return "set by the loyalty app", tier_set[1] if tier_set[1] > BEGINNING else None
    evaluates = program is not None and program.tier_policy is not None
    return "evaluated" if evaluates else "entry tier", None


def _in_zone(at: datetime | None, program: Program | None) -> datetime | None:
    return None if at is None or program is None else at.astimezone(ZoneInfo(program.timezone))


def _exponent(row: Mapping[str, Any], *, converted: bool) -> int:
    return (
        EXPONENTS.get(row["currency"], 2)
        if converted or row["exponent"] is None
        else int(row["exponent"])
    )


def _amount(minor: int | None, exponent: int) -> Decimal:
    return Decimal(minor or 0).scaleb(-exponent)


def _factor(rate_bps: int | None) -> Decimal | None:
    return None if rate_bps is None else Decimal(rate_bps) / BPS


def _weighed(outcome: Mapping[str, Any]) -> str:
    words: str = WHY.get(outcome["outcome"], outcome["outcome"])
    if outcome["outcome"] not in ("limit", "together", "budget"):
        return words
    both = outcome["outcome"] == "budget" and outcome["wanted"] < outcome["unlimited"]
    words = "cut by its limit and its budget" if both else words
    return f"{words}: {outcome['points']} of {outcome['unlimited']}"


def part_of(
    rule: str,
    points: int,
    rate: Decimal | None,
    factor: Decimal | None,
    tier: str | None,
    promotions: Mapping[str, str],
    per_full: Decimal | None = None,
) -> Part:
    """One number of a breakdown in words; `promotions`: what to call them, by key."""
    if rule == "base":
        return Part(
            rule, points, rate_in_words(rate, per_full) if rate is not None else "no amount earns"
        )
    if rule == "tier":
        return Part(
            rule,
            points,
            f"{tier} earns {factor:f} times as much" if factor is not None else f"{tier}",
        )
    if rule.startswith(COUNTED_AT):
        return Part(rule, points, "another system tells the same sale, and counts")
    return Part(rule, points, promotions.get(rule, rule))


def rate_in_words(rate: Decimal, per_full: Decimal | None) -> str:
    """The base rate; `per_full`: the amount of which only full ones earn."""
    return f"{rate:f} points per " + ("unit" if per_full is None else f"full {per_full:f}")


def not_computed(program: Program | None, currency: str, tier: str | None, at: datetime) -> str:
    """Why a sale has no points, and what to do."""
    if program is None:
        return "no version of the program was in force at the sale"
    if tier not in program.tier_rate_bps:
        return (
            f"the program (version {program.version}) has no tier {tier}; "
            f"it has {', '.join(program.tier_rate_bps)}"
        )
    if currency not in program.base_rate_bps and program.base_currency is None:
        return (
            f"the program (version {program.version}) has no points per unit of {currency}; write "
            f"`{currency} = ...` under [program.points_per_unit], or convert it: "
            f'`base_currency = "{program.currency}"` under [program]'
        )
    if currency in program.base_rate_bps:
        unknown = "its amount without tax is not known, or " if program.basis == "subtotal" else ""
        return f"{unknown}the amount is beyond exact arithmetic"
    day = at.astimezone(ZoneInfo(program.timezone)).date()
    return (
        f"there is no exchange rate of {currency} in {program.base_currency} for {day}; "
        "load it (`twezah fx load`)"
    )
