"""The ledger database for the duration of a command."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ledger() -> Iterator[str]:
    """The ledger's URL; the embedded database is started if needed and brought up to date."""
    from sql.migrate import migrate
    from twezah.settings import settings
    from twezah.stack.postgres import running

    with running(settings()) as dsn:
        if settings().is_embedded:
            migrate(dsn)
        yield dsn
