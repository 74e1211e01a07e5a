"""Many runs that end together have the page renewed once for all, and no wish is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sql import page_renewals
from sql.page_renewals import renew_together

RUNS = 12


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_renewals, "_PAUSE_SECONDS", 0.01)


def test_who_renews_does_it_for_those_who_come_meanwhile(dsn: str) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        began.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(RUNS) as pool:
        first = pool.submit(renew_together, dsn, slowly)
        assert began.wait(60)
        others = [pool.submit(renew_together, dsn, pytest.fail) for _ in range(RUNS - 1)]
        assert [other.result(60) for other in others] == [0] * (RUNS - 1)
        go_on.set()
        assert first.result(60) == 2, "once for itself, once for all who came meanwhile"


def test_the_last_renewal_begins_after_the_last_wish(dsn: str) -> None:
    """Whoever wishes at whatever instant: what was true before is on the page in the end."""
    lock, facts, shown = threading.Lock(), [0], [0]

    def run() -> None:
        for _ in range(10):
            with lock:
                facts[0] += 1
            renew_together(dsn, show)

    def show() -> None:
        shown[0] = facts[0]

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert shown == facts == [40]


def test_a_renewal_that_fails_lets_the_next_one_begin(dsn: str) -> None:
    def broken() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        renew_together(dsn, broken)
    calls: list[int] = []
    assert renew_together(dsn, lambda: calls.append(1)) == 1
    assert calls == [1]
