"""What an app shows beside a balance: what unpaid sales will give, tier progress, promotions.

Computed from what is stored, by the rules in force. What no rule asks for is not computed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl

from loyalty import program_words
from loyalty.award import Evaluation, evaluate
from loyalty.program import Program, program_at
from loyalty.program_words import ProgramWords, PromotionWords, factor
from loyalty.promotions import Promotion
from loyalty.promotions.active import active_versions
from loyalty.schema import NEGATIVE_KINDS
from loyalty.tier_progress import TierProgress, progress
from sql import expiry, ledger, member_history
from sql.db import DbConnection
from sql.member_history import Rules, Stored
from sql.named_queries import query

__all__ = [
    "MemberOutlook", "ProgramWords", "PromotionWords", "outlook", "program_in_words", "running",
]  # fmt: skip


@dataclass(frozen=True)
class MemberOutlook:
    """What a member's points will become."""

    #: How many times as much the tier earns; None: the program in force has no such tier.
    tier_multiplier: Decimal | None
    #: Points of sales that earn once they are paid.
    unpaid_points: int
    #: None: the loyalty app sets tiers, or the policy does not know the member's.
    tier_progress: TierProgress | None
    #: Promotions in force now that a sale of this member may use.
    promotions: tuple[PromotionWords, ...]


def program_in_words(connection: DbConnection) -> ProgramWords | None:
    """The rules in force now in words; None: no version of the program is."""
    now = expiry.now(connection)
    program = program_at(ledger.programs(connection), now)
    if program is None:
        return None
    return program_words.program(program, running(ledger.promotions(connection), now))


def running(promotions: Sequence[Promotion], now: datetime) -> list[Promotion]:
    """The promotions that give something at an instant, in the order in which they are applied.

    One that is switched off is in force, and gives nothing.
    """
    return [
        active.promotion
        for active in active_versions(promotions)
        if active.promotion.enabled
        and active.start <= now
        and (active.end is None or now < active.end)
    ]


def outlook(connection: DbConnection, member_id: int, tier: str) -> MemberOutlook:
    """What becomes of a member's points; `tier` is theirs now. Reads only."""
    rules, now = member_history.rules(connection), expiry.now(connection)
    program, promotions = program_at(rules.programs, now), running(rules.promotions, now)
    multiplier = None
    if program is not None and tier in program.tier_rate_bps:
        multiplier = factor(program.tier_rate_bps[tier])
    evaluates_tiers = program is not None and program.tier_policy is not None
    awaits_payment = _awaits_payment(connection, rules)
    if not (promotions or evaluates_tiers or awaits_payment):
        return MemberOutlook(multiplier, 0, None, ())
    stored = member_history.read(connection, [member_id], rules)
    evaluation = _evaluated(stored, rules)
    return MemberOutlook(
        tier_multiplier=multiplier,
        unpaid_points=_unpaid(evaluation, stored, rules, member_id) if awaits_payment else 0,
        tier_progress=_progress(evaluation, stored, program, member_id, tier, now),
        promotions=tuple(
            map(program_words.promotion, _usable(promotions, evaluation, member_id, tier))
        ),
    )


def _awaits_payment(connection: DbConnection, rules: Rules) -> bool:
    """Whether any sale earns only once it is paid, by a program or by an account's policy."""
    if any(p.award_when == "paid" for p in rules.programs):
        return True
    row = connection.execute(query("member_history", "awaits_payment")).fetchone()
    return bool(row and row[0])


def _evaluated(stored: Stored, rules: Rules) -> Evaluation:
    return evaluate(stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts)


def _due(evaluation: Evaluation, member_id: int) -> int:
    due = evaluation.due.filter(pl.col("member_id") == member_id)["due"]
    return int(due.drop_nulls().sum() or 0)


def _unpaid(evaluation: Evaluation, stored: Stored, rules: Rules, member_id: int) -> int:
    """What would be due more if every open sale were paid now."""
    history = stored.history
    open_sales = (pl.col("status") == "open") & ~pl.col("kind").is_in(NEGATIVE_KINDS)
    paid = history.with_columns(
        pl.when(open_sales).then(pl.lit("paid")).otherwise("status").alias("status")
    )
    if paid.equals(history):
        return 0
    once_paid = evaluate(paid, stored.tiers, rules.programs, rules.promotions, stored.facts)
    return max(0, _due(once_paid, member_id) - _due(evaluation, member_id))


def _progress(
    evaluation: Evaluation,
    stored: Stored,
    program: Program | None,
    member_id: int,
    tier: str,
    now: datetime,
) -> TierProgress | None:
    if program is None or program.tier_policy is None:
        return None
    own = pl.col("member_id") == member_id
    app_tiers = stored.tiers.filter(own & (pl.col("valid_from") <= now)).sort("valid_from")
    return progress(
        evaluation.inputs.frame.filter(own),
        program.tier_policy,
        program.entry_tier,
        program.timezone,
        tier,
        app_tiers["tier"][-1] if app_tiers.height else None,
        now.astimezone(UTC),
    )


def _usable(
    promotions: Sequence[Promotion], evaluation: Evaluation, member_id: int, tier: str
) -> list[Promotion]:
    """Without those of other tiers and lists, first purchases made, and limits used up."""
    own = evaluation.inputs.frame.filter(pl.col("member_id") == member_id)
    has_bought = bool((own["net_minor"] > 0).any())
    used = _used(evaluation, member_id)
    now = datetime.now(UTC)
    ended = pl.col("valid_to").is_null() | (pl.col("valid_to") > now)
    on = pl.col("member_id") == member_id
    listed = evaluation.inputs.facts.lists.filter(on & (pl.col("valid_from") <= now) & ended)
    lists = set(listed["list"])
    return [
        promotion
        for promotion in promotions
        if (not promotion.when.tiers or tier in promotion.when.tiers)
        and not (promotion.when.lists and lists.isdisjoint(promotion.when.lists))
        and not (promotion.when.first_purchase and has_bought)
        and not (
            promotion.limits.per_member is not None
            and used.get(promotion.key, 0) >= promotion.limits.per_member
        )
    ]


def _used(evaluation: Evaluation, member_id: int) -> dict[str, int]:
    """Points that promotions gave the member, by the promotion's key."""
    rows = evaluation.due.filter(pl.col("member_id") == member_id)["breakdown"].drop_nulls()
    used: dict[str, int] = {}
    for parts in rows:
        for rule, points in json.loads(parts).items():
            used[rule] = used.get(rule, 0) + points
    return used
