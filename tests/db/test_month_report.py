"""The month-end report: every figure ties out to the ledger, or there is no report."""

import re
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from psycopg.types.json import Jsonb

from api.models import HistoryEntry
from loyalty.calendar import months_later
from panel.reports import month_end
from sql import month_report as sql_month_report
from sql.analytics import refresh
from sql.db import connect
from tasks import month_report
from tasks.month_report import MonthReport, NotTiedOutError, collect
from tests.db.test_rules import program
from tests.support.books import OTHER_PHONE, PHONE, Books, invoice
from tests.support.database import Databases

#: The month in which the tests run, and the one before, in the program's time zone.
THIS = (datetime.now(UTC) + timedelta(hours=1)).date().replace(day=1)
LAST = months_later(THIS, -1)
#: When this month has ended.
LATER = datetime.now(UTC) + timedelta(days=33)


@pytest.fixture
def shop(books: Books) -> Books:
    """Books with a little of everything."""
    return filled(books)


@pytest.fixture
def own_shop(databases: Databases) -> Iterator[Books]:
    """The same in a database of its own, whose views may be changed."""
    dsn = databases.migrated()
    yield filled(Books(dsn))
    databases.drop(dsn)


def filled(books: Books) -> Books:
    """Sales, a credit note, a refund, a void, points by hand and an expiry; some of last month."""
    books.store(
        invoice(external_id="A"),
        invoice(external_id="B", total_minor=40_000, customer_phone=OTHER_PHONE),
        invoice(external_id="V", total_minor=9_999),
    )
    books.award()
    later = datetime(2026, 3, 2, tzinfo=UTC)
    books.store(
        invoice(external_id="A", amount_refunded_minor=5_000, updated_at=later),
        invoice(external_id="V", total_minor=9_999, status="void", updated_at=later),
        invoice(external_id="CN", kind="credit_note", total_minor=2_000),
    )
    books.award()
    books.run(
        """INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, run_id)
           SELECT 'k', member_id, 77, 'sorry', 'ana', 'r' FROM loyalty.member WHERE phone = %(p)s""",
        p=PHONE,
    )
    books.run(
        """INSERT INTO loyalty.expiry_entry (member_id, expires_at, entry_no, due_before, due_after,
               points, posted_at, run_id)
           SELECT member_id, now(), 1, 0, 300, -300, now(), 'r' FROM loyalty.member
           WHERE phone = %(p)s""",
        p=OTHER_PHONE,
    )
    books.run(
        """INSERT INTO loyalty.award_entry (system, account, external_id, member_id, entry_no,
               due_before, due_after, points, reason, breakdown, net_minor, currency, tier,
               program_version, event_at, posted_at, run_id)
           SELECT 'xero', 'books', 'OLD', member_id, 1, 0, 1000, 1000, 'award', '{}', 10000, 'AOA',
                  'lead', 1, now() - interval '40 days', %(at)s, 'r'
           FROM loyalty.member WHERE phone = %(p)s""",
        p=PHONE, at=datetime(LAST.year, LAST.month, 15, tzinfo=UTC),
    )  # fmt: skip
    return books


def report(books: Books, month: date = THIS) -> MonthReport:
    """The report, collected as if the month had ended."""
    with connect(books.dsn) as connection:
        return collect(connection, month, LATER)


def ledger(books: Books) -> int:
    """What the ledger owes, counted by its own tables."""
    return int(books.rows("SELECT sum(balance_points)::bigint FROM loyalty.member_balance")[0][0])


def test_the_roll_forward_ties_out_to_the_point(shop: Books) -> None:
    made = report(shop)
    assert made.roll_forward.rows() == [
        ("opening", 1000, 1),
        # 150.00, 400.00 and 99.99 of AOA
        ("earned", 1500 + 4000 + 999, 3),
        ("spent", 0, 0),
        ("expired", -300, 1),
        # refund 50.00 with the credit note of the same sale 20.00, void 99.99, by hand
        ("corrected", -(500 + 200) - 999 + 77, 3),
        ("closing", 5577, 8),
    ]
    assert made.points("closing") == ledger(shop)
    kinds = made.kinds.group_by("line").agg(pl.col("points").sum())
    assert {(line, made.points(line)) for line in ("earned", "expired", "corrected")} == set(
        kinds.rows()
    )


