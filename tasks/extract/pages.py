"""Step 1, extract: everything the vendor says is stored as received, page by page, and mapped.

In: the account and the window that the job asks for. Out: `Extracted`: raw pages in the database,
mapped pages for the load, and lookups (customers, items) in the database's cache.

Each page is committed before the next one is asked for, so an interrupted read goes on where it
was.
"""

import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connectors.kit.errors import ListedTooFew, UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.mapping import map_lookup
from connectors.kit.mapping.outline import Watch
from connectors.kit.read.look_up import look_up
from connectors.kit.read.pages import extract
from connectors.kit.spec import Page, PageRequest, Resume, Stream, Window
from sql import rejects, sync
from sql.db import DbConnection
from sql.retention import reach
from tasks.extract.batch import MappedBatch
from tasks.extract.bulk.read import BulkRead, OpenStore
from tasks.extract.mapper import PageMapper
from tasks.extract.schema_drift import Change, note
from tasks.job import Job

#: Pages decompressed at a time where an interrupted extraction is continued.
PAGES_AT_ONCE: Final = 20
#: Differences of the clocks that mean nothing: vendors state their time to a second, and answers
#: take time.
CLOCK_NOISE_SECONDS: Final = 5


@dataclass
class Extracted:
    """What an extraction left: pages in the database, and the same pages mapped, for the load.

    Whoever has it closes it.
    """

    #: The number of the synchronisation (billing.sync_run).
    sync_id: int
    #: Per list its window (`since`, `until`: ISO times or None), `started_at`, and whether it is
    #: `complete`. What is stored with the synchronisation.
    streams: dict[str, Any]
    #: The mapped pages of a small read, in the order in which they came.
    batches: list[MappedBatch] = field(default_factory=list)
    #: Has the mapped pages of a large read; None after a small one.
    bulk: BulkRead | None = None
    #: Whether an interrupted extraction was continued.
    resumed: bool = False
    #: Per lookup how many ids the vendor was asked for.
    looked_up: dict[str, int] = field(default_factory=dict)
    #: What is new about the vendor's records.
    changes: list[Change] = field(default_factory=list)
    #: Of a replay that asked for more: since when pages are still stored.
    stored_since: datetime | None = None

    @property
    def mapped(self) -> Iterable[MappedBatch]:
        """The mapped pages in the order in which they came; may be iterated again."""
        return self.batches if self.bulk is None else self.bulk

    def close(self) -> None:
        """Gives back what a load did not take, and the memory of the rest."""
        self.batches = []
        if self.bulk is not None:
            self.bulk.close()


def extract_pages(job: Job, open_store: OpenStore | None = None) -> Extracted:
    """Fetches all streams of the account.

    An interrupted extraction is continued where its last stored page ended. A large read begins to
    store with `open_store` while it still reads.

    Raises ConnectorError: what is stored by then stays, and the next run continues there.
    """
    with job.transaction() as connection, ExitStack() as unless_extracted:
        extracted = _begin(job, connection)
        unless_extracted.callback(extracted.close)
        try:
            with job.client() as client, PageMapper(job, extracted.sync_id, open_store) as mapper:
                for stream in job.spec.streams:
                    _read_stream(job, connection, client, stream, extracted, mapper)
                mapper.finish()
                extracted.batches, extracted.bulk = mapper.batches, mapper.bulk
                for lookup in job.spec.lookups:
                    ids = mapper.needs.get(lookup.name, set())
                    if lookup.name == "customers":
                        ids = ids | rejects.phones_missing(connection, job.account)
                    extracted.looked_up[lookup.name] = look_up_missing(
                        job, connection, client, extracted.sync_id, lookup.name, ids,
                        watch=mapper.watch,
                    )  # fmt: skip
                extracted.changes = note(connection, job, extracted.sync_id, mapper.watch.outlines)
        except UnexpectedShape as error:
            _keep_unreadable(job, connection, extracted.sync_id, error)
            raise
        except ListedTooFew:
            # Pages that are not all there would be continued, and never be counted again.
            connection.rollback()
            sync.set_state(connection, extracted.sync_id, "abandoned")
            job.commit(connection)
            raise
        sync.set_state(connection, extracted.sync_id, "extracted")
        job.commit(connection)
        unless_extracted.pop_all()
    return extracted


