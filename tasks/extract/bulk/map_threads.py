"""Maps pages while the next ones are fetched, in threads of its own."""

from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import Self

from connectors.kit.mapping.outline import Watch
from connectors.kit.spec import Stream, Window
from sql.sync import StoredPage
from tasks.extract.bulk.map_process import map_and_pack, mapped_by_sibling
from tasks.extract.bulk.overlapped_store import Early
from tasks.extract.bulk.spool import Packed, Spool
from tasks.job import Job

#: A batch ends with the first of these: the cost of a pass, and of a validation, is that of some
#: thousand records, and memory follows the batch and not the size of the backfill. The first ones
#: are smaller, so that nobody waits long for work.
RECORDS_FIRST = 2_500
RECORDS_AT_ONCE = 20_000
BYTES_AT_ONCE = 48 * 1024 * 1024
#: Batches under way: one that is mapped by the sibling, and the next one. Without a sibling half of
#: the work is done outside of Python's lock, so that two overlap.
THREADS = 2


class Mapper:
    """Collects pages into batches, maps them in threads, and spools the results in order.

    Afterwards it knows what must be looked up.
    """

    def __init__(self, job: Job, sync_id: int) -> None:
        self.spool = Spool()
        self.early: Early | None = None
        self.watch = Watch(job.spec, job.vendor)
        self._sync_id = sync_id
        self.needs: dict[str, set[str]] = defaultdict(set)
        self._job = job
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="map")
        #: Set once this process has nothing better to do than to map as well.
        self._idle = Event()
        self._running: deque[Future[Packed]] = deque()
        self._stream: Stream | None = None
        self._window = Window()
        self._pages: list[StoredPage] = []
        self._records = self._bytes = self._submitted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if kind is not None:
            if self.early is not None:
                self.early.abandon()
            self.spool.close()

    def add(self, stream: Stream, window: Window, page: StoredPage) -> None:
        """Takes one stored page. Raises ConnectorError if an earlier one cannot be read."""
        if stream is not self._stream or window != self._window:
            self._submit()
            self._stream, self._window = stream, window
        self._pages.append(page)
        self.watch.look(stream, page.body)
        self._records += page.record_count
        self._bytes += page.body_bytes
        self._take(down_to=THREADS)
        enough = min(max(RECORDS_FIRST, self._submitted), RECORDS_AT_ONCE)
        if self._records >= enough or self._bytes >= BYTES_AT_ONCE:
            self._submit()
            if self._submitted >= RECORDS_AT_ONCE and self.early is None and not self._job.dry_run:
                self.early = Early(self._job, self._sync_id, self.spool)

    def finish(self) -> None:
        """Maps what is left. Raises ConnectorError as `add`."""
        if self.early is None:  # with one it is busy storing
            self._idle.set()
        self._submit()
        self._take(down_to=0)
        self.spool.complete()

    def _submit(self) -> None:
        if self._stream is None or not self._pages:
            return
        self._take(down_to=THREADS - 1)
        self._running.append(
            self._pool.submit(
                _mapped, self._job, self._stream, self._window, self._pages, self._idle
            )
        )
        self._submitted += self._records
        self._pages, self._records, self._bytes = [], 0, 0

    def _take(self, *, down_to: int) -> None:
        """Spools batches that are mapped, in order; waits until at most so many are left."""
        while self._running and (len(self._running) > down_to or self._running[0].done()):
            packed = self._running.popleft().result()
            for name, ids in packed.needs.items():
                self.needs[name] |= ids
            self.spool.append(packed)


def _mapped(
    job: Job, stream: Stream, window: Window, pages: list[StoredPage], idle: Event
) -> Packed:
    return mapped_by_sibling(job.vendor, stream, window, pages, hurry=idle) or map_and_pack(
        job.spec, job.vendor, stream, window, pages
    )
