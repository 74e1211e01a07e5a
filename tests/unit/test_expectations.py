"""Each expectation catches its own bad row and names it; good batches, empty ones and exact integers pass."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from expectations import FAILED, Report, validate_awards, validate_each, validate_invoices
from loyalty.schema import INVOICE, KINDS, STATUSES, UTC_US

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)

AWARD = pl.Schema(
    {
        "system": pl.String,
        "account": pl.String,
        "external_id": pl.String,
        "member_id": pl.Int64,
        "entry_no": pl.Int32,
        "due_before": pl.Int64,
        "due_after": pl.Int64,
        "points": pl.Int64,
        "breakdown": pl.String,
        "program_version": pl.Int32,
        "event_at": UTC_US,
    }
)


def invoice(number: int = 1, **changes: object) -> dict[str, object]:
    """A good invoice row, with changes."""
    row: dict[str, object] = {
        "system": "xero",
        "account": "tenant",
        "external_id": f"id-{number}",
        "invoice_number": f"INV-{number:03}",
        "kind": "invoice",
        "customer_external_id": "c1",
        "customer_phone": "+244923456789",
        "currency": "AOA",
        "total_minor": 15_000,
        "subtotal_minor": 15_000,
        "tax_minor": 0,
        "amount_paid_minor": 15_000,
        "amount_refunded_minor": None,
        "status": "paid",
        "issued_at": NOW - timedelta(days=1),
        "updated_at": NOW,
        "page_id": 1,
        "record_no": number,
    }
    return row | changes


def award(number: int = 1, **changes: object) -> dict[str, object]:
    """A good award row, with changes."""
    row: dict[str, object] = {
        "system": "xero",
        "account": "tenant",
        "external_id": f"id-{number}",
        "member_id": 7,
        "entry_no": 1,
        "due_before": 0,
        "due_after": 1500,
        "points": 1500,
        "breakdown": '{"base": 1500}',
        "program_version": 1,
        "event_at": NOW,
    }
    return row | changes


def check_invoices(*rows: dict[str, object]) -> Report:
    return validate_invoices(pl.DataFrame(list(rows), schema=INVOICE), now=NOW)


def check_awards(*rows: dict[str, object]) -> Report:
    return validate_awards(pl.DataFrame(list(rows), schema=AWARD))


def verdicts(report: Report) -> list[tuple[int, str, str]]:
    return report.failed.select("row_no", "column", "reason").rows()


MISSING = "missing"
INVOICE_FAILURES: list[tuple[str, object, str, str]] = [
    *(
        (column, None, column, MISSING)
        for column in ("system", "account", "external_id", "kind", "customer_phone", "currency")
    ),
    *(
        (column, None, column, MISSING)
        for column in ("total_minor", "status", "issued_at", "updated_at")
    ),
    *(
        ("customer_phone", phone, "customer_phone", "bad_format")
        for phone in (
            "244923456789",
            "+0244923456",
            "+24492",
            "+1234567890123456",
            "+244 923 456",
            "",
            "+244923456789\n",
        )
    ),
    ("kind", "bill", "kind", "not_allowed"),
    ("kind", "", "kind", "not_allowed"),
    ("status", "PAID", "status", "not_allowed"),
    *(("currency", code, "currency", "bad_format") for code in ("aoa", "AO", "AOAA", "", "AOA\n")),
    ("total_minor", -1, "total_minor", "out_of_range"),
    ("total_minor", 10**15 + 1, "total_minor", "out_of_range"),
    ("amount_refunded_minor", -1, "amount_refunded_minor", "out_of_range"),
    ("amount_refunded_minor", 15_001, "amount_refunded_minor", "exceeds_total"),
    ("issued_at", datetime(1999, 12, 31, 23, tzinfo=UTC), "issued_at", "out_of_range"),
    ("issued_at", NOW + timedelta(days=2, microseconds=1), "issued_at", "out_of_range"),
]


@pytest.mark.parametrize(("field", "value", "column", "reason"), INVOICE_FAILURES)
def test_invoice_expectation_names_its_row(
    field: str, value: object, column: str, reason: str
) -> None:
    """One bad row among good ones fails exactly one expectation, by position, column and reason."""
    report = check_invoices(invoice(1), invoice(2, **{field: value}), invoice(3))
    # A refund of nothing still exceeds a negative total.
    also = (
        [(1, "amount_refunded_minor", "exceeds_total")]
        if value == -1 and field == "total_minor"
        else []
    )
    assert verdicts(report) == [(1, column, reason), *also]
    assert report.failed_rows.to_list() == [1]
    assert sum(result.failed for result in report.results) == report.failed.height


AWARD_FAILURES: list[tuple[dict[str, object], str, str]] = [
    *(({column: None}, column, MISSING) for column in AWARD),
    ({"entry_no": 0}, "entry_no", "out_of_range"),
    ({"program_version": 0}, "program_version", "out_of_range"),
    ({"points": 1499}, "points", "bad_arithmetic"),
    ({"points": 0, "due_after": 0}, "points", "not_allowed"),
    ({"points": 10**12 + 1, "due_after": 10**12 + 1}, "points", "out_of_range"),
    ({"points": -(10**12) - 1, "due_after": -(10**12) - 1}, "points", "out_of_range"),
    ({"due_before": 10**15 + 1, "due_after": 10**15, "points": -1}, "due_before", "out_of_range"),
    (
        {"due_before": -(10**15), "due_after": -(10**15) - 1, "points": -1},
        "due_after",
        "out_of_range",
    ),
]


@pytest.mark.parametrize(("changes", "column", "reason"), AWARD_FAILURES)
def test_award_expectation_names_its_row(
    changes: dict[str, object], column: str, reason: str
) -> None:
    """One bad row among good ones fails exactly one expectation, by position, column and reason."""
    report = check_awards(award(1), award(2, **changes), award(3))
    assert verdicts(report) == [(1, column, reason)]


def test_every_expectation_is_tested() -> None:
    """The tables above miss no expectation but uniqueness, which takes two rows and has its own test."""
    for report, tested in (
        (check_invoices(invoice()), {(column, reason) for *_, column, reason in INVOICE_FAILURES}),
        (check_awards(award()), {(column, reason) for *_, column, reason in AWARD_FAILURES}),
    ):
        assert {(r.column, r.reason) for r in report.results if r.reason != "duplicate"} == tested


def test_duplicates_fail_together() -> None:
    """No order decides between two rows of one key; the same id in another account is another document."""
    report = check_invoices(invoice(1), invoice(2), invoice(1), invoice(1, account="other"))
    assert verdicts(report) == [(0, "external_id", "duplicate"), (2, "external_id", "duplicate")]
    assert verdicts(check_awards(award(1), award(1), award(1, entry_no=2))) == [
        (0, "entry_no", "duplicate"),
        (1, "entry_no", "duplicate"),
    ]


def test_good_batches_pass() -> None:
    """Every kind and status, the bounds themselves, refunds up to the total, negative corrections."""
    kinds = [invoice(n, kind=kind) for n, kind in enumerate(KINDS)]
    statuses = [invoice(10 + n, status=status) for n, status in enumerate(STATUSES)]
    edges = [
        invoice(20, total_minor=0, amount_refunded_minor=0),
        invoice(21, total_minor=10**15, amount_refunded_minor=10**15),
        invoice(22, issued_at=datetime(2000, 1, 1, tzinfo=UTC)),
        invoice(23, issued_at=NOW + timedelta(days=2)),
        invoice(24, customer_phone="+12345678"),
        invoice(25, customer_phone="+123456789012345"),
    ]
    assert check_invoices(*kinds, *statuses, *edges).ok
    assert check_awards(
        award(1), award(2, due_before=1500, due_after=0, points=-1500, entry_no=2)
    ).ok


def test_each_validation_has_its_own_bound() -> None:
    """What one validation's clock allows is neither allowed nor refused by the next one's."""
    frame = pl.DataFrame([invoice(issued_at=NOW + timedelta(days=3))], schema=INVOICE)
    clocks = [NOW + timedelta(days=5), NOW, NOW + timedelta(days=1)]
    assert [validate_invoices(frame, now=clock).ok for clock in clocks] == [True, False, True]


@pytest.mark.parametrize("status", ["draft", "void"])
def test_phone_is_not_needed_where_nothing_is_earned(status: str) -> None:
    """A void or draft without a phone is kept, but a malformed phone is not."""
    assert check_invoices(invoice(status=status, customer_phone=None)).ok
    assert not check_invoices(invoice(status=status, customer_phone="123")).ok


@pytest.mark.parametrize("report", [check_invoices, check_awards])
def test_empty_frame_passes(report: Callable[[], Report]) -> None:
    """No rows: no failures, the expectations are still listed."""
    empty = report()
    assert empty.ok
    assert empty.checked == 0
    assert empty.failed.schema == FAILED
    assert {(result.checked, result.failed) for result in empty.results} == {(0, 0)}


def test_all_null_columns_are_named_not_raised() -> None:
    """A mapping that fills nothing is reported expectation by expectation."""
    report = check_invoices(dict.fromkeys(INVOICE))
    required = {
        r.column for r in report.results if r.reason == MISSING and r.column != "customer_phone"
    }
    assert {(0, column, MISSING) for column in required} == set(verdicts(report))


def test_integers_stay_exact_beside_nulls() -> None:
    """2^53 + 1 is no float: nulls elsewhere in the column must not round it."""
    beyond = 2**53 + 1
    low = award(1, due_before=beyond, due_after=beyond + 1, points=1, member_id=beyond)
    null = award(2, due_before=None, member_id=None)
    report = check_awards(low, null, award(3, member_id=beyond - 1), award(3, member_id=beyond))
    assert (0, "points", "bad_arithmetic") not in verdicts(report)
    assert "duplicate" not in report.failed["reason"].to_list()
    off_by_one = award(1, due_before=beyond, due_after=beyond, points=1)
    assert (0, "points", "bad_arithmetic") in verdicts(check_awards(off_by_one, null))
    total = check_invoices(
        invoice(1, total_minor=10**15, amount_refunded_minor=10**15 + 1),
        invoice(2, total_minor=None),
    )
    assert (0, "amount_refunded_minor", "exceeds_total") in verdicts(total)


def test_report_is_ordered_and_holds_no_values() -> None:
    """Failures come by row, results in the suite's order, and neither quotes personal data."""
    bad = [invoice(n, customer_phone="999-secret", currency="zz") for n in range(3)]
    report = check_invoices(*bad)
    assert report.failed["row_no"].to_list() == [0, 0, 1, 1, 2, 2]
    assert [r.column for r in report.results] == [
        r.column for r in check_invoices(invoice()).results
    ]
    assert "999" not in f"{report.failed.rows()}{report.results}"
    phone = next(
        r for r in report.results if (r.column, r.reason) == ("customer_phone", "bad_format")
    )
    assert (phone.checked, phone.failed) == (3, 3)


