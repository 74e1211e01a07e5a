"""Points under the connection of the sale, also where another connection's run posts them."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import simulator
import tasks.sync
from panel.reports.sync_run import Links, markdown
from panel.runs.attempt_record import record_attempt
from sql import panel_pages
from sql.db import connect
from tasks.award.members import award_members
from tasks.run_report import RunReport
from tasks.sync import synchronise
from tests.sync.conftest import Shop

SYSTEMS = ("xero", "freshbooks")
NAMES = {(system, simulator.ACCOUNTS[system]): f"shop {system}" for system in SYSTEMS}


@pytest.fixture(autouse=True)
def both_have_sales(shop: Shop) -> None:
    """The run of Xero stores its sales and ends before it has posted points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.sync.award, "fn", no_award)
        with pytest.raises(psycopg.OperationalError):
            synchronise(shop.job("xero"))


def no_award(*_: object) -> None:
    raise psycopg.OperationalError


def sync(shop: Shop, system: str, **request: bool) -> RunReport:
    """A run of the connection, noted as flows note it."""
    job = shop.job(system, **request)
    job.run_id = f"run of {system}"
    report = synchronise(job)
    record_attempt(report, f"shop {system}", None)
    return report


def posted(shop: Shop) -> dict[str, int]:
    """Points in the ledger, by connection."""
    sums = dict.fromkeys(NAMES.values(), 0)
    for (system, _), points in shop.points().items():
        sums[f"shop {system}"] += points
    return sums


def shown(shop: Shop) -> dict[str, int]:
    """Points on the page "Sync status", by connection; "" is their sum."""
    since = datetime.now(UTC) - timedelta(days=1)
    with connect(shop.dsn) as connection:
        totals = panel_pages.totals(connection, since, NAMES)
        slots = panel_pages.over_time(connection, since, timedelta(hours=1))
    assert sum(slot.points for slot in slots) == totals[0].points
    return {row.connection: row.points for row in totals}


def attempts(shop: Shop) -> dict[str, int]:
    """Points of the attempts, by connection."""
    with connect(shop.dsn) as connection:
        return dict(
            connection.execute(
                "SELECT connection, sum(points)::bigint FROM analytics.sync_attempt GROUP BY 1"
            ).fetchall()
        )


def test_each_connection_counts_its_own_sales(shop: Shop) -> None:
    first = sync(shop, "freshbooks")
    ledger = posted(shop)
    assert all(ledger.values())
    assert shown(shop) == {"": sum(ledger.values()), **ledger}
    assert first.summary()["points"] == ledger["shop freshbooks"]
    assert first.summary()["points_for_others"] == ledger["shop xero"]
    assert "points for sales of other connections" in first.headline()
    assert "Points posted for sales of other connections" in report_of(first)

    second = sync(shop, "xero")  # finds nothing new, and tells what was posted for its sales
    assert second.summary()["points"] == second.summary()["points_by_others"] == ledger["shop xero"]
    assert "of them by other runs" in second.headline()
    assert "by runs of other connections" in report_of(second)
    assert attempts(shop) == ledger == posted(shop)

    third = sync(shop, "xero")  # and tells it once
    assert (third.summary()["points"], third.summary()["entries"]) == (0, 0)
    assert attempts(shop) == ledger


def test_a_dry_run_reports_nothing_away(shop: Shop) -> None:
    dry = sync(shop, "freshbooks", dry_run=True)
    assert dry.summary()["points"] > 0 and posted(shop) == dict.fromkeys(NAMES.values(), 0)
    sync(shop, "freshbooks")
    assert sync(shop, "xero", dry_run=True).summary()["points"] == 0
    sync(shop, "xero")
    assert attempts(shop) == posted(shop)


def test_a_recomputation_is_in_no_connections_attempts(shop: Shop) -> None:
    """It has its own entry in the audit log; the page counts it, for whose sales it was."""
    with connect(shop.dsn) as connection:
        connection.execute("INSERT INTO loyalty.member_dirty SELECT member_id FROM loyalty.member "
                           "ON CONFLICT DO NOTHING")  # fmt: skip
        connection.commit()
    job = shop.job("freshbooks")
    job.run_id = "recomputation"
    award_members(job, None)
    sync(shop, "xero")
    assert attempts(shop) == {"shop xero": 0}
    assert shown(shop)["shop xero"] == posted(shop)["shop xero"] > 0


def report_of(report: RunReport) -> str:
    return markdown(report, Links("run", "block", "name"), "Title")
