"""Step 2, its end: tries rejected records again, once it is likely that they can be used.

In: open rejects and the stored pages they came from. Out: `RetryResult`; what can be used now is
stored by the rules of every other load.

Because the mapping is another one (settings of the block, or the program itself), or because their
customer has a phone by now. The vendor is not asked: the record is in its stored page. Whatever is
stored this way obeys the rules of every other load: a version that is older than the stored one
changes nothing, and what is accepted twice counts once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import polars as pl

from connectors.kit.errors import ConnectorError
from connectors.kit.files.csv_text import Place
from connectors.kit.mapping import Mapped, map_pages
from connectors.kit.spec import Stream
from sql import rejects, store
from sql.db import DbConnection
from sql.rejects import Waiting
from sql.versions import readings
from tasks.extract.pages import Extracted
from tasks.job import Job
from tasks.load.corrections import completed
from tasks.load.invoices import Loaded, filled, judged, load_pages, store_batch

#: Raw pages in one transaction, and transactions in one run; a replay that was asked for goes on to
#: the end.
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
    again.resolved += close_corrected(job, extracted.sync_id)
    loaded.tried_again = again.tried
    loaded.resolved += again.resolved
    loaded.stored.new += again.new
    loaded.stored.changed += again.changed
    return loaded


def bring_back(job: Job, sync_id: int) -> Again:
    """Tries open rejects of the account again, a bounded number of them.

    Each turn is one transaction.

    Raises psycopg.Error: what was committed by then stays, the rest stays open.
    """
    done = Again()
    streams = [stream.name for stream in job.spec.streams if stream.deleted is None]
    after, turn = 0, 0
    while job.rejects or turn < TURNS_MAX:
        with job.transaction() as connection:
            store.lock_account(connection, job.account)
            found = rejects.waiting(
                connection, job.account, sync_id, mapping=job.mapping_digest, streams=streams,
                every=job.rejects,
                after=after, pages=PAGES_AT_ONCE,
            )  # fmt: skip
            if found:
                _turn(job, connection, sync_id, found, done)
            job.commit(connection)
        if not found:
            break
        after, turn = found[-1].page_id, turn + 1
    return done


def _turn(
    job: Job, connection: DbConnection, sync_id: int, found: Sequence[Waiting], done: Again
) -> None:
    bodies = rejects.bodies(connection, {one.page_id for one in found})
    of_stream: dict[str, list[Waiting]] = defaultdict(list)
    for one in found:
        of_stream[one.stream].append(one)
    into = store.Stored()
    for name, waiting in of_stream.items():
        stream = job.spec.stream(name)
        for batch, tried in _mapped(job, connection, stream, waiting, bodies):
            if batch is None:
                rejects.keep(
                    connection,
                    sync_id,
                    [one.reject_id for one in tried],
                    mapping=job.mapping_digest,
                )
            else:
                done.resolved += _store(job, connection, sync_id, stream, batch, into)
                done.resolved += rejects.close(
                    connection, sync_id, [one.reject_id for one in tried]
                )
            done.tried += len(tried)
    store.mark_dirty(connection, into.members)
    done.new += into.new
    done.changed += into.changed + into.voided


def _store(
    job: Job,
    connection: DbConnection,
    sync_id: int,
    stream: Stream,
    mapped: Mapped,
    into: store.Stored,
) -> int:
    """Stores what can be used; returns how many rejects were of those documents."""
    pages = readings(connection, mapped.invoices["page_id"])
    whole = completed(connection, job.account, filled(job, connection, stream.name, mapped))
    batch = judged(stream, whole, pages)
    batch = replace(batch, invoices=store.with_members(batch.invoices, job.aside))
    return store_batch(job, connection, sync_id, batch, into=into)[1]


def _mapped(
    job: Job,
    connection: DbConnection,
    stream: Stream,
    waiting: Sequence[Waiting],
    bodies: Mapping[int, bytes],
) -> Iterator[tuple[Mapped | None, Sequence[Waiting]]]:
    """The records at these places, mapped.

    Where one page cannot be read, they come page by page, with None for that page.
    """
    try:
        yield _only(job, connection, stream, _pages(job, stream, waiting, bodies), waiting), waiting
    except ConnectorError:
        by_page: dict[int, list[Waiting]] = defaultdict(list)
        for one in waiting:
            by_page[one.page_id].append(one)
        for tried in by_page.values():
            try:
                mapped = _only(job, connection, stream, _pages(job, stream, tried, bodies), tried)
            except ConnectorError:
                yield None, tried
            else:
                yield mapped, tried


def _pages(
    job: Job, stream: Stream, waiting: Iterable[Waiting], bodies: Mapping[int, bytes]
) -> Mapped:
    pages = dict.fromkeys(one.page_id for one in waiting)
    return map_pages(
        job.spec, stream, job.vendor, [(page_id, bodies[page_id]) for page_id in pages]
    )


def _only(
    job: Job, connection: DbConnection, stream: Stream, mapped: Mapped, waiting: Sequence[Waiting]
) -> Mapped:
    """Without the records that were used already.

    A deletion does not tell its record: it is known by the document's id.

    Another mapping may make other documents of the rows of a table. So of a file every document
    counts, but those that are stored as a later file had them.
    """
    if stream.reads is not None:
        return _not_newer(job, connection, mapped, len(waiting))
    schema = {"page_id": pl.Int64, "record_no": pl.Int32}
    places = pl.DataFrame(
        [(one.page_id, one.record_no) for one in waiting], schema=schema, orient="row"
    )
    kept = {
        one.name: frame.join(places, on=list(schema), how="semi", maintain_order="left")
        for one in fields(Mapped)
        if isinstance(frame := getattr(mapped, one.name), pl.DataFrame)
        and set(schema) <= set(frame.columns)
    }
    named = [one.external_id for one in waiting if one.external_id is not None]
    deletions = mapped.deletions.filter(pl.col("external_id").is_in(named))
    return replace(mapped, **kept, deletions=deletions, record_count=len(waiting))


def _not_newer(job: Job, connection: DbConnection, mapped: Mapped, count: int) -> Mapped:
    documents = mapped.invoices.select("external_id", "page_id").drop_nulls().rows()
    newer = rejects.newer(connection, job.account, documents) if documents else set()
    schema = ["page_id", "record_no"]
    old = mapped.invoices.filter(pl.col("external_id").is_in(sorted(newer))).select(schema)
    kept = {
        one.name: frame.join(old, on=schema, how="anti", maintain_order="left")
        for one in fields(Mapped)
        if isinstance(frame := getattr(mapped, one.name), pl.DataFrame)
        and set(schema) <= set(frame.columns)
    }
    return replace(mapped, **kept, record_count=count)


def close_corrected(job: Job, sync_id: int) -> int:
    """Closes rejects whose file was read again and has them right.

    Those are rejects of rows without an id, and of whole files.

    Returns how many. Raises psycopg.Error.
    """
    with job.transaction() as connection:
        found = rejects.of_files(connection, job.account, sync_id)
        if not found:
            return 0
        pages = {page for one in found for page in (one.page_id, one.new_page_id)}
        bodies = rejects.bodies(connection, pages)
        refused = rejects.refused_of(connection, sync_id, pages)
        known: dict[tuple[str, int], Sequence[Place]] = {}

        def places(stream: str, page_id: int) -> Sequence[Place]:
            read = job.spec.stream(stream).places
            if (stream, page_id) not in known:
                known[stream, page_id] = read(bodies[page_id]) if read is not None else ()
            return known[stream, page_id]

        closed = [
            one.reject_id
            for one in found
            if (one.whole and (one.new_page_id, 0) not in refused)
            or one.of_document
            or is_corrected(
                one.record_no,
                places(one.stream, one.page_id),
                places(one.stream, one.new_page_id),
                {number for page_id, number in refused if page_id == one.new_page_id},
            )
        ]
        resolved = rejects.close(connection, sync_id, closed)
        job.commit(connection)
    return resolved


def is_corrected(
    number: int, before: Sequence[Place], after: Sequence[Place], refused: set[int]
) -> bool:
    """Whether a rejected row is right in the file as it is now, or was taken out of its middle.

    A file that holds other rows under the same name, as one of every day does, corrects nothing.

    Args:
        number: The row's, as the file was.
        before: The rows of the file as it was.
        after: Those of the file as it is.
        refused: Numbers of rows of the file as it is that are rejected.
    """
    at = next((at for at, place in enumerate(before) if place.number == number), None)
    if at is None:
        return False
    now = {place.content: place for place in after}
    here = {place.content: at for at, place in enumerate(after)}
    row = before[at]
    if row.content in now:
        return now[row.content].number not in refused
    if any(place.without_id == row.without_id and place.number not in refused for place in after):
        return True
    above = next((here[one.content] for one in reversed(before[:at]) if one.content in here), None)
    below = next((here[one.content] for one in before[at + 1 :] if one.content in here), None)
    if above is None and below is None:
        return False
    between = after[0 if above is None else above + 1 : len(after) if below is None else below]
    if any(place.number in refused for place in between):
        return False
    return bool(between) or (above is not None and below is not None)
