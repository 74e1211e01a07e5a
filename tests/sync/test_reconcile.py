"""The books held against the simulated billing systems, and made right again."""

from datetime import UTC, datetime, timedelta

import pytest

import simulator
from connectors import DESCRIBED
from panel.reports.reconcile import markdown
from sql.db import connect
from tasks.reconcile.points_due import TooManyPointsError, check_points, recompute
from tasks.reconcile.vendor import Reconciled, listed_since, reconcile_vendor
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import START, Shop, expected

__all__ = ["databases", "dsn"]
SINCE, UNTIL = START - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
SYSTEMS = sorted(set(simulator.SYSTEMS) - {"file"})


def look(shop: Shop, system: str) -> Reconciled:
    return reconcile_vendor(shop.job(system, since=listed_since(SINCE), dry_run=True), SINCE, UNTIL)


def execute(shop: Shop, statement: str) -> int:
    with connect(shop.dsn) as connection:
        count = connection.execute(statement.encode()).rowcount
        connection.commit()
    return count


@pytest.mark.parametrize("system", SYSTEMS)
def test_after_a_synchronisation_nothing_differs(shop: Shop, system: str) -> None:
    shop.world.evolve(4, systems=(system,))
    before = look(shop, system)
    assert 0 < before.repairable <= before.documents, "nothing is in the books yet"
    shop.sync(system)
    counts = shop.counts()
    found = look(shop, system)
    assert (found.repairable, shop.counts()) == (0, counts), "and nothing is kept"
    assert all(one.what.startswith("rejected") for one in found.differences), found.differences
    assert found.documents > 20
    same = found.days.filter(found.days["vendor_documents"] == found.days["documents"])
    assert same.height + len(found.differences) >= found.days.height


def test_what_is_wrong_is_named_and_reading_again_corrects_it(shop: Shop) -> None:
    shop.sync("xero")
    right = shop.ledger()
    assert look(shop, "xero").count == sum(
        one.what.startswith("rejected") for one in look(shop, "xero").differences
    )
    first = "(SELECT external_id FROM billing.invoice WHERE status IN ('open', 'paid') AND kind = 'invoice' ORDER BY 1 LIMIT 1)"
    assert (
        execute(
            shop,
            f"UPDATE billing.invoice SET total_minor = total_minor + 100 WHERE external_id = {first}",
        )
        == 1
    )
    assert (
        execute(
            shop,
            "DELETE FROM billing.invoice WHERE external_id = (SELECT max(external_id) FROM billing.invoice WHERE status = 'open')",
        )
        == 1
    )
    found = look(shop, "xero")
    wrong = [one for one in found.differences if one.repair]
    assert sorted(one.what.split(":")[0] for one in wrong) == ["not in our books", "total_minor"]
    assert found.repairable == 2
    page = markdown("xero", SINCE, UNTIL, found, check_points(shop.dsn), "looked at")
    assert "not in our books" in page and "-100" not in page and "+100" in page
    assert not any(phone[4:] in page for (_, _, _, phone, _) in right)

    points = check_points(shop.dsn)
    assert len(points.members) in (1, 2), "who has points for what is stored otherwise"
    shop.sync("xero", since=listed_since(SINCE))
    assert look(shop, "xero").repairable == 0
    recompute(shop.dsn, "repair", dry_run=False, confirm=10**9)
    assert shop.ledger() == right
    assert check_points(shop.dsn).members == []


def test_points_that_differ_are_posted_once_and_only_if_meant(shop: Shop) -> None:
    shop.sync("quickbooks")
    assert check_points(shop.dsn).to_text().startswith("points posted are the points due")
    right = shop.points()
    execute(
        shop,
        "UPDATE billing.invoice SET total_minor = total_minor * 2 WHERE status IN ('open', 'paid') AND kind = 'invoice'",
    )
    found, nothing = recompute(shop.dsn, "look")
    assert (nothing.entries, shop.points()) == (0, right)
    assert found.added > 0 and found.taken == 0 and found.largest[0][2] > found.largest[0][1]
    one = found.largest[0][0]
    recompute(shop.dsn, "one", [one], dry_run=False, confirm=10**9)
    assert one not in check_points(shop.dsn).members
    with pytest.raises(TooManyPointsError, match="confirm"):
        recompute(shop.dsn, "too many", dry_run=False)
    for run_id in ("first", "again"):
        recompute(shop.dsn, run_id, dry_run=False, confirm=10**9)
    with connect(shop.dsn) as connection:
        runs = {
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT run_id FROM loyalty.award_entry"
            ).fetchall()
        }
    assert {"one", "first"} <= runs and "again" not in runs
    assert sum(shop.points().values()) > sum(right.values())
    assert expected(shop.world, "quickbooks") == right


def test_only_a_dry_run_compares(shop: Shop) -> None:
    assert "custom" in DESCRIBED
    with pytest.raises(ValueError, match="dry run"):
        reconcile_vendor(shop.job("xero"), SINCE, UNTIL)
