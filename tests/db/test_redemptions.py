"""Spending: exactly what the points suffice for, once, and what becomes of it."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from pydantic import ValidationError

from loyalty.corrections import Adjustment, Decision
from loyalty.redemptions import PointValue, RedemptionRequest
from sql import balance, corrections, expiry, point_values, redemptions
from sql.balance import MemberBalance
from sql.corrections import MemberErasedError, UnknownMemberError
from sql.db import DbConnection, connect
from sql.erasure import erase
from sql.expiry import Outlook
from sql.explain_member import explain_member
from sql.export import export
from sql.named_queries import query
from sql.redemptions import (
    InsufficientPointsError,
    KeyReusedError,
    RedemptionRefusedError,
    Spent,
    UnknownRedemptionError,
    WrongStateError,
)
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice

WHY = Decision(reason="one customer", author="Ana, support")
#: Half a minute on an idle machine.
MANY = (pytest.mark.slow, pytest.mark.timeout(900))
KEYS = (f"key-{number}" for number in itertools.count())


def asked(books: Books, points: int, **changes: Any) -> RedemptionRequest:
    values = {
        "points": points, "reference": "reward 7", "reason": "A bottle", "key": next(KEYS),
    } | changes  # fmt: skip
    if "member_id" not in values:
        values["member_id"] = books.member()
    return RedemptionRequest.model_validate(values)


def spend(books: Books, points: int, **changes: Any) -> Spent:
    with books.transaction() as connection:
        return redemptions.redeem(connection, asked(books, points, **changes), "run")


def hold(books: Books, points: int, seconds: int = 600, **changes: Any) -> Spent:
    return spend(books, points, hold_seconds=seconds, **changes)


def after(books: Books, spent: Spent, step: str, key: str = "", **changes: Any) -> Spent:
    """Confirms, cancels or reverses."""
    more = {"reverse": ["not delivered"], "cancel": [None]}.get(step, [])
    with books.transaction() as connection:
        return getattr(redemptions, step)(
            connection, changes.get("member", spent.redemption.owner_id),
            spent.redemption.redemption_id, key or next(KEYS), *more, "run",
        )  # fmt: skip


def has(books: Books, phone: str = PHONE) -> MemberBalance:
    with connect(books.dsn) as connection:
        found = balance.read(connection, books.member(phone))
    assert found is not None
    return found


def numbers(books: Books, phone: str = PHONE) -> tuple[int, int, int, int]:
    """(balance, on hold, available, spent)."""
    found = has(books, phone)
    return (
        found.balance_points, found.held_points, found.available_points, found.spent_points
    )  # fmt: skip


#: How often somebody comes again.
REPETITIONS_MAX = 30


def at_once(count: int, do: Callable[[int], Any], threads: int = 16) -> list[Any]:
    """What each call answered: its result, or the refusal.

    Who waits too long for others is told to come again, and does.
    """
    ready = threading.Barrier(min(count, threads))

    def call(number: int) -> Any:
        if number < threads:
            ready.wait()
        for _ in range(REPETITIONS_MAX):
            try:
                return do(number)
            except RedemptionRefusedError as refusal:
                return refusal
            except psycopg.errors.LockNotAvailable:
                continue
        raise AssertionError

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, range(count)))


@pytest.fixture
def two(books: Books) -> Books:
    """Two members: 1000 points for one sale, 3000 for another."""
    books.store(
        invoice(total_minor=10_000),
        invoice(external_id="B", customer_phone=OTHER_PHONE, total_minor=30_000),
    )
    books.award()
    return books


class TestSpending:
    def test_it_takes_the_points_and_shows_in_the_history(self, two: Books) -> None:
        spent = spend(two, 400)
        assert (spent.redemption.state, spent.balance.balance_points, spent.repeated) == (
            "redeemed", 600, False,
        )  # fmt: skip
        assert numbers(two) == (600, 0, 600, 400)
        assert two.rows(
            "SELECT kind, points, balance_points, reason, external_id "
            "FROM analytics.points_history WHERE member_id = %(m)s ORDER BY posted_at",
            m=two.member(),
        ) == [
            ("award", 1000, 1000, None, "A"),
            ("redemption", -400, 600, "A bottle (reward 7)", "1"),
        ]
        assert two.rows(
            "SELECT added_points, taken_back_points, spent_points, entries "
            "FROM analytics.member WHERE member_id = %(m)s",
            m=two.member(),
        ) == [(1000, 0, 400, 2)]

    def test_never_below_zero(self, two: Books) -> None:
        with pytest.raises(InsufficientPointsError, match="balance is 1000 points: 1000 can") as no:
            spend(two, 1001)
        assert no.value.balance.available_points == 1000
        assert numbers(two) == (1000, 0, 1000, 0)
        spend(two, 1000)
        with pytest.raises(InsufficientPointsError, match="balance is 0"):
            spend(two, 1)

    def test_three_at_the_same_instant_and_points_for_one(self, two: Books) -> None:
        answers = at_once(3, lambda _: spend(two, 1000), threads=3)
        assert sum(isinstance(one, Spent) for one in answers) == 1
        assert sum(isinstance(one, InsufficientPointsError) for one in answers) == 2
        assert numbers(two) == (0, 0, 0, 1000)

    @pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=MANY)])
    def test_of_many_at_once_exactly_the_affordable_ones_succeed(
        self, two: Books, count: int
    ) -> None:
        member = two.member()
        wanted = [asked(two, 10 + 10 * (number % 3), member_id=member) for number in range(count)]

        own, opened = threading.local(), list[psycopg.Connection]()

        def one(number: int) -> Spent:
            if not hasattr(own, "connection"):
                own.connection = psycopg.connect(two.dsn)
                opened.append(own.connection)
            while True:  # whoever waits too long is told to try again, and does
                try:
                    with own.connection.transaction():
                        return redemptions.redeem(own.connection, wanted[number], "run")
                except psycopg.errors.LockNotAvailable:
                    continue

        answers = at_once(len(wanted), one, threads=8)
        for connection in opened:
            connection.close()
        points = sum(one.redemption.points for one in answers if isinstance(one, Spent))
        assert points == 1000
        assert {type(one) for one in answers} == {Spent, InsufficientPointsError}
        assert numbers(two) == (0, 0, 0, 1000)
        lowest = "SELECT min(balance_points) FROM analytics.points_history WHERE member_id = %(m)s"
        assert two.rows(lowest, m=two.member()) == [(0,)]

    def test_while_sales_are_posted_and_given_back(self, two: Books) -> None:
        """Whatever the order: what is left is what was earned less what was spent."""

        def work(number: int) -> Any:
            if number % 8:
                return spend(two, 70)
            two.store(
                invoice(external_id=f"N{number}", total_minor=1_000),
                invoice(
                    total_minor=10_000, amount_refunded_minor=number * 10,
                    updated_at=NOON + number * HOUR,
                ),
            )  # fmt: skip
            return two.award()

        answers = at_once(96, work, threads=6)
        two.award()
        spent = sum(70 for one in answers if isinstance(one, Spent))
        assert spent
        left, _, _, counted = numbers(two)
        assert (left, counted) == (1000 - 88 + 12 * 100 - spent, spent)


class TestKeys:
    def test_the_same_request_again_spends_nothing(self, two: Books) -> None:
        first = spend(two, 400, key="order 1".replace(" ", "-"))
        again = spend(two, 400, key="order-1")
        assert again.repeated and again.redemption == first.redemption
        assert numbers(two) == (600, 0, 600, 400)

    @pytest.mark.parametrize(
        "change", [{"points": 401}, {"reference": "reward 8"}, {"reason": "x"}, {"hold_seconds": 5}]
    )
    def test_with_another_body_it_is_refused(self, two: Books, change: dict[str, Any]) -> None:
        spend(two, 400, key="k")
        with pytest.raises(KeyReusedError):
            spend(two, **{"points": 400, "key": "k"} | change)
        assert numbers(two) == (600, 0, 600, 400)

    def test_for_another_member_it_is_refused(self, two: Books) -> None:
        spend(two, 400, key="k")
        with pytest.raises(KeyReusedError):
            spend(two, 400, key="k", member_id=two.member(OTHER_PHONE))

    def test_at_the_same_instant_one_counts(self, two: Books) -> None:
        answers = at_once(8, lambda _: spend(two, 300, key="k"), threads=8)
        assert sorted(one.repeated for one in answers) == [False] + [True] * 7
        assert numbers(two) == (700, 0, 700, 300)

    def test_at_the_same_instant_for_two_members_one_counts(self, two: Books) -> None:
        members = [two.member(), two.member(OTHER_PHONE)]
        answers = at_once(8, lambda n: spend(two, 300, key="k", member_id=members[n % 2]), 8)
        assert sum(isinstance(one, Spent) and not one.repeated for one in answers) == 1
        assert {type(one) for one in answers} == {Spent, KeyReusedError}

    def test_a_refused_request_may_be_tried_again(self, two: Books) -> None:
        with pytest.raises(InsufficientPointsError):
            spend(two, 1500, key="k")
        two.store(invoice(external_id="C", total_minor=10_000))
        two.award()
        assert not spend(two, 1500, key="k").repeated


class TestReversals:
    def test_once(self, two: Books) -> None:
        spent = spend(two, 400)
        back = after(two, spent, "reverse", key="r")
        assert (back.redemption.state, numbers(two)) == ("reversed", (1000, 0, 1000, 0))
        assert after(two, spent, "reverse", key="r").repeated
        with pytest.raises(WrongStateError, match="is reversed and cannot be reversed"):
            after(two, spent, "reverse")
        assert two.rows(
            "SELECT kind, points, reason FROM analytics.points_history "
            "WHERE member_id = %(m)s ORDER BY posted_at DESC LIMIT 1",
            m=two.member(),
        ) == [("redemption reversal", 400, "not delivered (reward 7)")]

    def test_at_the_same_instant_once(self, two: Books) -> None:
        spent = spend(two, 400)
        answers = at_once(8, lambda _: after(two, spent, "reverse"), threads=8)
        assert sum(isinstance(one, Spent) for one in answers) == 1
        assert numbers(two) == (1000, 0, 1000, 0)

    def test_what_is_not_theirs_is_unknown(self, two: Books) -> None:
        spent = spend(two, 400)
        with pytest.raises(UnknownRedemptionError):
            after(two, spent, "reverse", member=two.member(OTHER_PHONE))
        with pytest.raises(UnknownMemberError):
            spend(two, 1, member_id=99)

    def test_a_key_of_another_request_is_refused(self, two: Books) -> None:
        first, second = spend(two, 100), spend(two, 100)
        after(two, first, "reverse", key="r")
        with pytest.raises(KeyReusedError):
            after(two, second, "reverse", key="r")


class TestHolds:
    def test_reserves_and_is_confirmed(self, two: Books) -> None:
        held = hold(two, 700)
        assert (held.redemption.state, numbers(two)) == ("held", (1000, 700, 300, 0))
        with pytest.raises(InsufficientPointsError, match="700 are on hold, 300 can be spent"):
            spend(two, 301)
        spend(two, 300)
        done = after(two, held, "confirm", key="c")
        assert (done.redemption.state, numbers(two)) == ("redeemed", (0, 0, 0, 1000))
        assert after(two, held, "confirm", key="c").repeated
        with pytest.raises(WrongStateError, match="is redeemed and cannot be cancelled"):
            after(two, held, "cancel")
        assert after(two, held, "reverse").balance.available_points == 700

    def test_is_cancelled(self, two: Books) -> None:
        held = hold(two, 700)
        assert after(two, held, "cancel", key="c").redemption.state == "cancelled"
        assert numbers(two) == (1000, 0, 1000, 0)
        assert after(two, held, "cancel", key="c").repeated
        for step in ("confirm", "reverse"):
            with pytest.raises(WrongStateError, match="is cancelled"):
                after(two, held, step)

    def test_ends_while_nobody_looks(self, two: Books) -> None:
        held = hold(two, 700, seconds=1)
        time.sleep(1.1)
        assert numbers(two) == (1000, 0, 1000, 0)
        with pytest.raises(WrongStateError, match="is ended and cannot be confirmed"):
            after(two, held, "confirm")
        spend(two, 1000)
        assert two.rows("SELECT state FROM analytics.redemption ORDER BY 1") == [
            ("ended",), ("redeemed",),
        ]  # fmt: skip

    def test_confirmed_or_cancelled_at_the_same_instant_is_one_of_both(self, two: Books) -> None:
        held = hold(two, 700)
        answers = at_once(8, lambda n: after(two, held, ("confirm", "cancel")[n % 2]), threads=8)
        assert sum(isinstance(one, Spent) for one in answers) == 1
        assert numbers(two) in ((300, 0, 300, 700), (1000, 0, 1000, 0))

    def test_the_database_refuses_a_step_that_does_not_fit(self, two: Books) -> None:
        spend(two, 400)
        for step, points in (("redeemed", -400), ("cancelled", 0), ("reversed", 399)):
            with pytest.raises(psycopg.errors.IntegrityError):
                two.run(
                    "INSERT INTO loyalty.redemption_step (redemption_id, step, member_id, points, "
                    "posted_at, posted_by, run_id) "
                    "VALUES (1, %(s)s, %(m)s, %(p)s, now(), 'x', 'x')",
                    s=step, m=two.member(), p=points,
                )  # fmt: skip

    @pytest.mark.parametrize("table", ["redemption", "redemption_step", "point_value"])
    def test_nothing_is_changed_or_deleted(self, two: Books, table: str) -> None:
        spend(two, 400)
        for statement in ("DELETE FROM", "TRUNCATE"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                two.run(f"{statement} loyalty.{table} " + ("CASCADE" * (statement == "TRUNCATE")))


class TestBelowZero:
    def test_a_refund_after_spending_is_negative_and_says_why(self, two: Books) -> None:
        spend(two, 900)
        two.store(
            invoice(
                total_minor=10_000, amount_refunded_minor=10_000, updated_at=NOON + timedelta(1)
            )
        )
        two.award()
        found = has(two)
        assert (found.balance_points, found.available_points) == (-900, 0)
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        assert found.below_zero == (
            "900 points were spent, and more was taken than is left: "
            f"refund of xero INV-1 on {today} (-1000)"
        )
        with pytest.raises(InsufficientPointsError, match=r"balance is -900.*refund of xero INV-1"):
            spend(two, 1)
        two.store(invoice(external_id="C", total_minor=50_000))
        two.award()
        assert (has(two).balance_points, has(two).below_zero) == (4100, None)

    def test_a_hold_is_confirmed_though_a_refund_came_between(self, two: Books) -> None:
        held = hold(two, 1000)
        two.store(invoice(total_minor=10_000, status="void", updated_at=NOON + timedelta(1)))
        two.award()
        assert numbers(two) == (0, 1000, 0, 0)
        assert after(two, held, "confirm").balance.balance_points == -1000
        why = has(two).below_zero or ""
        assert "redemption 1 on" in why and "void of xero INV-1" in why


class TestMerges:
    def test_spending_goes_along_and_comes_back(self, two: Books) -> None:
        spend(two, 400)
        held = hold(two, 100)
        first, second = two.member(), two.member(OTHER_PHONE)
        with two.transaction() as connection:
            corrections.merge(connection, first, second, WHY, "by hand")
        two.award()
        assert numbers(two, OTHER_PHONE) == (3600, 100, 3500, 400)
        spent = spend(two, 3500)
        assert (spent.redemption.member_id, spent.redemption.owner_id) == (first, second)
        after(two, held, "confirm", member=second)
        assert numbers(two, OTHER_PHONE) == (0, 0, 0, 4000)
        with two.transaction() as connection:
            corrections.unmerge(connection, first, WHY, "by hand")
        two.award()
        assert numbers(two) == (-3000, 0, 0, 4000)
        assert "redemption" in (has(two).below_zero or "")
        assert numbers(two, OTHER_PHONE) == (3000, 0, 3000, 0)

    def test_nobody_spends_the_points_of_both_while_they_are_merged(self, two: Books) -> None:
        """Spending on either side, a merge and the award step at the same time."""
        first, second = two.member(), two.member(OTHER_PHONE)

        def work(number: int) -> Any:
            if number == 20:
                with two.transaction() as connection:
                    corrections.merge(connection, first, second, WHY, "by hand")
                return two.award()
            return spend(two, 100, member_id=(first, second)[number % 2])

        answers = at_once(100, work, threads=8)
        two.award()
        spent = sum(100 for one in answers if isinstance(one, Spent))
        left, _, _, counted = numbers(two, OTHER_PHONE)
        assert (left, counted) == (4000 - spent, spent)
        assert left >= 0


class TestErasure:
    def test_the_sums_stay_and_nobody_spends_any_more(self, two: Books) -> None:
        held, member = hold(two, 100), two.member()
        spend(two, 400)
        unwanted = asked(two, 1)
        before = two.rows("SELECT * FROM loyalty.member_balance ORDER BY 1")
        with two.transaction() as connection:
            erase(connection, member, WHY, "by hand", dry_run=False)
        assert two.rows("SELECT * FROM loyalty.member_balance ORDER BY 1") == before
        with pytest.raises(MemberErasedError), two.transaction() as connection:
            redemptions.redeem(connection, unwanted, "run")
        assert after(two, held, "cancel").redemption.state == "cancelled"

    def test_who_waits_for_an_erasure_is_refused(self, two: Books) -> None:
        unwanted, member = asked(two, 1), two.member()
        with ThreadPoolExecutor(1) as pool, two.transaction() as connection:
            erase(connection, member, WHY, "by hand", dry_run=False)

            def wanted() -> Spent:
                with connect(two.dsn) as other:
                    return redemptions.redeem(other, unwanted, "run")

            waiting = pool.submit(wanted)
            while not two.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert not waiting.done()
                time.sleep(0.01)
            connection.commit()
            with pytest.raises(MemberErasedError):
                waiting.result()

    @pytest.mark.parametrize("field", ["reference", "reason"])
    @pytest.mark.parametrize("text", ["for +244 923 456 789", "two\nlines", "a\x00", " ", ""])
    def test_texts_hold_no_phone(self, two: Books, field: str, text: str) -> None:
        with pytest.raises(ValidationError):
            asked(two, 1, **{field: text})


class TestExpiry:
    """Points live one month from the sale (2026-03-01), to the end of that day."""

    @pytest.fixture
    def expiring(self, two: Books) -> Books:
        two.run(
            "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
            "entry_tier, timezone, expiry) SELECT 2, '2020-01-01', base_rate_bps, tier_rate_bps, "
            'entry_tier, timezone, \'{"months": 240, "end_of": "day"}\' FROM loyalty.program'
        )
        return two

    def lives(self, books: Books, months: int, version: int) -> None:
        """A further version of the program, with another life of points."""
        books.run(
            "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
            "entry_tier, timezone, expiry) SELECT %(v)s, %(at)s, base_rate_bps, tier_rate_bps, "
            "entry_tier, timezone, jsonb_build_object('months', %(m)s::int, 'end_of', 'day') "
            "FROM loyalty.program WHERE version = 2",
            v=version, at=datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=version), m=months,
        )  # fmt: skip

    def test_what_expires_next_and_how_many(self, expiring: Books) -> None:
        upcoming = has(expiring).expiring_next
        assert upcoming is not None
        # The day after, at midnight in Luanda.
        assert (upcoming.expires_at, upcoming.points) == (
            datetime(2046, 3, 1, 23, tzinfo=UTC), 1000,
        )  # fmt: skip
        spend(expiring, 400)
        hold(expiring, 100)
        upcoming = has(expiring).expiring_next
        assert upcoming is not None and upcoming.points == 500
        spend(expiring, 500)
        assert has(expiring).expiring_next is None

    def test_points_that_are_over_cannot_be_spent_though_nothing_is_posted(
        self, expiring: Books
    ) -> None:
        self.lives(expiring, 1, 3)
        assert numbers(expiring) == (1000, 0, 0, 0)
        with pytest.raises(InsufficientPointsError, match="1000 points: 1000 have expired, 0 can"):
            spend(expiring, 1)
        expiring.award()  # posts the expiry
        assert numbers(expiring) == (0, 0, 0, 0)

    @pytest.mark.parametrize("spends", [True, False])
    def test_an_expiry_that_is_posted_while_the_balance_is_read_gives_nothing(
        self, expiring: Books, monkeypatch: pytest.MonkeyPatch, *, spends: bool
    ) -> None:
        """The balance was read with the points that are over, and what is over without them."""
        self.lives(expiring, 1, 3)
        looked = expiry.outlook

        def slow(connection: DbConnection, member_id: int) -> Outlook:
            expiring.award()
            return looked(connection, member_id)

        monkeypatch.setattr(expiry, "outlook", slow)
        if spends:
            with pytest.raises(InsufficientPointsError, match="0 can be spent"):
                spend(expiring, 1000)
        assert numbers(expiring) == (0, 0, 0, 0)

    def test_what_was_spent_or_held_in_time_does_not_expire(self, expiring: Books) -> None:
        """Spent first, and the sale's points are over only afterwards."""
        recent = datetime.now(UTC) - timedelta(days=20)
        expiring.store(invoice(external_id="R", total_minor=5_000, issued_at=recent))
        expiring.award()
        spent, held = spend(expiring, 1200), hold(expiring, 100)
        # As if it had been spent long ago, when the old points lived.
        with expiring.transaction() as connection:
            # Without the trigger that refuses it, in this transaction only.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("UPDATE loyalty.redemption SET requested_at = '2026-03-02Z'")
        self.lives(expiring, 1, 3)
        expiring.run("SELECT loyalty.mark_dirty(ARRAY(SELECT member_id FROM loyalty.member))")
        expiring.award()
        assert numbers(expiring) == (300, 100, 200, 1200)
        after(expiring, held, "cancel")
        assert numbers(expiring) == (300, 0, 300, 1200)
        after(expiring, spent, "reverse")
        assert numbers(expiring) == (1500, 0, 500, 0), "what is over is over"
        expiring.award()
        assert numbers(expiring) == (500, 0, 500, 0)
        assert expiring.award().expired == 0


