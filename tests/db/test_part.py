"""A part that may run once only ends its program as soon as its lock is lost, and waits again."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from settings import Settings
from sql import standby
from sql.db import connect
from tests.support import waiting
from twezah.stack.leftover_processes import marked
from twezah.stack.part import Part, Program
from twezah.stack.pginstall import python_environment

wait_until = partial(waiting.wait_until, seconds=120)


class Stopped(Exception):
    """The test is over."""


class Sleeper(Part):
    """The caretaker's place, with a program that only sleeps."""

    def __init__(self, settings: Settings) -> None:
        self.lines: list[str] = []
        self.is_over = threading.Event()
        super().__init__(settings, "caretaker", say=self.lines.append)

    def _program(self) -> Program:
        return Program(["sleep", "600"], python_environment())

    def _rest(self, seconds: float) -> None:
        if self.is_over.is_set():
            raise Stopped
        super()._rest(seconds)

    def run(self) -> None:
        with pytest.raises(Stopped):
            self.serve()


def sleeper_in(home: Path, dsn: str, kind: type[Sleeper] | None = None) -> Sleeper:
    return (kind or Sleeper)(
        Settings(
            home=home, database_url=dsn, prefect_api_url="http://127.0.0.1:9/api",
            secret_key="key", data_key="key",
        )
    )  # fmt: skip


@pytest.fixture
def pair(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Sleeper, Sleeper]]:
    """Two machines with the same part; what they start is ended after the test."""
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:of-this-test")
    made = sleeper_in(tmp_path / "one", dsn), sleeper_in(tmp_path / "two", dsn)
    threads = [threading.Thread(target=part.run) for part in made]
    threads[0].start()
    wait_until(lambda: "caretaker: ready." in made[0].lines)
    threads[1].start()
    wait_until(lambda: any("Standing by" in line for line in made[1].lines))
    yield made
    for part in made:
        part.is_over.set()
    for thread in threads:
        thread.join()
    assert [marked(tmp_path / name) for name in ("one", "two")] == [[], []]


def programs(home: Path) -> list[int]:
    """The numbers of the sleeping processes of this machine."""
    found = []
    for process in marked(home):
        with suppress(psutil.NoSuchProcess):  # it ended since it was listed
            if process.cmdline()[:1] == ["sleep"]:
                found.append(process.pid)
    return found


def test_a_lost_lock_ends_the_program(
    pair: tuple[Sleeper, Sleeper], dsn: str, tmp_path: Path
) -> None:
    first, second = pair
    (before,) = programs(tmp_path / "one")
    assert programs(tmp_path / "two") == []
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid)"
            " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
    wait_until(lambda: before not in programs(tmp_path / "one"))
    # Whoever asks first is next; never both.
    wait_until(lambda: len(programs(tmp_path / "one") + programs(tmp_path / "two")) == 1)
    assert any("lock is lost" in line for line in first.lines)
    taken = [line for part in (first, second) for line in part.lines if "turn" in line]
    assert len(taken) == 2


class Worker(Part):
    """One that asks without a pause."""

    def _rest(self, seconds: float) -> None:
        pass


@pytest.mark.timeout(900)
def test_the_worker_of_a_copy_begins_when_all_is_paused_or_it_goes_live(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's server that it asks is not there: nobody knows whether its deployments wait."""
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    settings = Settings(
        home=tmp_path, database_url=dsn, prefect_api_url="http://127.0.0.1:9/api",
        secret_key="key", data_key="key",
    )  # fmt: skip
    worker = Worker(settings, "worker")
    assert worker._may_take_runs()
    with connect(dsn) as connection:
        standby.begin(connection)
        connection.commit()
    assert not worker._may_take_runs()
    with monkeypatch.context() as patched:
        patched.setattr(worker, "_has_paused", lambda: True)
        assert worker._may_take_runs()
    with connect(dsn) as connection:
        assert standby.end(connection)
        connection.commit()
    assert worker._may_take_runs()


class Sick(Sleeper):
    """A machine on which the program ends at once."""

    def _program(self) -> Program:
        return Program(["false"], python_environment())


def test_a_machine_that_cannot_do_it_lets_the_other(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:of-this-test")
    sick, well = sleeper_in(tmp_path / "one", dsn, Sick), sleeper_in(tmp_path / "two", dsn)
    threads = [threading.Thread(target=part.run) for part in (sick, well)]
    try:
        threads[0].start()
        wait_until(lambda: any("turn" in line for line in sick.lines))
        threads[1].start()
        wait_until(lambda: any("Standing by" in line for line in well.lines))
        wait_until(lambda: programs(tmp_path / "two") != [])
        assert any("does not get well here" in line for line in sick.lines)
        wait_until(lambda: any("Standing by" in line for line in sick.lines))
    finally:
        sick.is_over.set()
        well.is_over.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
