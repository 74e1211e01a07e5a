"""Why a member has their balance, and what a sale is worth now.

The parts sum to the whole.
"""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from loyalty.corrections import Adjustment, Decision
from sql import corrections
from sql.explain import explain
from sql.explain_member import explain_member
from tasks.program.change import apply_rules
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice, line

LUANDA = ZoneInfo("Africa/Luanda")
WHY = Decision(reason="season", author="Ana")
PROMOTIONS = """
[[promotion]]
id = "agua"
title = "Five for every 5 L"
valid_from = 2026-01-01
kind = "product_bonus"
match = { skus = ["AGUA-5L"] }
points_per_unit = 5
[[promotion]]
id = "season"
valid_from = 2026-01-01
kind = "seasonal_multiplier"
multiplier = 2
when = { tiers = ["gold"] }
[[promotion]]
id = "friends"
valid_from = 2026-01-01
kind = "referral_reward"
referrer_points = 500
friend_points = 50
"""


@pytest.fixture
def shop(books: Books) -> Books:
    """Rules with promotions; a Gold with a product line, who was brought by the other member."""
    apply_rules(books.dsn, PROMOTIONS, WHY, "by hand", recompute=False, confirm=0)
    books.store(invoice(external_id="O", invoice_number="INV-0", customer_phone=OTHER_PHONE))
    books.store(
        invoice(),
        invoice(external_id="B", invoice_number="INV-2", status="void"),
        lines=[line(quantity=2)],
    )
    books.set_tier(books.member(), "gold", NOON - 24 * HOUR)
    values: dict[str, Any] = {
        "friend": books.member(),
        "referrer": books.member(OTHER_PHONE),
        "at": NOON - HOUR,
    }
    books.run(
        "INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at) "
        "VALUES (%(friend)s, %(referrer)s, %(at)s)",
        **values,
    )
    books.award()
    return books


class TestSales:
    def test_every_rule_and_what_did_not_apply(self, shop: Books) -> None:
        found = explain(shop.dsn, "xero", "INV-1")
        assert found is not None and found.now is not None
        assert {part.rule: part.points for part in found.now.parts} == {
            "base": 1500, "tier": 750, "agua@1": 10, "season@1": 2250, "friends@1": 50,
        }  # fmt: skip
        assert found.now.due == 4560 == found.posted_to_owner
        assert found.now.tier_since == NOON - 24 * HOUR
        text = found.to_text(LUANDA)
        assert (
            "gold since 2026-02-28 (set by the loyalty app)" in text
            and "+10  agua@1: Five for every 5 L" in text
        )
        assert "and promotions = base 1500 + " in text and "wait for" not in text

    def test_a_reward_of_the_referrer_is_an_entry_of_the_friends_sale(self, shop: Books) -> None:
        found = explain(shop.dsn, "xero", "A")
        assert found is not None
        rewards = [entry for entry in found.entries if entry.member_id == shop.member(OTHER_PHONE)]
        assert [(entry.points, entry.breakdown) for entry in rewards] == [
            (500, {"base": 0, "friends@1": 500})
        ]
        assert found.points_of == {shop.member(): 4560, shop.member(OTHER_PHONE): 500}
        text = found.to_text(LUANDA)
        assert (
            f"  member {shop.member()}: 4560 points\n"
            f"  member {shop.member(OTHER_PHONE)}: 500 points"
        ) in text
        assert (
            "reward for the friend's sale: friends@1 500 = 500" in text
            and " 0.00 AOA x" not in text
        )

    def test_a_void_one_has_nothing_and_says_why(self, shop: Books) -> None:
        found = explain(shop.dsn, "xero", "B")
        assert found is not None and found.now is not None
        assert found.now.due == 0
        assert "not season@1: the sale is worth nothing" in found.to_text(LUANDA)

    def test_what_both_a_limit_and_a_budget_cut_names_both(self, books: Books) -> None:
        limits = 'kind = "purchase_bonus"\npoints = 250\nlimits = { per_sale = 200, budget = 190 }'
        text = f'[[promotion]]\nid = "p"\nvalid_from = 2026-01-01\n{limits}'
        apply_rules(books.dsn, text, WHY, "by hand", recompute=False, confirm=0)
        books.store(invoice())
        books.award()
        found = explain(books.dsn, "xero", "A")
        assert found is not None
        assert "less of p@1: cut by its limit and its budget: 190 of 250" in found.to_text(LUANDA)

    def test_what_waits_for_the_award_step(self, shop: Books) -> None:
        shop.set_tier(shop.member(), "lead", NOON - HOUR)
        found = explain(shop.dsn, "xero", "A")
        assert found is not None
        assert "-3000 of it wait for the next synchronisation" in found.to_text(LUANDA)
        assert "not season@1: not for this tier" in found.to_text(LUANDA)

    def test_of_a_merged_member(self, shop: Books) -> None:
        with shop.transaction() as connection:
            corrections.merge(
                connection, shop.member(), shop.member(OTHER_PHONE), WHY, "by hand", tiers="into"
            )
        shop.award()
        found = explain(shop.dsn, "xero", "A")
        assert found is not None and found.now is not None
        assert found.member_id == shop.member(OTHER_PHONE) == found.now.member_id
        assert found.points == found.now.due == 1510
        assert "no longer belongs" in found.to_text(LUANDA)

    def test_is_plain_json(self, shop: Books) -> None:
        found = explain(shop.dsn, "xero", "A")
        assert found is not None
        assert (
            sum(part["points"] for part in found.to_json()["now"]["parts"])
            == found.to_json()["now"]["due"]
        )

    def test_analysts_see_each_rule_of_each_entry(self, shop: Books) -> None:
        sums = (
            "SELECT count(*) FROM (SELECT sum(points) AS s, max(due_after) AS d "
            "FROM analytics.award_rule GROUP BY system, account, external_id, member_id, "
            "entry_no) x WHERE s IS DISTINCT FROM d"
        )
        assert shop.rows(sums) == [(0,)]
        assert shop.rows(
            "SELECT promotion_version, title, points FROM analytics.award_rule "
            "WHERE promotion_id = 'agua' AND is_last"
        ) == [(1, "Five for every 5 L", 10)]


