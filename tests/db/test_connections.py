"""Connections: one that cannot be made is told of by the database's own error; each is as new."""

import psycopg
import pytest

from sql.db import connect, engine
from tasks.reconcile.points_due import check_points
from tests.support.books import Books


def test_a_first_connection_that_breaks_is_a_lost_connection(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused first connection is psycopg's error, as it is."""
    made = psycopg.connect

    def broken(*args: object, **options: object) -> psycopg.Connection:
        connection = made(*args, **options)  # type: ignore[arg-type]
        connection.pgconn.finish()
        return connection

    engine.cache_clear()
    monkeypatch.setattr(psycopg, "connect", broken)
    with pytest.raises(psycopg.OperationalError), connect(dsn):
        pass
    monkeypatch.undo()
    engine.cache_clear()
    with connect(dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_check_of_points_leaves_its_connection_as_it_was(books: Books) -> None:
    """An older instant that a later transaction sees is a ledger that others have moved on from."""
    engine.cache_clear()  # the pool has one connection, which the check uses
    check_points(books.dsn)
    statement = "SELECT count(*) FROM loyalty.member"
    with connect(books.dsn) as connection, psycopg.connect(books.dsn) as other:
        assert connection.execute(statement).fetchone() == (0,)
        other.execute("INSERT INTO loyalty.member (phone) VALUES ('+244923000111')")
        other.commit()
        assert connection.execute(statement).fetchone() == (1,)
