"""What takes points back.

Accepted where it can be understood, and said loudly where it cannot, with the points at stake.
"""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stamina
from cryptography.fernet import Fernet

from connectors.kit.described.documents import column_pointer
from connectors.kit.spec import Account
from panel.alerts.checks import due_alerts
from panel.reports.sync_run import Links, markdown
from settings import PROJECT_ROOT
from sql import refused
from sql.db import connect
from sql.sync import AccountKey
from tasks.job import Job, Policy
from tasks.run_report import RunReport
from tests.support.database import databases, with_older_rules
from tests.support.database import emptied as dsn
from tests.sync.conftest import run

__all__ = ["databases", "dsn"]
CASES = PROJECT_ROOT.parent / "shared" / "samples" / "field-cases"
KEY = Fernet.generate_key()
PHONE = "923 456 789"


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4):
        yield


class Till:
    """A folder of exports, and the ledger."""

    def __init__(self, dsn: str, folder: Path, **options: Any) -> None:
        self.dsn, self.folder, self.options = dsn, folder, options
        self.numbers = itertools.count()
        self.paths: dict[str, str] = {}
        self.currency: str | None = "AOA"

    def read(self, *documents: dict[str, Any]) -> RunReport:
        """One export with these documents, read as production reads it."""
        text = "\n".join(json.dumps(one) for one in documents)
        return self.read_file(f"{next(self.numbers):03}.ndjson", text.encode())

    def read_file(self, name: str, body: bytes) -> RunReport:
        (self.folder / name).write_bytes(body)
        settings = {"folder": str(self.folder), "settle_seconds": 0, **self.options}
        vendor = Account(
            "file", "caixa", default_currency=self.currency, options=settings, paths=self.paths
        )
        job = Job(self.dsn, vendor, key=KEY, run_id="test", policy=Policy(reject_percent_max=100))
        report = RunReport(job, datetime.now(UTC))
        report.extracted, report.loaded, report.awarded = run(job)
        with connect(self.dsn) as connection:
            report.corrections = refused.open_corrections(connection, AccountKey("file", "caixa"))
        return report

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with connect(self.dsn) as connection:
            return connection.execute(statement.encode()).fetchall()

    def points(self) -> dict[str, int]:
        return dict(
            self.rows("SELECT external_id, sum(points)::int FROM loyalty.award_entry GROUP BY 1")
        )

    def refused(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT external_id, points_at_stake FROM analytics.refused_correction WHERE resolved_at IS NULL ORDER BY 1"
        )

    def notes(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT external_id, note FROM analytics.sale_note ORDER BY 1, 2")


@pytest.fixture
def till(dsn: str, tmp_path: Path) -> Till:
    with_older_rules(dsn)  # each credit takes its points itself: what it says can be seen
    return Till(dsn, tmp_path)


def sale(key: str = "L1", total: Any = 100, **more: Any) -> dict[str, Any]:
    return {
        "id": key,
        "customer_phone": PHONE,
        "total": total,
        "sale_date": "2026-01-02",
        "status": "paid",
        **more,
    }


@pytest.mark.skipif(not CASES.exists(), reason="the samples are not beside the project")
class TestFieldCases:
    def test_a_refund_a_cent_above_the_sale(self, till: Till) -> None:
        folder = CASES / "refund-a-cent-above-the-sale"
        till.read_file("a.ndjson", (folder / "a-events.ndjson").read_bytes())
        assert till.points()["L4"] == 599
        till.read_file("b.ndjson", (folder / "b-refund.ndjson").read_bytes())
        assert (till.points()["L4"], till.points().get("L3", 0)) == (0, 0)
        assert {key for key, _ in till.notes()} == {"L3", "L4"}
        assert till.refused() == []

    def test_negative_credit_notes(self, till: Till) -> None:
        folder = CASES / "negative-credit-notes"
        said = json.loads((folder / "f08.cfg.json").read_text())
        till.paths = {
            name: column_pointer(path) for name, path in said.pop("field_mapping").items()
        }
        till.options = said
        till.read_file("f08.csv", (folder / "f08.csv").read_bytes())
        assert till.points() == {"FT 1": 15000, "NC 1": -5000}


@pytest.mark.parametrize(
    ("total", "refunded", "points"),
    [
        (100, 100.99, 0),  # within one unit of the currency
        (100, 101, 0),
        (100_000, 100_900, 0),  # within one per cent
        (100, -40, 600),  # the sign does not matter
        (0, 0.5, 0),
    ],
)
def test_a_little_too_much_is_all_of_it(
    till: Till, total: float, refunded: float, points: int
) -> None:
    till.read(sale(total=total))
    report = till.read(sale(total=total, amount_refunded=refunded))
    assert till.points().get("L1", 0) == points
    assert (report.loaded.rejected if report.loaded else None, till.refused()) == (0, [])
    noted = refunded > total
    assert [key for key, _ in till.notes()] == (["L1"] if noted else [])
    assert ("Read with a note" in markdown(report, Links("", "", "caixa"), "Files")) is noted


def test_far_too_much_is_refused_loudly(till: Till) -> None:
    """The old points stand, and nobody can overlook it: report, headline, alert, view."""
    till.read(sale(), sale("L2", 50))
    report = till.read(sale(amount_refunded=150), sale("L3", total="nada"))
    assert till.points() == {"L1": 1000, "L2": 500}
    assert till.refused() == [("L1", 1000)]
    assert till.rows("SELECT external_id, class FROM billing.reject ORDER BY 1") == [
        ("L1", "correction"),
        ("L3", "record"),
    ]
    text = markdown(report, Links("", "", "caixa"), "Files")
    assert "1 refused correction, 1 000 points at stake" in report.headline()
    assert text.index("Corrections that were refused") < text.index("What came of it")
    assert "| L1 | 1 000 | Amount refunded" in text
    (event,) = [
        one
        for one in due_alerts(till.dsn, datetime.now(UTC))
        if one.event == "twezah.corrections.refused"
    ]
    assert "1 000 points at stake" in event.what
    assert "L1" in event.what
    # Corrected: it is over, and the points follow.
    report = till.read(sale(amount_refunded=100))
    assert (till.points()["L1"], till.refused(), report.corrections) == (0, [], [])
    assert not [
        one
        for one in due_alerts(till.dsn, datetime.now(UTC))
        if one.event == "twezah.corrections.refused"
    ]


#: Versions of an accepted sale that take it back, each with something that a new sale would be
#: refused for.
VOIDS = {
    "nothing but the id": {"id": "L1", "status": "void"},
    "no phone": sale(status="void", customer_phone=None),
    "a phone that cannot be": sale(status="void", customer_phone="s/n"),
    "no date": sale(status="void", sale_date=None),
    "a date that cannot be": sale(status="void", sale_date="31/31/2026"),
    "a date far ahead": sale(status="void", sale_date="2099-12-31"),
    "no total": sale(status="void", total=None),
    "a total that cannot be": sale(status="void", total="anulada"),
    "a negative total": sale(status="void", total=-100),
    "paid more than the total": sale(status="void", total=0, amount_paid=100),
    "refunded more than the total": sale(status="void", total=0, amount_refunded=100),
    "an unknown currency": sale(status="void", currency="XXX"),
    "a broken tax": sale(status="void", tax_total="n/a"),
    "no customer": sale(status="void", customer_phone="", customer_id=""),
}


@pytest.mark.parametrize("case", VOIDS)
def test_a_void_needs_nothing_but_the_id(till: Till, case: str) -> None:
    till.read(sale(), sale("L2"))
    report = till.read(VOIDS[case], sale("L2"))
    assert till.points() == {"L1": 0, "L2": 1000}
    assert till.rows("SELECT count(*) FROM billing.reject WHERE resolved_at IS NULL") == [(0,)]
    assert report.loaded is not None
    assert report.loaded.rejected == 0


def test_a_void_in_the_same_export_as_its_sale(till: Till) -> None:
    till.read(sale(), {"id": "L1", "status": "void"})
    assert till.points().get("L1", 0) == 0
    assert till.rows("SELECT status FROM billing.invoice") == [("void",)]


def test_a_void_of_a_sale_that_nobody_knows_is_a_usual_reject(till: Till) -> None:
    till.read({"id": "L9", "status": "void"})
    assert till.rows("SELECT external_id, class FROM billing.reject") == [("L9", "record")]
    # And one that makes an earlier refusal pointless ends it.
    till.read(sale())
    till.read(sale(amount_refunded=150))
    assert till.refused() == [("L1", 1000)]
    till.read({"id": "L1", "status": "void"})
    assert (till.points(), till.refused()) == ({"L1": 0}, [])


REFUNDS = {
    "no phone": sale(amount_refunded=40, customer_phone=None),
    "a phone that cannot be": sale(amount_refunded=40, customer_phone="n/a"),
    "no date": sale(amount_refunded=40, sale_date=None),
    "a lower total": sale(total=60, customer_phone=None),
    "its customer's number alone": sale(total=60, customer_phone=None, customer_id="c1"),
}


@pytest.mark.parametrize("case", REFUNDS)
def test_a_refund_has_what_it_leaves_out_from_its_sale(till: Till, case: str) -> None:
    till.read(sale(customer_id="c1"))
    till.read(REFUNDS[case])
    assert till.points() == {"L1": 600}
    assert till.refused() == []
    assert [key for key, _ in till.notes()] == ["L1"]
    # It is still the sale of a day, whose tiers and promotions are those of the day.
    assert till.rows("SELECT time_known FROM billing.invoice") == [(False,)]


#: What cannot be understood keeps the old points, and says so.
REFUSED = {
    "an unknown word": sale(status="ANULADA"),
    "another customer without a phone": sale(total=60, customer_phone=None, customer_id="c2"),
    "no phone, and more than before": sale(total=200, customer_phone=None),
    "an amount that cannot be": sale(total=60, amount_refunded="vinte"),
    "a negative total": sale(total=-20),
    "a date far ahead": sale(total=60, sale_date="2099-12-31"),
    "an unknown currency": sale(total=60, currency="ZZZ"),
    "no amount": sale(total=None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_understood_is_refused_with_the_points_at_stake(
    till: Till, case: str
) -> None:
    till.read(sale(customer_id="c1"))
    till.read(REFUSED[case])
    assert till.points() == {"L1": 1000}
    assert till.refused() == [("L1", 1000)]


def test_an_edit_whose_points_cannot_be_computed_is_a_refused_correction_as_well(
    till: Till,
) -> None:
    """The award step's rejects leave old points standing too."""
    with connect(till.dsn) as opened:
        opened.execute(
            "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier)"
            " SELECT 2, '2020-01-01', base_rate_bps - 'JPY', tier_rate_bps, entry_tier FROM loyalty.program WHERE version = 1"
        )
        opened.commit()
    till.read(sale(), sale("L2", currency="JPY"))
    till.read(sale(total=50, currency="JPY"))
    assert till.points()["L1"] == 1000
    assert till.refused() == [("L1", 1000)]
    assert till.rows("SELECT class FROM billing.reject WHERE external_id = 'L2'") == [("record",)]


CREDITS = {
    "positive": (40, 35, None),
    "negative": (-40, -35, None),
    "negative total, positive subtotal": (-40, 35, None),
    "positive total, negative subtotal": (40, -35, None),
    "negative paid": (40, 35, -40),
}


@pytest.mark.parametrize("case", CREDITS)
@pytest.mark.parametrize("kind", ["credit_note", "refund"])
def test_a_credits_sign_does_not_matter(till: Till, case: str, kind: str) -> None:
    total, subtotal, paid = CREDITS[case]
    till.paths = {"kind": "/kind"}
    till.read(
        sale(kind="invoice"), sale("N1", total, kind=kind, subtotal=subtotal, amount_paid=paid)
    )
    assert till.points() == {"L1": 1000, "N1": -400}
    assert till.rows(
        "SELECT total_minor, subtotal_minor FROM billing.invoice WHERE external_id = 'N1'"
    ) == [(4000, 3500)]


LINES = {
    "negative amounts": ([-30, -10], [1, 1]),
    "negative pieces": ([-30, -10], [-1, -1]),
    "positive": ([30, 10], [1, 1]),
    "mixed": ([-30, 10], [-1, 1]),
    "with a discount": ([-50, 10], [-1, 1]),
}


@pytest.mark.parametrize("totals", ["as written", "sum of the lines"])
@pytest.mark.parametrize("case", LINES)
def test_lines_of_credits_of_either_sign(till: Till, case: str, totals: str) -> None:
    amounts, pieces = LINES[case]
    till.paths, till.options = {"kind": "/kind"}, {"totals": totals}
    lines = [
        {"sku": "A", "amount": amount, "quantity": n}
        for amount, n in zip(amounts, pieces, strict=True)
    ]
    if case == "mixed" and totals == "sum of the lines":
        pytest.skip("without a total nothing says that both lines were sold")
    till.read(sale(kind="invoice", lines=[{"sku": "A", "amount": 100, "quantity": 4}]))
    till.read(sale("N1", -40, kind="credit_note", lines=lines))
    assert till.points() == {"L1": 1000, "N1": -400}
    found = till.rows(
        "SELECT sum(amount_minor)::int FROM billing.invoice_line JOIN billing.invoice USING (page_id, record_no) WHERE external_id = 'N1'"
    )
    assert found == [(4000,)]


def test_a_credit_without_a_phone_is_its_customers(till: Till) -> None:
    till.paths = {"kind": "/kind"}
    till.read(sale(kind="invoice", customer_id="c1"), sale("L2", kind="invoice", customer_id="c2"))
    till.read(sale("N1", 40, kind="credit_note", customer_id="c1", customer_phone=None))
    assert till.points() == {"L1": 1000, "L2": 1000, "N1": -400}
    # Nobody's credit is refused as loudly, though no stored sale is named.
    till.read(sale("N2", 40, kind="credit_note", customer_id="c9", customer_phone=None))
    assert till.refused() == [("N2", None)]


def test_lists_of_refunds_are_added_up(till: Till) -> None:
    till.paths = {"amount_refunded_minor": "/refunds/*/amount"}
    till.read(sale())
    till.read(sale(refunds=[{"amount": 10}, {"amount": "20.50"}, {"amount": None}, {}]))
    assert till.points() == {"L1": 695}
    till.read(sale(refunds=[{"amount": "-10.00"}, {"amount": "-90.01"}]))
    assert till.points() == {"L1": 0}
    till.read(sale(refunds=[]))
    assert till.points() == {"L1": 1000}
    till.read(sale(refunds=[{"amount": "dez"}]))
    assert till.refused() == [("L1", 1000)]
