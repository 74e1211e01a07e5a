"""One batch ahead: while the database takes a batch, the next one is prepared."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The same items in the same order, produced in a thread of their own.

    The thread is at most `depth` + 1 items ahead.

    An error in the producer is raised here, at its place. Leaving early stops the producer.
    """
    waiting: queue.Queue[tuple[T | Any, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(
        target=_produce, args=(items, waiting, stop), name="ahead", daemon=True
    )
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        thread.join()


def _produce(
    items: Iterable[T],
    waiting: "queue.Queue[tuple[T | Any, BaseException | None]]",
    stop: threading.Event,
) -> None:
    try:
        for item in items:
            if not _put(waiting, stop, (item, None)):
                return
        _put(waiting, stop, (_END, None))
    except BaseException as error:  # noqa: BLE001  it is raised again by the consumer
        _put(waiting, stop, (_END, error))


def _put(
    waiting: "queue.Queue[Any]", stop: threading.Event, entry: tuple[Any, BaseException | None]
) -> bool:
    """Waits for room; False once nobody is interested any more."""
    while not stop.is_set():
        try:
            waiting.put(entry, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