class TestReports:
    def test_what_was_spent_was_worth_something(self, two: Books) -> None:
        """The last entered counts for an instant; what was given back is left out."""
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        entered = (
            ("AOA", "0.2", begin), ("AOA", "0.1", begin), ("EUR", "0.000125", begin),
            ("AOA", "9", datetime(2090, 1, 1, tzinfo=UTC)),
        )  # fmt: skip
        with two.transaction() as connection:
            for currency, worth, since in entered:
                value = PointValue.model_validate(
                    {
                        "currency": currency, "value_per_point": worth, "valid_from": since,
                        "reason": "Budget", "author": "Rui",
                    }
                )  # fmt: skip
                point_values.enter(connection, value, "command")
        spend(two, 400)
        after(two, spend(two, 100), "reverse")
        assert two.rows(
            "SELECT currency, amount::text FROM analytics.redemption_value ORDER BY 1"
        ) == [("AOA", "40.000000000"), ("EUR", "0.050000000")]

    def test_the_explanation_tells_what_can_be_spent_and_why_not(self, two: Books) -> None:
        spend(two, 900)
        hold(two, 50)
        told = explain_member(two.dsn, two.member())
        assert told is not None
        text = told.to_text(ZoneInfo("UTC"))
        assert "  50 can be spent, 50 are on hold\n" in text
        assert "redemption  number 1: A bottle (reward 7)" in text
        assert [(one.kind, one.points) for one in told.causes] == [
            ("award", 1000), ("redemption", -900),
        ]  # fmt: skip
        two.store(invoice(total_minor=10_000, status="void", updated_at=NOON + timedelta(1)))
        two.award()
        told = explain_member(two.dsn, two.member())
        assert told is not None
        assert "below zero: 900 points were spent, and more" in told.to_text(ZoneInfo("UTC"))

    def test_an_export_has_the_redemptions(self, two: Books, tmp_path: Path) -> None:
        spend(two, 900)
        with connect(two.dsn) as connection:
            found = export(connection, tmp_path, "run", tables=["redemptions"])
        assert found.rows == {"redemptions": 1}


