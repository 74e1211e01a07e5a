"""Writes sql/schema.sql anew: `python -m scripts.schema`, after a migration was added.

Starts an embedded PostgreSQL in a temporary folder, migrates an empty database, and writes what
its schema is.
"""

import tempfile
from pathlib import Path

from settings import Settings
from sql.db import connect, engine
from sql.migrate import migrate
from sql.schema import SCHEMA, schema_text
from twezah.stack.postgres import running


def main() -> None:
    """Writes the file and says where it is."""
    with (
        tempfile.TemporaryDirectory(prefix="twezah-schema-") as home,
        running(Settings(home=Path(home), database_url=None)) as dsn,
    ):
        migrate(dsn)
        with connect(dsn) as connection:
            text = schema_text(connection)
        engine(dsn).dispose()
    SCHEMA.write_text(text, encoding="utf-8")
    print(f"{SCHEMA}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
