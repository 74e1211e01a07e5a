"""A large read: the same work as for a small one, done at the same time instead of in turn.

In: stored pages, list by list. Out: batches in the order of the pages, and, where the store
transaction could run meanwhile, the result of the load.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from connectors.kit.spec import Stream, Window
from sql.sync import StoredPage
from tasks.extract.batch import MappedBatch
from tasks.extract.bulk.map_threads import MapThreads
from tasks.extract.bulk.overlapped_store import OverlappedStore, Store
from tasks.extract.bulk.prefetch import prefetched
from tasks.extract.bulk.spool import Spool, pack
from tasks.job import Job

#: Begins the store transaction of a job's synchronisation (by its number).
OpenStore = Callable[[Job, int], Store]
#: Records after which storing begins while pages still arrive: the transaction is held open, which
#: pays for long reads only.
STORE_FROM_RECORDS: Final = 20_000
#: What is produced ahead.
T = TypeVar("T")


class BulkRead:
    """Maps, spools and stores the pages of one read, each in threads of its own.

    Whoever has one closes it.
    """

    def __init__(self, job: Job, sync_id: int, open_store: OpenStore | None) -> None:
        self._job = job
        self._open_store = None if open_store is None else partial(open_store, job, sync_id)
        self._spool = Spool()
        self._threads = MapThreads(job, self._spool)
        self._overlapped: OverlappedStore | None = None

    def append(self, batch: MappedBatch) -> None:
        """Takes a batch that is mapped already. No page may have been added yet."""
        self._threads.append(pack(batch))

    def add(self, stream: Stream, window: Window, page: StoredPage) -> None:
        """Takes one stored page. Raises ConnectorError if an earlier one cannot be read."""
        submitted = self._threads.add(stream, window, page)
        if submitted and self._threads.records >= STORE_FROM_RECORDS:
            self._begin_storing()

    def finish(self) -> None:
        """Maps what is left. Raises ConnectorError as `add`."""
        self._threads.finish(hurry=self._overlapped is None)
        self._spool.complete()

    @property
    def needs(self) -> dict[str, set[str]]:
        """Per lookup the ids without which batches cannot be loaded; complete after `finish`."""
        return self._threads.needs

    def __iter__(self) -> Iterator[MappedBatch]:
        """The batches in the order of their pages; may be iterated again."""
        return iter(self._spool)

    def stored(self, streams: Mapping[str, Any]) -> Any | None:
        """Ends the store transaction that ran while pages arrived.

        Returns what its `finish(streams)` returns; None if there was none, or if it was given up:
        the batches are to be loaded then. Raises what its `finish` raises.
        """
        overlapped, self._overlapped = self._overlapped, None
        return None if overlapped is None else overlapped.finish(streams)

    def ahead(self, items: Generator[T, None, None]) -> Iterator[T]:
        """The same items, each produced while the one before is worked on.

        Not in a dry run, whose steps share one connection.
        """
        return items if self._job.dry_run else prefetched(items)

    def close(self) -> None:
        """Gives everything back; a store transaction that was not ended is rolled back."""
        self._threads.close()
        overlapped, self._overlapped = self._overlapped, None
        if overlapped is not None:
            overlapped.abandon()
        self._spool.close()

    def _begin_storing(self) -> None:
        if self._overlapped is None and self._open_store is not None and not self._job.dry_run:
            self._overlapped = OverlappedStore(self._open_store, self._spool)
