"""Whoever starts looks after the embedded database from its first moment, as whoever serves does."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from settings import Settings, embedded_dsn
from tests.support.waiting import wait_until
from twezah.stack.up import Stack

#: The steps of a start that need the database.
STEPS = ("_migrate", "_await_ready")


def kill_database(home: Path) -> None:
    """The keeper and its server die, and cannot tell anybody."""
    mine = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(home) in (command := " ".join(process.info["cmdline"] or ()))
        and ("twezah.stack.keeper" in command or "-D" in command)
    ]
    assert len(mine) > 1, "a keeper and a server"
    for process in mine:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(mine, 30)


class Struck(Stack):
    """A stack of which only the database is started; that dies before each further step."""

    struck: list[str]

    def _strike(self, step: str, own: Callable[[], None]) -> None:
        if step not in self.struck:
            self.struck.append(step)
            kill_database(self.settings.home)
        own()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return partial(self._strike, name, found) if name in STEPS else found

    def _start_prefect(self) -> None:
        pass

    def _start_others(self) -> None:
        pass

    def _conditions(self) -> dict[str, Any]:
        return {"the ledger": (lambda: ledger_answers(self.settings), lambda: "ready")}


def ledger_answers(own: Settings) -> bool:
    """True when the embedded ledger has its tables."""
    try:
        with psycopg.connect(embedded_dsn(own.home, "twezah")) as connection:
            return bool(connection.execute("SELECT to_regclass('loyalty.entry')").fetchone())
    except (psycopg.Error, OSError):
        return False


@pytest.mark.timeout(600)
def test_a_database_that_dies_while_the_stack_starts(tmp_path: Path) -> None:
    own = Settings(home=tmp_path / "state")
    said: list[str] = []
    stack = Struck(own, catch_up=False, give_up_seconds=120, say=said.append)
    stack.struck = []
    with stack:
        assert stack.struck == list(STEPS)
        assert [line for line in said if "Preparing the ledger database failed" in line], said
        kill_database(own.home)

        def is_back() -> bool:
            stack.tend()
            return ledger_answers(own)

        wait_until(is_back, "the database", seconds=120)
