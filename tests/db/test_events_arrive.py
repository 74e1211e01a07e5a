"""What the migrations of events, codes and lists do with a database that has members already."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sql import members, migrate
from sql.db import connect
from sql.sync import AccountKey
from tests.support.books import NOON, PHONE, Books, invoice
from tests.support.database import Databases

Before = Callable[..., Books]


@pytest.fixture
def before(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Before]:
    """Books in a database as it was before a migration."""
    made = databases.create()

    def books(name: str, *also: str) -> Books:
        for each in migrate.migrations():
            if each.name < name or each.name in also:
                (tmp_path / f"{each.name}.sql").write_text(each.sql, encoding="utf-8")
        with monkeypatch.context() as patched:
            patched.setattr(migrate, "MIGRATIONS", tmp_path)
            migrate.migrate(made)
        return Books(made, AccountKey("xero", "books"))

    yield books
    databases.drop(made)


def test_who_is_a_member_already_does_not_sign_up_again(before: Before) -> None:
    books = before("0155")
    with connect(books.dsn) as connection:
        connection.execute(
            "INSERT INTO loyalty.member (phone, created_at) VALUES (%s, %s)", [PHONE, NOON]
        )
        connection.commit()
    migrate.migrate(books.dsn)
    with books.transaction() as connection:
        assert members.register(connection, PHONE, "test").repeated
    read = "SELECT name, happened_at FROM loyalty.member_event"
    assert books.rows(read) == [("sign_up", NOON)]


def test_who_has_a_partly_allocated_credit_is_computed_anew(before: Before) -> None:
    # (What is stored today has columns that the tables of then lack.)
    books = before("0158", "0160_places_of_sales")
    for refunded in (0, 400, 1000):
        credit = invoice(
            external_id=f"C{refunded}", kind="credit_note", total_minor=1000,
            amount_refunded_minor=refunded, customer_phone=f"+24492300{refunded:04}",
        )  # fmt: skip
        books.store(credit)
    books.run("DELETE FROM loyalty.member_dirty")
    migrate.migrate(books.dsn)
    marked = books.rows(
        "SELECT i.external_id FROM loyalty.member_dirty d JOIN billing.invoice i USING (member_id)"
    )
    assert marked == [("C400",)]
