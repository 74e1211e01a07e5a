"""A progress bar for a synchronisation that takes long; it shows how far each step is.

That is a first synchronisation, or one of a long period.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Final

import psycopg

from panel.runs.progress import UPDATE_SECONDS, Progress
from sql import ledger
from sql.db import connect
from tasks.run_report import RunReport

#: Runs that end sooner show no bar.
SHOWN_AFTER_SECONDS: Final = 20.0


@contextmanager
def sync_progress(
    report: RunReport, name: str, *, after_seconds: float = SHOWN_AFTER_SECONDS
) -> Iterator[None]:
    """Shows how far a run is, from a thread that reads its report.

    Enter it in the flow's own thread: that is how Prefect knows to which run the bar belongs.

    Args:
        report: The report that the run fills.
        name: The connection.
        after_seconds: A run that ends sooner shows no bar.
    """
    ended = threading.Event()
    with Progress(f"sync-{name}", "requests", after_seconds=after_seconds) as bar:
        looking = threading.Thread(
            target=copy_context().run,
            args=(_look, report, bar, ended, after_seconds),
            name="progress",
            daemon=True,
        )
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join(timeout=10)


def _look(report: RunReport, bar: Progress, ended: threading.Event, after_seconds: float) -> None:
    members = 0
    if ended.wait(after_seconds):
        return
    while True:
        if report.extracted is None or "extract" not in report.seconds:
            bar.at(
                len(report.job.calls), note="reading what the billing system has", what="requests"
            )
        elif "load" not in report.seconds:
            records = sum(records for _, records, _ in report.pages.values())
            bar.at(records, note="checking and storing", what="records")
        else:
            left = _members_waiting(report)
            members = max(members, left)
            bar.at(members - left, members, note="computing points", what="members")
        if ended.wait(UPDATE_SECONDS):
            return


def _members_waiting(report: RunReport) -> int:
    with suppress(psycopg.Error), connect(report.job.dsn) as connection:
        return ledger.dirty_members(connection)
    return 0