def test_quiet(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is printed and nothing is written to the working directory."""
    monkeypatch.chdir(tmp_path)
    check_invoices(*(invoice(n, currency="zz") for n in range(50)))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_threads_do_not_mix_batches() -> None:
    """Concurrent validations each see their own frame."""
    outcomes: dict[int, Any] = {}

    def validate(number: int) -> None:
        rows = [invoice(n, currency="zz" if n == number else "AOA") for n in range(8)]
        outcomes[number] = check_invoices(*rows).failed_rows.to_list()

    threads = [threading.Thread(target=validate, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {number: [number] for number in range(8)}


@pytest.fixture
def lock_held_elsewhere() -> Iterator[None]:
    """Another thread is inside a validation."""
    from expectations import run

    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with run._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    done.set()
    thread.join()


@pytest.mark.usefixtures("lock_held_elsewhere")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_is_not_blocked_by_a_busy_parent() -> None:
    """A worker forked in the middle of a validation does not inherit a lock that nobody will release."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_child).get(timeout=60) == [0]


def _child() -> list[int]:
    # Only the lock: Polars' own threads do not survive a fork from a process that already used
    # them.
    from expectations import run

    with run._lock:
        return [0]


def lists(*counts_of_bad: int) -> list[pl.DataFrame]:
    """One list per number: two good invoices and so many without a phone; keys differ."""
    frames = []
    for number, bad in enumerate(counts_of_bad):
        rows = [invoice(number * 100 + at) for at in range(2)]
        rows += [
            invoice(number * 100 + 50 + at, customer_phone=None, currency="kz") for at in range(bad)
        ]
        frames.append(pl.DataFrame(rows, schema=INVOICE))
    return frames


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(lists(0, 0), id="all good"),
        pytest.param(lists(2, 0, 1), id="some bad"),
        pytest.param([lists(1)[0], lists(1)[0].clear(), lists(0, 3)[1]], id="an empty list"),
        pytest.param([lists(1)[0], lists(0)[0]], id="one key in two lists"),
        pytest.param([lists(1)[0].clear()], id="nothing"),
        pytest.param([], id="no list"),
    ],
)
def test_lists_that_are_checked_together_get_the_reports_of_each_alone(
    frames: list[pl.DataFrame],
) -> None:
    together = validate_each(frames)
    assert len(together) == len(frames)
    for report, frame in zip(together, frames, strict=True):
        alone = validate_each([frame])[0] if frame.is_empty() else validate_invoices(frame)
        assert report.failed.equals(alone.failed)
        assert (report.checked, report.results) == (alone.checked, alone.results)