def replay_pages(job: Job, open_store: OpenStore | None = None) -> Extracted:
    """Maps the stored pages of the job's period again, with the present mapping.

    The period is that in which they were fetched; the vendor is not asked.

    Where only rejects were asked for, no page is mapped here: the load finds those by itself.
    Phones and SKUs are those that are cached. A list of what still exists is true of its own time
    only and is left out. A page whose retention ended cannot be mapped again: `stored_since` says
    since when there are pages.
    """
    with job.transaction() as connection:
        stored_since = None if job.rejects else reach(connection)
        now = datetime.now(UTC).isoformat()
        replayed = [stream for stream in job.spec.streams if not stream.census and not job.rejects]
        # Names of their own: an interrupted replay is never taken for a read to be continued.
        state = {"since": None, "until": None, "started_at": now, "complete": True}
        streams = {f"replay of {stream.name}": state for stream in replayed}
        sync_id, _ = sync.begin(
            connection, job.account, job.run_id, (job.since, job.until), streams
        )
        job.commit(connection)
        with PageMapper(job, sync_id, open_store) as mapper:
            for stream in replayed:
                pages = sync.stored_pages(
                    connection, job.account, stream.name, job.since, job.until, batch=PAGES_AT_ONCE
                )
                for page in pages:
                    mapper.add(stream, Window(), page)
            mapper.finish()
    out_of_reach = stored_since is not None and (job.since is None or job.since < stored_since)
    return Extracted(
        sync_id,
        streams,
        mapper.batches,
        mapper.bulk,
        stored_since=stored_since if out_of_reach else None,
    )


def _begin(job: Job, connection: DbConnection) -> Extracted:
    """The synchronisation's row: a new one, or that of an interrupted read to be continued."""
    cursors = sync.cursors(connection, job.account)
    now = datetime.now(UTC)
    streams = {}
    for stream in job.spec.streams:
        since = job.since if job.by_hand else None
        if not job.by_hand and stream.name in cursors:
            since = _after(cursors[stream.name], job, now)
        streams[stream.name] = {
            "since": since.isoformat() if since else None,
            "until": job.until.isoformat() if job.until else None,
            "started_at": now.isoformat(),
            "complete": False,
        }
    sync_id, begun = sync.begin(
        connection, job.account, job.run_id, (job.since, job.until), streams
    )
    job.commit(connection)
    return Extracted(sync_id, begun, resumed=begun != streams)


def _after(cursor: datetime, job: Job, now: datetime) -> datetime | None:
    """From when on changes are to be read; None, all of them, after a cursor that cannot be right.

    A cursor far in the future was set while our own clock was ahead: when its read took place is
    not known any more.
    """
    since = cursor - job.policy.overlap
    return since if since <= now else None


def window_of(state: dict[str, Any]) -> Window:
    """The window of a stream, from its stored state."""
    since, until = (
        datetime.fromisoformat(state[name]) if state[name] else None for name in ("since", "until")
    )
    return Window(since, until)


