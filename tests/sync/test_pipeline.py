"""The promises, end to end: the oracle's points, whatever order, size, fault or repetition."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

import simulator
from connectors.kit.errors import CredentialsRejected, Transient
from simulator.faults import FaultPlan, Faults
from sql.db import DbConnection, connect
from tasks.extract import mapper
from tasks.extract.bulk import map_threads
from tasks.extract.bulk import read as bulk_read
from tasks.extract.bulk.overlapped_store import OverlappedStore
from tasks.job import Policy
from tasks.load import invoices as load
from tasks.load.invoices import TooManyRejectsError
from tasks.run_database import RunDatabase
from tasks.sync import read
from tests.support.database import Databases, with_older_rules
from tests.support.systems import SIMULATED
from tests.sync.conftest import START, Shop, expected, run

SYSTEMS = (*SIMULATED, "custom")


@pytest.mark.parametrize("system", SYSTEMS)
def test_points_are_the_oracles_and_stay_so(shop: Shop, system: str) -> None:
    _, loaded, awarded = shop.sync(system)
    assert shop.points() == expected(shop.world, system)
    assert loaded.stored.new == loaded.accepted > 80
    assert awarded.entries == len(shop.points())

    again = shop.sync(system)[2]
    assert (again.entries, again.points) == (0, 0)

    for _ in range(2):
        shop.world.evolve(steps=8, systems=(system,))
        shop.sync(system)
        assert shop.points() == expected(shop.world, system)


def test_netsuite_logs_in_with_a_certificate_as_well(shop: Shop) -> None:
    shop.netsuite_login = "machine_to_machine"
    shop.sync("netsuite")
    assert shop.points() == expected(shop.world, "netsuite")
    shop.world.grants["netsuite"].expire_access()
    shop.world.evolve(steps=5, systems=("netsuite",))
    shop.sync("netsuite")
    assert shop.points() == expected(shop.world, "netsuite")


def test_the_documented_example_is_worth_1500(shop: Shop) -> None:
    shop.sync("quickbooks")
    with connect(shop.dsn) as connection:
        found = connection.execute(
            "SELECT points, entries, member_id FROM analytics.sale WHERE invoice_number = 'INV-001'"
        ).fetchone()
    assert found is not None
    assert found[:2] == (1500, 1)


@pytest.mark.parametrize(("tier", "points"), [("silver", 1800), ("gold", 2250), ("platinum", 3000)])
def test_a_tier_in_force_at_the_sale_counts_even_if_entered_later(
    shop: Shop, tier: str, points: int
) -> None:
    shop.sync("quickbooks")
    with connect(shop.dsn) as connection:
        connection.execute(
            "INSERT INTO loyalty.member_tier (member_id, tier, valid_from)"
            " SELECT member_id, %s, '2024-01-01' FROM loyalty.member WHERE phone = '+244923456789'",
            [tier],
        )
        connection.commit()
    shop.sync("xero")  # whichever system runs next posts the difference
    with connect(shop.dsn) as connection:
        chain = connection.execute(
            "SELECT points, due_after, tier FROM analytics.award WHERE invoice_number = 'INV-001' ORDER BY entry_no"
        ).fetchall()
    assert chain == [(1500, 1500, "lead"), (points - 1500, points, tier)]


@pytest.mark.parametrize("system", SYSTEMS)
def test_page_size_does_not_matter(shop: Shop, databases: Databases, system: str) -> None:
    shop.sync(system, page_size=7)
    small = shop.ledger()
    other = replace(shop, dsn=with_older_rules(databases.migrated()))
    other.world.grants = simulator.World(seed=11, customers=1, invoices=1).grants  # a new consent
    other.sync(system, page_size=100)
    assert other.ledger() == small


@pytest.fixture
def in_many_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Batches as a large read has them; whether the overlapped transactions stored anything.

    Every transaction of the run must end in the thread that began it.
    """
    taken: list[bool] = []
    threads: list[tuple[int, int]] = []
    transaction = RunDatabase.transaction

    @contextmanager
    def watched(run: RunDatabase) -> Iterator[DbConnection]:
        begun = threading.get_ident()
        try:
            with transaction(run) as connection:
                yield connection
        finally:
            threads.append((begun, threading.get_ident()))

    monkeypatch.setattr(RunDatabase, "transaction", watched)
    finish, abandon = OverlappedStore.finish, OverlappedStore.abandon

    def finished(overlapped: OverlappedStore, streams: Any) -> Any:
        taken.append((stored := finish(overlapped, streams)) is not None)
        return stored

    def abandoned(overlapped: OverlappedStore) -> None:
        taken.append(False)
        abandon(overlapped)

    monkeypatch.setattr(OverlappedStore, "finish", finished)
    monkeypatch.setattr(OverlappedStore, "abandon", abandoned)
    monkeypatch.setattr(mapper, "SMALL_RECORDS_MAX", 5)
    monkeypatch.setattr(map_threads, "RECORDS_FIRST", 5)
    monkeypatch.setattr(map_threads, "RECORDS_AT_ONCE", 20)
    monkeypatch.setattr(bulk_read, "STORE_FROM_RECORDS", 20)
    monkeypatch.setattr(load, "RECORDS_AT_ONCE", 20)
    yield taken
    assert len({begun for begun, _ in threads}) > 1, "nothing ran beside the read"
    assert [begun for begun, _ in threads] == [ended for _, ended in threads]


