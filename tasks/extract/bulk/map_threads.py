"""Maps pages while the next ones are fetched, in threads.

In: stored pages, list by list. Out: packed batches in the spool, in the order of the pages.
"""

from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Final

from connectors.kit.spec import Stream, Window
from sql.sync import StoredPage
from tasks.extract.bulk.map_process import map_and_pack, mapped_by_process
from tasks.extract.bulk.spool import Packed, Spool
from tasks.job import Job

#: Records of the first batch. It is small, so that the database does not wait long for work; each
#: further one may be as large as all before.
RECORDS_FIRST: Final = 2_500
#: Records of a batch at most: the cost of a pass, and of a validation, is that of some thousand
#: records, and memory follows the batch and not the size of the backfill.
RECORDS_AT_ONCE: Final = 20_000
#: Bytes of a batch's pages at most, for lists whose records are large.
BYTES_AT_ONCE: Final = 48 * 1024 * 1024
#: Batches under way: one that the mapping process has, and the next one. Without that process half
#: of the work is done outside of Python's lock, so that two overlap.
THREADS: Final = 2


class MapThreads:
    """Collects pages into batches, maps them in threads, and spools the results in order."""

    def __init__(self, job: Job, spool: Spool) -> None:
        #: Per lookup the ids that the spooled batches need.
        self.needs: dict[str, set[str]] = defaultdict(set)
        #: Records of the batches that were begun.
        self.records = 0
        self._job, self._spool = job, spool
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="map")
        #: Set once this process has nothing better to do than to map as well.
        self._idle = Event()
        self._running: deque[Future[Packed]] = deque()
        self._stream: Stream | None = None
        self._window = Window()
        #: The batch that is collected now.
        self._pages: list[StoredPage] = []
        self._records = self._bytes = 0

    def append(self, packed: Packed) -> None:
        """Takes a batch that is mapped already, as long as no page was added."""
        self.records += packed.record_count
        self._spool_batch(packed)

    def add(self, stream: Stream, window: Window, page: StoredPage) -> bool:
        """Takes one stored page; returns whether it completed a batch.

        Raises ConnectorError if an earlier page cannot be read.
        """
        if stream is not self._stream or window != self._window:
            self._submit()
            self._stream, self._window = stream, window
        self._pages.append(page)
        self._records += page.record_count
        self._bytes += page.body_bytes
        self._take(down_to=THREADS)
        enough = min(max(RECORDS_FIRST, self.records), RECORDS_AT_ONCE)
        if self._records < enough and self._bytes < BYTES_AT_ONCE:
            return False
        self._submit()
        return True

    def finish(self, *, hurry: bool) -> None:
        """Maps what is left. Raises ConnectorError as `add`.

        `hurry`: this process has nothing else to do, so it does not wait for the mapping process.
        """
        if hurry:
            self._idle.set()
        self._submit()
        self._take(down_to=0)
        self._pool.shutdown()

    def close(self) -> None:
        """Ends the threads; batches that are not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        if self._stream is None or not self._pages:
            return
        self._take(down_to=THREADS - 1)
        self._running.append(
            self._pool.submit(
                _map_and_pack, self._job, self._stream, self._window, self._pages, self._idle
            )
        )
        self.records += self._records
        self._pages, self._records, self._bytes = [], 0, 0

    def _take(self, *, down_to: int) -> None:
        """Spools batches that are mapped, in order; waits until at most so many are left."""
        while self._running and (len(self._running) > down_to or self._running[0].done()):
            self._spool_batch(self._running.popleft().result())

    def _spool_batch(self, packed: Packed) -> None:
        for name, ids in packed.needs.items():
            self.needs[name] |= ids
        self._spool.append(packed)


def _map_and_pack(
    job: Job, stream: Stream, window: Window, pages: list[StoredPage], idle: Event
) -> Packed:
    return mapped_by_process(job.vendor, stream, window, pages, hurry=idle) or map_and_pack(
        job.spec, job.vendor, stream, window, pages
    )
