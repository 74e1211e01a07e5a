"""The store transaction that runs while pages arrive ends with its run, however that ends."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from tasks.extract.bulk.overlapped_store import OverlappedStore


class Pages:
    """A spool of one batch, which comes when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def follow(self, _deadline: float) -> Iterator[str]:
        self.let_go.wait(30)
        yield "batch"

    def complete(self) -> None:
        self.let_go.set()


class FakeStore:
    """Remembers whether it was committed. `on_take` is called with each batch."""

    def __init__(self, on_take: Callable[[], None] = lambda: None) -> None:
        self.committed = False
        self._on_take = on_take

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def judged(self, batches: Iterator[str]) -> Iterator[str]:
        yield from batches

    def take(self, _batch: str) -> None:
        self._on_take()

    def finish(self, _streams: Any) -> str:
        self.committed = True
        return "stored"


def begun(store: FakeStore, pages: Pages) -> Any:
    return OverlappedStore(lambda: store, pages)  # type: ignore[arg-type,return-value]


def test_it_commits_when_it_is_told_to() -> None:
    store, pages = FakeStore(), Pages()
    overlapped = begun(store, pages)
    pages.complete()
    assert overlapped.finish({}) == "stored"
    assert store.committed


def test_a_run_that_is_interrupted_while_it_waits_commits_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A time limit or a signal ends the run; its thread must not commit behind its back."""
    store, pages = FakeStore(), Pages()
    overlapped = begun(store, pages)

    def interrupted() -> None:
        pages.complete()
        raise KeyboardInterrupt

    monkeypatch.setattr(overlapped._result, "result", interrupted)
    overlapped._given_up = Interruption(overlapped._given_up)
    with pytest.raises(KeyboardInterrupt):
        overlapped.finish({})
    overlapped._thread.join(30)
    assert not store.committed


class Interruption:
    """Lets the batch go only once the run has given up, as if it came just then."""

    def __init__(self, given_up: threading.Event) -> None:
        self._given_up = given_up

    def set(self) -> None:
        self._given_up.set()

    def is_set(self) -> bool:
        return self._given_up.wait(5)


def test_any_error_of_its_thread_is_an_end() -> None:
    """Polars raises panics that are no Exception: the run would have waited for ever."""

    def panics() -> None:
        raise BaseException("panic")  # noqa: TRY002  as polars' own is

    store, pages = FakeStore(panics), Pages()
    overlapped = begun(store, pages)
    pages.complete()
    assert overlapped.finish({}) is None
    assert not store.committed