class TestMembers:
    def adjust(self, books: Books, points: int, key: str) -> None:
        wanted = Adjustment(
            member_id=books.member(), points=points, key=key, reason="goodwill", author="Ana"
        )
        with books.transaction() as connection:
            corrections.adjust(connection, wanted, "by hand")

    def test_the_causes_sum_to_the_balance(self, shop: Books) -> None:
        self.adjust(shop, 100, "a")
        self.adjust(shop, -30, "b")
        shop.store(invoice(total_minor=10_000, updated_at=NOON + HOUR), lines=[line(quantity=2)])
        shop.award()
        found = explain_member(shop.dsn, shop.member())
        assert found is not None
        assert {one.kind: one.points for one in found.causes} == {
            "award": 4560,
            "edit": -1500,
            "adjustment": 70,
        }
        assert (
            found.balance_points == sum(one.points for one in found.causes) == shop.points() == 3130
        )
        assert sum(one.points for one in found.rules) == 3060
        assert found.latest[0].balance_points == found.balance_points
        assert found.movements == 4 == len(found.latest)
        text = found.to_text(LUANDA)
        assert (
            "3130  in all" in text
            and "gold since 2026-02-28" in text
            and "-1500 = 3130  edit  xero INV-1" in text
        )
        assert "number 1: goodwill" in text and "base 1000, tier 500" in text

    def test_the_latest_of_many(self, shop: Books) -> None:
        for number in range(5):
            self.adjust(shop, 1, f"k{number}")
        found = explain_member(shop.dsn, shop.member(), limit=2)
        assert found is not None
        assert [one.balance_points for one in found.latest] == [4565, 4564]
        assert "the latest 2 of 6" in found.to_text(
            LUANDA
        ) and "computes the points anew" in found.to_text(LUANDA)

    def test_a_merged_one_and_who_holds_it(self, shop: Books) -> None:
        one, other = shop.member(), shop.member(OTHER_PHONE)
        self.adjust(shop, 7, "a")
        with shop.transaction() as connection:
            corrections.merge(connection, one, other, WHY, "by hand")
        shop.award()
        merged, owner = explain_member(shop.dsn, one), explain_member(shop.dsn, other)
        assert merged is not None and owner is not None
        assert (merged.merged_into, merged.balance_points, owner.holds) == (other, 0, (one,))
        assert (
            owner.balance_points
            == sum(cause.points for cause in owner.causes)
            == shop.points(OTHER_PHONE)
        )
        assert f"earns for {one} as well" in owner.to_text(LUANDA)

    def test_nobody(self, shop: Books) -> None:
        assert explain_member(shop.dsn, 404) is None

    def test_one_without_anything(self, shop: Books) -> None:
        shop.store(invoice(external_id="D", status="draft", customer_phone="+244923000009"))
        found = explain_member(shop.dsn, shop.member("+244923000009"))
        assert found is not None
        assert (found.balance_points, found.causes, found.created_at <= datetime.now(UTC)) == (
            0,
            (),
            True,
        )
