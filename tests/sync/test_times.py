"""Times of change that cannot be right: the document can be corrected all the same, and it is said."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.kit.spec import Account
from sql.db import connect
from tasks.sync import synchronise
from tests.sync.conftest import Shop, expected
from tests.sync.test_custom import ERP_OPTIONS, ERP_PATHS, Erp, connection, document, job, sales
from tests.sync.test_drift import Altered
from tests.sync.test_pipeline import rows_of

#: Per system how a record says when it was changed.
STAMPS: dict[str, Callable[[dict[str, Any], datetime], None]] = {
    "quickbooks": lambda record, at: record["MetaData"].update(LastUpdatedTime=at.isoformat()),
    "xero": lambda record, at: record.update(
        UpdatedDateUTC=f"/Date({int(at.timestamp() * 1000)}+0000)/"
    ),
    "freshbooks": lambda record, at: record.update(updated=f"{at:%Y-%m-%d %H:%M:%S}"),
    "shopify": lambda record, at: record.update(updatedAt=at.isoformat()),
}
FAR = datetime(2062, 1, 24, 10, tzinfo=UTC)
#: From then on everything is read, so that only what is stored decides.
EVER = datetime(1960, 1, 1, tzinfo=UTC)
CHANGED = "SELECT external_id, updated_at, claimed_at FROM billing.invoice ORDER BY 1"


def erp_of() -> Account:
    statuses = {"Emitida": "open", "Anulada": "void"}
    options = ERP_OPTIONS | {"statuses": statuses}
    return connection(options, paths=ERP_PATHS, page_size=2, timezone="Africa/Luanda")


@pytest.mark.parametrize("system", STAMPS)
def test_what_was_changed_in_2062_is_edited_voided_and_deleted_today(
    shop: Shop, system: str
) -> None:
    shop.before = Altered(shop, system, lambda record: STAMPS[system](record, FAR))
    _, loaded, _ = shop.sync(system)
    assert shop.points() == expected(shop.world, system)
    assert loaded.ahead > 20 and {at.year for at in loaded.ahead_documents.values()} == {2062}
    assert rows_of(shop, "SELECT count(*) FROM billing.invoice WHERE updated_at > now()") == [(0,)]
    assert rows_of(
        shop, "SELECT count(*) > 20 FROM billing.invoice WHERE claimed_at > '2062-01-24'"
    ) == [(True,)]
    assert rows_of(shop, "SELECT count(*) FROM billing.sync_cursor WHERE cursor_at > now()") == [
        (0,)
    ]
    before = rows_of(shop, CHANGED)
    _, loaded, awarded = shop.sync(system)
    assert (loaded.stored.new, loaded.stored.changed, awarded.entries) == (0, 0, 0), (
        "again: nothing"
    )
    assert rows_of(shop, CHANGED) == before

    shop.before = lambda _: None
    shop.world.evolve(steps=15, systems=(system,))
    shop.sync(system)
    assert shop.points() == expected(shop.world, system)
    # What is stored is what was fetched last, however often and in which order the pages are read
    # again.
    shop.sync(system, replay=True)
    assert shop.points() == expected(shop.world, system)
    shop.sync(system, replay=True, until=datetime.now(UTC) - timedelta(seconds=1))
    assert shop.points() == expected(shop.world, system)


#: Times of change, one after the other, of versions that are read in this order; all but the last
#: are wrong somehow.
CLOCKS = {
    "far ahead": [FAR, datetime.now(UTC)],
    "an hour ahead, then right": [datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC)],
    "the clocks went back": [
        datetime(2026, 11, 1, 5, 50, tzinfo=UTC),
        datetime(2026, 11, 1, 5, 10, tzinfo=UTC),
    ],
    "set back by a day": [datetime(2026, 5, 2, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)],
    "ahead for ever": [FAR, FAR + timedelta(days=1), FAR],
    "no time at all": [datetime(2026, 5, 1, tzinfo=UTC)] * 3,
    "1970": [datetime(2026, 5, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)],
}


@pytest.mark.parametrize("times", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("ending", ["edited", "void"])
def test_what_was_fetched_last_counts_whatever_the_vendors_clock_says(
    dsn: str, times: list[datetime], ending: str
) -> None:
    erp = Erp([])

    def version(number: int, at: datetime) -> dict[str, Any]:
        stamp = f"/Date({int(at.timestamp() * 1000)})/"
        return document(1, f"{100 + number},00", alterado=stamp)

    for number, at in enumerate(times):
        erp.documents = [version(number, at)]
        if ending == "void" and number == len(times) - 1:
            erp.documents[0]["estado"] = "Anulada"
        report = synchronise(job(dsn, erp_of(), erp, since=EVER))
        assert report.summary()["older"] == 0
    right = {} if ending == "void" else {"FT A/1": 10 * (100 + len(times) - 1)}
    assert sales(dsn) == right
    for _ in range(2):
        report = synchronise(job(dsn, erp_of(), erp, since=EVER))
        assert (report.summary()["changed"], report.summary()["entries"]) == (0, 0)
    # Replaying all pages, or the first one alone, undoes nothing: when a page was fetched decides,
    # not when it is replayed.
    first = datetime.now(UTC)
    with connect(dsn) as connection:
        row = connection.execute(
            "SELECT min(fetched_at) FROM billing.raw_page WHERE stream NOT LIKE '%customer%'"
        ).fetchone()
        assert row is not None
        first = row[0]
    for until in (first + timedelta(microseconds=1), None):
        synchronise(job(dsn, erp_of(), erp, replay=True, until=until))
        assert sales(dsn) == right


def test_rows_that_are_frozen_already_are_corrected_by_the_next_version_or_by_a_replay(
    dsn: str,
) -> None:
    """As an earlier release left them: stored with the vendor's time, a later void ignored."""
    erp = Erp([document(1, "100,00")])
    synchronise(job(dsn, erp_of(), erp, since=EVER))
    with connect(dsn) as connection:
        connection.execute("UPDATE billing.invoice SET updated_at = '2062-01-24'")
        connection.commit()
    erp.documents = [document(1, "0,00", estado="Anulada")]
    synchronise(job(dsn, erp_of(), erp, since=EVER))
    assert sales(dsn) == {}
    with connect(dsn) as connection:  # the void was read, and called unchanged
        connection.execute("DELETE FROM billing.invoice_line")
        connection.execute(
            "UPDATE billing.invoice SET updated_at = '2062-01-24', status = 'open', total_minor = 10000,"
            " page_id = (SELECT min(page_id) FROM billing.raw_page)"
        )
        connection.commit()
    synchronise(job(dsn, erp_of(), erp, replay=True))
    assert sales(dsn) == {}


