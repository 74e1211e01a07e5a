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
from connectors.kit.mapping import Mapped, map_pages
from connectors.kit.spec import Stream
from connectors.kit.spec.records import Place
from sql import rejects, store
from sql.db import DbConnection
from sql.rejects import Waiting
from sql.versions import readings
from tasks.extract.pages import Extracted
from tasks.job import Job
from tasks.load.corrections import completed
from tasks.load.invoices import Loaded, filled, judged, load_pages, store_batch

#: Raw pages in one transaction.
PAGES_AT_ONCE: Final = 50
#: Transactions in one run, so that a poll stays short. A replay of rejects goes on to the end.
TURNS_MAX: Final = 8


@dataclass
class RetryResult:
    """What came of trying rejects again."""

    #: Records that were mapped again.
    tried: int = 0
    #: Rejects that are closed now.
    resolved: int = 0
    #: Invoices that were not stored before.
    new: int = 0
    #: Invoices that are other now, or void.
    changed: int = 0


def load_and_retry(job: Job, extracted: Extracted) -> Loaded:
    """Stores what was extracted, then tries open rejects of the account again.

    Raises TooManyRejectsError (nothing stored), psycopg.Error.
    """
    loaded = load_pages(job, extracted)
    again = retry_rejects(job, extracted.sync_id)
    again.resolved += close_corrected(job, extracted.sync_id)
    loaded.tried_again = again.tried
    loaded.resolved += again.resolved
    loaded.stored.new += again.new
    loaded.stored.changed += again.changed
    return loaded


def retry_rejects(job: Job, sync_id: int) -> RetryResult:
    """Tries open rejects of the account again, a bounded number of them.

    Each turn is one transaction.

    Raises psycopg.Error: what was committed by then stays, the rest stays open.
    """
    result = RetryResult()
    streams = [stream.name for stream in job.spec.streams if stream.deleted is None]
    after, turn = 0, 0
    while job.rejects or turn < TURNS_MAX:
        with job.transaction() as connection:
            store.lock_account(connection, job.account)
            waiting = rejects.waiting(
                connection, job.account, sync_id, mapping=job.mapping_digest, streams=streams,
                every=job.rejects,
                after=after, pages=PAGES_AT_ONCE,
            )  # fmt: skip
            if waiting:
                _turn(job, connection, sync_id, waiting, result)
            job.commit(connection)
        if not waiting:
            break
        after, turn = waiting[-1].page_id, turn + 1
    return result


def _turn(
    job: Job,
    connection: DbConnection,
    sync_id: int,
    waiting_rejects: Sequence[Waiting],
    result: RetryResult,
) -> None:
    """Maps and tries the rejects of one turn, list by list, in the turn's transaction."""
    bodies = rejects.bodies(connection, {reject.page_id for reject in waiting_rejects})
    of_stream: dict[str, list[Waiting]] = defaultdict(list)
    for reject in waiting_rejects:
        of_stream[reject.stream].append(reject)
    into = store.Stored()
    for name, waiting in of_stream.items():
        stream = job.spec.stream(name)
        for batch, tried in _mapped(job, connection, stream, waiting, bodies):
            if batch is None:
                rejects.keep(
                    connection,
                    sync_id,
                    [reject.reject_id for reject in tried],
                    mapping=job.mapping_digest,
                )
            else:
                result.resolved += _store(job, connection, sync_id, stream, batch, into)
                result.resolved += rejects.close(
                    connection, sync_id, [reject.reject_id for reject in tried]
                )
            result.tried += len(tried)
    store.mark_dirty(connection, into.members)
    result.new += into.new
    result.changed += into.changed + into.voided


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
        yield (
            _rejected_only(job, connection, stream, _pages(job, stream, waiting, bodies), waiting),
            waiting,
        )
    except ConnectorError:
        by_page: dict[int, list[Waiting]] = defaultdict(list)
        for reject in waiting:
            by_page[reject.page_id].append(reject)
        for tried in by_page.values():
            try:
                mapped = _rejected_only(
                    job, connection, stream, _pages(job, stream, tried, bodies), tried
                )
            except ConnectorError:
                yield None, tried
            else:
                yield mapped, tried


