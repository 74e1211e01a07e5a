"""Works one batch ahead: while the database takes a batch, the next one is prepared."""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

#: What is produced.
T = TypeVar("T")
_END: Any = object()


def prefetched(items: Generator[T, None, None], depth: int = 1) -> Iterator[T]:
    """The same items in the same order, produced in a thread of their own.

    The thread is at most `depth` + 1 items ahead. It runs the generator from its beginning to its
    end, so what that opens is closed in the same thread.

    An error in the generator is raised here, at its place. Leaving early stops it.
    """
    ready: queue.Queue[tuple[T | Any, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(
        target=_produce, args=(items, ready, stop), name="prefetch", daemon=True
    )
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        thread.join()


def _produce(
    items: Generator[T, None, None],
    ready: "queue.Queue[tuple[T | Any, BaseException | None]]",
    stop: threading.Event,
) -> None:
    try:
        with closing(items):
            for item in items:
                if not _put(ready, stop, (item, None)):
                    return
        _put(ready, stop, (_END, None))
    except BaseException as error:  # noqa: BLE001  it is raised again by the consumer
        _put(ready, stop, (_END, error))


def _put(
    ready: "queue.Queue[Any]", stop: threading.Event, entry: tuple[Any, BaseException | None]
) -> bool:
    """Waits for room; False once nobody is interested any more."""
    while not stop.is_set():
        try:
            ready.put(entry, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
