"""Pending points: in the balance and the history, and not to be spent before their time."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg.types.json import Jsonb

from loyalty.award import evaluate
from loyalty.corrections import Decision
from loyalty.pending import with_pending
from sql import changes, corrections, member_history, merge_preview
from sql.db import connect
from sql.explain import explain
from sql.named_queries import query
from sql.redemptions import InsufficientPointsError
from tests.db.test_redemptions import after, has, hold, spend
from tests.db.test_rules import program, promote, recompute
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
LUANDA = ZoneInfo("Africa/Luanda")
WHY = Decision(reason="one person", author="Ana")


@pytest.fixture
def unpaid(books: Books) -> Books:
    """1000 points of an open invoice and 500 of a paid one; points wait for the payment."""
    program(books, pending=Jsonb({"until_paid": True}))
    books.store(
        invoice(total_minor=10_000),
        invoice(external_id="B", total_minor=5_000, status="paid", issued_at=NOON + HOUR),
    )
    books.award()
    return books


def points(books: Books, phone: str = PHONE) -> tuple[int, int, int]:
    """(balance, pending, available)."""
    found = has(books, phone)
    return found.balance_points, found.pending_points, found.available_points


def waiting(books: Books) -> list[tuple[Any, ...]]:
    """What the view tells of posted points, and the rules of points due alike."""
    told = books.rows(
        "SELECT external_id, points, available_at, awaits_payment FROM loyalty.pending_sale "
        "ORDER BY external_id"
    )
    with connect(books.dsn) as connection:
        rules = member_history.rules(connection)
        stored = member_history.read(connection, [books.member()], rules)
    due = evaluate(stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts).due
    by_rules = [
        (name, points, None if at is None or at <= NOW else at, is_unpaid)
        for name, points, at, is_unpaid in with_pending(due, rules.programs)
        .sort("external_id").select("external_id", "due", "available_at", "awaits_payment").rows()
    ]  # fmt: skip
    assert told == [row for row in by_rules if row[2] is not None or row[3]]
    return told


def paid(books: Books, **changes: Any) -> None:
    later = {"total_minor": 10_000, "status": "paid", "updated_at": NOON + DAY}
    books.store(invoice(**later | changes))
    books.award()


class TestUntilPaid:
    def test_only_what_is_paid_can_be_spent(self, unpaid: Books) -> None:
        assert points(unpaid) == (1500, 1000, 500)
        assert waiting(unpaid) == [("A", 1000, None, True)]
        with pytest.raises(InsufficientPointsError, match="1000 are pending, 500 can be spent"):
            spend(unpaid, 501)
        spend(unpaid, 500)
        assert points(unpaid) == (1000, 1000, 0)
        paid(unpaid)
        assert points(unpaid) == (1000, 0, 1000)
        assert len(unpaid.entries()) == 2

    def test_a_payment_that_is_taken_back(self, unpaid: Books) -> None:
        paid(unpaid)
        spend(unpaid, 1200)
        paid(unpaid, status="open", updated_at=NOON + 2 * DAY)
        assert points(unpaid) == (300, 1000, 0)

    @pytest.mark.parametrize(
        ("changes", "left"),
        [
            ({"amount_refunded_minor": 4_000, "status": "open"}, (1100, 600, 500)),
            ({"status": "void"}, (500, 0, 500)),
            ({"customer_phone": OTHER_PHONE, "status": "open"}, (500, 0, 500)),
        ],
    )
    def test_a_sale_that_changes_before_it_is_paid(
        self, unpaid: Books, changes: dict[str, Any], left: tuple[int, int, int]
    ) -> None:
        paid(unpaid, **changes)
        assert points(unpaid) == left

    def test_a_void_sale_frees_nothing_before_its_points_are_taken(self, unpaid: Books) -> None:
        unpaid.store(invoice(total_minor=10_000, status="void", updated_at=NOON + DAY))
        assert points(unpaid) == (1500, 1000, 500)

    def test_a_merge_takes_them_along(self, unpaid: Books) -> None:
        unpaid.store(invoice(external_id="C", customer_phone=OTHER_PHONE, status="paid"))
        unpaid.award()
        with unpaid.transaction() as connection:
            corrections.merge(
                connection, unpaid.member(), unpaid.member(OTHER_PHONE), WHY, "by hand"
            )
        unpaid.award()
        assert points(unpaid, OTHER_PHONE) == (3000, 1000, 2000)

    def test_a_merge_says_before_what_expires_of_them(self, books: Books) -> None:
        """Of old points only those expire that do not wait; the preview posts nothing."""
        program(books, pending=Jsonb({"until_paid": True}), expiry=Jsonb({"months": 12}))
        at = NOW - 400 * DAY
        books.store(
            invoice(total_minor=10_000, issued_at=at),
            invoice(external_id="B", customer_phone=OTHER_PHONE, total_minor=5_000, issued_at=at),
        )
        books.award()
        books.store(
            invoice(
                external_id="B",
                customer_phone=OTHER_PHONE,
                total_minor=5_000,
                issued_at=at,
                status="paid",
                updated_at=NOON + DAY,
            )
        )
        pair = books.member(), books.member(OTHER_PHONE)
        with connect(books.dsn) as connection:
            told = merge_preview.preview(connection, *pair, WHY, "by hand")
        assert [change.balance_points_after for change in told.changes] == [0, 1000]
        with books.transaction() as connection:
            corrections.merge(connection, *pair, WHY, "by hand")
        books.award()
        assert points(books, OTHER_PHONE) == (1000, 1000, 0)

    def test_a_hold_is_confirmed_though_the_payment_was_taken_back(self, unpaid: Books) -> None:
        paid(unpaid)
        held = hold(unpaid, 1_500)
        paid(unpaid, status="open", updated_at=NOON + 2 * DAY)
        assert points(unpaid) == (1500, 1000, 0)
        after(unpaid, held, "confirm")
        assert points(unpaid) == (0, 1000, 0)

    def test_payment_and_spending_are_told_apart(self, unpaid: Books) -> None:
        """The feed tells of what was posted; a payment posts nothing, and the balance says it."""
        paid(unpaid)
        with unpaid.transaction() as connection:
            changes.publish(connection)
        told = unpaid.rows("SELECT kind, balance_points FROM loyalty.change ORDER BY change_no")
        assert told == [("points.changed", 1500)]
        assert points(unpaid) == (1500, 0, 1500)

    def test_one_member_is_asked_for_without_reading_what_others_have(self, books: Books) -> None:
        """Balances, and what of them can expire: they are read at every request of an app."""
        program(books, pending=Jsonb({"until_paid": True}), expiry=Jsonb({"months": 12}))
        books.store(
            *(invoice(external_id=str(n), customer_phone=f"+2449231{n:05}") for n in range(300))
        )
        books.award()
        books.run("ANALYZE loyalty.award_entry")
        books.run("ANALYZE billing.invoice")
        which = {"member_id": books.member("+244923100007")}
        asked = [
            (query("balance", "member"), which),
            (query("expiry", "posted_sales"), {"members": [which["member_id"]]}),
        ]
        for statement, parameters in asked:
            plan = "\n".join(
                row for (row,) in books.rows("EXPLAIN " + statement.decode(), **parameters)
            )
        assert "Seq Scan on award_entry" not in plan, plan

    def test_the_reward_of_whoever_referred_waits_too(self, unpaid: Books) -> None:
        promote(
            unpaid, "bring", "referral_reward",
            {"referrer_points": 70, "friend_points": 30, "new_customers_only": False},
        )  # fmt: skip
        unpaid.run("INSERT INTO loyalty.member (phone) VALUES (%(phone)s)", phone=OTHER_PHONE)
        unpaid.run(
            "INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at) "
            "VALUES (%(friend)s, %(referrer)s, %(at)s)",
            friend=unpaid.member(), referrer=unpaid.member(OTHER_PHONE), at=NOON - DAY,
        )  # fmt: skip
        recompute(unpaid)
        assert points(unpaid) == (1530, 1030, 500)
        assert points(unpaid, OTHER_PHONE) == (70, 70, 0)
        paid(unpaid)
        assert points(unpaid, OTHER_PHONE) == (70, 0, 70)

    def test_they_do_not_expire_and_nothing_is_spent_of_them(self, books: Books) -> None:
        """A year later: what was paid has expired, and what was spent was of that."""
        program(books, pending=Jsonb({"until_paid": True}), expiry=Jsonb({"months": 12}))
        at = NOW - 400 * DAY
        books.store(
            invoice(total_minor=10_000, issued_at=at),
            invoice(external_id="B", total_minor=5_000, status="paid", issued_at=at + HOUR),
            invoice(external_id="C", total_minor=2_000, status="paid", issued_at=NOW - DAY),
        )
        books.award()
        assert points(books) == (1200, 1000, 200)
        paid(books, issued_at=at)
        assert points(books) == (200, 0, 200)
        paid(books, issued_at=at, status="open", updated_at=NOON + 2 * DAY)
        assert points(books) == (1200, 1000, 200)

    def test_explanations_say_it(self, unpaid: Books) -> None:
        found = explain(unpaid.dsn, "xero", "A")
        assert found is not None
        assert "  member 1: 1000 pending until the sale is paid" in found.to_text(LUANDA)


class TestDays:
    def test_the_days_after_the_day_of_the_sale(self, books: Books) -> None:
        program(books, pending=Jsonb({"days": 14}))
        today = datetime.combine(NOW.astimezone(LUANDA).date(), time(), LUANDA)
        last_moment = timedelta(days=1) - timedelta(microseconds=1)
        books.store(
            invoice(
                external_id="over", total_minor=1_000, issued_at=today - 15 * DAY + last_moment
            ),
            invoice(external_id="waits", total_minor=2_000, issued_at=today - 14 * DAY),
        )
        books.award()
        assert points(books) == (300, 200, 100)
        assert waiting(books) == [("waits", 200, today + DAY, False)]
        assert books.rows("SELECT pending_points, available_points FROM analytics.member") == [
            (200, 100)
        ]

    def test_a_day_without_a_time_is_that_of_its_account(self, books: Books) -> None:
        """A day of an account in Tokyo begins the evening before in Luanda."""
        program(books, pending=Jsonb({"days": 3}))
        day = datetime.combine(NOW.date(), time(), ZoneInfo("Asia/Tokyo"))
        books.store(invoice(issued_at=day, time_known=False))
        books.award()
        ends = datetime.combine(NOW.date() + 4 * DAY, time(), LUANDA)
        assert [row[2] for row in waiting(books)] == [ends]

    def test_days_and_payment_must_both_be_over(self, books: Books) -> None:
        program(books, pending=Jsonb({"days": 3, "until_paid": True}))
        books.store(
            invoice(external_id="new", issued_at=NOW - DAY, status="paid"),
            invoice(external_id="old", issued_at=NOW - 30 * DAY),
            invoice(external_id="over", issued_at=NOW - 30 * DAY, status="paid"),
        )
        books.award()
        assert [(name, at is None, waits) for name, _, at, waits in waiting(books)] == [
            ("new", False, False), ("old", True, True),
        ]  # fmt: skip

    def test_the_version_of_the_sales_own_date_decides(self, books: Books) -> None:
        books.run(
            "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
            "entry_tier, pending) SELECT version + 1, %(at)s, base_rate_bps, tier_rate_bps, "
            "entry_tier, %(pending)s FROM loyalty.program ORDER BY version DESC LIMIT 1",
            at=NOW - 2 * DAY, pending=Jsonb({"days": 366}),
        )  # fmt: skip
        books.store(
            invoice(external_id="before", issued_at=NOW - 3 * DAY),
            invoice(external_id="after", issued_at=NOW - DAY),
        )
        books.award()
        assert [row[0] for row in waiting(books)] == ["after"]

    def test_negative_points_do_not_wait(self, books: Books) -> None:
        program(books, pending=Jsonb({"days": 366}), unlinked_credits="own_date")
        books.store(invoice(external_id="C", kind="credit_note", issued_at=NOW - DAY))
        books.award()
        assert points(books) == (-1500, 0, 0)