def test_an_older_payload_that_comes_late_is_said_and_left_out(dsn: str) -> None:
    """A page that was asked for before the newer version had arrived: two readers at once."""
    erp = Erp([document(1, "100,00")])
    synchronise(job(dsn, erp_of(), erp, since=EVER))
    with connect(dsn) as connection:
        connection.execute("UPDATE billing.raw_page SET fetched_at = now() + interval '1 minute'")
        connection.commit()
    erp.documents = [document(1, "90,00", alterado="/Date(1777600000000)/")]
    report = synchronise(job(dsn, erp_of(), erp, since=EVER))
    assert report.loaded is not None
    assert (report.summary()["older"], report.loaded.stored.older_documents) == (1, ["FT A/1"])
    assert report.summary()["unchanged"] == 0
    assert sales(dsn) == {"FT A/1": 1000}


def test_a_cursor_in_the_future_reads_everything_and_comes_back(shop: Shop) -> None:
    """Our own clock was ahead while nobody could tell us."""
    shop.sync("xero")
    with connect(shop.dsn) as connection:
        connection.execute("UPDATE billing.sync_cursor SET cursor_at = '2062-01-24'")
        connection.commit()
    shop.world.evolve(steps=10, systems=("xero",))
    shop.sync("xero")
    assert shop.points() == expected(shop.world, "xero")
    assert rows_of(shop, "SELECT count(*) FROM billing.sync_cursor WHERE cursor_at > now()") == [
        (0,)
    ]


def test_a_deletion_with_a_time_ahead_does_not_freeze_the_document(shop: Shop) -> None:
    """It is void, and a restored one with today's time counts again."""
    shop.sync("quickbooks")
    shop.world.evolve(steps=20, systems=("quickbooks",))

    def later(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("/cdc"):
            return None
        answer = altered.serve(request)
        text = answer.text.replace(f"{datetime.now(UTC):%Y-}", "2062-")
        return httpx.Response(
            answer.status_code, text=text, headers={"content-type": "application/json"}
        )

    altered = Altered(shop, "quickbooks", lambda _: None)
    shop.before = later
    shop.sync("quickbooks")
    assert shop.points() == expected(shop.world, "quickbooks")
    assert rows_of(
        shop, "SELECT count(*) FROM billing.invoice WHERE updated_at > now() + interval '1 hour'"
    ) == [(0,)]
