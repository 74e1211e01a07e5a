"""Step 1 for sales that are announced by webhooks.

In: events that hold documents or name them. Out: `Extracted`: they have become pages of the
connector's lists, stored and mapped like those of a poll.
"""

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
from connectors.kit.read.fetch import FirstLook, fetch, first_look, pushed_page, stored_id
from connectors.kit.spec import Page, PageRequest, Stream, Window
from connectors.kit.webhooks.scheme import BadBody, Event
from sql import sync
from sql import webhook_documents as pushed
from sql.db import DbConnection
from tasks.extract.batch import MappedBatch
from tasks.extract.mapper import PageMapper
from tasks.extract.pages import Extracted, look_up_missing, page_row
from tasks.job import Job

#: How long to wait for a poll where an event names a document by its number, and the lists do not
#: have numbers.
_POLL_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Incoming:
    """One event, and the delivery it was in."""

    #: The delivery's number.
    event_no: int
    #: What the vendor's scheme read in it.
    event: Event
    #: When the delivery came, in UTC.
    received_at: datetime

    @property
    def at(self) -> datetime:
        """When it happened; if the event does not say, when it was received."""
        return self.event.occurred_at or self.received_at


@dataclass(frozen=True)
class Failed:
    """Why an event cannot be used now."""

    #: For an operator.
    reason: str
    #: Trying again earlier is no use.
    wait_seconds: float = 0
    #: Trying again is never of use.
    for_good: bool = False


@dataclass(frozen=True)
class HeldDocument:
    """An event that holds the whole document."""

    #: The event.
    incoming: Incoming
    #: The document in it, as far as it was looked at.
    held: FirstLook


@dataclass
class EventPlan:
    """What is to be done about events, per list of the connector."""

    #: Events that hold the whole document.
    whole: dict[str, list[HeldDocument]] = field(default_factory=lambda: defaultdict(list))
    #: Events that say a document is deleted, and that document's id as it is stored.
    gone: dict[str, list[tuple[Incoming, str]]] = field(default_factory=lambda: defaultdict(list))
    #: Ids of documents to ask the billing system for, and the events that name them.
    asked: dict[str, dict[str, list[Incoming]]] = field(default_factory=lambda: defaultdict(dict))
    #: By the number of the delivery, what an operator should know of one that is done.
    notes: dict[int, str] = field(default_factory=dict)
    #: By the number of the delivery, why it cannot be used.
    failed: dict[int, Failed] = field(default_factory=dict)

    def documents(self) -> set[tuple[int, str]]:
        """Numbers of deliveries, and the ids of documents they are about, as they are stored."""
        held = {
            (event.incoming.event_no, event.held.external_id)
            for listed in self.whole.values()
            for event in listed
            if event.held.external_id is not None
        }
        gone = {(of.event_no, key) for listed in self.gone.values() for of, key in listed}
        asked = {
            (incoming.event_no, normal_id(document_id))
            for named in self.asked.values()
            for document_id, listed in named.items()
            for incoming in listed
        }
        return held | gone | asked

    def ask(self, stream: str, ids: Iterable[str], incoming: Incoming) -> None:
        """Plans to ask the billing system for documents."""
        for document_id in ids:
            self.asked[stream].setdefault(document_id, []).append(incoming)


def plan_events(job: Job, connection: DbConnection, events: Sequence[Incoming]) -> EventPlan:
    """Plans what is to be done about events.

    An event holds its document, or names one to ask for, or says that one is deleted; or it is not
    about a sale, or older than what is known.

    Raises Misconfigured.
    """
    plan = EventPlan()
    numbered: list[HeldDocument] = []
    for incoming in events:
        event = incoming.event
        if event.kind == "ignored" or event.stream is None:
            plan.notes[incoming.event_no] = "not about a sale"
        elif event.kind == "deleted":
            _deleted(plan, incoming, job.spec.stream(event.stream))
        elif event.record is None:
            plan.ask(event.stream, event.external_ids, incoming)
        else:
            _held(job, plan, incoming, job.spec.stream(event.stream), numbered)
    if numbered:
        _numbered(job, connection, plan, numbered)
    _by_their_ids(job, connection, plan)
    _drop_superseded(job, connection, plan)
    return plan


def _deleted(plan: EventPlan, incoming: Incoming, stream: Stream) -> None:
    if not incoming.event.external_ids:
        plan.failed[incoming.event_no] = Failed("the event names no document", for_good=True)
    for document_id in incoming.event.external_ids:
        plan.gone[stream.name].append((incoming, stored_id(stream, document_id)))


