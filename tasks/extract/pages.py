"""Step 1, extract: everything the vendor says is stored as received, page by page, and mapped.

In: the account and the window that the job asks for. Out: `Extracted`: raw pages in the database,
mapped pages for the load, and lookups (customers, items) in the database's cache.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.kit.errors import ListedTooFew, UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.mapping import map_lookup
from connectors.kit.mapping.outline import Watch
from connectors.kit.read.look_up import look_up
from connectors.kit.read.pages import extract
from connectors.kit.spec import Page, PageRequest, Resume, Stream, Window
from sql import rejects, sync
from sql.db import DbConnection
from tasks.extract.bulk.map_threads import Mapper
from tasks.extract.bulk.overlapped_store import Early
from tasks.extract.bulk.spool import Spool
from tasks.extract.schema_drift import Change, note
from tasks.job import Job
from tasks.load.invoices import Loading

#: Pages decompressed at a time where an interrupted extraction is continued.
PAGES_AT_ONCE = 20
#: Differences of the clocks that mean nothing: the vendor's time is told to a second, and answers
#: take time.
CLOCK_NOISE_SECONDS = 5


@dataclass
class Extracted:
    """What an extraction left: pages in the database, and `mapped` for the load.

    `streams`: per stream its window (ISO times) and whether it is complete. `changes`: what is new
        about the vendor's records.
    """

    sync_id: int
    streams: dict[str, Any]
    mapped: Spool = field(default_factory=Spool)
    early: Early | None = None
    resumed: bool = False
    looked_up: dict[str, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def take_early(self) -> Loading | None:
        """The store transaction that was begun while pages arrived; None if there is none."""
        early, self.early = self.early, None
        return early.take_over() if early else None

    def close(self) -> None:
        """Gives back what a load did not take."""
        if self.early is not None:
            self.early.abandon()
        self.mapped.close()


def extract_pages(job: Job) -> Extracted:
    """Fetches all streams of the account.

    An interrupted extraction is continued where its last stored page ended.

    Raises ConnectorError: what is stored by then stays, and the next run continues there.
    """
    with job.transaction() as connection:
        done = _begin(job, connection)
        try:
            with job.client() as client, Mapper(job, done.sync_id) as mapper:
                for stream in job.spec.streams:
                    _stream(job, connection, client, stream, done, mapper)
                mapper.finish()
                done.mapped, done.early = mapper.spool, mapper.early
                for lookup in job.spec.lookups:
                    ids = mapper.needs[lookup.name]
                    if lookup.name == "customers":
                        ids |= rejects.phones_missing(connection, job.account)
                    done.looked_up[lookup.name] = look_up_missing(
                        job, connection, client, done.sync_id, lookup.name, ids, watch=mapper.watch
                    )
                done.changes = note(connection, job, done.sync_id, mapper.watch.outlines)
        except UnexpectedShape as error:
            _keep_unreadable(job, connection, done.sync_id, error)
            raise
        except (
            ListedTooFew
        ):  # pages that are not all there would be continued, and never be counted again
            connection.rollback()
            sync.set_state(connection, done.sync_id, "abandoned")
            job.commit(connection)
            raise
        try:
            sync.set_state(connection, done.sync_id, "extracted")
            job.commit(connection)
        except BaseException:
            done.close()
            raise
    return done


def replay_pages(job: Job) -> Extracted:
    """Maps the stored pages of the job's period again, with the present mapping.

    The period is that in which they were fetched; the vendor is not asked.

    Where only rejects were asked for, no page is mapped here: the load finds those by itself.
    Phones and SKUs are those that are cached. A list of what still exists tells about its own time
    only and is left out.
    """
    with job.transaction() as connection:
        now = datetime.now(UTC).isoformat()
        again = [stream for stream in job.spec.streams if not stream.census and not job.rejects]
        # Names of their own: an interrupted replay is never taken for a read to be continued.
        state = {"since": None, "until": None, "started_at": now, "complete": True}
        streams = {f"replay of {stream.name}": state for stream in again}
        sync_id, _ = sync.begin(
            connection, job.account, job.run_id, (job.since, job.until), streams
        )
        job.commit(connection)
        done = Extracted(sync_id, streams)
        with Mapper(job, sync_id) as mapper:
            for stream in again:
                period = (job.since, job.until)
                pages = sync.stored_pages(
                    connection, job.account, stream.name, *period, batch=PAGES_AT_ONCE
                )
                for page in pages:
                    mapper.add(stream, Window(), page)
            mapper.finish()
            done.mapped, done.early = mapper.spool, mapper.early
    return done


def _begin(job: Job, connection: DbConnection) -> Extracted:
    known = sync.cursors(connection, job.account)
    now = datetime.now(UTC)
    streams = {}
    for stream in job.spec.streams:
        since = job.since if job.by_hand else None
        if not job.by_hand and stream.name in known:
            since = _after(known[stream.name], job, now)
        streams[stream.name] = {
            "since": since.isoformat() if since else None,
            "until": job.until.isoformat() if job.until else None,
            "started_at": now.isoformat(),
            "complete": False,
        }
    sync_id, found = sync.begin(
        connection, job.account, job.run_id, (job.since, job.until), streams
    )
    job.commit(connection)
    return Extracted(sync_id, found, resumed=found != streams)


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


def _stream(
    job: Job,
    connection: DbConnection,
    client: Client,
    stream: Stream,
    done: Extracted,
    mapper: Mapper,
) -> None:
    state = done.streams[stream.name]
    window = window_of(state)
    last = sync.last_page(connection, done.sync_id, stream.name)
    if last is not None:
        for batch in sync.pages(connection, done.sync_id, stream.name, batch=PAGES_AT_ONCE):
            for stored in batch:
                mapper.add(stream, window, stored)
    # The last page is in, and yet nobody said so: where lists shrink, it may have been about to be
    # read again.
    finished = last is not None and last[2] is None and not stream.shrinks
    if state["complete"] or finished:
        return
    resume = None
    if last is not None and last[2] is not None:
        resume = Resume(PageRequest.from_json(last[0]), last[1], PageRequest.from_json(last[2]))
    for page in extract(job.spec, stream, client, window, resume=resume):
        stored = sync.save_page(connection, job.account, done.sync_id, page_row(page))
        if _set_back(state, client.clock_ahead_seconds):
            sync.save_streams(connection, done.sync_id, done.streams)
        job.commit(connection)
        mapper.add(stream, window, stored)
    _set_back(state, client.clock_ahead_seconds)
    state["complete"] = True
    sync.save_streams(connection, done.sync_id, done.streams)
    job.commit(connection)


def _set_back(state: dict[str, Any], ahead_seconds: float) -> bool:
    """Begins the stream's time by the slower of both clocks; returns whether that changed it.

    The cursor moves to that instant, and changes carry the vendor's time: where our clock is ahead
    by more than the overlap, the next window would begin after changes that were made since this
    one was read. A vendor's clock that is ahead only makes windows overlap more.
    """
    known, ahead = state.get("clock_ahead_seconds", 0), math.ceil(ahead_seconds)
    if ahead <= max(known, CLOCK_NOISE_SECONDS):
        return False
    began = datetime.fromisoformat(state["started_at"]) - timedelta(seconds=ahead - known)
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

    Raises ConnectorError.

    `watch` looks at the answers' fields.
    """
    lookup = job.spec.lookup(name)
    again = job.by_hand and not job.pushed
    missing = sync.unknown(
        connection, job.account, name, sorted(ids), by_name=lookup.key == "name", again=again
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