class TestOtherWays:
    def test_an_adjustment_may_take_what_is_held(self, two: Books) -> None:
        hold(two, 1000)
        wanted = Adjustment(
            member_id=two.member(), points=-500, key="a", reason="mistake", author="Ana"
        )
        with two.transaction() as connection:
            corrections.adjust(connection, wanted, "by hand")
        assert numbers(two) == (500, 1000, 0, 0)

    def test_a_list_reads_the_redemptions_of_the_member_alone(self, two: Books) -> None:
        """By the index, however many others spend."""
        with connect(two.dsn) as connection:
            connection.execute(
                """WITH others AS (
                       INSERT INTO loyalty.member (phone)
                       SELECT '+2449400' || 10000 + n FROM generate_series(1, 300) n
                       RETURNING member_id)
                   INSERT INTO loyalty.redemption (idempotency_key, member_id, points, reference,
                       reason, requested_at, requested_by, run_id)
                   SELECT 'plan-' || member_id || '-' || n, member_id, 1, 'r', 'r', now(), 'x', 'x'
                   FROM others, generate_series(1, 50) n"""
            )
            connection.execute("ANALYZE loyalty.redemption, loyalty.redemption_step")
            row = connection.execute("SELECT max(member_id) FROM loyalty.member").fetchone()
            assert row is not None
            asked = {"member_id": row[0], "state": None, "before": None, "limit": 51}
            statement = query("redemptions", "of_member")
            assert len(connection.execute(statement, asked).fetchall()) == 50
            plan = connection.execute(b"EXPLAIN " + statement, asked)
            assert "redemption_member" in "".join(line for (line,) in plan.fetchall())
            connection.rollback()

    def test_every_step_is_in_the_audit_log(self, two: Books) -> None:
        spent, held = spend(two, 100), hold(two, 200)
        after(two, held, "cancel")
        after(two, spent, "reverse")
        found = two.rows(
            "SELECT operation, points FROM audit.entry WHERE operation LIKE 'points.%%' "
            "ORDER BY entry_no"
        )
        assert found == [
            ("points.redeem", -100), ("points.hold", 0), ("points.release", 0),
            ("points.reverse", 100),
        ]  # fmt: skip