def _held(
    job: Job, plan: EventPlan, incoming: Incoming, stream: Stream, numbered: list[HeldDocument]
) -> None:
    event = incoming.event
    try:
        held = first_look(job.spec, stream, job.vendor, event.record or b"")
    except BadBody as error:
        plan.failed[incoming.event_no] = Failed(
            f"the document in it cannot be read: {error}", for_good=True
        )
        return
    if held.whole and held.external_id is not None:
        (numbered if held.by_number else plan.whole[stream.name]).append(
            HeldDocument(incoming, held)
        )
    elif event.external_ids and stream.by_id is not None:
        plan.ask(stream.name, event.external_ids, incoming)
    else:
        reason = (
            "it holds neither a whole document (customer, total, date) nor an id to ask for: "
            "see the field mapping of the connection"
        )
        plan.failed[incoming.event_no] = Failed(reason, for_good=True)


def _numbered(
    job: Job, connection: DbConnection, plan: EventPlan, numbered: Sequence[HeldDocument]
) -> None:
    """Plans what to do about documents that events name by their printed number.

    Where the id of such a document is known it is asked for by that, or the sale would count twice.
    Where it is not known, the document is stored under its number; once a list or another event
    names its id, what is stored under the number is void (sql.store).
    """
    ids_of = pushed.ids_of_numbers(
        connection, job.account, [event.held.external_id or "" for event in numbered]
    )
    never_told = pushed.lists_lack_numbers(connection, job.account)
    for event in numbered:
        stream, ids = (
            event.incoming.event.stream or "",
            ids_of.get(event.held.external_id or "", []),
        )
        if len(ids) == 1:
            plan.ask(stream, ids, event.incoming)
        elif ids:
            plan.failed[event.incoming.event_no] = Failed(
                "several documents have the number that it names", for_good=True
            )
        elif never_told:
            reason = (
                "it names the document by its number, but those read from the API have ids "
                "and no number, so that it might count twice. "
                "Let the system send the id, or say in the field mapping where its lists "
                "have the number (invoice_number)"
            )
            plan.failed[event.incoming.event_no] = Failed(reason, _POLL_SECONDS)
        else:
            plan.whole[stream].append(event)


def _by_their_ids(job: Job, connection: DbConnection, plan: EventPlan) -> None:
    """Replaces printed numbers in the plan by the ids of stored documents with these numbers.

    It concerns events that hold no whole document, and deletions. A deletion of a document that is
    not stored takes nothing back; its event is noted so.
    """
    asked = {
        number: stream
        for stream, of in plan.asked.items()
        for number, named in of.items()
        if _pushed(named)
    }
    gone = [
        entry
        for _, listed in plan.gone.items()
        for entry in listed
        if entry[0].event.record is not None
    ]
    wanted = [*asked, *(key for _, key in gone)]
    if not wanted:
        return
    living = pushed.not_void(connection, job.account, wanted)
    ids_of = pushed.ids_of_numbers(
        connection, job.account, [number for number in wanted if number not in living]
    )
    for number, stream in asked.items():
        if number in ids_of:
            for incoming in plan.asked[stream].pop(number):
                if (single := _single(plan, incoming, ids_of[number])) is not None:
                    plan.ask(stream, [single], incoming)
    here = living | {event.held.external_id for listed in plan.whole.values() for event in listed}
    for name, listed in plan.gone.items():
        placed = []
        for incoming, key in listed:
            single = _single(plan, incoming, ids_of[key]) if key in ids_of else key
            if single is not None:
                placed.append((incoming, single))
            if incoming.event.record is not None and key not in here and key not in ids_of:
                plan.notes[incoming.event_no] = (
                    "no such sale is in the ledger, so there is nothing to take back"
                )
        plan.gone[name] = placed


def _pushed(named: Sequence[Incoming]) -> bool:
    return any(incoming.event.record is not None for incoming in named)


def _single(plan: EventPlan, incoming: Incoming, ids: Sequence[str]) -> str | None:
    """The only document with a number; where there are several, the event fails for good."""
    if len(ids) == 1:
        return ids[0]
    plan.failed[incoming.event_no] = Failed(
        "several documents have the number that it names", for_good=True
    )
    return None


def _drop_superseded(job: Job, connection: DbConnection, plan: EventPlan) -> None:
    """Drops events about documents of which a later event is known.

    It concerns documents that do not say when they were changed: the latest event about each
    counts, in whatever order they arrive. Documents under their number are noted too, dated or not,
    since a list may name their id later.
    """
    held = [event for listed in plan.whole.values() for event in listed]
    undated = [event for event in held if not event.held.dated or event.held.by_number]
    removed = [
        entry
        for listed in plan.gone.values()
        for entry in listed
        if entry[0].event.record is not None
    ]
    times = {event.held.external_id or "": event.incoming.at for event in undated} | {
        key: incoming.at for incoming, key in removed
    }
    if not times:
        return
    latest = pushed.latest(connection, job.account, list(times))
    for key, at in [
        *((o.held.external_id or "", o.incoming.at) for o in undated),
        *((k, o.at) for o, k in removed),
    ]:
        times[key] = max(times[key], at, latest.get(key, at))
    by_number = {event.held.external_id for event in undated if event.held.by_number}
    pushed.note(
        connection, job.account, {key: (at, key in by_number) for key, at in sorted(times.items())}
    )
    job.commit(connection)
    old = "no news: a later event about the document is known"
    for name, listed in plan.whole.items():
        late = [
            event
            for event in listed
            if not event.held.dated and event.incoming.at < times[event.held.external_id or ""]
        ]
        plan.notes.update(dict.fromkeys((event.incoming.event_no for event in late), old))
        kept = [event for event in listed if event not in late]
        plan.whole[name] = sorted(kept, key=lambda event: event.incoming.at)
    for name, gone in plan.gone.items():
        plan.gone[name] = [
            (incoming, key) for incoming, key in gone if incoming.at >= times.get(key, incoming.at)
        ]


