"""Step 2, its end: records that were rejected are tried again once there is reason to think that they can be used.

Because the mapping is another one (settings of the block, or the program itself), or because their customer has a phone by now. The
vendor is not asked: the record is in its stored page. Whatever is stored this way obeys the rules of every other load: a
version that is older than the stored one changes nothing, and what is accepted twice counts once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import polars as pl

from connectors.kit.errors import ConnectorError
from connectors.kit.mapping import Mapped, map_pages
from connectors.kit.spec import Stream
from sql import rejects, store
from sql.db import Connection
from sql.rejects import Waiting
from tasks.extract import Extracted
from tasks.job import Job
from tasks.load import Loaded, filled, judged, load_pages, store_batch
from tasks.taking_back import completed

#: Raw pages in one transaction, and transactions in one run; a replay that was asked for goes on to the end.
PAGES_AT_ONCE: Final = 50
TURNS_MAX: Final = 8


@dataclass
class Again:
    """What came of it: records tried, rejects closed, invoices new and changed."""

    tried: int = 0
    resolved: int = 0
    new: int = 0
    changed: int = 0


def load_all(job: Job, extracted: Extracted) -> Loaded:
    """Stores what was extracted, then tries open rejects of the account again.

    Raises TooManyRejectsError (nothing stored), psycopg.Error.
    """
    loaded = load_pages(job, extracted)
    again = bring_back(job, extracted.sync_id)
    loaded.tried_again = again.tried
    loaded.resolved += again.resolved
    loaded.stored.new += again.new
    loaded.stored.changed += again.changed
    return loaded


def bring_back(job: Job, sync_id: int) -> Again:
    """Tries open rejects of the account again, a bounded number of them; each turn is one transaction.

    Raises psycopg.Error: what was committed by then stays, the rest stays open.
    """
    done = Again()
    streams = [stream.name for stream in job.spec.streams if stream.deleted is None]
    after, turn = 0, 0
    while job.rejects or turn < TURNS_MAX:
        with job.transaction() as connection:
            store.lock_account(connection, job.account)
            found = rejects.waiting(
                connection, job.account, sync_id, mapping=job.mapping_digest, streams=streams, every=job.rejects,
                after=after, pages=PAGES_AT_ONCE,
            )  # fmt: skip
            if found:
                _turn(job, connection, sync_id, found, done)
            job.commit(connection)
        if not found:
            break
        after, turn = found[-1].page_id, turn + 1
    return done


def _turn(job: Job, connection: Connection, sync_id: int, found: Sequence[Waiting], done: Again) -> None:
    bodies = rejects.bodies(connection, {one.page_id for one in found})
    of_stream: dict[str, list[Waiting]] = defaultdict(list)
    for one in found:
        of_stream[one.stream].append(one)
    into = store.Stored()
    for name, waiting in of_stream.items():
        stream = job.spec.stream(name)
        for batch, tried in _mapped(job, stream, waiting, bodies):
            if batch is None:
                rejects.keep(connection, sync_id, [one.reject_id for one in tried], mapping=job.mapping_digest)
            else:
                done.resolved += _store(job, connection, sync_id, stream, batch, into)
                done.resolved += rejects.close(connection, sync_id, [one.reject_id for one in tried])
            done.tried += len(tried)
    store.mark_dirty(connection, into.members)
    done.new += into.new
    done.changed += into.changed + into.voided


def _store(job: Job, connection: Connection, sync_id: int, stream: Stream, mapped: Mapped, into: store.Stored) -> int:
    """Stores what can be used; returns how many rejects were of those documents."""
    batch = judged(stream, completed(connection, job.account, filled(job, connection, stream.name, mapped)))
    batch = replace(batch, invoices=store.with_members(batch.invoices, job.aside))
    return store_batch(job, connection, sync_id, batch, into=into)[1]


def _mapped(
    job: Job, stream: Stream, waiting: Sequence[Waiting], bodies: Mapping[int, bytes]
) -> Iterator[tuple[Mapped | None, Sequence[Waiting]]]:
    """The records at these places, mapped; page by page, with None for one that cannot be read, where one cannot."""
    try:
        yield _only(_pages(job, stream, waiting, bodies), waiting), waiting
    except ConnectorError:
        by_page: dict[int, list[Waiting]] = defaultdict(list)
        for one in waiting:
            by_page[one.page_id].append(one)
        for tried in by_page.values():
            try:
                mapped = _only(_pages(job, stream, tried, bodies), tried)
            except ConnectorError:
                yield None, tried
            else:
                yield mapped, tried


def _pages(job: Job, stream: Stream, waiting: Iterable[Waiting], bodies: Mapping[int, bytes]) -> Mapped:
    pages = dict.fromkeys(one.page_id for one in waiting)
    return map_pages(job.spec, stream, job.vendor, [(page_id, bodies[page_id]) for page_id in pages])


def _only(mapped: Mapped, waiting: Sequence[Waiting]) -> Mapped:
    """Without the records that were used already. A deletion does not tell its record: it is known by the document's id."""
    schema = {"page_id": pl.Int64, "record_no": pl.Int32}
    places = pl.DataFrame([(one.page_id, one.record_no) for one in waiting], schema=schema, orient="row")
    kept = {
        one.name: frame.join(places, on=list(schema), how="semi", maintain_order="left")
        for one in fields(Mapped)
        if isinstance(frame := getattr(mapped, one.name), pl.DataFrame) and set(schema) <= set(frame.columns)
    }
    named = [one.external_id for one in waiting if one.external_id is not None]
    deletions = mapped.deletions.filter(pl.col("external_id").is_in(named))
    return replace(mapped, **kept, deletions=deletions, record_count=len(waiting))
