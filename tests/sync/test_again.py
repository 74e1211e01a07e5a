"""Rejects come back by themselves once their cause is gone, from their stored pages, exactly once, with every system."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import simulator
from sql.db import connect
from tasks.job import Policy
from tasks.load import retry_rejects as again
from tasks.load.retry_rejects import retry_rejects
from tasks.run_report import RunReport
from tasks.sync import synchronise
from tests.sync.conftest import START, Shop, expected, run
from tests.sync.test_custom import connection, job, sales
from tests.sync.test_pipeline import SYSTEMS, rows_of

LENIENT = Policy(reject_percent_max=100)
OPEN = "SELECT external_id FROM billing.reject WHERE resolved_at IS NULL ORDER BY 1"


def wrong(system: str) -> dict[str, str]:
    """A path where no total is.

    (Sage Intacct is asked for what a path names, and refuses what it does not know.)
    """
    return {"total_minor": "/state" if system == "sage_intacct" else "/NoSuchField"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_after_a_correction_of_the_mapping_the_next_run_brings_them_in(
    shop: Shop, system: str
) -> None:
    shop.sync(system, policy=LENIENT, paths=wrong(system))
    assert shop.points() == {}
    rejected = len(rows_of(shop, OPEN))
    assert rejected > 50

    # The same mapping again: nothing is tried, whatever the run reads.
    _, loaded, _ = shop.sync(system, policy=LENIENT, paths=wrong(system))
    assert (loaded.tried_again, loaded.resolved) == (0, 0)

    asked = len(shop.requests)
    extracted, loaded, awarded = shop.sync(system)
    listed = sum(1 for stream in extracted.streams)
    assert loaded.tried_again + loaded.resolved > 50
    assert shop.points() == expected(shop.world, system)
    assert awarded.entries == len(shop.points())
    assert len(shop.requests) - asked < 40 + listed  # a poll, not a backfill

    _, loaded, awarded = shop.sync(system)
    assert (loaded.tried_again, awarded.entries) == (0, 0)
    assert shop.points() == expected(shop.world, system)


@pytest.mark.parametrize("system", ["quickbooks", "xero", "freshbooks", "sage_intacct"])
def test_once_the_customer_has_a_phone_the_next_run_brings_them_in(shop: Shop, system: str) -> None:
    shop.world = simulator.World(seed=24, customers=40, invoices=90, start=START, systems=[system])
    shop.sync(system)
    without = set(rows_of(shop, OPEN))
    assert without
    customers = {
        row.customer_id
        for row in shop.world.truth()
        if row.system == system and (row.external_id,) in without
    }  # fmt: skip
    for number, customer_id in enumerate(sorted(customers)):
        customer = shop.world.books[system].customers[customer_id]
        customer.person.national = f"92700000{number}"
        assert shop.world.books[system].change_phone(
            customer, f"+244 927 000 00{number}", datetime.now(UTC)
        )
    _, loaded, _ = shop.sync(system)
    assert loaded.resolved == 0  # asked for a moment ago
    later(shop)
    _, loaded, awarded = shop.sync(system)
    assert loaded.resolved == len(without)
    assert rows_of(shop, OPEN) == []
    assert awarded.entries == len(without)
    assert shop.points() == expected(shop.world, system)


def later(shop: Shop) -> None:
    """Eleven minutes pass for what is known of customers, and of rejects."""
    rows_of(
        shop,
        "UPDATE billing.customer SET fetched_at = fetched_at - interval '11 minutes' RETURNING 1",
    )
    rows_of(
        shop,
        "UPDATE billing.reject SET last_seen_at = last_seen_at - interval '11 minutes',"
        " first_seen_at = first_seen_at - interval '11 minutes' RETURNING 1",
    )


def test_a_phone_that_stays_missing_is_asked_for_ever_less_often(shop: Shop) -> None:
    shop.world = simulator.World(
        seed=24, customers=40, invoices=90, start=START, systems=["quickbooks"]
    )
    shop.sync("quickbooks")
    assert rows_of(shop, OPEN)

    def asked_for_customers() -> bool:
        shop.requests.clear()
        shop.sync("quickbooks")
        return any(
            "FROM Customer" in str(request.url.params.get("query")) for request in shop.requests
        )

    assert not asked_for_customers()
    later(shop)
    assert asked_for_customers()
    rows_of(
        shop, "UPDATE billing.reject SET first_seen_at = now() - interval '10 days' RETURNING 1"
    )
    later(shop)
    assert not asked_for_customers()
    rows_of(
        shop, "UPDATE billing.customer SET fetched_at = now() - interval '25 hours' RETURNING 1"
    )
    assert asked_for_customers()


def test_a_failed_run_with_another_mapping_and_the_correction(shop: Shop) -> None:
    """Rejects kept as evidence of a run that stored nothing are closed by the run that reads the same anew."""
    with pytest.raises(RuntimeError, match="Nothing was stored"):
        shop.sync("xero", paths=wrong("xero"))
    assert rows_of(shop, OPEN)
    shop.sync("xero")
    assert rows_of(shop, OPEN) == [(one,) for one in sorted(phoneless(shop, "xero"))]
    assert shop.points() == expected(shop.world, "xero")


def phoneless(shop: Shop, system: str) -> set[str]:
    return {
        row.external_id
        for row in shop.world.truth()
        if row.system == system and row.phone_e164 is None and row.status not in ("draft", "void")
    }


def test_on_demand_without_asking_the_vendor(shop: Shop) -> None:
    shop.sync("freshbooks", policy=LENIENT, paths=wrong("freshbooks"))
    asked, cursors = (
        len(shop.requests),
        rows_of(shop, "SELECT stream, cursor_at FROM billing.sync_cursor ORDER BY 1"),
    )
    before = shop.counts()
    _, dry, would = shop.sync("freshbooks", rejects=True, dry_run=True)
    assert shop.counts() == before
    _, loaded, awarded = shop.sync("freshbooks", rejects=True)
    assert (dry.tried_again, would.points) == (loaded.tried_again, awarded.points)
    assert loaded.records == 0
    assert shop.points() == expected(shop.world, "freshbooks")
    assert len(shop.requests) == asked
    assert rows_of(shop, "SELECT stream, cursor_at FROM billing.sync_cursor ORDER BY 1") == cursors
    # Those that stay rejected stay so, and are tried whenever it is asked for.
    open_ones = rows_of(shop, OPEN)
    _, loaded, awarded = shop.sync("freshbooks", rejects=True)
    assert (loaded.tried_again, awarded.entries) == (len(open_ones), 0)
    assert rows_of(shop, OPEN) == open_ones


def test_accepted_records_of_the_same_page_are_left_alone(dsn: str) -> None:
    """A corrected mapping is for what comes from now on, and for rejects; the past is for `replay`."""
    rows: list[dict[str, Any]] = [
        {
            "id": "1",
            "customer_phone": "923456789",
            "total": "10.00",
            "net": "8.00",
            "sale_date": "2026-05-01",
        },
        {"id": "2", "customer_phone": "923456789", "net": "16.00", "sale_date": "2026-05-01"},
    ]
    served = [rows]
    answer = lambda _: httpx.Response(200, json={"data": served[0]})  # noqa: E731
    run(job(dsn, connection({}), answer))
    assert sales(dsn) == {"1": 100}
    served[0] = []
    run(job(dsn, connection({}, paths={"total_minor": "/net"}), answer))
    assert sales(dsn) == {"1": 100, "2": 160}
    run(job(dsn, connection({}, paths={"total_minor": "/net"}), answer, replay=True))
    assert sales(dsn) == {"1": 80, "2": 160}


def test_an_older_version_does_not_come_back(dsn: str) -> None:
    """The document was rejected, then corrected at the vendor: the corrected version counts, and the reject is closed."""
    row: dict[str, Any] = {
        "id": "1",
        "customer_phone": "923456789",
        "sale_date": "2026-05-01",
        "updated_at": "2026-05-01T10:00:00Z",
    }
    served = [[row | {"sum": "10.00"}]]
    answer = lambda _: httpx.Response(200, json={"data": served[0]})  # noqa: E731
    run(job(dsn, connection({}), answer))
    assert sales(dsn) == {}
    served[0] = [row | {"sum": "99.00", "total": "20.00", "updated_at": "2099-05-02T10:00:00Z"}]
    run(job(dsn, connection({}), answer))
    assert sales(dsn) == {"1": 200}
    served[0] = []
    run(job(dsn, connection({}, paths={"total_minor": "/sum"}), answer))
    assert sales(dsn) == {"1": 200}


def test_a_record_without_a_number_comes_back_too(dsn: str) -> None:
    """It was rejected under its place in the page."""
    row = {"ref": "A-7", "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
    served = [[row]]
    answer = lambda _: httpx.Response(200, json={"data": served[0]})  # noqa: E731
    _, loaded, _ = run(job(dsn, connection({}), answer))
    assert loaded.rejected == 1
    served[0] = []
    _, loaded, _ = run(job(dsn, connection({}, paths={"external_id": "/ref"}), answer))
    assert (loaded.tried_again, loaded.resolved) == (1, 1)
    assert sales(dsn) == {"A-7": 100}


def test_pages_that_the_settings_of_now_cannot_read_wait(dsn: str) -> None:
    row = {"id": "1", "customer_phone": "923456789", "sum": "10.00", "sale_date": "2026-05-01"}
    served: list[Any] = [{"data": [row]}]
    answer = lambda _: httpx.Response(200, json=served[0])  # noqa: E731
    run(job(dsn, connection({}), answer))
    served[0] = {"items": []}
    moved = connection({"records": "/items"}, paths={"total_minor": "/sum"})
    for tried in (1, 0):
        _, loaded, _ = run(job(dsn, moved, answer))
        assert (loaded.tried_again, loaded.resolved) == (tried, 0)
    served[0] = {"data": []}
    _, loaded, _ = run(job(dsn, connection({}, paths={"total_minor": "/sum"}), answer))
    assert (loaded.tried_again, loaded.resolved) == (1, 1)
    assert sales(dsn) == {"1": 100}


def test_a_run_tries_a_bounded_number_and_the_next_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "PAGES_AT_ONCE", 1)
    monkeypatch.setattr(again, "TURNS_MAX", 2)
    shop.sync("xero", policy=LENIENT, paths=wrong("xero"), page_size=10)
    pages = rows_of(
        shop, "SELECT count(DISTINCT page_id) FROM billing.reject WHERE resolved_at IS NULL"
    )[0][0]
    assert pages > 4
    shop.before = nothing_new
    runs = 0
    while True:
        _, loaded, _ = shop.sync("xero", page_size=10)
        if not loaded.tried_again:
            break
        assert loaded.tried_again <= 20
        runs += 1
    assert runs == -(-pages // 2)
    assert shop.points() == expected(shop.world, "xero")


def nothing_new(request: httpx.Request) -> httpx.Response | None:
    if request.url.path.endswith(("/Invoices", "/CreditNotes")):
        name = request.url.path.rpartition("/")[2]
        return httpx.Response(
            200,
            json={
                name: [],
                "pagination": {"page": 1, "pageSize": 100, "pageCount": 0, "itemCount": 0},
            },
        )
    return None


def test_killed_between_the_load_and_the_rejects(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sync("xero", policy=LENIENT, paths=wrong("xero"))
    shop.before = nothing_new
    report = RunReport(shop.job("xero"), datetime.now(UTC))
    with monkeypatch.context() as killed:
        killed.setattr(again, "retry_rejects", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            synchronise(report.job, report)
    assert report.extracted is not None
    assert shop.points() == {}
    shop.sync("xero")
    assert shop.points() == expected(shop.world, "xero")
    done = retry_rejects(shop.job("xero"), report.extracted.sync_id)
    assert done.tried == 0


def test_a_program_that_gains_a_currency(dsn: str) -> None:
    """Its sales are stored; only their points waited."""
    with connect(dsn) as opened:
        opened.execute(
            "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier)"
            " SELECT 2, '2020-01-01', base_rate_bps - 'EUR', tier_rate_bps, entry_tier FROM loyalty.program WHERE version = 1"
        )
        opened.commit()
    row = {
        "id": "1",
        "customer_phone": "923456789",
        "total": "10.00",
        "currency": "EUR",
        "sale_date": "2026-05-01",
    }
    served = [[row]]
    answer = lambda _: httpx.Response(200, json={"data": served[0]})  # noqa: E731
    _, _, awarded = run(job(dsn, connection({}), answer))
    assert awarded.rejected == 1
    with connect(dsn) as opened:
        opened.execute(
            "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier)"
            " SELECT 3, '2020-01-02', base_rate_bps || '{\"EUR\": 100000}', tier_rate_bps, entry_tier FROM loyalty.program WHERE version = 1"
        )
        opened.commit()
    served[0] = []
    run(job(dsn, connection({}), answer))
    assert sales(dsn) == {"1": 100}
    with connect(dsn) as opened:
        assert opened.execute(
            "SELECT count(*) FROM billing.reject WHERE resolved_at IS NULL"
        ).fetchone() == (0,)
