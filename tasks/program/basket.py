"""Baskets by the stored rules, or by others."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from loyalty.authoring import read_rules
from loyalty.basket import NEW_MEMBER, Basket, KnownMember, explain_history
from loyalty.explain import ExplainedSale
from loyalty.program_diff import plan
from sql import budgets, fx
from sql import member_history as facts
from sql.corrections import find_member
from sql.db import DbConnection
from sql.member_history import Rules


def explain_baskets(
    connection: DbConnection, baskets: Sequence[Basket], text: str | None = None
) -> list[ExplainedSale]:
    """The points of each basket.

    Args:
        connection: Reads only.
        baskets: What nobody bought.
        text: Rules (points.toml) that count as applied; None: those that are stored.

    Raises:
        loyalty.authoring.BadRulesError: With all problems of `text`.
        sql.corrections.CorrectionRefusedError: A basket names a member who is not stored.
    """
    rules = facts.rules(connection)
    if text is not None:
        zone = max(rules.programs, key=lambda p: p.version).timezone
        planned = plan(rules.programs, rules.promotions, read_rules(text, zone=zone))
        rules = replace(
            rules, programs=list(planned.programs), promotions=list(planned.promotions), stamp=None
        )
    rates = fx.rates(connection, rules.programs)

    def known_of(basket: Basket) -> KnownMember:
        return NEW_MEMBER if basket.member is None else _known(connection, basket, rules)

    return explain_history(baskets, rules.programs, rules.promotions, rates, known_of)


def _known(connection: DbConnection, basket: Basket, rules: Rules) -> KnownMember:
    """What is stored of the member of a basket, and of whoever referred them."""
    assert basket.member is not None
    owner = find_member(connection, basket.member).owner_id
    stored = facts.read(connection, [owner], rules)
    referrer = None
    if basket.referrer is not None:
        referrer = find_member(connection, basket.referrer).owner_id
    elif basket.referred_at is None:
        of_member = stored.facts.referrals.filter(pl.col("friend_id") == owner)
        referrer = None if of_member.is_empty() else int(of_member["referrer_id"].item())
    if referrer is not None:  # whose other friends count for limits
        stored = facts.read(connection, [owner, referrer], rules)
    left = budgets.left(connection, rules.budgets)
    return KnownMember(owner, referrer, stored.history, stored.tiers, stored.facts, left)
