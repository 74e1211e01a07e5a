"""Failures that are nobody's billing system: what the state says, and that Retry in the UI goes on correctly."""

import errno
import time
from typing import Any

import psycopg
import pytest

import flows.sync
from tasks import sync as steps
from tests.flows.office import Office
from tests.sync.conftest import expected


def _raise(error: Exception) -> None:
    raise error


#: What fails, how, and what the message begins with and advises.
CASES: dict[str, tuple[str, Any, str, str]] = {
    "disk full": (
        "extract_pages", lambda *_: _raise(OSError(errno.ENOSPC, "No space left on device")), "OSError", "Make room",
    ),
    "database away": (
        "award_members", lambda *_: _raise(psycopg.OperationalError("gone")), "OperationalError", "whether `twezah up` runs",
    ),
    "database full": (
        "load_and_retry", lambda *_: _raise(psycopg.errors.DiskFull("could not extend file")), "DiskFull", "Make room",
    ),
    "database busy": (
        "load_and_retry", lambda *_: _raise(psycopg.errors.LockNotAvailable("lock")), "LockNotAvailable", "database is busy",
    ),
    "stuck": ("extract_pages", lambda *_: time.sleep(20), "TookTooLongError", "a shorter period"),
}  # fmt: skip


def test_the_state_says_what_to_do_and_retry_does_the_rest_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case, (step, fails, kind, advice) in CASES.items():
        with monkeypatch.context() as broken:
            broken.setattr(steps, step, fails)
            for task in ("load", "award"):  # the tries that take 14 s are not what is looked at
                broken.setattr(steps, task, getattr(steps, task).with_options(retries=0))
            if case == "stuck":
                broken.setattr(flows.sync, "SECONDS_MAX", 0.5)
            state = office.run("xero")
        message = str(state.message)
        assert state.is_failed() and message.startswith(f"{kind}: "), message
        assert advice in message and "Retry" in message
        assert office.retry(state).is_completed(), case
        assert office.flow_run(state).state_name == "Completed"
        due = expected(office.vendors.world, "xero")
        assert office.points() == due, case
        office.vendors.world.evolve(
            steps=3, systems=("xero",)
        )  # so that the next one has something to do
