"""The limit of an account, counted for all workers.

Windows, requests at the same time, pauses, and workers that died.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from connectors.kit.http.ratelimit import Limiter, TooLong
from connectors.kit.spec import RateLimit
from sql.limits import SharedLimit, shared_limit
from sql.sync import AccountKey

ACCOUNT = AccountKey("xero", "books")
Make = Callable[..., SharedLimit]


@pytest.fixture
def make(dsn: str) -> Iterator[Make]:
    """Another worker's view of the same limit."""
    with ExitStack() as opened:

        def made(
            *windows: tuple[int, float],
            at_once: int = 5,
            lease_seconds: float = 60,
            account: AccountKey = ACCOUNT,
        ) -> SharedLimit:
            return opened.enter_context(
                shared_limit(
                    dsn,
                    account,
                    windows or ((5, 60.0),),
                    at_once=at_once,
                    lease_seconds=lease_seconds,
                )
            )

        yield made


def test_a_window_is_shared_by_all_workers(make: Make) -> None:
    workers = [make((3, 60.0)), make((3, 60.0))]
    for turn in range(3):
        number, wait_seconds = workers[turn % 2].enter()
        assert (number > 0, wait_seconds) == (True, 0)
        workers[turn % 2].leave(number, 0)
    number, wait_seconds = workers[1].enter()
    assert number == 0
    assert 55 < wait_seconds <= 60


def test_each_window_holds_and_the_longest_wait_counts(make: Make) -> None:
    worker = make((2, 0.2), (3, 60.0))
    for _ in range(2):
        worker.leave(worker.enter()[0], 0)
    assert 0 < worker.enter()[1] <= 0.2
    time.sleep(0.25)
    worker.leave(worker.enter()[0], 0)
    assert worker.enter()[1] > 55, "the day is used up, whatever the second says"


def test_accounts_have_limits_of_their_own(make: Make) -> None:
    worker, other = (
        make((1, 60.0), at_once=1),
        make((1, 60.0), at_once=1, account=AccountKey("xero", "other")),
    )
    assert worker.enter()[0]
    assert not worker.enter()[0]
    assert other.enter()[0]


def test_so_many_at_once_over_all_workers(make: Make) -> None:
    workers = [make((100, 60.0), at_once=2) for _ in range(3)]
    first, second = workers[0].enter()[0], workers[1].enter()[0]
    assert first and second
    assert workers[2].enter() == (0, pytest.approx(0.05))
    workers[0].leave(first, 0)
    assert workers[2].enter()[0]


def test_a_request_whose_worker_died_is_forgotten_but_counts(make: Make) -> None:
    worker = make((2, 600.0), at_once=1, lease_seconds=2)
    assert worker.enter()[0]
    assert not worker.enter()[0]
    time.sleep(2.1)
    assert worker.enter()[0], "its place is free again"
    time.sleep(2.1)
    assert worker.enter()[1] > 500, "but the vendor may have counted it"


def test_a_rest_that_one_is_told_holds_for_all_and_is_bounded(make: Make) -> None:
    worker, other = make(), make()
    worker.leave(worker.enter()[0], 30.0)
    assert 29 < other.enter()[1] <= 30
    worker.leave(0, 10.0**9)
    assert other.enter()[1] <= 86_400


def test_several_workers_never_exceed_the_limit_together(make: Make) -> None:
    """As the vendor counts: in any window, from the first request's arrival."""
    limit = RateLimit(((5, 0.4),), concurrency=3)
    sent: list[float] = []
    under_way, most = 0, 0
    lock = threading.Lock()

    def work(shared: SharedLimit) -> None:
        nonlocal under_way, most
        limiter = Limiter(limit, monotonic=time.monotonic, sleep=time.sleep, shared=shared)
        for _ in range(5):
            with limiter.slot():
                with lock:
                    sent.append(time.monotonic())
                    under_way += 1
                    most = max(most, under_way)
                time.sleep(0.01)
                with lock:
                    under_way -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [make((5, 0.4), at_once=3) for _ in range(4)]))
    assert len(sent) == 20
    assert most <= 3
    assert all(later - earlier >= 0.4 for earlier, later in zip(sent, sent[5:], strict=False))


def test_nobody_sleeps_for_hours(make: Make) -> None:
    shared = make((1, 86_400.0), at_once=1)
    limiter = Limiter(
        RateLimit(((1, 86_400.0),), concurrency=1),
        monotonic=time.monotonic, sleep=time.sleep, shared=shared, wait_seconds_max=120,
    )  # fmt: skip
    with limiter.slot():
        pass
    with pytest.raises(TooLong) as late, limiter.slot():
        pass
    assert late.value.wait_seconds > 86_000


def test_a_lost_connection_is_opened_again(make: Make, dsn: str) -> None:
    worker = make()
    number = worker.enter()[0]
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'twezah limits'"
        )
    worker.leave(number, 0)
    assert worker.enter()[0]


def test_what_no_window_needs_any_more_is_removed(make: Make, dsn: str) -> None:
    worker = make((1000, 0.01), at_once=5)
    for _ in range(205):
        worker.leave(worker.enter()[0], 0)
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM billing.api_call").fetchone()
    assert row is not None and row[0] < 120
