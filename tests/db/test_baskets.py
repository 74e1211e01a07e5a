"""A basket as the next sale of a stored member: what is tried is what is posted."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from loyalty.basket import Basket
from loyalty.explain import ExplainedSale
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from tasks.program.basket import explain_baskets
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice
from tests.support.rules_file import applied, bonus, two  # noqa: F401  a fixture

LATER = NOON + timedelta(days=1)
RULES = bonus(10, more="when = { first_purchase = true }") + (
    bonus(60, more="limits = { budget = 100 }").replace('"p"', '"rich"')
    + bonus().replace('"p"', '"friends"').replace("purchase_bonus", "referral_reward").replace(
        "points = 50", "referrer_points = 40\nlimit_per_referrer = 1"
    )
)  # fmt: skip


def tried(books: Books, **values: Any) -> ExplainedSale:
    basket = Basket.model_validate({"date": LATER, "total": Decimal(100)} | values)
    with connect(books.dsn) as connection:
        (found,) = explain_baskets(connection, [basket])
    return found


def test_their_tier_sales_and_what_is_left_of_a_budget_count(two: Books) -> None:  # noqa: F811
    applied(two, RULES, recompute=True, confirm=10**6)
    two.award()
    member, other = two.member(), two.member(OTHER_PHONE)
    new = tried(two)
    assert new.due == 1000 + 10 + 60
    known = tried(two, member=member)
    assert (known.tier, known.due) == ("gold", 1500)  # 100 of the budget are granted already
    due = {c.promotion: c.outcome for c in known.considered}
    assert due == {"p": "first_purchase", "rich": "budget", "friends": "referral"}
    # Who bought before is no new customer.
    assert tried(two, member=other, referred_at=NOON, referrer=member).referrer_points is None


def test_a_referral_of_a_stored_member_counts_the_limit_of_the_referrer(
    two: Books,  # noqa: F811
) -> None:
    text = RULES.replace(
        "limit_per_referrer = 1", "limit_per_referrer = 1\nnew_customers_only = false"
    )
    applied(two, text, recompute=True, confirm=10**6)
    member, other = two.member(), two.member(OTHER_PHONE)
    wanted = {"member": other, "referred_at": NOON + HOUR}
    assert tried(two, **wanted).referrer_points == 40
    assert tried(two, **wanted, referrer=member).referrer_points == 40
    two.store(invoice(external_id="F", customer_phone="+244923000077"))
    third = two.member("+244923000077")
    two.run(
        "INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at)"
        f" VALUES ({third}, {member}, '{(NOON - HOUR).isoformat()}')"
    )
    assert tried(two, **wanted, referrer=member).referrer_points is None


def test_nothing_is_stored_and_an_unknown_member_is_refused(two: Books) -> None:  # noqa: F811
    before = two.entries()
    tried(two, member=two.member())
    assert two.entries() == before
    with pytest.raises(CorrectionRefusedError, match="there is no member 999"):
        tried(two, member=999)