def test_one_month_begins_where_the_one_before_ended(shop: Books, tmp_path: Path) -> None:
    before = report(shop, LAST)
    assert before.roll_forward.rows()[-1] == ("closing", 1000, 1)
    assert before.points("closing") == report(shop).points("opening")
    with connect(shop.dsn) as connection:
        folder, made = month_end.make(connection, tmp_path, LAST, "run")
    assert made.points("closing") == 1000 and folder.name.startswith(f"{LAST:%Y-%m}")
    assert "closing balance of the report before" in report(shop).checks[3]
    shop.run(
        "INSERT INTO loyalty.month_report (month, opening_points, closing_points, run_id) "
        "VALUES (%(m)s, 0, 999, 'r')",
        m=LAST,
    )
    with pytest.raises(NotTiedOutError, match="ended with 999 points, this one begins with 1000"):
        report(shop)


def test_points_that_cannot_be_spent_yet_are_owed(books: Books) -> None:
    """A payment moves no points, and so no line of the report."""
    program(books, pending=Jsonb({"until_paid": True}))
    at = datetime.now(UTC)
    books.store(
        invoice(total_minor=10_000, issued_at=at),
        invoice(external_id="B", total_minor=5_000, status="paid", issued_at=at),
    )
    books.award()
    made = report(books)
    assert (made.points("earned"), made.points("closing")) == (1500, 1500)
    books.store(invoice(total_minor=10_000, issued_at=at, status="paid", updated_at=at))
    books.award()
    assert report(books).points("closing") == 1500


def test_sales_and_points_per_system(shop: Books) -> None:
    made = report(shop)
    assert made.systems.select("system", "currency", "added_points", "taken_points").rows() == [
        ("xero", "AOA", 6499, 1699)
    ]
    posted = shop.rows(
        "SELECT sum(points)::bigint FROM loyalty.award_entry WHERE external_id <> 'OLD'"
    )
    assert made.systems["points"].sum() == posted[0][0]
    march = report(shop, date(2026, 3, 1)).systems.row(0, named=True)
    assert (march["sales"], march["credits"], str(march["net_amount"])) == (2, 1, "480.0000")


def test_breakage_adds_up(shop: Books) -> None:
    measures = dict(report(shop).breakage.select("measure", "value").rows())
    assert measures["expired so far"] == 300 and measures["earned so far"] == 7499
    assert measures["breakage so far: expired of earned"] == 300 * 10_000 // 7499
    owed = measures["owed at the end of the month"]
    assert owed + measures["overdrawn at the end of the month"] == ledger(shop)


def test_the_audit_log_is_whole_in_it(shop: Books) -> None:
    entries = shop.rows("SELECT entry_no FROM audit.entry ORDER BY 1")
    assert report(shop).audit["entry_no"].to_list() == [number for (number,) in entries]


def replace_view(books: Books, view: str, select: str) -> None:
    """Another definition of a view, made of the present one (%s)."""
    present = books.rows(f"SELECT pg_get_viewdef('{view}'::regclass)")[0][0].rstrip("; \n")
    with connect(books.dsn) as connection:
        statement = f"CREATE OR REPLACE VIEW {view} AS {select.replace('%s', present)}"
        connection.execute(statement.encode())
        connection.commit()


def test_points_of_an_earlier_program_have_a_line(shop: Books) -> None:
    before = report(shop).points("corrected")
    shop.run(
        """INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, run_id,
               kind)
           SELECT 'o', member_id, 900, 'import', 'ana', 'r', 'opening balance'
           FROM loyalty.member WHERE phone = %(p)s""",
        p=PHONE,
    )
    made = report(shop)
    assert made.points("corrected") == before + 900 and made.points("closing") == ledger(shop)


def test_every_kind_of_the_history_has_a_line(books: Books) -> None:
    """A kind that the API tells and the report does not know would stop all reports."""
    kinds = set(get_args(HistoryEntry.model_fields["kind"].annotation))
    known = {kind for (kind,) in books.rows("SELECT kind FROM loyalty.movement_kind")}
    assert kinds and kinds == known