@pytest.mark.parametrize("system", SYSTEMS)
def test_batches_do_not_matter(
    shop: Shop, databases: Databases, in_many_batches: list[bool], system: str
) -> None:
    known, happened = replace(shop, dsn=with_older_rules(databases.migrated())), []
    for one, again in (
        (known, True),
        (shop, False),
    ):  # the second time from zero: all is new, or nearly
        one.world.grants = simulator.World(seed=11, customers=1, invoices=1).grants  # a new consent
        one.sync(system, page_size=15)
        if again:
            happened = one.world.evolve(steps=5, systems=(system,))
            one.sync(system, page_size=15)
    if (system, "change_phone") in happened:  # sales read before it keep the number they had
        assert [(*sale, points) for *sale, _, points in shop.ledger()] == [
            (*sale, points) for *sale, _, points in known.ledger()
        ]
    else:
        assert shop.ledger() == known.ledger()
    assert shop.points() == expected(shop.world, system)
    # Elsewhere a phone or a product has to be looked up, which no open transaction waits for. A
    # later read may find all of them known.
    assert in_many_batches
    looks_up = system != "custom" and bool(SIMULATED[system].lookups)
    assert not in_many_batches[0] if looks_up else all(in_many_batches)


def test_a_transaction_begun_early_is_given_up_with_the_read(
    shop: Shop, in_many_batches: list[bool]
) -> None:
    shop.before = lambda _: httpx.Response(503) if len(shop.requests) > 12 else None
    with pytest.raises(Transient):
        shop.sync("custom", page_size=5)
    assert len(in_many_batches) == 1
    assert shop.counts()["billing.invoice"] == 0
    shop.before = lambda _: None
    assert shop.sync("custom", page_size=5)[0].resumed
    assert shop.points() == expected(shop.world, "custom")


@pytest.mark.parametrize("system", SYSTEMS)
def test_faults_on_the_wire_change_nothing(shop: Shop, system: str) -> None:
    faults = Faults(
        seed=5, rate_500=0.15, truncated_json=0.1, html=0.05, timeouts=0.05, errors_in_200=0.05
    )
    shop.world.faults = FaultPlan(faults)
    shop.sync(system, page_size=15)
    assert shop.points() == expected(shop.world, system)
    assert sum(shop.world.faults.counts.values()) > 0


