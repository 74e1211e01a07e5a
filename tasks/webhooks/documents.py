"""Step 1 for sales that are announced: what events hold or name becomes pages of the connector's lists, stored and mapped like any other."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import polars as pl

from connectors.kit.http.client import Client
from connectors.kit.mapping import Mapped
from connectors.kit.mapping.frames import DELETION
from connectors.kit.mapping.ids import normal_id
from connectors.kit.read.fetch import Held, fetch, looked_at, pushed_page, stored_id
from connectors.kit.spec import Page, PageRequest, Stream, Window
from connectors.kit.webhooks.scheme import BadBody, Event
from sql import sync
from sql import webhook_documents as pushed
from sql.db import DbConnection
from tasks.extract.bulk.map_threads import Mapper
from tasks.extract.bulk.spool import pack
from tasks.extract.pages import Extracted, look_up_missing, page_row
from tasks.job import Job

#: How long to wait for a poll where an event named a document by a number that the lists do not
#: tell.
_POLL_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Incoming:
    """One event, and the delivery it was in."""

    event_no: int
    event: Event
    received_at: datetime

    @property
    def at(self) -> datetime:
        """When it happened, as far as is known."""
        return self.event.occurred_at or self.received_at


@dataclass(frozen=True)
class Failed:
    """Why an event cannot be used now.

    `wait_seconds`: trying again earlier is no use; `for_good`: nor is it ever.
    """

    reason: str
    wait_seconds: float = 0
    for_good: bool = False


@dataclass(frozen=True)
class Whole:
    """An event that holds the whole document."""

    incoming: Incoming
    held: Held


@dataclass
class Sorted:
    """What is to be done about events, per list of the connector; `notes` and `failed` are by number of the delivery."""

    whole: dict[str, list[Whole]] = field(default_factory=lambda: defaultdict(list))
    gone: dict[str, list[tuple[Incoming, str]]] = field(default_factory=lambda: defaultdict(list))
    asked: dict[str, dict[str, list[Incoming]]] = field(default_factory=lambda: defaultdict(dict))
    notes: dict[int, str] = field(default_factory=dict)
    failed: dict[int, Failed] = field(default_factory=dict)

    def ask(self, stream: str, ids: Iterable[str], incoming: Incoming) -> None:
        """The documents are to be asked for."""
        for one in ids:
            self.asked[stream].setdefault(one, []).append(incoming)


def sort_out(job: Job, connection: DbConnection, events: Sequence[Incoming]) -> Sorted:
    """Which events hold what they are about, which name something to ask for, and which are no news.

    Raises Misconfigured.
    """
    done = Sorted()
    numbered: list[Whole] = []
    for incoming in events:
        event = incoming.event
        if event.kind == "ignored" or event.stream is None:
            done.notes[incoming.event_no] = "not about a sale"
        elif event.kind == "deleted":
            _deleted(done, incoming, job.spec.stream(event.stream))
        elif event.record is None:
            done.ask(event.stream, event.external_ids, incoming)
        else:
            _held(job, done, incoming, job.spec.stream(event.stream), numbered)
    if numbered:
        _numbered(job, connection, done, numbered)
    _by_their_ids(job, connection, done)
    _drop_superseded(job, connection, done)
    return done


def _deleted(done: Sorted, incoming: Incoming, stream: Stream) -> None:
    if not incoming.event.external_ids:
        done.failed[incoming.event_no] = Failed("the event names no document", for_good=True)
    for one in incoming.event.external_ids:
        done.gone[stream.name].append((incoming, stored_id(stream, one)))


def _held(
    job: Job, done: Sorted, incoming: Incoming, stream: Stream, numbered: list[Whole]
) -> None:
    event = incoming.event
    try:
        held = looked_at(job.spec, stream, job.vendor, event.record or b"")
    except BadBody as error:
        done.failed[incoming.event_no] = Failed(
            f"the document in it cannot be read: {error}", for_good=True
        )
        return
    if held.whole and held.external_id is not None:
        (numbered if held.by_number else done.whole[stream.name]).append(Whole(incoming, held))
    elif event.external_ids and stream.by_id is not None:
        done.ask(stream.name, event.external_ids, incoming)
    else:
        reason = "it holds neither a whole document (customer, total, date) nor an id to ask for: see the field mapping of the connection"
        done.failed[incoming.event_no] = Failed(reason, for_good=True)


def _numbered(job: Job, connection: DbConnection, done: Sorted, numbered: Sequence[Whole]) -> None:
    """Documents named by their printed number.

    Counted under their id where one is known, or a sale would count twice.

    Others count under their number. Once a list or another event tells the id, that one is void
    (sql.store).
    """
    known = pushed.ids_of_numbers(
        connection, job.account, [one.held.external_id or "" for one in numbered]
    )
    never_told = pushed.lists_lack_numbers(connection, job.account)
    for one in numbered:
        stream, ids = one.incoming.event.stream or "", known.get(one.held.external_id or "", [])
        if len(ids) == 1:
            done.ask(stream, ids, one.incoming)
        elif ids:
            done.failed[one.incoming.event_no] = Failed(
                "several documents have the number that it names", for_good=True
            )
        elif never_told:
            reason = (
                "it names the document by its number, but those read from the API have ids and no number, so that it might count twice. "
                "Let the system send the id, or say in the field mapping where its lists have the number (invoice_number)"
            )
            done.failed[one.incoming.event_no] = Failed(reason, _POLL_SECONDS)
        else:
            done.whole[stream].append(one)


def _by_their_ids(job: Job, connection: DbConnection, done: Sorted) -> None:
    """Events that hold no whole document and name it by its number.

    About the one with that number, where one is stored.

    A deletion that finds none takes nothing back, so it is said.
    """
    asked = {
        one: stream
        for stream, of in done.asked.items()
        for one, named in of.items()
        if _pushed(named)
    }
    gone = [
        one for _, listed in done.gone.items() for one in listed if one[0].event.record is not None
    ]
    wanted = [*asked, *(key for _, key in gone)]
    if not wanted:
        return
    living = pushed.not_void(connection, job.account, wanted)
    known = pushed.ids_of_numbers(
        connection, job.account, [one for one in wanted if one not in living]
    )
    for number, stream in asked.items():
        if number in known:
            for incoming in done.asked[stream].pop(number):
                if (single := _single(done, incoming, known[number])) is not None:
                    done.ask(stream, [single], incoming)
    here = living | {one.held.external_id for listed in done.whole.values() for one in listed}
    for name, listed in done.gone.items():
        placed = []
        for incoming, key in listed:
            single = _single(done, incoming, known[key]) if key in known else key
            if single is not None:
                placed.append((incoming, single))
            if incoming.event.record is not None and key not in here and key not in known:
                done.notes[incoming.event_no] = (
                    "no such sale is in the ledger, so there is nothing to take back"
                )
        done.gone[name] = placed


def _pushed(named: Sequence[Incoming]) -> bool:
    return any(one.event.record is not None for one in named)


def _single(done: Sorted, incoming: Incoming, ids: Sequence[str]) -> str | None:
    """The only document with a number; where there are several, the event fails for good."""
    if len(ids) == 1:
        return ids[0]
    done.failed[incoming.event_no] = Failed(
        "several documents have the number that it names", for_good=True
    )
    return None


def _drop_superseded(job: Job, connection: DbConnection, done: Sorted) -> None:
    """Documents that do not say when they were changed.

    The latest event about each counts, whenever it arrives.

    Those named by their number are noted as such, dated or not: one day their id may be told.
    """
    held = [one for listed in done.whole.values() for one in listed]
    undated = [one for one in held if not one.held.dated or one.held.by_number]
    removed = [
        one for listed in done.gone.values() for one in listed if one[0].event.record is not None
    ]
    times = {one.held.external_id or "": one.incoming.at for one in undated} | {
        key: one.at for one, key in removed
    }
    if not times:
        return
    known = pushed.latest(connection, job.account, list(times))
    for key, at in [
        *((o.held.external_id or "", o.incoming.at) for o in undated),
        *((k, o.at) for o, k in removed),
    ]:
        times[key] = max(times[key], at, known.get(key, at))
    by_number = {one.held.external_id for one in undated if one.held.by_number}
    pushed.note(
        connection, job.account, {key: (at, key in by_number) for key, at in sorted(times.items())}
    )
    job.commit(connection)
    old = "no news: a later event about the document is known"
    for name, listed in done.whole.items():
        late = [
            one
            for one in listed
            if not one.held.dated and one.incoming.at < times[one.held.external_id or ""]
        ]
        done.notes.update(dict.fromkeys((one.incoming.event_no for one in late), old))
        kept = [one for one in listed if one not in late]
        done.whole[name] = sorted(kept, key=lambda one: one.incoming.at)
    for name, gone in done.gone.items():
        done.gone[name] = [(one, key) for one, key in gone if one.at >= times.get(key, one.at)]


def held_pages(job: Job, sync_id: int, done: Sorted) -> Extracted | None:
    """The documents that events hold, stored and mapped, and those they say are gone; None if there is nothing.

    Raises ConnectorError: what is stored by then stays.
    """
    if not any(done.whole.values()) and not any(done.gone.values()):
        return None
    with job.transaction() as connection, Mapper(job, sync_id) as mapper:
        for name, gone in done.gone.items():
            rows = {
                "external_id": [key for _, key in gone],
                "deleted_at": [one.at for one, _ in gone],
            }
            rows["page_id"] = [None] * len(gone)
            frame = pl.DataFrame(rows, schema=DELETION)
            mapper.spool.append(
                pack(name, replace(Mapped.empty(), deletions=frame, record_count=len(gone)), {})
            )
        for name, whole in done.whole.items():
            stream = job.spec.stream(name)
            if whole:
                page = _page(stream, whole)
                _add(job, connection, sync_id, mapper, stream, page)
        return _finished(job, connection, sync_id, mapper)


def asked_pages(job: Job, sync_id: int, done: Sorted) -> Extracted | None:
    """The documents that events name, asked for at the billing system, stored and mapped; None if there is nothing.

    Events about documents that the system does not know fail, unless those are void already. Raises
    ConnectorError.
    """
    if not any(done.asked.values()):
        return None
    with job.transaction() as connection, job.client() as client, Mapper(job, sync_id) as mapper:
        for name, asked in done.asked.items():
            stream, found = job.spec.stream(name), set[str]()
            if stream.by_id is None:
                _not_asked(done, asked, stream)
                continue
            for part in fetch(job.spec, stream, client, list(asked)):
                _add(job, connection, sync_id, mapper, stream, part.page)
                found |= {normal_id(one).lower() for one in part.ids}
            missing = {one: of for one, of in asked.items() if normal_id(one).lower() not in found}
            _not_found(job, connection, done, stream, missing)
        return _finished(job, connection, sync_id, mapper, client)


def _not_asked(done: Sorted, asked: dict[str, list[Incoming]], stream: Stream) -> None:
    reason = f"it holds no document, and single {stream.name} cannot be asked for: the next poll brings it"
    done.failed.update(
        {one.event_no: Failed(reason, for_good=True) for of in asked.values() for one in of}
    )


def _not_found(
    job: Job,
    connection: DbConnection,
    done: Sorted,
    stream: Stream,
    missing: dict[str, list[Incoming]],
) -> None:
    if not missing:
        return
    keys = {stored_id(stream, one): one for one in missing}
    void = {keys[key] for key in pushed.void_documents(connection, job.account, list(keys))}
    reason = f"{job.spec.title} knows no such document among its {stream.name}, or not yet"
    for one, of in missing.items():
        for incoming in of:
            if one in void:
                done.notes[incoming.event_no] = "the document is gone, and void already"
            else:
                done.failed[incoming.event_no] = Failed(reason)


def _page(stream: Stream, whole: Sequence[Whole]) -> Page:
    records = [one.incoming.event.record or b"" for one in whole]
    numbers = sorted({str(one.incoming.event_no) for one in whole}, key=int)
    request = PageRequest("WEBHOOK", "", {"events": numbers})
    now = datetime.now(UTC)
    return Page(
        stream.name,
        1,
        pushed_page(stream, records),
        "application/json",
        now,
        request,
        None,
        len(records),
        0,
    )


def _add(
    job: Job, connection: DbConnection, sync_id: int, mapper: Mapper, stream: Stream, page: Page
) -> None:
    stored = sync.save_page(connection, job.account, sync_id, page_row(page))
    job.commit(connection)
    mapper.add(stream, Window(), stored)


def _finished(
    job: Job, connection: DbConnection, sync_id: int, mapper: Mapper, client: Client | None = None
) -> Extracted:
    """Everything mapped, and what is missing looked up."""
    mapper.finish()
    with ExitStack() as opened:
        for lookup in job.spec.lookups:
            if ids := mapper.needs[lookup.name]:
                client = client or opened.enter_context(job.client())
                look_up_missing(job, connection, client, sync_id, lookup.name, ids)
    return Extracted(sync_id, {}, mapper.spool, mapper.early)
