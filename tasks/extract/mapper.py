"""Maps pages as they arrive.

In: stored pages, list by list. Out: `batches` in the order of the pages, the ids to look up
(`needs`), and what fields the records had (`watch`).

A small read, the usual poll, is mapped here, in the thread that reads. A read that turns out to be
large goes on in `tasks.extract.bulk`, which does the same work faster.
"""

from collections import defaultdict
from types import TracebackType
from typing import Final, Self

from connectors.kit.mapping.outline import Watch
from connectors.kit.spec import Stream, Window
from sql.sync import StoredPage
from tasks.extract.batch import MappedBatch, map_batch
from tasks.extract.bulk.read import BulkRead, OpenStore
from tasks.job import Job

#: A read with so many records is large. Below it, threads and files cost more than they save.
SMALL_RECORDS_MAX: Final = 2_500
#: The same in bytes of its pages, for lists whose records are large.
SMALL_BYTES_MAX: Final = 48 * 1024 * 1024


class PageMapper:
    """Maps the pages of one read.

    `open_store` begins a store transaction; a large read stores with it while it still reads. None:
    nothing is stored before everything is read.
    """

    def __init__(self, job: Job, sync_id: int, open_store: OpenStore | None = None) -> None:
        #: The mapped pages of a small read, in the order in which they came.
        self.batches: list[MappedBatch] = []
        #: Has the mapped pages once the read is large.
        self.bulk: BulkRead | None = None
        #: What fields the records had.
        self.watch = Watch(job.spec, job.vendor)
        self._job, self._sync_id, self._open_store = job, sync_id, open_store
        self._stream: Stream | None = None
        self._window = Window()
        #: Pages of the list that is read now, not mapped yet.
        self._pages: list[StoredPage] = []
        self._records = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self.bulk is not None:
            self.bulk.close()

    def add(self, stream: Stream, window: Window, page: StoredPage) -> None:
        """Takes one stored page. Raises ConnectorError if this one or an earlier one is unreadable.

        `window` is the period that the list was asked for.
        """
        if page.record_count:  # (lists in slices of time begin with empty ones)
            self.watch.look(stream, page.body)
        if self.bulk is not None:
            self.bulk.add(stream, window, page)
            return
        if stream is not self._stream or window != self._window:
            self._map_pages()
            self._stream, self._window = stream, window
        self._pages.append(page)
        self._records += page.record_count
        self._bytes += page.body_bytes
        if self._records >= SMALL_RECORDS_MAX or self._bytes >= SMALL_BYTES_MAX:
            self._go_on_in_bulk(stream, window)

    def append(self, batch: MappedBatch) -> None:
        """Takes a batch that is mapped already."""
        if self.bulk is not None:
            self.bulk.append(batch)
        else:
            self.batches.append(batch)

    def finish(self) -> None:
        """Maps what is left. Raises ConnectorError as `add`."""
        if self.bulk is not None:
            self.bulk.finish()
        else:
            self._map_pages()

    @property
    def needs(self) -> dict[str, set[str]]:
        """Per lookup the ids without which batches cannot be loaded; complete after `finish`."""
        if self.bulk is not None:
            return self.bulk.needs
        needs: dict[str, set[str]] = defaultdict(set)
        for batch in self.batches:
            for name, ids in batch.needs.items():
                needs[name] |= ids
        return needs

    def _map_pages(self) -> None:
        """Maps the pages of a list, now that all of them are here."""
        if self._stream is not None and self._pages:
            self.batches.append(
                map_batch(self._job.spec, self._job.vendor, self._stream, self._window, self._pages)
            )
            self._pages = []

    def _go_on_in_bulk(self, stream: Stream, window: Window) -> None:
        self.bulk = BulkRead(self._job, self._sync_id, self._open_store)
        for batch in self.batches:
            self.bulk.append(batch)
        for page in self._pages:
            self.bulk.add(stream, window, page)
        self.batches, self._pages = [], []
