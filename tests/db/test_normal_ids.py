"""Ids have one form, also those that were stored before that rule.

A sale counts once, and the ledger stays whole.
"""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.kit.mapping.ids import normal_id
from sql import migrate, store
from sql.db import connect
from sql.sync import AccountKey
from tests.support.books import NOON, OTHER_PHONE, PHONE, Books, invoice
from tests.support.database import Databases

OURS = "0053_normal_ids"
ALPHABET = "01.,0 \u00a0\u2003\t\u200b\ufeff\u00adaÁA\u0301/-E+\u2028\u3000\ufe0f"


@pytest.fixture
def before(databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database as it was before ids had one form."""
    for one in migrate.migrations():
        if one.name != OURS:
            (tmp_path / f"{one.name}.sql").write_text(one.sql, encoding="utf-8")
    made = databases.create()
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "MIGRATIONS", tmp_path)
        migrate.migrate(made)
    yield made
    databases.drop(made)


def synced(books: Books, *rows: dict[str, Any]) -> store.Stored:
    """Stores and awards."""
    stored = books.store(*rows)
    books.award()
    return stored


def balances(dsn: str) -> dict[str, int]:
    with connect(dsn) as opened:
        rows = opened.execute(
            "SELECT right(phone, 1), balance_points FROM loyalty.member_balance "
            "JOIN loyalty.member USING (member_id)"
        )
        return dict(rows.fetchall())


def documents(dsn: str) -> list[tuple[str, str, int]]:
    """Id, status and points of every document."""
    with connect(dsn) as opened:
        return opened.execute(
            "SELECT external_id, status, points::int FROM analytics.sale ORDER BY external_id"
        ).fetchall()


def test_python_and_the_database_agree(dsn: str) -> None:
    chosen = random.Random(53)
    texts = ["".join(chosen.choices(ALPHABET, k=chosen.randint(0, 8))) for _ in range(3000)]
    with connect(dsn) as opened:
        found = opened.execute(
            "SELECT t, billing.normal_id(t) FROM unnest(%(texts)s::text[]) AS t", {"texts": texts}
        ).fetchall()
    assert [(text, normal) for text, normal in found if normal != normal_id(text)] == []


def test_one_form_is_renamed_with_its_entries(before: str) -> None:
    books = Books(before, AccountKey("xero", "books"))
    synced(
        books,
        invoice(external_id="1001.0", invoice_number="FT\u00a01"),
        invoice(external_id="17", invoice_number="17"),
    )
    history = balances(before)
    with connect(before) as opened:
        entries = opened.execute(
            "SELECT member_id, points, due_after FROM loyalty.award_entry ORDER BY 1, 2"
        ).fetchall()
    assert migrate.migrate(before)
    assert [(one, status) for one, status, _ in documents(before)] == [
        ("1001", "open"),
        ("17", "open"),
    ]
    with connect(before) as opened:
        assert (
            opened.execute(
                "SELECT member_id, points, due_after FROM loyalty.award_entry ORDER BY 1, 2"
            ).fetchall()
            == entries
        )
        with pytest.raises(psycopg.errors.RestrictViolation):
            opened.execute("UPDATE loyalty.award_entry SET points = points")
    # Read again, in whatever form: nothing is new.
    changed = synced(books, invoice(external_id="1001", invoice_number="FT 1"))
    assert (changed.new, changed.changed) == (0, 0)
    assert balances(before) == history


@pytest.mark.parametrize("newest", ["1001", "1001.0"])
def test_two_forms_count_once_as_the_newest_says(before: str, newest: str) -> None:
    books = Books(before, AccountKey("xero", "books"))
    older = "1001.0" if newest == "1001" else "1001"
    synced(
        books,
        invoice(external_id=older, total_minor=10_000),
        invoice(
            external_id=newest, total_minor=15_000, updated_at=NOON + timedelta(hours=1), page_id=2
        ),
    )
    assert balances(before) == {PHONE[-1]: 2500}
    migrate.migrate(before)
    books.award()
    assert documents(before) == [("1001", "open", 1500), ("1001.0", "void", 0)]
    assert balances(before) == {PHONE[-1]: 1500}
    with connect(before) as opened:
        sums = opened.execute(
            "SELECT external_id, member_id, count(*), sum(points) = max(due_after) FILTER ("
            "WHERE last) FROM (SELECT *, entry_no = "
            "max(entry_no) OVER (PARTITION BY member_id, external_id) AS last "
            "FROM loyalty.award_entry) e GROUP BY 1, 2"
        ).fetchall()
    assert all(whole for *_, whole in sums)


def test_two_forms_of_different_customers(before: str) -> None:
    """The newest version says whose sale it is; the other's points are taken back."""
    books = Books(before, AccountKey("xero", "books"))
    synced(
        books,
        invoice(external_id="FT 1"),
        invoice(
            external_id="FT\u00a01",
            customer_phone=OTHER_PHONE,
            updated_at=NOON + timedelta(hours=1),
            page_id=2,
        ),
        invoice(
            external_id="FT  1", total_minor=99_900, updated_at=NOON - timedelta(hours=1), page_id=3
        ),
    )
    migrate.migrate(before)
    books.award()
    assert balances(before) == {PHONE[-1]: 0, OTHER_PHONE[-1]: 1500}
    assert [(one, status) for one, status, _ in documents(before) if status != "void"] == [
        ("FT 1", "open")
    ]


def test_two_forms_of_which_none_is_right(before: str) -> None:
    books = Books(before, AccountKey("xero", "books"))
    synced(
        books,
        invoice(external_id="7.0"),
        invoice(external_id="7.00", updated_at=NOON + timedelta(hours=1), page_id=2),
    )
    migrate.migrate(before)
    books.award()
    assert documents(before) == [("7", "open", 1500), ("7.0", "void", 0)]
    assert balances(before) == {PHONE[-1]: 1500}


def test_customers_rejects_and_events(before: str) -> None:
    with connect(before) as opened:
        opened.execute(
            """
            INSERT INTO billing.sync_run (system, account, run_id) VALUES ('custom', 'a', 'r');
            INSERT INTO billing.customer
            VALUES ('custom', 'a', 'C1', NULL, now()),
                ('custom', 'a', 'C\u00a02', '+244923000001', now()),
                ('custom', 'a', 'C1.0', '+244923000002', now());
            INSERT INTO billing.item VALUES ('custom', 'a', '5.0', 'S', 'N', now()),
                ('custom', 'a', '5', 'S', 'N', now());
            INSERT INTO billing.pushed_document
            VALUES ('custom', 'a', '9.0', '2026-01-02', false),
                ('custom', 'a', '9', '2026-01-01', false);
            INSERT INTO billing.reject (system, account, stream, record_key, external_id, reason,
                problems, first_sync_id, last_sync_id)
            VALUES ('custom', 'a', 'invoices', '9', '9', 'x', '[]', 1, 1),
                ('custom', 'a', 'invoices', '9.0', '9.0', 'x', '[]', 1, 1),
                ('custom', 'a', 'invoices', '8.0', '8.0', 'x', '[]', 1, 1),
                ('custom', 'a', 'invoices', 'page 1 record 0', NULL, 'x', '[]', 1, 1)
            """
        )
        opened.commit()
    migrate.migrate(before)
    with connect(before) as opened:
        assert opened.execute("SELECT external_id FROM billing.customer ORDER BY 1").fetchall() == [
            ("C 2",), ("C1",), ("C1.0",)
        ]  # fmt: skip
        assert opened.execute("SELECT external_id FROM billing.item").fetchall() == [("5",)]
        assert opened.execute(
            "SELECT external_id, occurred_at::date::text FROM billing.pushed_document"
        ).fetchall() == [("9", "2026-01-02")]
        open_ones = (
            "SELECT record_key, external_id FROM billing.reject WHERE resolved_at IS NULL "
            "ORDER BY 1"
        )
        assert opened.execute(open_ones).fetchall() == [
            ("8", "8"),
            ("9", "9"),
            ("page 1 record 0", None),
        ]


def test_every_column_with_an_id_was_thought_of(dsn: str) -> None:
    """A table that gains ids must take part in their one form."""
    with connect(dsn) as opened:
        found = opened.execute(
            "SELECT DISTINCT table_name FROM information_schema.columns "
            "JOIN information_schema.tables USING (table_schema, table_name) "
            "WHERE table_schema IN ('billing', 'loyalty') AND table_type = 'BASE TABLE' "
            "AND column_name LIKE '%external_id'"
        ).fetchall()
    assert {name for (name,) in found} == {
        "invoice", "invoice_line", "customer", "item", "reject", "pushed_document", "award_entry",
        "promotion_claim",
        "deleted_document", "document_note", "sale_reference",
        "left_out_sale",  # the last four are younger than the one form of ids
    }  # fmt: skip
