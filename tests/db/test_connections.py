"""Connections that cannot be made are told of by the database's own errors, whoever makes them."""

import psycopg
import pytest

from sql import db
from sql.db import connect, engine


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
    monkeypatch.setattr(db.psycopg, "connect", broken)
    with pytest.raises(psycopg.OperationalError), connect(dsn):
        pass
    monkeypatch.undo()
    engine.cache_clear()
    with connect(dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