def _pages(
    job: Job, stream: Stream, waiting: Iterable[Waiting], bodies: Mapping[int, bytes]
) -> Mapped:
    pages = dict.fromkeys(reject.page_id for reject in waiting)
    return map_pages(
        job.spec, stream, job.vendor, [(page_id, bodies[page_id]) for page_id in pages]
    )


def _rejected_only(
    job: Job, connection: DbConnection, stream: Stream, mapped: Mapped, waiting: Sequence[Waiting]
) -> Mapped:
    """Of mapped pages only what was rejected.

    Records are found by their place, and deletions, which have no place, by the document's id. Of a
    file every document is tried, since another mapping may make other documents of its rows; except
    those that are stored as a later file had them.
    """
    if stream.reads is not None:
        return _not_newer(job, connection, mapped, len(waiting))
    schema = {"page_id": pl.Int64, "record_no": pl.Int32}
    places = pl.DataFrame(
        [(reject.page_id, reject.record_no) for reject in waiting], schema=schema, orient="row"
    )
    kept = {
        frame_field.name: frame.join(places, on=list(schema), how="semi", maintain_order="left")
        for frame_field in fields(Mapped)
        if isinstance(frame := getattr(mapped, frame_field.name), pl.DataFrame)
        and set(schema) <= set(frame.columns)
    }
    named = [reject.external_id for reject in waiting if reject.external_id is not None]
    deletions = mapped.deletions.filter(pl.col("external_id").is_in(named))
    return replace(mapped, **kept, deletions=deletions, record_count=len(waiting))


def _not_newer(job: Job, connection: DbConnection, mapped: Mapped, count: int) -> Mapped:
    documents = mapped.invoices.select("external_id", "page_id").drop_nulls().rows()
    newer = rejects.newer(connection, job.account, documents) if documents else set()
    schema = ["page_id", "record_no"]
    old = mapped.invoices.filter(pl.col("external_id").is_in(sorted(newer))).select(schema)
    kept = {
        frame_field.name: frame.join(old, on=schema, how="anti", maintain_order="left")
        for frame_field in fields(Mapped)
        if isinstance(frame := getattr(mapped, frame_field.name), pl.DataFrame)
        and set(schema) <= set(frame.columns)
    }
    return replace(mapped, **kept, record_count=count)


def close_corrected(job: Job, sync_id: int) -> int:
    """Closes rejects whose file was read again and has them right.

    Those are rejects of rows without an id, and of whole files.

    Returns how many. Raises psycopg.Error.
    """
    with job.transaction() as connection:
        rereads = rejects.of_files(connection, job.account, sync_id)
        if not rereads:
            return 0
        pages = {page for reread in rereads for page in (reread.page_id, reread.new_page_id)}
        bodies = rejects.bodies(connection, pages)
        refused = rejects.refused_of(connection, sync_id, pages)
        known_places: dict[tuple[str, int], Sequence[Place]] = {}

        def places(stream: str, page_id: int) -> Sequence[Place]:
            read = job.spec.stream(stream).places
            if (stream, page_id) not in known_places:
                known_places[stream, page_id] = read(bodies[page_id]) if read is not None else ()
            return known_places[stream, page_id]

        closed = [
            reread.reject_id
            for reread in rereads
            if (reread.whole and (reread.new_page_id, 0) not in refused)
            or reread.of_document
            or is_corrected(
                reread.record_no,
                places(reread.stream, reread.page_id),
                places(reread.stream, reread.new_page_id),
                {number for page_id, number in refused if page_id == reread.new_page_id},
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
    above = next(
        (here[place.content] for place in reversed(before[:at]) if place.content in here), None
    )
    below = next((here[place.content] for place in before[at + 1 :] if place.content in here), None)
    if above is None and below is None:
        return False
    between = after[0 if above is None else above + 1 : len(after) if below is None else below]
    if any(place.number in refused for place in between):
        return False
    return bool(between) or (above is not None and below is not None)
