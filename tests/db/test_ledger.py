"""The ledger: append-only, chained, recomputed from stored history, and never twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from loyalty.award import award
from loyalty.difference import difference
from sql import ledger
from sql.db import connect
from sql.sync import AccountKey
from tasks.award import members as award_step
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def post(books: Books, **changes: Any) -> None:
    """Writes one entry by hand: the second of sale A's chain, 100 points more.

    `changes` are other values of its columns.
    """
    entry = {
        "system": "xero", "account": "books", "external_id": "A", "member_id": books.member(),
        "entry_no": 2,
        "due_before": 1500, "due_after": 1600, "points": 100, "reason": "edit",
        "breakdown": Jsonb({"base": 1600}),
        "net_minor": 16_000, "currency": "AOA", "tier": "lead", "program_version": 1,
        "event_at": NOON, "run_id": "by hand",
    } | changes  # fmt: skip
    names = ", ".join(entry)
    values = ", ".join(f"%({name})s" for name in entry)
    books.run(f"INSERT INTO loyalty.award_entry ({names}) VALUES ({values})", **entry)


@pytest.fixture
def awarded(books: Books) -> Books:
    """Books with one sale of 1500 points."""
    books.store(invoice())
    books.award()
    return books


class TestAppendOnly:
    @pytest.mark.parametrize("table", ["award_entry", "member_tier", "program"])
    @pytest.mark.parametrize(
        "how",
        [
            "UPDATE loyalty.{0} SET {1} = {1}",
            "DELETE FROM loyalty.{0}",
            "TRUNCATE loyalty.{0} CASCADE",
        ],
    )
    def test_history_is_kept(self, awarded: Books, table: str, how: str) -> None:
        awarded.set_tier(awarded.member(), "gold", NOON)
        column = {"award_entry": "points", "member_tier": "tier", "program": "rounding"}[table]
        before = awarded.rows(f"SELECT t::text FROM loyalty.{table} t")
        assert before
        with pytest.raises(psycopg.errors.RestrictViolation, match="keeps its history"):
            awarded.run(how.format(table, column))
        assert awarded.rows(f"SELECT t::text FROM loyalty.{table} t") == before

    @pytest.mark.parametrize(
        "how", ["DELETE FROM loyalty.member", "TRUNCATE loyalty.member CASCADE"]
    )
    def test_members_are_kept(self, awarded: Books, how: str) -> None:
        with pytest.raises(psycopg.errors.RestrictViolation):
            awarded.run(how)

    def test_a_phone_can_be_erased_and_the_sums_stay(self, awarded: Books) -> None:
        awarded.run("UPDATE loyalty.member SET phone = NULL")
        assert awarded.rows("SELECT balance_points FROM analytics.member") == [(1500,)]


class TestChain:
    def test_an_entry_that_continues(self, awarded: Books) -> None:
        post(awarded)
        assert awarded.points() == 1600

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"due_before": 1400, "due_after": 1500}, psycopg.errors.SerializationFailure),
            ({"entry_no": 3}, psycopg.errors.SerializationFailure),
            ({"external_id": "B"}, psycopg.errors.SerializationFailure),
            ({"account": "other"}, psycopg.errors.SerializationFailure),
            ({"entry_no": 1}, psycopg.errors.CheckViolation),
            ({"entry_no": 1, "due_before": 0, "due_after": 100}, psycopg.errors.UniqueViolation),
            ({"points": 99}, psycopg.errors.CheckViolation),
            ({"due_after": 1500, "points": 0}, psycopg.errors.CheckViolation),
            ({"entry_no": 0}, psycopg.errors.CheckViolation),
            ({"reason": "gift"}, psycopg.errors.CheckViolation),
        ],
    )
    def test_an_entry_that_does_not_is_refused(
        self, awarded: Books, change: dict[str, Any], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            post(awarded, **change)
        assert awarded.points() == 1500


class TestTiers:
    def test_entering_one_marks_the_member_and_corrects_past_sales(self, awarded: Books) -> None:
        assert awarded.dirty() == []
        awarded.set_tier(awarded.member(), "gold", LONG_AGO)
        assert awarded.dirty() == [awarded.member()]
        awarded.award()
        assert [row[2:] for row in awarded.entries()] == [(1, "award", 1500), (2, "edit", 750)]

    def test_a_later_one_leaves_past_sales_alone(self, awarded: Books) -> None:
        awarded.set_tier(awarded.member(), "gold", NOON + HOUR)
        assert awarded.award().entries == 0

    def test_from_the_instant_of_the_sale(self, books: Books) -> None:
        books.store(invoice())
        books.set_tier(books.member(), "platinum", NOON)
        books.award()
        assert books.points() == 3000

    def test_the_last_one_entered_for_an_instant_counts(self, awarded: Books) -> None:
        awarded.set_tier(awarded.member(), "gold", LONG_AGO)
        awarded.set_tier(awarded.member(), "silver", LONG_AGO)
        awarded.award()
        assert awarded.points() == 1800
        assert awarded.rows("SELECT tier FROM analytics.member") == [("silver",)]

    @pytest.mark.parametrize("at", ["-infinity", "infinity"])
    def test_one_without_a_beginning_cannot_stop_the_awards(self, awarded: Books, at: str) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            awarded.run(
                f"INSERT INTO loyalty.member_tier (member_id, tier, valid_from) "
                f"VALUES (1, 'gold', '{at}')"
            )
        assert awarded.award().entries == 0

    @pytest.mark.parametrize("tier", ["Gold", "gold tier", ""])
    def test_what_is_no_name_of_one_is_refused(self, awarded: Books, tier: str) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            awarded.set_tier(awarded.member(), tier, NOON)


ADD_PROGRAM = """
INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier)
SELECT %(version)s, %(at)s, %(rates)s, tier_rate_bps, entry_tier FROM loyalty.program
WHERE version = 1
"""


def add_program(books: Books, version: int, at: Any, **rates: int) -> None:
    books.run(ADD_PROGRAM, version=version, at=at, rates=Jsonb(rates))


class TestPrograms:
    def test_a_later_version_leaves_past_sales_alone(self, awarded: Books) -> None:
        add_program(awarded, 2, NOON + HOUR, AOA=200_000)
        awarded.store(
            invoice(external_id="B", issued_at=NOON + HOUR),
            invoice(amount_refunded_minor=5_000, updated_at=NOON + HOUR),
        )
        awarded.award()
        assert [row[3:] for row in awarded.entries()] == [
            ("award", 1500),
            ("refund", -500),
            ("award", 3000),
        ]

    def test_one_that_never_begins_is_never_in_force(self, awarded: Books) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            add_program(awarded, 2, "infinity", AOA=200_000)

    def test_a_missing_rate_rejects_the_sale_alone_and_by_name(self, books: Books) -> None:
        add_program(books, 2, NOON, AOA=100_000)
        books.store(invoice(), invoice(external_id="U", currency="USD"))
        done = books.award()
        assert (done.entries, done.points, done.rejected) == (1, 1500, 1)
        (row,) = books.rows("SELECT stream, external_id, reason, resolved_at FROM billing.reject")
        assert row[:2] == ("awards", "U")
        assert "USD" in row[2] and row[3] is None

    def test_what_was_posted_stays_where_the_rate_is_missing(self, awarded: Books) -> None:
        add_program(awarded, 2, NOON, USD=100_000)
        awarded.store(invoice(total_minor=20_000, updated_at=NOON + HOUR))
        assert awarded.award().rejected == 1
        assert awarded.points() == 1500

    def test_a_version_with_the_rate_brings_the_points(self, books: Books) -> None:
        add_program(books, 2, NOON, AOA=100_000)
        books.store(invoice(currency="USD", issued_at=NOON + HOUR))
        assert books.award().rejected == 1
        add_program(books, 3, NOON + HOUR, USD=100_000)
        assert books.award().points == 1500
        assert books.rows("SELECT count(*) FROM billing.reject WHERE resolved_at IS NULL") == [(0,)]

    def test_a_run_of_another_account_resolves_what_it_awards_and_nothing_else(
        self, books: Books
    ) -> None:
        twin = Books(books.dsn, AccountKey("xero", "other"))
        add_program(books, 2, NOON, AOA=100_000)
        books.store(invoice(currency="USD"))
        assert books.award().rejected == 1
        twin.store(invoice())  # the same member and id, an amount that earns
        twin.award()
        assert books.rows("SELECT account FROM billing.reject WHERE resolved_at IS NULL") == [
            ("books",)
        ]
        books.store(invoice(updated_at=NOON + HOUR))  # the currency is corrected at the vendor
        twin.award()
        assert books.rows("SELECT account FROM billing.reject WHERE resolved_at IS NULL") == []


def test_a_promotion_that_cannot_be_evaluated_stops_the_step_and_loses_nothing(
    books: Books,
) -> None:
    books.store(invoice())
    books.run(
        "INSERT INTO loyalty.promotion (promotion_id, version, kind, valid_from) "
        "VALUES ('rain', 1, 'product_bonus', '2026-01-01')"
    )
    with pytest.raises(ValueError, match="product_bonus"):
        books.award()
    assert books.dirty() == [books.member()]
    books.run(
        "INSERT INTO loyalty.promotion (promotion_id, version, kind, valid_from, valid_to) "
        "VALUES ('rain', 2, 'seasonal_multiplier', '2026-01-01', '2026-01-02')"
    )
    with pytest.raises(ValueError, match="multiplier_bps"):
        books.award()
    books.run(
        "INSERT INTO loyalty.promotion (promotion_id, version, kind, valid_from, valid_to, "
        "parameters) "
        "VALUES ('rain', 3, 'seasonal_multiplier', '2026-01-01', '2026-01-02', "
        """'{"rule": {"multiplier_bps": 20000}}')"""
    )
    assert books.award().points == 1500


def test_many_members_in_chunks(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(award_step, "MEMBERS_AT_ONCE", 7)
    books.store(*(invoice(external_id=str(n), customer_phone=f"+2449230{n:05}") for n in range(50)))
    done = books.award()
    assert (done.members, done.entries, done.points, done.waiting) == (50, 50, 75_000, 0)
    assert books.award().members == 0


def test_an_entry_beyond_belief_is_rejected_and_the_rest_is_posted(books: Books) -> None:
    books.store(invoice(total_minor=10**15), invoice(external_id="B"))
    done = books.award()
    assert (done.entries, done.points, done.rejected) == (1, 1500, 1)


def test_moving_what_grew_beyond_belief_does_not_stop_the_step(books: Books) -> None:
    """Each step is plausible, the whole is not.

    Taking it back at once is rejected by name, like everything else.
    """
    books.store(invoice(total_minor=9 * 10**12))
    books.award()
    books.store(invoice(total_minor=18 * 10**12, updated_at=NOON + HOUR))
    books.award()
    books.store(
        invoice(customer_phone=OTHER_PHONE, updated_at=NOON + 2 * HOUR), invoice(external_id="B")
    )
    assert books.award().entries >= 1
    assert books.rows("SELECT points FROM loyalty.award_entry WHERE external_id = 'B'") == [(1500,)]


class TestConcurrency:
    """Two connections, step by step."""

    def test_a_mark_made_during_an_award_is_not_lost(self, books: Books) -> None:
        books.store(invoice())
        with connect(books.dsn) as awarding, ThreadPoolExecutor(1) as pool:
            members = ledger.claim(awarding, 10)
            assert ledger.history(awarding, members)["total_minor"].to_list() == [15_000]
            storing = pool.submit(books.store, invoice(total_minor=20_000, updated_at=NOON + HOUR))
            with pytest.raises(TimeoutError):  # it waits for the award in progress
                storing.result(timeout=0.5)
            ledger.clear(awarding, members)
            awarding.commit()
            storing.result(timeout=10)
        assert books.dirty() == [books.member()]
        books.award()
        assert books.points() == 2000

    def test_a_tier_entered_during_an_award_is_not_lost(self, books: Books) -> None:
        books.store(invoice())
        with connect(books.dsn) as awarding, ThreadPoolExecutor(1) as pool:
            members = ledger.claim(awarding, 10)
            assert ledger.tiers(awarding, members).is_empty()
            entering = pool.submit(books.set_tier, books.member(), "gold", NOON)
            with pytest.raises(TimeoutError):
                entering.result(timeout=0.5)
            ledger.clear(awarding, members)
            awarding.commit()
            entering.result(timeout=10)
        books.award()
        assert books.points() == 2250

    def test_members_in_progress_are_left_to_who_works_on_them(self, books: Books) -> None:
        books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
        with connect(books.dsn) as awarding:
            first = ledger.claim(awarding, 1)
            done = books.award()
            assert (done.members, done.entries, done.waiting) == (1, 1, 1)
            awarding.rollback()
        assert books.dirty() == first
        assert books.award().members == 1

    def test_an_award_that_dies_leaves_the_members_marked(self, books: Books) -> None:
        books.store(invoice())
        with connect(books.dsn) as awarding:
            ledger.clear(awarding, ledger.claim(awarding, 10))
        assert books.award().points == 1500

    def test_a_store_in_progress_is_not_awarded_and_not_forgotten(self, awarded: Books) -> None:
        with connect(awarded.dsn) as storing:
            awarded.put(storing, [invoice(total_minor=20_000, updated_at=NOON + HOUR)])
            assert awarded.award().entries == 0
            storing.commit()
        assert awarded.award().points == 500

    def test_two_awards_at_once_post_once(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(award_step, "MEMBERS_AT_ONCE", 5)
        books.store(
            *(invoice(external_id=str(n), customer_phone=f"+2449230{n:05}") for n in range(40))
        )
        with ThreadPoolExecutor(2) as pool:
            done = [future.result() for future in [pool.submit(books.award) for _ in range(2)]]
        assert sum(one.entries for one in done) == 40
        assert books.rows("SELECT count(*), sum(points) FROM loyalty.award_entry") == [(40, 60_000)]
        assert books.dirty() == []

    def test_a_second_writer_of_the_same_entry_is_refused(self, books: Books) -> None:
        """Should a claim ever fail to exclude, the chain does."""
        books.store(invoice())
        with connect(books.dsn) as one, connect(books.dsn) as two, ThreadPoolExecutor(1) as pool:
            for connection in (one, two):
                claimed = [books.member()]
                due = award(
                    ledger.history(connection, claimed),
                    ledger.tiers(connection, claimed),
                    ledger.programs(connection),
                )
                entries = difference(due, ledger.posted(connection, claimed))
                if connection is one:
                    ledger.append(one, entries, "one")
                else:
                    late = pool.submit(ledger.append, two, entries, "two")
            with pytest.raises(TimeoutError):
                late.result(timeout=0.5)
            one.commit()
            with pytest.raises(psycopg.errors.UniqueViolation):
                late.result(timeout=10)
        assert books.points() == 1500

    def test_stores_of_one_account_take_turns(self, books: Books) -> None:
        with connect(books.dsn) as first, ThreadPoolExecutor(1) as pool:
            books.put(first, [invoice()])
            second = pool.submit(books.store, invoice(total_minor=20_000, updated_at=NOON + HOUR))
            with pytest.raises(TimeoutError):
                second.result(timeout=0.5)
            first.commit()
            assert second.result(timeout=10).changed == 1

    def test_two_accounts_with_the_same_new_customers_in_another_order(self, books: Books) -> None:
        other = Books(books.dsn, AccountKey("quickbooks", "9130"))
        with connect(books.dsn) as one, connect(books.dsn) as two, ThreadPoolExecutor(1) as pool:
            marked = [books.put(one, [invoice()])]
            one.commit()
            store_two = pool.submit(
                other.put, two, [invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE)]
            )
            marked.append(store_two.result(timeout=10))
            two.commit()
        assert books.award().points == 4500
