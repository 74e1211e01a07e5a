"""The hostile vendor and the database: what a fault leaves behind, and what comes after it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

import simulator
from connectors.kit.errors import ConnectorError, CredentialsRejected
from panel.reports.sync_run import Links, markdown, who_acts
from sql.db import connect
from tasks.extract.pages import Extracted
from tasks.job import Job
from tasks.run_report import RunReport
from tests.support.hostile import FAULTS, Fault, Scene, breaks_the_contract
from tests.support.systems import SIMULATED
from tests.sync.conftest import START, Shop, expected, run

SYSTEMS = (*SIMULATED, "custom")
#: One of each way to end; the contract suite has them all.
ENDING = [
    fault
    for fault in FAULTS
    if fault.name
    in (
        "repeated_cursor",
        "truncated",
        "broken_off",
        "error_in_200",
        "gzip_bomb",
        "redirect",
        "throttled_infinitely",
    )
]


def cursors(shop: Shop, system: str) -> dict[str, datetime]:
    with connect(shop.dsn) as connection:
        found = connection.execute(
            "SELECT stream, cursor_at FROM billing.sync_cursor WHERE system = %s ORDER BY 1",
            [system],
        ).fetchall()
    return dict(found)


def kept(shop: Shop) -> list[int]:
    """Sizes of the answers that were put aside."""
    with connect(shop.dsn) as connection:
        rows = connection.execute(
            "SELECT body_bytes FROM billing.raw_page WHERE stream LIKE 'unreadable:%' ORDER BY page_id"
        ).fetchall()
    return [size for (size,) in rows]


def hostile_job(shop: Shop, system: str, fault: Fault) -> Job:
    """A synchronisation whose every list answers with the fault."""
    serve, job = simulator.handler(shop.world, system), shop.job(system, page_size=3)
    job.spec = replace(job.spec, **fault.bounds)
    scene = Scene(system, job.spec.streams[0].records, lambda _: None)

    def spoiled(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        response = serve(request)
        return fault.spoil(scene, response) if response.is_success else response

    shop.before = spoiled
    return job


@pytest.mark.parametrize(
    ("number", "fault"), list(enumerate(ENDING)), ids=[fault.name for fault in ENDING]
)
def test_a_fault_moves_no_cursor_and_loses_nothing(shop: Shop, number: int, fault: Fault) -> None:
    """Each fault hits one of the systems, after a synchronisation that went well; the next one brings what was due."""
    system = SYSTEMS[number % len(SYSTEMS)]
    shop.sync(system)
    before, points = cursors(shop, system), shop.points()
    shop.world.evolve(steps=5, systems=(system,))
    with pytest.raises(ConnectorError, match=fault.says) as caught:
        run(hostile_job(shop, system, fault))
    assert (cursors(shop, system), shop.points()) == (before, points)
    assert len(kept(shop)) == fault.kept
    assert ("not what was agreed" in who_acts(caught.value)) == breaks_the_contract(fault)
    shop.before = lambda _: None
    shop.sync(system)
    assert shop.points() == expected(shop.world, system)
    assert all(cursors(shop, system)[stream] > at for stream, at in before.items())


def test_an_id_of_ten_megabytes_is_a_reject(shop: Shop) -> None:
    """No index holds it: the record is rejected, the run goes on."""
    serve = simulator.handler(shop.world, "custom")

    def spoiled(request: httpx.Request) -> httpx.Response:
        response = serve(request)
        if "token" in request.url.path:
            return response
        page = response.json()
        page["data"][0]["id"] = "9" * 10_000_000
        return httpx.Response(200, json=page)

    shop.before = spoiled
    _, loaded, _ = shop.sync("custom")
    assert loaded.stored.new == loaded.accepted > 80
    assert [reason for reason in loaded.reasons if "longer than 500 bytes" in reason]


def behind(shop: Shop, system: str, by: timedelta) -> Callable[[httpx.Request], httpx.Response]:
    """The vendor's answers, dated by its own clock."""
    serve = simulator.handler(shop.world, system)

    def dated(request: httpx.Request) -> httpx.Response:
        response = serve(request)
        response.headers["date"] = format_datetime(datetime.now(UTC) - by, usegmt=True)
        return response

    return dated


@pytest.mark.parametrize("system", [system for system in SYSTEMS if system != "netsuite"])
def test_a_clock_ahead_of_the_vendors_loses_no_sale(shop: Shop, system: str) -> None:
    """Ours is two days ahead, more than any overlap: what changes after a run carries times long before that run."""
    by = timedelta(days=2)
    shop.world = simulator.World(
        seed=11,
        customers=40,
        invoices=90,
        start=START,
        now=lambda: datetime.now(UTC) - by,
        systems=[system],
    )
    shop.before = behind(shop, system, by)
    for _ in range(2):
        extracted, _, _ = shop.sync(system)
        shop.world.evolve(steps=5, systems=(system,))
    shop.sync(system)
    assert shop.points() == expected(shop.world, system)
    ahead = [
        state["clock_ahead_seconds"]
        for state in extracted.streams.values()
        if "clock_ahead_seconds" in state
    ]
    assert ahead
    assert max(ahead) == pytest.approx(by.total_seconds(), abs=10)
    assert max(cursors(shop, system).values()) < datetime.now(UTC) - by + timedelta(seconds=30)


def test_a_clock_that_no_signature_forgives(shop: Shop) -> None:
    """NetSuite's signed requests carry the time: two days off is refused, and the message names the clock."""
    shop.world = simulator.World(
        seed=11, customers=4, invoices=9, now=lambda: datetime.now(UTC) - timedelta(days=2)
    )
    with pytest.raises(CredentialsRejected, match="clock more than 5 minutes off"):
        shop.sync("netsuite")
    assert cursors(shop, "netsuite") == {}


def test_a_clock_behind_the_vendors_only_overlaps_more(shop: Shop) -> None:
    shop.before = behind(shop, "xero", -timedelta(hours=2))
    extracted, _, _ = shop.sync("xero")
    assert not [state for state in extracted.streams.values() if "clock_ahead_seconds" in state]
    assert shop.points() == expected(shop.world, "xero")


def test_a_date_of_long_ago_never_moves_a_cursor_back(shop: Shop) -> None:
    """A proxy that says 1970: more is read again, and nothing is lost."""
    shop.sync("xero")
    before = cursors(shop, "xero")
    shop.before = behind(shop, "xero", datetime.now(UTC) - datetime(1970, 1, 2, tzinfo=UTC))
    shop.world.evolve(steps=5, systems=("xero",))
    shop.sync("xero")
    assert cursors(shop, "xero") == before
    assert shop.points() == expected(shop.world, "xero")


def test_the_report_says_so(shop: Shop) -> None:
    job = shop.job("xero")
    state = {
        "since": None,
        "until": None,
        "started_at": START.isoformat(),
        "complete": True,
        "clock_ahead_seconds": 7200,
    }
    report = RunReport(job, START, extracted=Extracted(1, {"invoices": state}))
    links = Links("http://run", "http://block", "xero")
    assert "7 200 s ahead of the vendor's" in markdown(report, links, "Xero")
    report.extracted = Extracted(1, {"invoices": {**state, "clock_ahead_seconds": 0}})
    assert "clock" not in markdown(report, links, "Xero")
