"""Promotions, referrals, budgets, expiry and corrections on stored sales."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from sql import budgets
from sql.db import connect
from tasks.award import members as award_step
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice, line

DAY = timedelta(days=1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
THIRD_PHONE = "+244923000003"


def promote(
    books: Books, name: str, kind: str, rule: dict[str, Any], version: int = 1, **more: Any
) -> None:
    """Enters a version of a promotion."""
    since = more.pop("valid_from", LONG_AGO)
    books.run(
        "INSERT INTO loyalty.promotion (promotion_id, version, kind, parameters, valid_from) "
        "VALUES (%(name)s, %(version)s, %(kind)s, %(parameters)s, %(since)s)",
        name=name, version=version, kind=kind, parameters=Jsonb({"rule": rule, **more}),
        since=since,
    )  # fmt: skip


def recompute(books: Books) -> None:
    """Asks for everybody, as applying a changed rule does."""
    books.run("SELECT loyalty.mark_dirty(ARRAY(SELECT member_id FROM loyalty.member))")
    books.award()


def program(books: Books, **columns: Any) -> None:
    """A further version of the program for all time, with these columns changed."""
    names = ", ".join(columns)
    books.run(
        f"INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
        f"entry_tier, {names}) "
        f"SELECT max(version) + 1, '-infinity', (array_agg(base_rate_bps))[1], "
        f"(array_agg(tier_rate_bps))[1], 'lead', "
        f"{', '.join(f'%({name})s' for name in columns)} FROM loyalty.program",
        **columns,
    )


def breakdowns(books: Books) -> dict[tuple[str, int], dict[str, int]]:
    """(sale, member) -> breakdown of the last entry."""
    rows = books.rows(
        "SELECT external_id, member_id, breakdown FROM loyalty.award_entry ORDER BY entry_no"
    )
    return {(sale, member): found for sale, member, found in rows}


def known(books: Books, *phones: str) -> list[int]:
    for phone in phones:
        books.run(
            "INSERT INTO loyalty.member (phone) VALUES (%(phone)s) ON CONFLICT DO NOTHING",
            phone=phone,
        )
    return [books.member(phone) for phone in phones]


class TestProducts:
    def test_lines_are_read_where_a_promotion_asks(self, books: Books) -> None:
        promote(
            books,
            "five",
            "product_bonus",
            {"match": {"sku_patterns": ["agua-5*"]}, "points_per_unit": 25},
        )
        books.store(invoice(), lines=[line(quantity=2, amount_minor=15_000)])
        assert books.award().points == 1550
        assert breakdowns(books)["A", books.member()] == {"base": 1500, "five@1": 50}

    def test_a_refund_takes_the_bonus_in_proportion_and_a_void_all_of_it(
        self, books: Books
    ) -> None:
        promote(
            books, "five", "product_bonus", {"match": {"skus": ["AGUA-5L"]}, "points_per_unit": 25}
        )
        books.store(invoice(), lines=[line(quantity=4)])
        books.award()
        assert books.points() == 1600
        books.store(
            invoice(amount_refunded_minor=7_500, updated_at=NOON + HOUR), lines=[line(quantity=4)]
        )
        books.award()
        assert books.points() == 800
        books.store(invoice(status="void", updated_at=NOON + 2 * HOUR), lines=[line(quantity=4)])
        books.award()
        assert books.points() == 0
        assert [row[3] for row in books.entries()] == ["award", "refund", "void"]


class TestCorrections:
    def test_a_rule_is_fixed_for_the_past_by_a_further_version(self, books: Books) -> None:
        promote(books, "rain", "seasonal_multiplier", {"multiplier_bps": 30_000})
        books.store(invoice())
        books.award()
        assert books.points() == 4500
        promote(books, "rain", "seasonal_multiplier", {"multiplier_bps": 20_000}, version=2)
        recompute(books)
        assert books.points() == 3000
        assert breakdowns(books)["A", books.member()] == {"base": 1500, "rain@2": 1500}

    def test_a_sale_that_moves_takes_its_promotions_along(self, books: Books) -> None:
        promote(books, "hello", "purchase_bonus", {"points": 50}, when={"first_purchase": True})
        books.store(invoice(), invoice(external_id="B", issued_at=NOON + DAY))
        books.award()
        assert books.points() == 3050
        books.store(invoice(customer_phone=OTHER_PHONE, updated_at=NOON + HOUR))
        books.award()
        assert (books.points(), books.points(OTHER_PHONE)) == (1550, 1550)

    def test_merged_customers_have_one_first_purchase(self, books: Books) -> None:
        promote(books, "hello", "purchase_bonus", {"points": 50}, when={"first_purchase": True})
        books.store(
            invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE, issued_at=NOON + DAY)
        )
        books.award()
        one, two = books.member(), books.member(OTHER_PHONE)
        books.run(
            "INSERT INTO loyalty.member_merge (member_id, into_id, reason) "
            "VALUES (%(two)s, %(one)s, 'same person')",
            one=one,
            two=two,
        )
        books.award()
        assert (books.points(), books.points(OTHER_PHONE)) == (3050, 0)
        books.run(
            "INSERT INTO loyalty.member_merge (member_id, into_id, reason) "
            "VALUES (%(two)s, %(two)s, 'not so')",
            two=two,
        )
        books.award()
        assert (books.points(), books.points(OTHER_PHONE)) == (1550, 1550)

    def test_a_circle_of_merges_is_refused(self, books: Books) -> None:
        one, two = known(books, PHONE, OTHER_PHONE)
        merge = (
            "INSERT INTO loyalty.member_merge (member_id, into_id, reason) "
            "VALUES (%(a)s, %(b)s, 'same')"
        )
        books.run(merge, a=one, b=two)
        with pytest.raises(Exception, match="circle"):
            books.run(merge, a=two, b=one)


class TestReferrals:
    @pytest.fixture
    def friends(self, books: Books) -> tuple[int, int]:
        """(referrer, friend), with a reward for both."""
        referrer, friend = known(books, PHONE, OTHER_PHONE)
        promote(books, "bring", "referral_reward", {"referrer_points": 500, "friend_points": 100})
        books.run(
            "INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at) "
                "VALUES (%(f)s, %(r)s, %(at)s)",
            f=friend, r=referrer, at=NOON,
        )  # fmt: skip
        return referrer, friend

    def test_both_are_rewarded_at_the_friends_first_sale(
        self, books: Books, friends: tuple[int, int]
    ) -> None:
        referrer, friend = friends
        books.store(
            *(
                invoice(external_id=n, customer_phone=OTHER_PHONE, issued_at=NOON + HOUR)
                for n in "AB"
            )
        )
        books.award()
        assert breakdowns(books) == {
            ("A", friend): {"base": 1500, "bring@1": 100}, ("B", friend): {"base": 1500},
            ("A", referrer): {"base": 0, "bring@1": 500},
        }  # fmt: skip

    @pytest.mark.usefixtures("friends")
    def test_voiding_that_sale_moves_the_rewards_to_the_next_and_then_takes_them_back(
        self, books: Books
    ) -> None:
        sales = {
            n: invoice(external_id=n, customer_phone=OTHER_PHONE, issued_at=NOON + HOUR)
            for n in "AB"
        }
        books.store(*sales.values())
        books.award()
        books.store(sales["A"] | {"status": "void", "updated_at": NOON + 2 * HOUR})
        books.award()
        assert (books.points(), books.points(OTHER_PHONE)) == (500, 1600)
        books.store(sales["B"] | {"status": "void", "updated_at": NOON + 2 * HOUR})
        books.award()
        assert (books.points(), books.points(OTHER_PHONE)) == (0, 0)
        told = (
            "SELECT external_id, reason, points FROM loyalty.award_entry WHERE member_id = %(m)s "
            "ORDER BY posted_at, external_id"
        )
        assert books.rows(told, m=books.member()) == [
            ("A", "award", 500), ("A", "referral", -500), ("B", "award", 500),
            ("B", "referral", -500),
        ]  # fmt: skip

    def test_nobody_refers_themselves(self, books: Books, friends: tuple[int, int]) -> None:
        referrer, friend = friends
        with pytest.raises(Exception, match="no_self_referral"):
            books.run("INSERT INTO loyalty.referral VALUES (%(r)s, %(r)s, now())", r=referrer)
        books.store(invoice(customer_phone=OTHER_PHONE, issued_at=NOON + HOUR))
        books.award()
        assert books.points() == 500
        books.run(
            "INSERT INTO loyalty.member_merge (member_id, into_id, reason) "
            "VALUES (%(f)s, %(r)s, 'one person')",
            f=friend,
            r=referrer,
        )
        books.award()
        assert (books.points(), books.points(OTHER_PHONE)) == (1500, 0)


class TestBudgets:
    PHONES = (PHONE, OTHER_PHONE, THIRD_PHONE)

    def sale(self, number: int, **changes: Any) -> dict[str, Any]:
        return invoice(
            external_id=f"D{number}",
            customer_phone=self.PHONES[number % 3],
            issued_at=NOON + number * HOUR,
            total_minor=100,
            **changes,
        )

    def granted(self, books: Books) -> list[int]:
        rows = books.rows(
            "SELECT external_id, breakdown -> 'gift@1' FROM loyalty.award_entry ORDER BY entry_no"
        )
        last = {sale: points or 0 for sale, points in rows}
        return [last[name] for name in sorted(last)]

    def test_the_earliest_sales_use_it_up_whatever_came_first(self, books: Books) -> None:
        promote(books, "gift", "purchase_bonus", {"points": 50}, limits={"budget": 120})
        for number in (5, 2, 4):
            books.store(self.sale(number))
            books.award()
        assert self.granted(books) == [50, 50, 20]
        books.store(self.sale(1))  # late, and earlier than all
        assert books.award().waiting == 0
        assert self.granted(books) == [50, 50, 20, 0]
        books.store(self.sale(2, status="void", updated_at=NOON + DAY))
        books.award()
        assert self.granted(books) == [50, 0, 50, 20]
        assert books.rows(
            "SELECT count(*) FROM loyalty.promotion_claim "
            "WHERE unsettled_from IS NOT NULL OR wanted = 0"
        ) == [(0,)]

    def test_one_entry_per_sale_where_nothing_is_disputed(self, books: Books) -> None:
        promote(books, "gift", "purchase_bonus", {"points": 50}, limits={"budget": 10_000})
        books.store(*map(self.sale, range(6)))
        books.award()
        assert books.rows("SELECT count(*), sum(points) FROM loyalty.award_entry") == [(6, 360)]

    def test_a_rehearsal_leaves_no_claims(self, books: Books) -> None:
        promote(books, "gift", "purchase_bonus", {"points": 50}, limits={"budget": 120})
        books.store(*map(self.sale, range(3)))
        rehearsed = books.award(dry_run=True)
        assert books.rows("SELECT count(*) FROM loyalty.promotion_claim") == [(0,)]
        done = books.award()
        assert (done.entries, done.points) == (rehearsed.entries, rehearsed.points) == (3, 150)

    def test_two_runs_at_once_share_it_exactly(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(award_step, "MEMBERS_AT_ONCE", 2)
        promote(books, "gift", "purchase_bonus", {"points": 50}, limits={"budget": 333})
        books.store(*(self.sale(n) | {"customer_phone": f"+24492300{n:04}"} for n in range(12)))
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(books.award) for _ in range(2)]:
                future.result()
        books.award()
        found = books.rows(
            "SELECT sum((breakdown ->> 'gift@1')::bigint) FROM loyalty.award_entry e "
            "WHERE NOT EXISTS ("
            "SELECT FROM loyalty.award_entry l "
            "WHERE (l.external_id, l.member_id) = (e.external_id, e.member_id) "
            "AND l.entry_no > e.entry_no)"
        )
        assert found == [(333,)]
        assert books.dirty() == []

    def test_dividing_waits_for_claims_in_progress(self, books: Books) -> None:
        with (
            connect(books.dsn) as claiming,
            connect(books.dsn) as dividing,
            ThreadPoolExecutor(1) as pool,
        ):
            budgets.share(claiming)
            waiting = pool.submit(budgets.settle, dividing, {})
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            claiming.rollback()
            assert waiting.result(timeout=10) == set()
            dividing.rollback()


class TestExpiry:
    def test_points_expire_in_the_order_in_which_they_were_earned(self, books: Books) -> None:
        program(books, expiry=Jsonb({"months": 12}))
        old = datetime.now(UTC) - 500 * DAY
        books.store(invoice(issued_at=old), invoice(external_id="B", issued_at=old + 400 * DAY))
        member = books.member()
        adjust = (
            "INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, "
            "event_at, run_id) VALUES ('spent', %(m)s, -600, 'spent', 'test', %(at)s, 'r')"
        )
        books.run(adjust, m=member, at=old + DAY)
        done = books.award()
        assert done.expired == 900
        assert books.points() == 1500
        # The old sale turns out void: its points never were there to expire, and what was spent is
        # owed.
        books.store(invoice(issued_at=old, status="void", updated_at=NOON + HOUR))
        assert books.award().expired == -900
        assert books.points() == 900
        assert books.award().members == 0

    def test_the_next_run_finds_whose_points_expired_meanwhile(self, books: Books) -> None:
        program(books, expiry=Jsonb({"months": 12}))
        books.store(invoice(issued_at=datetime.now(UTC) - 500 * DAY))
        books.run(
            "INSERT INTO loyalty.expiry_watch (watched_until) VALUES (now() - interval '200 days')"
        )
        books.run("DELETE FROM loyalty.member_dirty")
        assert books.award().members == 0  # nothing is posted for the sale, so nothing can expire
        recompute(books)
        assert books.points() == 0
        books.run("UPDATE loyalty.expiry_watch SET watched_until = now() - interval '200 days'")
        assert books.award().members == 1


class TestTiers:
    def test_what_was_bought_lifts_the_tier_of_later_sales_whatever_came_first(
        self, books: Books
    ) -> None:
        policy = {
            "metric": "spend",
            "currency": "AOA",
            "thresholds": {"silver": 10_000},
            "period": "year",
            "window_days": 365,
        }
        program(books, tier_policy=Jsonb(policy))
        books.store(invoice(external_id="B", issued_at=NOON + DAY))
        books.award()
        assert books.points() == 1500
        books.store(invoice())
        books.award()
        assert books.points() == 1500 + 1800
        books.store(invoice(amount_refunded_minor=14_000, updated_at=NOON + DAY))
        books.award()
        assert books.points() == 100 + 1500
