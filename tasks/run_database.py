"""The transactions of one run, and how a dry run keeps nothing.

Every step of a run takes its connections from here. A dry run does the same work in one transaction
that is rolled back at its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sql.db import DbConnection, connect


class RunDatabase:
    """The database as one run sees it.

    In a dry run every step shares one connection whose transaction is never committed, so that each
    step sees what the one before would have stored.

    Not a dataclass: Prefect looks into those when they are passed to a task.

    `dsn`: the ledger. `run_id`: the flow run, kept with what it posts. `dry_run`: keep nothing.
    """

    def __init__(self, dsn: str, run_id: str, *, dry_run: bool = False) -> None:
        self.dsn = dsn
        self.run_id = run_id
        self.dry_run = dry_run
        self._shared: DbConnection | None = None

    @contextmanager
    def transaction(self) -> Iterator[DbConnection]:
        """A connection for one step.

        What was not committed is rolled back at its end (in a dry run: at the job's end).
        """
        if self._shared is not None:
            yield self._shared
            return
        with connect(self.dsn) as connection:
            yield connection

    def commit(self, connection: DbConnection) -> None:
        """Commits, except in a dry run."""
        if not self.dry_run:
            connection.commit()

    @contextmanager
    def aside(self) -> Iterator[DbConnection]:
        """A short transaction of its own (in a dry run: the shared one)."""
        if self._shared is not None:
            yield self._shared
            return
        with connect(self.dsn) as connection:
            yield connection
            connection.commit()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """The life of the job: in a dry run, one transaction that is rolled back."""
        if not self.dry_run:
            yield
            return
        with connect(self.dsn) as connection:
            self._shared = connection
            try:
                yield
            finally:
                self._shared = None
                connection.rollback()