def _read_stream(
    job: Job,
    connection: DbConnection,
    client: Client,
    stream: Stream,
    extracted: Extracted,
    mapper: PageMapper,
) -> None:
    """Reads one list to its end: pages that an interrupted run stored, then those of the vendor."""
    state = extracted.streams[stream.name]
    window = window_of(state)
    last = sync.last_page(connection, extracted.sync_id, stream.name)
    if last is not None:
        for pages in sync.pages(connection, extracted.sync_id, stream.name, batch=PAGES_AT_ONCE):
            for page in pages:
                mapper.add(stream, window, page)
    # The run was interrupted after the last page, before the list was marked as complete. A list
    # that shrinks while it is read is read again: the interrupted run may have been about to.
    finished = last is not None and last[2] is None and not stream.shrinks
    if state["complete"] or finished:
        return
    resume = None
    if last is not None and last[2] is not None:
        resume = Resume(PageRequest.from_json(last[0]), last[1], PageRequest.from_json(last[2]))
    for fetched in extract(job.spec, stream, client, window, resume=resume):
        page = sync.save_page(connection, job.account, extracted.sync_id, page_row(fetched))
        if _set_back(state, client.clock_ahead_seconds):
            sync.save_streams(connection, extracted.sync_id, extracted.streams)
        job.commit(connection)
        mapper.add(stream, window, page)
    _set_back(state, client.clock_ahead_seconds)
    state["complete"] = True
    sync.save_streams(connection, extracted.sync_id, extracted.streams)
    job.commit(connection)


def _set_back(state: dict[str, Any], ahead_seconds: float) -> bool:
    """Begins the stream's time by the slower of both clocks; returns whether that changed it.

    The cursor moves to that instant, and changes carry the vendor's time: where our clock is ahead
    by more than the overlap, the next window would begin after changes that were made since this
    one was read. A vendor's clock that is ahead only makes windows overlap more.
    """
    noted, ahead = state.get("clock_ahead_seconds", 0), math.ceil(ahead_seconds)
    if ahead <= max(noted, CLOCK_NOISE_SECONDS):
        return False
    began = datetime.fromisoformat(state["started_at"]) - timedelta(seconds=ahead - noted)
    state.update(clock_ahead_seconds=ahead, started_at=began.isoformat())
    return True


def look_up_missing(
    job: Job,
    connection: DbConnection,
    client: Client,
    sync_id: int,
    name: str,
    ids: set[str],
    *,
    watch: Watch | None = None,
) -> int:
    """Asks for those of the ids that are not cached, and caches them; returns how many.

    Args:
        job: The synchronisation.
        connection: Commits here, page by page.
        client: The vendor's client.
        sync_id: The synchronisation's number.
        name: The lookup: "customers" or "items".
        ids: What batches need.
        watch: Looks at the answers' fields.

    Raises:
        ConnectorError: What is cached by then stays.
    """
    lookup = job.spec.lookup(name)
    # Whoever asks for a window or a replay wants what changed at the vendor, in lookups as well.
    anew = job.by_hand and not job.pushed
    missing = sync.unknown(
        connection, job.account, name, sorted(ids), by_name=lookup.key == "name", again=anew
    )
    job.commit(connection)
    for page in look_up(job.spec, lookup, client, missing):
        if watch is not None:
            watch.look_up(lookup, page.body)
        sync.save_page(connection, job.account, sync_id, page_row(page))
        sync.save_lookup(
            connection, job.account, name, map_lookup(job.spec, lookup, job.vendor, page.body)
        )
        job.commit(connection)
    return len(missing)


def page_row(page: Page) -> dict[str, Any]:
    """The page as `sync.save_page` takes it."""
    return {
        "stream": page.stream,
        "page_no": page.page_no,
        "record_count": page.record_count,
        "request": page.request.to_json(),
        "next_request": page.next_request.to_json() if page.next_request else None,
        "content_type": page.content_type,
        "body": page.body,
        "fetched_at": page.fetched_at,
        "asked_at": page.fetched_at - timedelta(milliseconds=page.elapsed_ms),
    }


def _keep_unreadable(
    job: Job, connection: DbConnection, sync_id: int, error: UnexpectedShape
) -> None:
    """Keeps an answer that is not what was agreed, as evidence.

    It is kept beside the pages, under a name under which nobody reads it as one.
    """
    body = getattr(error, "body", None)
    if not body:
        return
    connection.rollback()
    page = {
        "stream": f"unreadable:{error.operation}", "page_no": 1, "record_count": 0,
        "request": {"call": error.call},
        "next_request": None, "content_type": "", "body": body, "fetched_at": datetime.now(UTC),
    }  # fmt: skip
    sync.save_page(connection, job.account, sync_id, page)
    job.commit(connection)