@pytest.mark.parametrize("kind", ["edit", "void", "adjustment", "expiry"])
def test_an_unknown_kind_fails_and_does_not_vanish(
    own_shop: Books, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_shop.store(invoice(external_id="A", total_minor=20_000, updated_at=LATER))
    own_shop.award()
    assert report(own_shop).points("closing") == ledger(own_shop)
    replace_view(own_shop, "loyalty.movement_kind", f"SELECT * FROM (%s) k WHERE kind <> '{kind}'")
    monkeypatch.setattr(
        month_end, "collect", lambda connection, *_: collect(connection, THIS, LATER)
    )
    with (
        connect(own_shop.dsn) as connection,
        pytest.raises(NotTiedOutError, match=f"unknown kinds: {kind}"),
    ):
        month_end.make(connection, tmp_path, THIS, "run")
    assert not (tmp_path / "reports").exists()
    assert own_shop.rows("SELECT count(*) FROM loyalty.month_report") == [(0,)]


def test_points_that_the_history_does_not_know_fail(own_shop: Books) -> None:
    """A new kind of movement that counts in balances and that nobody told the report of."""
    columns = own_shop.rows(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = 'loyalty.member_balance'::regclass AND attnum > 2"
    )[0][0]
    replace_view(
        own_shop,
        "loyalty.member_balance",
        f"SELECT member_id, balance_points + 1 AS balance_points, {columns} FROM (%s) b",
    )
    with pytest.raises(NotTiedOutError, match="sum to 5577 points, the ledger owes 5579"):
        report(own_shop)


def test_points_of_a_system_that_are_missing_fail(shop: Books) -> None:
    with connect(shop.dsn) as connection:
        collect(connection, THIS, LATER)
        data = sql_month_report.read(connection, THIS, datetime(2000, 1, 1, tzinfo=UTC), LATER)
    short = data.systems.with_columns(added_points=pl.col("added_points") - 1)
    changed = type(data)(**{**data.__dict__, "systems": short})
    assert month_report._problems(changed, 0, 5577)[0].startswith("the systems' points are 5799")


def test_the_files_say_the_same(
    shop: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        month_end, "collect", lambda connection, *_: collect(connection, THIS, LATER)
    )
    with connect(shop.dsn) as connection:
        folder, made = month_end.make(connection, tmp_path, THIS, "run-9")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    for name, frame in made.frames.items():
        assert pl.read_parquet(folder / f"{name}.parquet").equals(frame)
        assert pl.read_csv(folder / f"{name}.csv", infer_schema=False).height == frame.height
    shown = pdf_text((folder / "report.pdf").read_bytes())
    for text in ("5 577", "6 499", "-1 622", "closing", "xero", f"{THIS:%B %Y}", "which is what"):
        assert text in shown
    assert shop.rows("SELECT opening_points, closing_points FROM loyalty.month_report") == [
        (1000, 5577)
    ]
    assert "5577" in repr(
        shop.rows("SELECT details FROM audit.entry WHERE operation = 'report.month'")
    )


def pdf_text(data: bytes) -> str:
    """The texts of a PDF's pages."""
    pages = [
        zlib.decompress(part)
        for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
        if part[:1] == b"\x78"
    ]
    return " ".join(
        text.decode("latin-1") for page in pages for text in re.findall(rb"\((.*?)\) Tj", page)
    )


def test_a_month_that_has_not_ended_is_refused(books: Books) -> None:
    with connect(books.dsn) as connection, pytest.raises(ValueError, match="has not ended"):
        collect(connection, THIS, datetime.now(UTC))


def test_empty_books_have_a_report(books: Books, tmp_path: Path) -> None:
    with connect(books.dsn) as connection:
        folder, made = month_end.make(connection, tmp_path, None, "run")
    assert made.month == LAST and made.points("closing") == 0
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")


def test_analysts_read_the_same_months(shop: Books) -> None:
    with connect(shop.dsn) as connection:
        for _ in range(2):
            refresh(connection)
            connection.commit()
        connection.execute("SET ROLE analyst")
        months = connection.execute(
            """SELECT month, opening_points, earned_points, spent_points, expired_points,
                      corrected_points, closing_points FROM analytics.liability_month ORDER BY 1"""
        ).fetchall()
    made = report(shop)
    assert months == [
        (LAST, 0, 1000, 0, 0, 0, 1000),
        (THIS, *made.roll_forward["points"].to_list()),
    ]