def held_pages(job: Job, sync_id: int, plan: EventPlan) -> Extracted | None:
    """The documents that events hold, stored and mapped, and those they say are gone.

    None if there is nothing.

    Raises ConnectorError: what is stored by then stays.
    """
    if not any(plan.whole.values()) and not any(plan.gone.values()):
        return None
    with job.transaction() as connection, PageMapper(job, sync_id) as mapper:
        for name, gone in plan.gone.items():
            rows = {
                "external_id": [key for _, key in gone],
                "deleted_at": [incoming.at for incoming, _ in gone],
            }
            rows["page_id"] = [None] * len(gone)
            frame = pl.DataFrame(rows, schema=DELETION)
            mapped = replace(Mapped.empty(), deletions=frame, record_count=len(gone))
            mapper.append(MappedBatch(name, mapped, needs={}))
        for name, whole in plan.whole.items():
            stream = job.spec.stream(name)
            if whole:
                page = _page(stream, whole)
                _add(job, connection, sync_id, mapper, stream, page)
        return _finished(job, connection, sync_id, mapper)


def asked_pages(job: Job, sync_id: int, plan: EventPlan) -> Extracted | None:
    """The documents that events name, asked for at the billing system, stored and mapped.

    None if there is nothing.

    Events about documents that the system does not know fail, unless those are void already. Raises
    ConnectorError.
    """
    if not any(plan.asked.values()):
        return None
    with (
        job.transaction() as connection,
        job.client() as client,
        PageMapper(job, sync_id) as mapper,
    ):
        for name, asked in plan.asked.items():
            stream, answered = job.spec.stream(name), set[str]()
            if stream.by_id is None:
                _not_asked(plan, asked, stream)
                continue
            for part in fetch(job.spec, stream, client, list(asked)):
                _add(job, connection, sync_id, mapper, stream, part.page)
                answered |= {normal_id(document_id).lower() for document_id in part.ids}
            missing = {
                document_id: of
                for document_id, of in asked.items()
                if normal_id(document_id).lower() not in answered
            }
            _not_found(job, connection, plan, stream, missing)
        return _finished(job, connection, sync_id, mapper, client)


def _not_asked(plan: EventPlan, asked: dict[str, list[Incoming]], stream: Stream) -> None:
    reason = (
        f"it holds no document, and single {stream.name} cannot be asked for: "
        "the next poll brings it"
    )
    plan.failed.update(
        {
            incoming.event_no: Failed(reason, for_good=True)
            for of in asked.values()
            for incoming in of
        }
    )


def _not_found(
    job: Job,
    connection: DbConnection,
    plan: EventPlan,
    stream: Stream,
    missing: dict[str, list[Incoming]],
) -> None:
    if not missing:
        return
    keys = {stored_id(stream, document_id): document_id for document_id in missing}
    void = {keys[key] for key in pushed.void_documents(connection, job.account, list(keys))}
    reason = f"{job.spec.title} knows no such document among its {stream.name}, or not yet"
    for document_id, of in missing.items():
        for incoming in of:
            if document_id in void:
                plan.notes[incoming.event_no] = "the document is gone, and void already"
            else:
                plan.failed[incoming.event_no] = Failed(reason)


def _page(stream: Stream, whole: Sequence[HeldDocument]) -> Page:
    records = [event.incoming.event.record or b"" for event in whole]
    numbers = sorted({str(event.incoming.event_no) for event in whole}, key=int)
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
    job: Job, connection: DbConnection, sync_id: int, mapper: PageMapper, stream: Stream, page: Page
) -> None:
    stored = sync.save_page(connection, job.account, sync_id, page_row(page))
    job.commit(connection)
    mapper.add(stream, Window(), stored)


def _finished(
    job: Job,
    connection: DbConnection,
    sync_id: int,
    mapper: PageMapper,
    client: Client | None = None,
) -> Extracted:
    """Ends the mapping, and looks up the phones and SKUs that the documents lack."""
    mapper.finish()
    needs = mapper.needs
    with ExitStack() as opened:
        for lookup in job.spec.lookups:
            if ids := needs.get(lookup.name):
                client = client or opened.enter_context(job.client())
                look_up_missing(job, connection, client, sync_id, lookup.name, ids)
    return Extracted(sync_id, {}, mapper.batches, mapper.bulk)
