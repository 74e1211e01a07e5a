"""The lock of parts that run once: taken, dropped, lost, and never taken on a standby server."""

import time
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from sql import part_lock
from sql.part_lock import HELD_SECONDS_MAX, SESSION_SECONDS_MAX, PartLock
from tests.support import waiting

wait_until = partial(waiting.wait_until, seconds=60)


@pytest.fixture
def pair(dsn: str) -> Iterator[tuple[PartLock, PartLock]]:
    """Two machines that want the same part."""
    made = PartLock(dsn, "caretaker"), PartLock(dsn, "caretaker")
    yield made
    for lock in made:
        lock.release()


def end_sessions(dsn: str) -> None:
    """As a failover does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'twezah part' AND datname = current_database()"
        )


def test_one_holds_it_and_the_next_takes_over(pair: tuple[PartLock, PartLock]) -> None:
    first, second = pair
    assert first.acquire() and first.is_held()
    assert not second.acquire() and not second.is_held()
    first.release()
    assert not first.is_held()
    wait_until(second.acquire)
    assert second.is_held()


def test_different_parts_are_different_locks(dsn: str, pair: tuple[PartLock, PartLock]) -> None:
    assert pair[0].acquire()
    other = PartLock(dsn, "services")
    assert other.acquire()
    other.release()


def test_a_holder_whose_session_ends_knows_it(dsn: str, pair: tuple[PartLock, PartLock]) -> None:
    """Then the lock can be taken again, by anybody."""
    first, second = pair
    assert first.acquire()
    end_sessions(dsn)
    wait_until(lambda: not first.is_held())
    wait_until(second.acquire)
    first.release()
    assert not first.acquire()


def test_a_holder_without_an_answer_gives_up_before_the_server_frees_it(
    dsn: str, pair: tuple[PartLock, PartLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines never hold it at once, not even where one is cut off."""
    assert HELD_SECONDS_MAX < SESSION_SECONDS_MAX / 2
    monkeypatch.setattr(part_lock, "ASK_SECONDS", 3600.0)
    assert pair[0].acquire()
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SHOW idle_session_timeout").fetchone()
        assert row == ("0",), "of its own session alone"
    assert pair[0].is_held()
    monkeypatch.setattr(part_lock, "HELD_SECONDS_MAX", 0.2)
    time.sleep(0.3)  # no answer for longer than that
    assert not pair[0].is_held()


def test_the_server_ends_a_silent_session(
    pair: tuple[PartLock, PartLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is cut off holds the lock no longer than that."""
    monkeypatch.setattr(part_lock, "ASK_SECONDS", 3600.0)
    monkeypatch.setattr(part_lock, "SESSION_SECONDS_MAX", 0.5)
    assert pair[0].acquire()
    monkeypatch.setattr(part_lock, "SESSION_SECONDS_MAX", 60.0)
    wait_until(pair[1].acquire)
