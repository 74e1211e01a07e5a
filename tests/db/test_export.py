"""Exports: complete, private, bounded, and never without an entry in the audit log."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loyalty.corrections import Decision
from settings import Settings
from sql import audit, corrections, sync
from sql.db import connect
from sql.erasure import said_of
from sql.export import PERSONAL, TABLES, Exported, ExportTooLargeError, export
from tasks import person
from tasks.person import PAGE, hand_over
from tests.support.books import NOON, OTHER_PHONE, PHONE, Books, invoice, line

WHY = Decision(reason="Request 12", author="Ana, support")


@pytest.fixture
def sold(books: Books) -> Books:
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE), lines=[line()])
    books.award()
    return books


def exported(books: Books, home: Path, **wanted: Any) -> Exported:
    with connect(books.dsn) as connection:
        return export(connection, home, "run", **wanted)


def read(done: Exported, name: str) -> list[dict[str, str]]:
    with (Path(done.folder) / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_tables_without_personal_data(sold: Books, tmp_path: Path) -> None:
    done = exported(sold, tmp_path)
    folder = Path(done.folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.csv" for name in TABLES
    )
    assert (folder.stat().st_mode & 0o777, (folder / "sales.csv").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )
    assert [(row["external_id"], row["total"], row["points"]) for row in read(done, "sales")] == [
        ("A", "150.00", "1500"), ("B", "150.00", "1500"),
    ]  # fmt: skip
    assert not any(PHONE[4:] in path.read_text() for path in folder.iterdir())
    with connect(sold.dsn) as connection:
        (entry,) = audit.entries(connection, audit.Filter(operation="export"), limit=5)
    assert (entry.details["folder"], entry.details["personal"], entry.records) == (
        folder.name,
        False,
        sum(done.rows.values()),
    )


def test_one_member_with_their_phone(sold: Books, tmp_path: Path) -> None:
    done = exported(sold, tmp_path, member_id=sold.member(), personal=True)
    assert [row["phone"] for row in read(done, "phones")] == [PHONE]
    assert [row["external_id"] for row in read(done, "sales")] == ["A"]
    assert "personal" in Path(done.folder).name


def test_whoever_was_merged_into_them_is_in_it(sold: Books, tmp_path: Path) -> None:
    one, other = sold.member(), sold.member(OTHER_PHONE)
    sold.set_tier(one, "silver", NOON)
    sold.set_tier(other, "gold", NOON)
    with sold.transaction() as connection:
        corrections.merge(connection, other, one, WHY, "run")
    sold.award()
    done = exported(sold, tmp_path, member_id=other, personal=True)
    assert {int(row["member_id"]) for row in read(done, "tiers")} == {one, other}
    assert {row["subject"] for row in read(done, "audit")} == {f"member {one}", f"member {other}"}
    assert {int(row["counts_for"]) for row in read(done, "phones")} == {one}


def test_parquet_has_types(sold: Books, tmp_path: Path) -> None:
    done = exported(sold, tmp_path, tables=["sales", "audit"], kind="parquet")
    frame = pl.read_parquet(Path(done.folder) / "sales.parquet")
    assert frame["points"].to_list() == [1500, 1500]
    assert frame["issued_at"].to_list() == [NOON, NOON]
    assert frame["total"].dtype == pl.Decimal(38, 6)
    assert not list(Path(done.folder).glob("*.csv"))


def test_too_much_writes_nothing(sold: Books, tmp_path: Path) -> None:
    with pytest.raises(ExportTooLargeError, match="sales has more than 1 rows"):
        exported(sold, tmp_path, rows_max=1)
    assert list((tmp_path / "exports").iterdir()) == []
    with connect(sold.dsn) as connection:
        assert audit.entries(connection, audit.Filter(operation="export"), limit=5) == []


def test_an_unknown_table(sold: Books, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tables are sales"):
        exported(sold, tmp_path, tables=["member"])


def test_the_page_shows_every_table() -> None:
    """A table that is added to exports gets a heading for the person."""
    assert set(person._TABLES) == {*TABLES, PERSONAL}


def test_who_reads_what_is_kept_does_not_hold_up_spending(sold: Books) -> None:
    with connect(sold.dsn) as reading, connect(sold.dsn) as spending:
        list(said_of(reading, sold.member()))
        spending.execute("SET lock_timeout = '1s'")
        row = spending.execute("SELECT loyalty.lock_owner(%s)", [sold.member()]).fetchone()
        assert row == (sold.member(),)


def test_a_page_that_the_person_can_read(sold: Books, tmp_path: Path) -> None:
    """All that is kept of them, what billing systems told included, and nothing of others."""
    records = [
        {"Id": "A", "Phone": PHONE, "CustomerName": "Ana <b>"},
        {"Id": "B", "Phone": OTHER_PHONE, "CustomerName": "Rui"},
    ]
    body = json.dumps({"Invoices": records}).encode()
    with connect(sold.dsn) as connection:
        page = {"stream": "invoices", "page_no": 1, "record_count": 2, "request": {}}
        page |= {"next_request": None, "content_type": "application/json", "body": body}
        sync.save_page(connection, sold.account, 1, page | {"fetched_at": NOON})
        connection.commit()
    done = hand_over(Settings(home=tmp_path, database_url=sold.dsn), sold.member(), "run")
    page_file = Path(done.folder) / PAGE
    text = page_file.read_text(encoding="utf-8")
    assert PHONE in text and "INV-1" in text and "1500" in text and "Ana &lt;b&gt;" in text
    assert OTHER_PHONE not in text and "Rui" not in text
    assert page_file.stat().st_mode & 0o777 == 0o600
    HTMLParser().feed(text)
