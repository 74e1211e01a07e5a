"""Whatever people write into numbers and texts: an analyst reads of nobody."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sql.analytics import refresh_common_texts
from sql.db import connect
from sql.export import export
from tests.support.books import NOON, OTHER_PHONE, PHONE, Books, invoice, line

#: What must be nowhere: in pieces as people write it, too.
PERSONAL = ("923000001", "923 000 001", "923000002", "Maria", "maria@", "912345678", "C-MARIA")
#: Every relation of ours with the columns that the analyst may read.
READABLE = """
    SELECT format('%I.%I', n.nspname, c.relname),
           string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname IN ('billing', 'loyalty', 'analytics', 'audit', 'public')
      AND c.relkind IN ('r', 'v', 'm', 'p')
      AND has_schema_privilege('analyst', n.oid, 'USAGE')
      AND has_column_privilege('analyst', c.oid, a.attnum, 'SELECT')
    GROUP BY 1 ORDER BY 1"""


@pytest.fixture
def shop(books: Books) -> Books:
    """A careless shop: documents numbered by phones and names, persons in every text."""
    books.store(
        invoice(external_id=PHONE, invoice_number="FT 923 000 001/2", customer_external_id="C-MARIA"),
        invoice(external_id="923000001-2", invoice_number="Maria da Silva 7"),
        invoice(external_id="maria@example.com", invoice_number="INV-912345678"),
        invoice(external_id="A", invoice_number="INV-1", customer_phone=OTHER_PHONE),
        invoice(external_id="CN", kind="credit_note", total_minor=100, reference_ids=f"order:{PHONE}"),
        lines=[
            line(PHONE, name="Entrega a Maria Silva, +244 923 000 001", sku=None),
            line("923000001-2", name="Água 5 L", sku="Maria Silva"),
            line("A", name="Água 5 L"),
        ],
    )  # fmt: skip
    books.award()
    books.run(
        """INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, run_id)
           SELECT phone, member_id, 5, 'Sorry, Maria', 'Maria', 'r' FROM loyalty.member"""
    )
    books.run(
        """INSERT INTO billing.reject (system, account, stream, record_key, external_id, reason,
               problems, first_sync_id, last_sync_id, class)
           VALUES ('xero', 'books', 'invoices', 'k', %(phone)s, 'no total for maria@example.com',
                   '[]', 1, 1, 'record'),
                  ('xero', 'books', 'invoices', 'l', %(phone)s, 'phone +244 923 000 001: unknown',
                   '[]', 1, 1, 'correction')""",
        phone=PHONE,
    )
    books.run(
        "INSERT INTO billing.document_note (system, account, external_id, note, sync_id) "
        "VALUES ('xero', 'books', %(phone)s, 'of 923000001', 1)",
        phone=PHONE,
    )
    books.run("UPDATE billing.sync_run SET error = 'record 00244923000001 was refused'")
    books.run(
        """INSERT INTO loyalty.member_merge (member_id, into_id, reason)
           SELECT max(member_id), min(member_id), 'Maria has a new phone' FROM loyalty.member"""
    )
    books.run(
        """INSERT INTO loyalty.member_tier (member_id, tier, valid_from, reason)
           SELECT max(member_id), 'gold', now(), 'Maria is a friend' FROM loyalty.member"""
    )
    books.run(
        """INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at, reason)
           SELECT max(member_id), min(member_id), now(), 'Maria told us' FROM loyalty.member"""
    )
    books.award()
    return books


@pytest.fixture
def analyst(shop: Books) -> Iterator[psycopg.Connection]:
    """An analyst of that shop."""
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        connection.execute("SET ROLE analyst")
        yield connection


def test_no_relation_says_a_person(analyst: psycopg.Connection) -> None:
    """Every column that the role may read, of every table and view."""
    relations = analyst.execute(READABLE).fetchall()
    assert len(relations) > 25
    seen = {
        name: repr(
            analyst.execute(
                f"SELECT r::text FROM (SELECT {columns} FROM {name}) r".encode()
            ).fetchall()
        )
        for name, columns in relations
    }
    assert [(name, p) for name, text in seen.items() for p in PERSONAL if p in text] == []
    assert "hidden-" in seen["analytics.sale"]


def test_a_hidden_number_joins_and_stays_unique(analyst: psycopg.Connection) -> None:
    sales = analyst.execute("SELECT external_id, points FROM analytics.sale ORDER BY 1").fetchall()
    assert len({number for number, _ in sales}) == 5 and ("A", 1500) in sales
    joined = analyst.execute(
        """SELECT external_id, sum(a.points)::int FROM analytics.sale s
           JOIN analytics.award a USING (system, account, external_id)
           JOIN analytics.award_rule r USING (system, account, external_id)
           GROUP BY 1 HAVING count(DISTINCT a.entry_no) = count(DISTINCT r.entry_no)"""
    ).fetchall()
    assert len(joined) == 4, "a return has no award of its own: it lowers that of its sale"
    lines = analyst.execute(
        "SELECT count(*) FROM analytics.sale JOIN analytics.sale_line USING (external_id)"
    ).fetchone()
    assert lines == (3,)


def test_who_may_read_phones_reads_everything(shop: Books) -> None:
    assert shop.rows("SELECT count(*) FROM analytics.sale WHERE external_id LIKE 'hidden%%'") == [
        (0,)
    ]
    assert ("Sorry, Maria",) in shop.rows("SELECT reason FROM analytics.adjustment")


def test_a_text_of_three_members_is_about_nobody(books: Books) -> None:
    books.store(
        *(
            invoice(external_id=f"S{n}", customer_phone=f"+24492300010{n}", issued_at=NOON)
            for n in range(3)
        ),
        lines=[line(f"S{n}") for n in range(3)] + [line("S0", 2, name="Para a avó do Zé")],
    )
    names = "SELECT DISTINCT name FROM analytics.sale_line ORDER BY 1"
    with connect(books.dsn) as connection:
        connection.execute("SET ROLE analyst")
        assert connection.execute(names).fetchall() == [(None,)]
        connection.execute("RESET ROLE")
        refresh_common_texts(connection)
        connection.execute("SET ROLE analyst")
        assert connection.execute(names).fetchall() == [("Água 5 L",), (None,)]


def test_a_place_of_fewer_than_three_members_is_not_shown(books: Books) -> None:
    """People type cities: what stands there may be a village, or no city at all."""
    cities = ("Luanda", "Luanda", "Luanda", "Casa do Zé")
    books.store(
        *(
            invoice(external_id=f"S{n}", customer_phone=f"+24492300010{n}", city=city, store="L1")
            for n, city in enumerate(cities)
        )
    )
    books.award()
    with connect(books.dsn) as connection:
        refresh_common_texts(connection)
        connection.execute("SET ROLE analyst")
        shown = connection.execute(
            "SELECT store, city, count(*), sum(points)::int FROM analytics.sale"
            " GROUP BY 1, 2 ORDER BY 2"
        ).fetchall()
        assert shown == [("L1", "Luanda", 3, 4500), ("L1", None, 1, 1500)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT city FROM billing.invoice")


def test_an_export_without_personal_data_hides_the_same(shop: Books, tmp_path: Path) -> None:
    with connect(shop.dsn) as connection:
        files = Path(export(connection, tmp_path, "r").folder)
        whole = Path(export(connection, tmp_path, "r", personal=True).folder)
    text = "".join(file.read_text() for file in files.iterdir())
    assert [p for p in PERSONAL if p in text] == []
    assert PHONE in (whole / "sales.csv").read_text()
