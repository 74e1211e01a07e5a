"""What an operator asks: why these points, how fresh, how much.

Also: there is one synchronisation at a time.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import psycopg
import pytest

from sql import demo, report, store, sync
from sql.db import connect
from sql.explain import explain
from sql.sync import AccountKey
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice

LUANDA = ZoneInfo("Africa/Luanda")
KEY = "xero/books"
#: Sessions that hold the synchronisation lock of one account in this database.
HOLDERS = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database
    WHERE datname = current_database())
  AND (classid::bigint << 32) | objid::bigint = hashtextextended(%(key)s, 20261122)
"""


class TestExplain:
    def test_every_entry_of_a_sale(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        books.set_tier(books.member(), "gold", NOON)
        books.award()
        books.store(invoice(amount_refunded_minor=5_000, updated_at=NOON + HOUR))
        books.award()
        found = explain(books.dsn, "xero", "A")
        assert found is not None
        assert found.points == 1500
        assert (found.total, found.refunded, found.currency) == (
            Decimal("150.00"),
            Decimal("50.00"),
            "AOA",
        )
        assert [(e.entry_no, e.reason, e.points, e.due_before,
            e.due_after) for e in found.entries] == [
            (1, "award", 1500, 0, 1500), (2, "edit", 750, 1500, 2250),
            (3, "refund", -750, 2250, 1500),
        ]  # fmt: skip
        last = found.entries[-1]
        assert (last.breakdown, last.net_amount, last.tier) == (
            {"base": 1000, "tier": 500},
            Decimal("100.00"),
            "gold",
        )
        assert (last.base_rate_bps, last.tier_rate_bps, last.rounding, last.program_version) == (
            100_000,
            15_000,
            "down",
            1,
        )
        text = found.to_text(LUANDA)
        assert (
            "100.00 AOA x 10 points per unit x 1.5 (gold), rounded down = base 1000 + tier "
            "500 = 1500"
        ) in text
        assert "2026-03-01 13:00 WAT" in text
        assert found.to_json()["points"] == 1500

    def test_by_number_and_by_id(self, books: Books) -> None:
        books.store(invoice(), invoice(external_id="INV-1", invoice_number="INV-2"))
        by_id, by_number = explain(books.dsn, "xero", "INV-1"), explain(books.dsn, "xero", "INV-2")
        assert by_id is not None and by_number is not None
        assert by_id.external_id == by_number.external_id == "INV-1"

    def test_a_sale_that_moved(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        books.store(invoice(customer_phone=OTHER_PHONE, updated_at=NOON + HOUR))
        books.award()
        found = explain(books.dsn, "xero", "A")
        assert found is not None
        assert found.points == 1500
        assert "no longer belongs to this member" in found.to_text(LUANDA)

    def test_a_void_one_that_never_earned(self, books: Books) -> None:
        books.store(invoice(status="void"))
        books.award()
        found = explain(books.dsn, "xero", "A")
        assert found is not None
        assert "void or draft" in found.to_text(LUANDA)

    def test_one_that_was_rejected(self, books: Books) -> None:
        with books.transaction() as connection:
            sync_id = books.begin(connection)
            row = ("invoices", "A", "A", "total_minor at /Total: missing", "[]", 1, 3)
            names = [
                "stream",
                "record_key",
                "external_id",
                "reason",
                "problems",
                "page_id",
                "record_no",
            ]
            store.save_rejects(
                connection, books.account, sync_id, pl.DataFrame([row], schema=names, orient="row")
            )
        found = explain(books.dsn, "xero", "A")
        assert found is not None
        assert "total_minor at /Total: missing (raw page 1, record 3)" in found.to_text(LUANDA)
        books.store(invoice())
        known = explain(books.dsn, "xero", "INV-1")
        assert known is not None
        assert "A newer version was rejected" in known.to_text(LUANDA)

    def test_one_that_nobody_knows(self, books: Books) -> None:
        books.store(invoice())
        assert explain(books.dsn, "xero", "Z") is None
        assert explain(books.dsn, "quickbooks", "A") is None


class TestReports:
    def test_of_an_empty_database(self, dsn: str) -> None:
        assert (report.summary(dsn), report.members(dsn), report.status(dsn)) == ([], [], [])

    def test_per_system_and_member(self, books: Books) -> None:
        other = Books(books.dsn, AccountKey("freshbooks", "TwZh01"))
        books.store(invoice(), invoice(external_id="V", status="void"))
        other.store(invoice(customer_phone=OTHER_PHONE, total_minor=30_000))
        books.award()
        fresh, xero = report.summary(books.dsn)
        assert (fresh.system, fresh.sales, fresh.void_sales, fresh.members, fresh.entries,
            fresh.points) == (
            "freshbooks", 1, 0, 1, 1, 3000,
        )  # fmt: skip
        assert (
            xero.system,
            xero.sales,
            xero.void_sales,
            xero.open_rejects,
            xero.members,
            xero.points,
        ) == (
            "xero",
            2,
            1,
            0,
            1,
            1500,
        )
        assert [
            (m.member_id, m.balance_points, m.tier) for m in report.members(books.dsn, limit=1)
        ] == [(books.member(OTHER_PHONE), 3000, "lead")]

    def test_status_of_the_latest_run(self, books: Books) -> None:
        books.store(invoice())
        with books.transaction() as connection:
            sync_id = books.begin(connection)
            sync.move_cursors(
                connection, books.account, sync_id, {"invoices": NOON, "credit_notes": NOON - HOUR}
            )
            sync.set_state(connection, sync_id, "failed", error="RateLimited: xero")
        (status,) = report.status(books.dsn)
        assert (status.system, status.account, status.state, status.error) == (
            "xero",
            "books",
            "failed",
            "RateLimited: xero",
        )
        assert (status.complete_up_to, status.sales) == (NOON - HOUR, 1)
        assert status.last_success_at is not None

    def test_what_some_runs_posted_by_cause_and_what_tiers_give(self, books: Books) -> None:
        books.store(
            invoice(), invoice(external_id="B", invoice_number="INV-2"), invoice(external_id="C")
        )
        books.award()
        books.set_tier(books.member(), "gold", NOON)
        books.store(
            invoice(
                external_id="B",
                invoice_number="INV-2",
                amount_refunded_minor=10_000,
                updated_at=NOON + HOUR,
            ),
            invoice(external_id="C", status="void", updated_at=NOON + HOUR),
        )
        books.award()
        (last,) = books.rows("SELECT DISTINCT run_id FROM loyalty.award_entry WHERE entry_no = 2")
        found = report.posted(books.dsn, list(last))
        assert [(p.cause, p.entries, p.added, p.taken_back, p.points) for p in found] == [
            ("tier", 1, 750, 0, 750), ("refund", 1, 0, -750, -750), ("void", 1, 0, -1500, -1500),
        ]  # fmt: skip
        assert [(e.cause, e.invoice, e.due_before, e.due_after) for e in report.examples(books.dsn,
            list(last))] == [
            ("tier", "INV-1", 1500, 2250), ("refund", "INV-2", 1500, 750),
            ("void", "INV-1", 1500, 0),
        ]  # fmt: skip
        assert report.posted(books.dsn, []) == report.examples(books.dsn, []) == []
        assert [
            (t.tier, t.multiplier, t.base_points, t.tier_points, t.points)
            for t in report.tiers(books.dsn)
        ] == [("gold", "1.5", 2000, 1000, 3000)]

    def test_the_demo_gives_tiers_to_simulated_members_only_and_once(self, books: Books) -> None:
        other = Books(books.dsn, AccountKey("freshbooks", "real"))
        third = "+244923000003"
        books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
        other.store(
            invoice(customer_phone=OTHER_PHONE), invoice(external_id="T", customer_phone=third)
        )
        simulated = [("xero", "books"), ("freshbooks", "simulated")]
        assert demo.give_tiers(books.dsn, []) == 0
        assert demo.give_tiers(books.dsn, simulated) == 1
        assert books.rows("SELECT member_id, tier FROM loyalty.member_tier") == [
            (books.member(), "platinum")
        ]
        books.store(invoice(external_id="N", customer_phone="+244923000004"))
        assert demo.give_tiers(books.dsn, simulated) == 0


class TestCursors:
    def test_never_move_backward(self, books: Books) -> None:
        with books.transaction() as connection:
            sync_id = books.begin(connection)
            for at in (NOON, NOON - HOUR):
                sync.move_cursors(connection, books.account, sync_id, {"invoices": at})
            assert sync.cursors(connection, books.account) == {"invoices": NOON}

    def test_belong_to_one_account(self, books: Books) -> None:
        with books.transaction() as connection:
            sync.move_cursors(
                connection, books.account, books.begin(connection), {"invoices": NOON}
            )
            assert sync.cursors(connection, AccountKey("xero", "other")) == {}


class TestRuns:
    def test_an_interrupted_one_is_continued_and_a_finished_one_is_not(self, books: Books) -> None:
        streams = {"invoices": {"complete": False}}
        with books.transaction() as connection:
            first, _ = sync.begin(connection, books.account, "one", (None, None), streams)
            sync.save_streams(connection, first, {"invoices": {"complete": True}})
            again, found = sync.begin(connection, books.account, "two", (None, None), streams)
            assert (again, found) == (first, {"invoices": {"complete": True}})
            sync.set_state(connection, first, "stored")
            assert sync.begin(connection, books.account, "three", (None, None), streams)[0] > first

    def test_another_window_is_another_run(self, books: Books) -> None:
        streams = {"invoices": {"complete": False}}
        with books.transaction() as connection:
            first, _ = sync.begin(connection, books.account, "one", (None, None), streams)
            other, _ = sync.begin(connection, books.account, "two", (NOON, None), streams)
        assert other != first
        assert books.rows(
            "SELECT state FROM billing.sync_run WHERE sync_id = %(first)s", first=first
        ) == [("abandoned",)]

    def test_a_failure_after_storing_does_not_unstore(self, books: Books) -> None:
        with books.transaction() as connection:
            first, _ = sync.begin(
                connection, books.account, "one", (None, None), {"invoices": {"complete": True}}
            )
            sync.set_state(connection, first, "stored")
        sync.fail(books.dsn, "one", "award failed")
        assert books.rows("SELECT state, error FROM billing.sync_run") == [
            ("stored", "award failed")
        ]

    def test_pages_come_back_as_received_and_in_order(self, books: Books) -> None:
        bodies = [b"", b"\x00\xff not json", '{"é": "😀"}'.encode(), b"x" * 100_000]
        with books.transaction() as connection:
            sync_id, _ = sync.begin(connection, books.account, "one", (None, None), {})
            for number, body in enumerate(bodies, 1):
                following = {"path": f"/{number}"} if number < len(bodies) else None
                page = {
                    "stream": "invoices", "page_no": number, "record_count": number, "request": {},
                    "next_request": following,
                    "content_type": "application/json", "body": body,
                    "fetched_at": NOON + timedelta(seconds=number),
                }  # fmt: skip
                sync.save_page(connection, books.account, sync_id, page)
            stored = [
                page
                for batch in sync.pages(connection, sync_id, "invoices", batch=3)
                for page in batch
            ]
            assert [(page.record_count, page.body()) for page in stored] == list(
                enumerate(bodies, 1)
            )
            assert sync.last_page(connection, sync_id, "invoices") == ({}, bodies[-1], None)
            assert sync.last_page(connection, sync_id, "credit_notes") is None
            assert sync.page_counts(connection, sync_id) == {
                "invoices": (4, 10, sum(map(len, bodies)))
            }


class TestExclusive:
    def test_one_at_a_time(self, books: Books) -> None:
        with (
            sync.exclusive(books.dsn, books.account, wait_seconds=0),
            pytest.raises(sync.SyncBusyError, match="xero"),
            sync.exclusive(books.dsn, books.account, wait_seconds=0),
        ):
            pass

    def test_other_accounts_do_not_wait(self, books: Books) -> None:
        with (
            sync.exclusive(books.dsn, books.account, wait_seconds=0),
            sync.exclusive(books.dsn, AccountKey("xero", "x"), wait_seconds=0),
        ):
            pass

    def test_the_next_one_begins_when_the_first_ends_or_fails(self, books: Books) -> None:
        entered = threading.Event()

        def second() -> float:
            entered.wait(timeout=10)
            started = time.monotonic()
            with sync.exclusive(books.dsn, books.account, wait_seconds=10):
                return time.monotonic() - started

        with ThreadPoolExecutor(1) as pool:
            waited = pool.submit(second)
            with pytest.raises(KeyError), sync.exclusive(books.dsn, books.account, wait_seconds=0):
                entered.set()
                time.sleep(0.3)
                raise KeyError
            assert 0.2 < waited.result(timeout=15) < 5

    def test_the_lock_vanishes_with_its_holder(self, books: Books) -> None:
        with (
            pytest.raises(psycopg.errors.AdminShutdown),
            sync.exclusive(books.dsn, books.account, wait_seconds=0),
            psycopg.connect(books.dsn, autocommit=True) as other,
        ):
            held_by = other.execute(HOLDERS, {"key": KEY}).fetchall()
            assert len(held_by) == 1
            with (
                pytest.raises(sync.SyncBusyError),
                sync.exclusive(books.dsn, books.account, wait_seconds=0),
            ):
                pass
            assert other.execute(
                "SELECT pg_terminate_backend(%s, 5000)", held_by[0]
            ).fetchone() == (True,)
            assert other.execute(HOLDERS, {"key": KEY}).fetchall() == []
            with sync.exclusive(books.dsn, books.account, wait_seconds=0):
                assert len(other.execute(HOLDERS, {"key": KEY}).fetchall()) == 1
            # At the end of this block the first one learns that it lost its session, and with it
            # the lock.
        with connect(books.dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