def test_two_at_once_give_the_same_ledger(shop: Shop) -> None:
    def one(system: str) -> None:
        run(shop.job(system))

    with ThreadPoolExecutor(6) as pool:
        for outcome in [pool.submit(one, system) for system in SYSTEMS * 2]:
            outcome.result(timeout=90)
    assert shop.points() == expected(shop.world, *SYSTEMS)
    with connect(shop.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM loyalty.member_dirty").fetchone() == (0,)


def test_a_dry_run_keeps_nothing_and_says_what_the_run_will_do(shop: Shop) -> None:
    before = shop.counts()
    _, loaded, awarded = shop.sync("xero", dry_run=True)
    assert shop.counts() == before
    _, real, posted = shop.sync("xero")
    assert (loaded.stored.new, loaded.rejected, awarded.entries, awarded.points) == (
        real.stored.new, real.rejected, posted.entries, posted.points,
    )  # fmt: skip


def test_too_many_rejects_stop_the_run_and_nothing_moves(shop: Shop) -> None:
    with pytest.raises(TooManyRejectsError, match="Nothing was stored and no cursor moved"):
        shop.sync(
            "xero", policy=Policy(reject_percent_max=50), paths={"total_minor": "/NoSuchField"}
        )
    counts = shop.counts()
    assert (
        counts["billing.invoice"],
        counts["billing.sync_cursor"],
        counts["loyalty.award_entry"],
    ) == (0, 0, 0)
    assert counts["billing.reject"] > 0
    assert counts["billing.raw_page"] > 0
    shop.sync("xero")
    assert shop.points() == expected(shop.world, "xero")


def test_an_interrupted_extraction_goes_on_at_the_next_page(shop: Shop) -> None:
    def fail_on_page_2(request: httpx.Request) -> httpx.Response | None:
        listing = request.url.path.endswith("/Invoices") and request.url.params.get("page") == "2"
        return httpx.Response(503) if listing else None

    shop.before = fail_on_page_2
    with pytest.raises(Transient):
        shop.sync("xero")
    shop.before = lambda _: None
    shop.requests.clear()
    extracted, _, _ = shop.sync("xero")
    assert extracted.resumed
    pages = [r.url.params["page"] for r in shop.requests if r.url.path.endswith("/Invoices")]
    # Page 1, the last one stored, is looked at again: the list may have moved meanwhile.
    assert pages[:2] == ["1", "2"]
    assert shop.points() == expected(shop.world, "xero")


def test_a_window_by_hand_leaves_the_cursor(shop: Shop) -> None:
    shop.sync("freshbooks", since=datetime.now(UTC) - timedelta(days=5), until=datetime.now(UTC))
    assert shop.counts()["billing.sync_cursor"] == 0
    shop.sync("freshbooks")
    assert shop.points() == expected(shop.world, "freshbooks")


def test_refused_credentials_name_the_block_and_no_secret(shop: Shop) -> None:
    shop.world.grants["xero"] = simulator.World(seed=99, customers=1, invoices=1).grants[
        "freshbooks"
    ]
    with pytest.raises(CredentialsRejected, match='block "xero"') as caught:
        shop.sync("xero")
    for secret in (simulator.CLIENT_SECRET, simulator.seed_refresh_token("xero")):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("system", ["quickbooks", "xero", "freshbooks"])
def test_rejects_say_why_and_are_closed_once_the_customer_has_a_phone(
    shop: Shop, system: str
) -> None:
    shop.world = simulator.World(seed=24, customers=40, invoices=90, start=START, systems=[system])
    _, loaded, _ = shop.sync(system)
    without = {
        row.external_id: row.customer_id
        for row in shop.world.truth()
        if row.system == system and row.phone_e164 is None and row.status not in ("draft", "void")
    }
    assert len(without) >= 2
    rejected = rows_of(
        shop, "SELECT external_id, reason FROM billing.reject WHERE resolved_at IS NULL"
    )
    assert {external_id for external_id, _ in rejected} == set(without)
    assert all("Customer phone" in reason for _, reason in rejected)
    told = rows_of(
        shop,
        "SELECT external_id, sale_kind, currency, total::text, "
        "(issued_at AT TIME ZONE 'Africa/Luanda')::date FROM analytics.reject ORDER BY 1",
    )
    truth = (row for row in shop.world.truth() if row.external_id in without)
    assert told == sorted((r.external_id, r.kind, r.currency, r.total, r.date) for r in truth)
    assert loaded.rejected == len(without)
    assert rows_of(
        shop, "SELECT count(*) FROM billing.reject WHERE problems::text ~ '[0-9]{6}'"
    ) == [(0,)]
    points = shop.points()
    assert points == expected(shop.world, system)
    assert not points.keys() & {(system, external_id) for external_id in without}

    for number, customer_id in enumerate(sorted(set(without.values()))):
        customer = shop.world.books[system].customers[customer_id]
        customer.person.national = f"92700000{number}"
        assert shop.world.books[system].change_phone(
            customer, f"+244 927 000 00{number}", datetime.now(UTC)
        )
    # A missing phone is asked for again after ten minutes.
    rows_of(
        shop,
        "UPDATE billing.customer SET fetched_at = fetched_at - interval '11 minutes' RETURNING 1",
    )
    _, again, awarded = shop.sync(system, since=START - timedelta(days=1))
    assert (again.rejected, again.resolved) == (0, len(without))
    assert rows_of(shop, "SELECT external_id FROM billing.reject WHERE resolved_at IS NULL") == []
    assert {row[0] for row in rows_of(shop, "SELECT external_id FROM billing.reject")} == set(
        without
    )
    assert awarded.entries == len(without)
    assert shop.points() == expected(shop.world, system)
    assert shop.points().keys() - points.keys() == {
        (system, external_id) for external_id in without
    }


def rows_of(shop: Shop, statement: str) -> list[tuple[Any, ...]]:
    with connect(shop.dsn) as connection:
        found = connection.execute(statement.encode()).fetchall()
        connection.commit()
        return found


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_replay_brings_in_what_a_wrong_mapping_rejected_without_asking_the_vendor(
    shop: Shop, system: str
) -> None:
    """The mapping is corrected, the stored pages are mapped again: the same ledger as if it had been right at once."""
    lenient = Policy(reject_percent_max=100)
    # Sage Intacct is asked for what a path names, and refuses what it does not know.
    wrong = "/state" if system == "sage_intacct" else "/NoSuchField"
    shop.sync(system, policy=lenient, paths={"total_minor": wrong})
    assert shop.points() == {}
    asked = len(shop.requests)
    cursors = rows_of(
        shop, "SELECT system, stream, cursor_at FROM billing.sync_cursor ORDER BY 1, 2"
    )

    before = shop.counts()
    shop.sync(system, replay=True, dry_run=True)
    assert shop.counts() == before
    _, loaded, _ = shop.sync(system, replay=True)
    assert loaded.resolved > 0
    assert shop.points() == expected(shop.world, system)
    assert len(shop.requests) == asked
    assert (
        rows_of(shop, "SELECT system, stream, cursor_at FROM billing.sync_cursor ORDER BY 1, 2")
        == cursors
    )

    _, _, awarded = shop.sync(system, replay=True)
    assert awarded.entries == 0
    # Older versions that are stored as well do not come back.
    shop.world.evolve(steps=10, systems=(system,))
    shop.sync(system)
    shop.sync(system, replay=True)
    assert shop.points() == expected(shop.world, system)


def test_an_interrupted_replay_is_not_taken_for_a_read(shop: Shop) -> None:
    shop.sync("xero")
    shop.world.evolve(steps=10, systems=("xero",))
    read(shop.job("xero", replay=True)).close()  # and then the process was killed
    shop.sync("xero")
    assert shop.points() == expected(shop.world, "xero")
