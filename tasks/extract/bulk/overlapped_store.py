"""Runs the store transaction while pages still arrive.

So the database works while the vendor is read. Only a large read that arrives fast gains by it: the
transaction stays open as long as pages come, so it is given up after a while, and at the first
batch that waits for a lookup. What was given up is loaded as if it had never begun.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Protocol, Self

from tasks.extract.batch import MappedBatch
from tasks.extract.bulk.prefetch import prefetched
from tasks.extract.bulk.spool import NotYetError, Spool

log = logging.getLogger(__name__)
#: How long the transaction may be open before everything is read.
OPEN_SECONDS: Final = 60


class Store(Protocol):
    """A store transaction (`tasks.load.invoices.StoreTransaction`): open while it is entered.

    Extraction knows no more of the load than this.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def judged(self, batches: Iterable[MappedBatch]) -> Generator[Any, None, None]:
        """The batches, ready to be stored."""
        ...

    def take(self, batch: Any) -> None:
        """Stores one of them."""
        ...

    def finish(self, streams: Mapping[str, Any]) -> Any:
        """Commits; returns what became of the records."""
        ...


class OverlappedStore:
    """One store transaction, in a thread of its own from its beginning to its end."""

    def __init__(self, open_store: Callable[[], Store], spool: Spool) -> None:
        self._open_store, self._spool = open_store, spool
        self._given_up = threading.Event()
        #: What the load orders once everything is read: the streams' states; None: to roll back.
        self._order: Future[Mapping[str, Any] | None] = Future()
        #: What came of it; None: nothing was stored.
        self._result: Future[Any | None] = Future()
        self._thread = threading.Thread(target=self._run, name="overlapped store", daemon=True)
        self._thread.start()

    def finish(self, streams: Mapping[str, Any]) -> Any | None:
        """Lets the transaction end, and waits for it; the spool must be complete.

        Returns what the store's `finish` returned, None if the transaction was given up. Raises
        what the store's `finish` raised.
        """
        self._order.set_result(streams)
        try:
            return self._result.result()
        except BaseException:
            # Interrupted, by a time limit or a signal: what is not committed yet is rolled back,
            # or it would be committed by a run that has ended and is no longer alone.
            self._given_up.set()
            self._thread.join()
            raise

    def abandon(self) -> None:
        """Rolls back, and waits for it: the read failed, or nobody wants what it read."""
        self._given_up.set()
        self._spool.complete()
        self._order.set_result(None)
        self._thread.join()

    def _run(self) -> None:
        ending = False
        stored = None
        try:
            with self._open_store() as store:
                self._take_all(store)
                streams = self._order.result()
                if streams is not None and not self._given_up.is_set():
                    ending = True
                    stored = store.finish(streams)
        except BaseException as error:  # noqa: BLE001  the load raises it, or meets it again; it waits
            if ending:
                self._result.set_exception(error)
                return
            log.debug("the overlapped store was given up: %s", type(error).__name__)
        self._result.set_result(stored)

    def _take_all(self, store: Store) -> None:
        """Stores batches as they arrive, until all are there.

        Raises NotYetError where the transaction cannot wait for the next one.
        """
        batches = self._spool.follow(time.monotonic() + OPEN_SECONDS)
        for batch in prefetched(store.judged(batches)):
            if self._given_up.is_set():
                raise NotYetError
            store.take(batch)
