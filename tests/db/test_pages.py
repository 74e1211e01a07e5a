"""What the panel's pages show, read from real rows.

Attempts of runs, how far accounts are read, addresses; and addresses made from blocks.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import panel.runs.progress
import panel.runs.sync_progress
from connectors.kit.http.responses import Call
from panel.pages import billing_systems as systems
from panel.pages import sync_status as status
from panel.pages.connection_status import ConnectionOverview, ConnectionStatus
from panel.runs.attempt_record import record_attempt, record_refused_attempt
from sql import attempts, ledger, sync, webhooks
from sql import panel_pages as pages
from sql.attempts import Attempt
from sql.db import DbConnection, connect
from tasks.extract.pages import Extracted
from tasks.load.invoices import Loaded, TooManyRejectsError
from tasks.run_report import RunReport, percentile
from tests.support.books import PHONE, Books, invoice

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(hours=1)


@pytest.fixture
def db(dsn: str) -> Iterator[DbConnection]:
    """A connection to an empty ledger."""
    with connect(dsn) as connection:
        yield connection


def attempt(connection: str = "xero", **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "run_id": "r", "kind": "poll", "started_at": NOW - timedelta(minutes=1),
        "system": connection, "account": "books",
    }  # fmt: skip
    return Attempt(connection=connection, **values | changes)


class TestAttempts:
    def test_totals_are_those_of_a_plain_count(self, db: DbConnection) -> None:
        dice = random.Random(5)
        made = []
        for number in range(40):
            times = [dice.randrange(1, 5_000) for _ in range(dice.choice([0, 1, 7, 90]))]
            made.append(
                attempt(
                    dice.choice(["xero", "lisboa"]), run_id=str(number),
                    records=dice.randrange(100), new_sales=3, changed_sales=1, rejected=2,
                    entries=4, points=dice.randrange(-50, 900), calls=len(times), failed_calls=1,
                    throttled=dice.randrange(3), response_ms=times,
                    error=dice.choice([None, None, None, "Transient: no answer"]),
                )
            )  # fmt: skip
            attempts.add(db, made[-1])
        posted = {"xero": (4, 70), "lisboa": (2, -20)}
        for system, (entries, points) in posted.items():
            db.execute(
                "INSERT INTO loyalty.posting (system, account, run_id, entries, points) "
                "VALUES (%s, 'books', 'r', %s, %s)",
                [system, entries, points],
            )
        found = {one.connection: one for one in pages.totals(db, SINCE, {})}
        assert list(found) == ["", "lisboa", "xero"]
        for name, total in found.items():
            of = [one for one in made if name in ("", one.connection)]
            times = [ms for one in of for ms in one.response_ms]
            assert (total.succeeded, total.failed) == (
                sum(o.error is None for o in of),
                sum(o.error is not None for o in of),
            )
            for what in (
                "records", "new_sales", "changed_sales", "rejected", "calls", "failed_calls",
                "throttled",
            ):  # fmt: skip
                assert getattr(total, what) == sum(getattr(one, what) for one in of), what
            # Points are those of the ledger, whichever attempt says that it posted them.
            assert (total.entries, total.points) == posted.get(name, (6, 50))
            assert (total.response_ms_p50, total.response_ms_p95) == (
                percentile(times, 50),
                percentile(times, 95),
            )

    def test_of_many_calls_a_hundred_stand_for_all(self, db: DbConnection) -> None:
        many = [10] * 9_000 + [5_000] * 1_000  # a tenth is slow
        attempts.add(db, attempt(calls=len(many), response_ms=many))
        attempts.add(db, attempt(calls=10, response_ms=[7] * 10))  # and weighs what it is
        (total, _) = pages.totals(db, SINCE, {})
        assert (total.response_ms_p50, total.response_ms_p95) == (10, 5_000)

    def test_slots_hold_what_ended_in_them(self, db: DbConnection) -> None:
        attempts.add(
            db, attempt(new_sales=2, changed_sales=1, points=99, calls=1, response_ms=[40])
        )
        db.execute(
            "INSERT INTO loyalty.posting (system, account, run_id, entries, points) "
            "VALUES ('xero', 'books', 'r', 2, 30)"
        )
        attempts.add(db, attempt("custom", error="Transient: no answer"))
        begin = NOW - timedelta(hours=23)
        first, second = pages.over_time(db, begin, timedelta(hours=1))
        assert (first.system, first.succeeded, first.failed, first.sales) == ("custom", 0, 1, 0)
        assert (second.system, second.succeeded, second.sales) == ("xero", 1, 3)
        assert (second.points, second.response_ms_p95) == (30, 40)
        assert first.at == begin + timedelta(hours=23)
        assert pages.over_time(db, NOW + timedelta(days=1), timedelta(hours=1)) == []

    def test_the_latest_counts(self, db: DbConnection) -> None:
        attempts.add(db, attempt(error="Transient: no answer"))
        attempts.add(db, attempt(run_id="r2"))
        found = pages.last_attempts(db, ["xero", "never"])
        assert list(found) == ["xero"] and (found["xero"].outcome, found["xero"].run_id) == (
            "succeeded",
            "r2",
        )
        assert [one.connection for one in pages.last_failures(db, SINCE, 10)] == ["xero"]

    @pytest.mark.parametrize("statement", ["UPDATE", "DELETE", "TRUNCATE"])
    def test_they_are_kept_as_they_were_written(self, db: DbConnection, statement: str) -> None:
        attempts.add(db, attempt())
        text = {
            "UPDATE": "UPDATE {} SET points = 1",
            "DELETE": "DELETE FROM {}",
            "TRUNCATE": "TRUNCATE {}",
        }[statement]
        with pytest.raises(psycopg.Error, match="keeps its history"):
            db.execute(text.format("billing.sync_attempt").encode())

    def test_a_run_that_was_killed_is_noted_by_whoever_goes_on(self, books: Books) -> None:
        """And is counted for the connection of its account, though it could not say its name."""
        with books.transaction() as connection:
            sync_id, _ = sync.begin(
                connection, books.account, "killed", (None, None), {"invoices": {"complete": False}}
            )
        with books.transaction() as connection:
            again, _ = sync.begin(
                connection, books.account, "heir", (None, None), {"invoices": {"complete": False}}
            )
        assert again == sync_id
        with connect(books.dsn) as connection:
            (total, named) = pages.totals(connection, SINCE, {("xero", "books"): "lisboa"})
            (failure,) = pages.last_failures(connection, SINCE, 10)
        assert (total.interrupted, named.connection, named.interrupted) == (1, "lisboa", 1)
        assert (failure.run_id, failure.outcome) == (
            "killed",
            "interrupted",
        ) and "killed" in failure.error


class TestRemembering:
    def report(self, books: Books, *, dry_run: bool = False) -> RunReport:
        report = RunReport(books.job(dry_run=dry_run), NOW)
        report.job.calls.append(Call("xero", "list invoices", 200, 40, throttled=False))
        report.job.calls.append(Call("xero", "list invoices", 429, 60, throttled=True))
        report.loaded = Loaded(records=7, rejected=3)
        report.loaded.stored.new = 4
        return report

    def test_a_run_is_noted_as_it_ended(self, books: Books) -> None:
        record_attempt(self.report(books), "lisboa", None)
        rows = books.rows(
            "SELECT connection, outcome, kind, new_sales, rejected, calls, failed_calls, "
            "throttled, response_ms FROM billing.sync_attempt"
        )
        assert rows == [("lisboa", "succeeded", "poll", 4, 3, 2, 1, 1, [40, 60])]

    def test_nothing_is_stored_where_too_many_were_rejected(self, books: Books) -> None:
        report = self.report(books)
        assert report.loaded is not None
        report.error = TooManyRejectsError("too many", report.loaded)
        record_attempt(report, "xero", "TooManyRejectsError: too many")
        assert books.rows("SELECT outcome, new_sales, rejected FROM billing.sync_attempt") == [
            ("failed", 0, 3)
        ]

    def test_a_dry_run_leaves_no_trace(self, books: Books) -> None:
        record_attempt(self.report(books, dry_run=True), "xero", None)
        assert books.rows("SELECT FROM billing.sync_attempt") == []

    def test_a_run_that_could_not_begin_counts(self, books: Books) -> None:
        record_refused_attempt(
            books.dsn, "r", "xero", NOW, "NotConnectedError: xero is not connected"
        )
        assert books.rows("SELECT connection, system, outcome FROM billing.sync_attempt") == [
            ("xero", None, "failed")
        ]

    def test_a_database_that_is_away_is_no_second_failure(self, books: Books) -> None:
        record_refused_attempt("postgresql://nobody@127.0.0.1:1/none", "r", "xero", NOW, "why")
        report = self.report(books)
        report.job.dsn = "postgresql://nobody@127.0.0.1:1/none"
        record_attempt(report, "xero", None)


def test_pages_of_a_ledger_hold_no_personal_data(books: Books) -> None:
    books.store(invoice(), invoice(external_id="B", invoice_number="INV-2"))
    with books.transaction() as connection:
        attempts.add(connection, attempt("xero", new_sales=2, points=30))
        assert ledger.dirty_members(connection) == 1
        found = systems.Ledger(
            pages.accounts(connection), pages.last_attempts(connection, ["xero"]),
            webhooks.backlog(connection),
            pages.addresses(connection), ledger.dirty_members(connection),
        )  # fmt: skip
        desk = ConnectionStatus(
            "xero",
            "xero",
            "Xero",
            "/form",
            "books",
            block_id="b",
            deployment_id="d",
            scheduled=True,
        )
        text = systems.markdown(ConnectionOverview({"xero": desk}), found, NOW, "https://h", "")
        ((title, since, step, label), _) = status.periods(NOW)
        slots = pages.over_time(connection, since, step)
        totals = pages.totals(connection, since, {})
        period = status.Period(title, since, step, label, totals, slots)
        text += status.markdown([period], [], [], NOW, "")
    assert "| fine |" in text and "1 members are still" in text
    assert PHONE not in text and PHONE[4:] not in text.replace(" ", "")


def test_an_account_that_was_read_is_complete_up_to_its_cursor(books: Books) -> None:
    with books.transaction() as connection:
        sync_id = books.begin(connection)
        sync.move_cursors(
            connection, books.account, sync_id, {"invoices": NOW - timedelta(hours=2), "items": NOW}
        )
        state = pages.accounts(connection)["xero", "books"]
    assert state.complete_up_to == NOW - timedelta(hours=2)  # of the list that is furthest behind
    assert replace(state, complete_up_to=None).open_rejects == 0


class Shown:
    """Takes the place of Prefect's API: what the bar of a run says, step by step."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def create(self, percent: float, key: str, text: str) -> str:
        return self.update(key, percent, text)

    def update(self, artifact: str, percent: float, text: str) -> str:
        self.said.append(f"{percent:.0f} {text}")
        return artifact

    def await_(self, text: str) -> None:
        deadline = time.monotonic() + 10
        while not any(text in one for one in self.said):
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)


def test_a_long_run_shows_how_far_each_step_is(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Shown()
    monkeypatch.setattr(panel.runs.progress, "create_progress_artifact", shown.create)
    monkeypatch.setattr(panel.runs.progress, "update_progress_artifact", shown.update)
    monkeypatch.setattr(panel.runs.progress, "UPDATE_SECONDS", 0.0)
    monkeypatch.setattr(panel.runs.sync_progress, "UPDATE_SECONDS", 0.01)
    books.store(invoice())
    report = RunReport(books.job(), NOW)
    with panel.runs.sync_progress.sync_progress(report, "xero", after_seconds=0):
        report.job.calls.append(Call("xero", "list invoices", 200, 40, throttled=False))
        shown.await_("0 1 requests; reading")
        report.extracted, report.seconds["extract"], report.pages = (
            Extracted(1, {}),
            1.0,
            {"invoices": (1, 7, 100)},
        )
        shown.await_("0 7 records; checking and storing")
        report.seconds["load"] = 1.0
        shown.await_("0 0 of 1 members; computing points")
        books.run("DELETE FROM loyalty.member_dirty")
        shown.await_("100 1 of 1 members")
    assert "done after" in shown.said[-1]
    assert PHONE[4:] not in repr(shown.said)
    before = len(shown.said)
    with panel.runs.sync_progress.sync_progress(report, "xero"):  # a short one
        pass
    assert len(shown.said) == before
