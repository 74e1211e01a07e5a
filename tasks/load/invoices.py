"""Step 2, load: mapped records become canonical invoices in the database.

In: `Extracted` (mapped pages). Out: `Loaded` (what became of the records), invoices and rejects in
the database, moved cursors, and members marked for the award step. Good records are stored and the
others are rejected by name, all in one transaction.
"""

import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import Any, Self

import polars as pl

from connectors.kit.errors import block_name
from connectors.kit.mapping import Mapped, fill, phone_place
from connectors.kit.mapping.frames import WALK_IN
from connectors.kit.spec import Stream
from expectations import Report, Result, validate_each
from loyalty.masking import identifier
from loyalty.schema import INVOICE, PROBLEM, UTC_US
from sql import policy, refused, store, sync
from sql.db import DbConnection
from sql.reject_versions import outdated
from sql.versions import newest, readings, with_plausible_times
from tasks.extract.batch import MappedBatch
from tasks.extract.pages import Extracted
from tasks.job import Job
from tasks.load.corrections import VOIDED, completed, take_void_ones, taking, void_ones
from tasks.load.deletions import Census

#: Records judged and stored at a time.
RECORDS_AT_ONCE = 20_000
#: Documents named per reason.
EXAMPLES = 3
#: Rejects kept as evidence when too many of them stop the run.
EVIDENCE_ROWS = 1_000
#: Invoices that were accepted.
ACCEPTED = pl.Schema(
    {
        **INVOICE,
        #: What the vendor says of when it was changed, where that is in the future; `updated_at` is
        #: then the time of reading. Null: it is not.
        "claimed_at": UTC_US,
    }
)
#: What is wrong with a field of a rejected record.
REASON = pl.Schema(
    {
        **PROBLEM,
        #: The document's number, else its id; null: the record names none.
        "document": pl.String(),
    }
)
#: What was completed or read differently from what the record says, of accepted documents.
NOTED = pl.Schema(
    {
        #: The document's id.
        "external_id": pl.String(),
        #: Its number, for people.
        "document": pl.String(),
        #: What was completed or read differently.
        "reason": pl.String(),
    }
)


class TooManyRejectsError(RuntimeError):
    """More records than allowed could not be used: probably the mapping.

    Nothing was stored, no cursor moved.
    """

    def __init__(self, message: str, loaded: "Loaded") -> None:
        super().__init__(message)
        self.loaded = loaded


class SightLostError(TooManyRejectsError):
    """More documents than allowed are not listed any more: probably the connected user sees less.

    Nothing was stored. What was fetched is no use to the next run, which begins anew.
    """


@dataclass
class Loaded:
    """What became of the records of one synchronisation."""

    #: Records on the pages, whatever became of them.
    records: int = 0
    #: Documents that were stored, or taken as void.
    accepted: int = 0
    #: Records that could not be used.
    rejected: int = 0
    #: Sales to nobody (guests, passers-by), which were left out.
    walk_ins: int = 0
    #: Open rejects that are closed now.
    resolved: int = 0
    #: Earlier rejects that were mapped anew from their stored pages.
    tried_again: int = 0
    #: Why records were rejected, and how often.
    reasons: Counter[str] = field(default_factory=Counter)
    #: Per reason, the numbers of some documents that it applies to.
    examples: dict[str, list[str]] = field(default_factory=dict)
    #: Per reason, how some of the values begin, masked.
    values: dict[str, list[str]] = field(default_factory=dict)
    #: What was completed or read differently from what the records say, and how often.
    notes: Counter[str] = field(default_factory=Counter)
    #: Per note, the numbers of some documents.
    note_examples: dict[str, list[str]] = field(default_factory=dict)
    #: Which invoices are new, changed, void, and whose they are.
    stored: store.Stored = field(default_factory=store.Stored)
    #: Records with a time of change in the future...
    ahead: int = 0
    #: ...and of some of them the document's number and that time.
    ahead_documents: dict[str, datetime] = field(default_factory=dict)
    #: Per list from when on the next run reads; {} where the cursors did not move.
    cursors: dict[str, datetime] = field(default_factory=dict)
    #: What Great Expectations counted, by column and expectation.
    expectations: dict[tuple[str, str], Result] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Some pages of one list, judged: what can be stored, and what is rejected."""

    #: ACCEPTED, and `member_id` once the members are known.
    invoices: pl.DataFrame
    #: LINE, of the accepted invoices.
    lines: pl.DataFrame
    #: `sql.store.REJECT_BY_CONTENT`: records that cannot be used, with their reasons.
    rejects: pl.DataFrame
    #: REASON: what is wrong with each of them, field by field.
    problems: pl.DataFrame
    #: Documents that the vendor says are deleted.
    deletions: pl.DataFrame
    #: Records on the pages.
    records: int
    #: What Great Expectations found.
    report: Report
    #: The list that they are of.
    stream: str
    #: What a census listed: ids of documents that exist.
    listed: pl.DataFrame
    #: VOIDED: rejected records that name a document and say that it is void.
    voided: pl.DataFrame = field(default_factory=VOIDED.to_frame)
    #: Places (page_id, record_no) of rejected records that take points back.
    taking: Sequence[tuple[int, int]] = ()
    #: NOTED.
    notes: pl.DataFrame = field(default_factory=NOTED.to_frame)
    #: WALK_IN: sales to nobody, which were left out.
    walk_ins: pl.DataFrame = field(default_factory=WALK_IN.to_frame)
    #: Records that cannot be used, and were left out as older than what is known of theirs.
    outdated: int = 0


def load_pages(job: Job, extracted: Extracted) -> Loaded:
    """Validates and stores what was extracted, and moves the cursors, in one transaction.

    A large read may have been stored while it was read (`tasks.extract.bulk`); then only its end is
    left to do.

    Raises TooManyRejectsError (nothing stored), psycopg.Error.
    """
    bulk = extracted.bulk
    if bulk is not None:
        stored: Loaded | None = bulk.stored(extracted.streams)
        if stored is not None:
            return stored
    with (
        StoreTransaction(job, extracted.sync_id) as store_transaction,
        closing(store_transaction.judged(extracted.mapped)) as judged_batches,
    ):
        for batch in judged_batches if bulk is None else bulk.ahead(judged_batches):
            store_transaction.take(batch)
        return store_transaction.finish(extracted.streams)


class StoreTransaction:
    """The transaction that stores one synchronisation: open from its creation to `close`.

    Its end is `finish`; left without it, everything is rolled back.
    """

    def __init__(self, job: Job, sync_id: int) -> None:
        self._job, self._sync_id = job, sync_id
        self._loaded = Loaded()
        #: Rejects, to be kept if too many of them stop the run.
        self._evidence: list[pl.DataFrame] = []
        self._census = Census(job.spec)
        with ExitStack() as opened:
            self._connection = opened.enter_context(job.transaction())
            store.lock_account(self._connection, job.account)
            self._first = store.is_first_load(self._connection, job.account)
            self._awaited = store.has_open_rejects(self._connection, job.account)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def judged(self, batches: Iterable[MappedBatch]) -> Generator[Batch, None, None]:
        """The batches of `batches`, completed from what is stored, and judged.

        It has a transaction of its own, and may run in another thread than `take`.
        """
        account = self._job.account
        with self._job.transaction() as reader:
            for group in _gathered(batches):
                lists = []
                for stream, mapped in group:
                    pages = readings(reader, mapped.invoices["page_id"])
                    whole = completed(reader, account, filled(self._job, reader, stream, mapped))
                    lists.append((self._job.spec.stream(stream), whole, pages))
                for batch in judged_together(lists):
                    invoices = store.with_members(batch.invoices, self._job.aside)
                    yield replace(batch, invoices=invoices)

    def take(self, batch: Batch) -> None:
        """Stores a batch."""
        stored = self._loaded.stored
        # Versions of one document in two batches: from then on each batch is compared with what is
        # stored.
        self._first = self._first and not (stored.changed or stored.unchanged or stored.older)
        _store(
            self._job,
            self._connection,
            self._sync_id,
            batch,
            self._loaded,
            awaited=self._awaited,
            expect_new=self._first,
        )
        self._census.take(batch.stream, batch.listed)
        if sum(part.height for part in self._evidence) < EVIDENCE_ROWS:
            self._evidence.append(batch.rejects.head(EVIDENCE_ROWS))

    def finish(self, streams: Mapping[str, Any]) -> Loaded:
        """Judges the share of rejects, moves the cursors and commits.

        `streams` are those of `Extracted`.

        Raises TooManyRejectsError: nothing is stored but the rejects, as evidence.
        """
        try:
            _judge_share(self._job, self._loaded)
            _void_unlisted(
                self._job, self._connection, self._sync_id, self._census, streams, self._loaded
            )
        except TooManyRejectsError as error:
            self._connection.rollback()
            if not self._job.dry_run:
                self._keep_evidence(error)
            raise
        _finish(self._job, self._connection, self._sync_id, streams, self._loaded)
        self._job.commit(self._connection)
        return self._loaded

    def close(self) -> None:
        """Rolls back what is not committed (in a dry run: at the end of the job)."""
        if not self._job.dry_run:
            self._connection.rollback()
        self._opened.close()

    def _keep_evidence(self, error: TooManyRejectsError) -> None:
        """Stores the rejects of a run that stores nothing else."""
        account, sync_id = self._job.account, self._sync_id
        if isinstance(error, SightLostError):
            sync.set_state(self._connection, sync_id, "abandoned")
        store.save_rejects(
            self._connection,
            account,
            sync_id,
            pl.concat(self._evidence),
            mapping=self._job.mapping_digest,
        )
        refused.classify(self._connection, account, sync_id)
        self._connection.commit()


def _gathered(batches: Iterable[MappedBatch]) -> Iterator[list[tuple[str, Mapped]]]:
    """Batches put together, to be judged at once: (stream, its records) in the order of reading.

    A validation costs as much as reading thousands of rows, however few it checks. So the lists of
    a usual poll, which are short, are validated together.
    """
    waiting: list[MappedBatch] = []
    records = 0
    for batch in batches:
        waiting.append(batch)
        records += batch.mapped.record_count
        # At once, not when the next one comes: the database waits for it.
        if records >= RECORDS_AT_ONCE:
            yield _by_stream(waiting)
            waiting, records = [], 0
    if waiting:
        yield _by_stream(waiting)


def _by_stream(batches: Iterable[MappedBatch]) -> list[tuple[str, Mapped]]:
    return [
        (stream, Mapped.together([batch.mapped for batch in of_stream]))
        for stream, of_stream in groupby(batches, key=attrgetter("stream"))
    ]


def filled(job: Job, reader: DbConnection, stream: str, mapped: Mapped) -> Mapped:
    """The records with phones and SKUs from the lookups, where the pages had none."""
    customer_ids = (
        mapped.invoices.filter(pl.col("customer_phone").is_null())["customer_external_id"]
        .drop_nulls()
        .unique()
    )
    bare = mapped.lines.filter(pl.col("sku").is_null())
    item_ids = bare["item_external_id"].drop_nulls().unique()
    names = bare.filter(pl.col("item_external_id").is_null())["name"].drop_nulls().unique()
    customers = sync.customers(reader, job.account, customer_ids.to_list())
    items = sync.items(reader, job.account, item_ids.to_list(), names.to_list())
    return fill(
        mapped, customers, items, phone_place(job.spec, job.spec.stream(stream), job.vendor)
    )


def judged(stream: Stream, mapped: Mapped, pages: pl.DataFrame) -> Batch:
    """Splits a mapped batch into what can be stored and what is rejected; see `judged_together`."""
    return judged_together([(stream, mapped, pages)])[0]


def judged_together(parts: Sequence[tuple[Stream, Mapped, pl.DataFrame]]) -> list[Batch]:
    """Splits mapped batches into what can be stored and what is rejected, each with its reasons.

    Of several versions of one document only the newest of a batch is judged.

    Args:
        parts: (list, its records, how their pages were read: READING).

    Raises:
        ExpectationNotEvaluatedError: Nothing may be concluded about the records.
    """
    candidates = [_candidates(mapped, pages) for _, mapped, pages in parts]
    reports = validate_each(candidates)
    return [
        _judged(stream, mapped, frame, report)
        for (stream, mapped, _), frame, report in zip(parts, candidates, reports, strict=True)
    ]


def _candidates(mapped: Mapped, pages: pl.DataFrame) -> pl.DataFrame:
    """The newest version of each document, and the records that name none (ACCEPTED)."""
    every = with_plausible_times(mapped.invoices, pages, "updated_at")
    has_id = pl.col("external_id").is_not_null()
    return pl.concat([newest(every.filter(has_id), pages), every.filter(~has_id)])


def _judged(stream: Stream, mapped: Mapped, candidates: pl.DataFrame, report: Report) -> Batch:
    problems = pl.concat([mapped.problems, _failures(candidates, report, mapped.problems)])
    key = ["page_id", "record_no"]
    accepted = candidates.join(problems, on=key, how="anti")
    superseded = mapped.invoices.join(candidates, on=key, how="anti")
    rejects = _rejects(
        stream, problems.join(superseded, on=key, how="anti"), candidates, mapped.identities
    )
    # Two versions of a document may be in one batch: its lines are those of the accepted record.
    whole = accepted.height == mapped.invoices.height
    lines = mapped.lines if whole else mapped.lines.join(accepted.select(key), on=key, how="semi")
    named = candidates.select(*key, pl.coalesce("invoice_number", "external_id").alias("document"))
    parts = mapped.identities.select(*key, pl.col("external_id").alias("document")).drop_nulls(
        "document"
    )
    named = pl.concat([named, parts]).unique(key, keep="first", maintain_order=True)
    problems = problems.join(named, on=key, how="left", maintain_order="left")
    notes = NOTED.to_frame()
    if mapped.notes.height:
        noted = mapped.notes.select(*key, "reason").join(named, on=key)
        notes = noted.join(accepted.select(*key, "external_id"), on=key).select(NOTED.names())
    return Batch(
        accepted,
        lines,
        rejects,
        problems,
        mapped.deletions,
        mapped.record_count,
        report,
        stream.name,
        mapped.listed,
        void_ones(mapped, problems),
        taking(mapped.invoices, rejects),
        notes,
        mapped.walk_ins,
    )


def _failures(candidates: pl.DataFrame, report: Report, problems: pl.DataFrame) -> pl.DataFrame:
    """Rows that Great Expectations refused, as problems (PROBLEM).

    Fields of which the mapping has a problem already are left out.
    """
    if report.ok:
        return problems.clear()
    rows = candidates.select("page_id", "record_no").with_row_index("row_no")
    failed = report.failed.join(rows, on="row_no").select(
        "page_id",
        "record_no",
        pl.col("column").alias("field"),
        pl.lit("").alias("path"),
        pl.col("expectation").alias("reason"),
        pl.lit("").alias("example"),
    )
    # Without a currency no amount can be read. The currency is the cause, and is a problem already.
    unread = problems.filter(pl.col("field") == "currency").select(
        "page_id", "record_no", field=pl.lit("total_minor")
    )
    explained = pl.concat([problems.select(unread.columns), unread])
    return failed.join(explained, on=explained.columns, how="anti").cast(problems.schema)


def _rejects(
    stream: Stream, problems: pl.DataFrame, candidates: pl.DataFrame, identities: pl.DataFrame
) -> pl.DataFrame:
    """One row per rejected record (sql.store.REJECT_BY_CONTENT).

    A record of a file without an id is identified by its content and its file.
    """
    names = (
        "page_id", "record_no", "external_id", "customer_external_id", "kind", "currency",
        "total_minor", "issued_at",
    )  # fmt: skip
    # A time of change that cannot be right says nothing of which version is newer.
    changed = pl.when(pl.col("claimed_at").is_null()).then("updated_at")
    rows_said = candidates.select(*names, changed).rows() if problems.height else []
    said = {row[:2]: row[2:] for row in rows_said}
    names_of = {
        (page, record): (document, key) for page, record, document, key in identities.rows()
    }
    rows = []
    for (page_id, record_no), group in problems.group_by(
        ["page_id", "record_no"], maintain_order=True
    ):
        reasons = group.select("field", "path", "reason", "example").to_dicts()
        external_id, customer, *sale = said.get((page_id, record_no), (None,) * 7)
        document, row_key = names_of.get((page_id, record_no), (None, ""))
        external_id = external_id or document
        reason = "; ".join(describe(problem) for problem in reasons)
        record_key = row_key or external_id or f"page {page_id} record {record_no}"
        rows.append(
            (
                stream.name, record_key, external_id, reason, json.dumps(reasons),
                page_id, record_no, customer,
                bool(row_key), *sale,
            )
        )  # fmt: skip
    return pl.DataFrame(rows, schema=store.REJECT_BY_CONTENT, orient="row")


def describe(problem: dict[str, Any]) -> str:
    """`Total, looked for at /TotalAmt: missing`, in one line.

    Paths in brackets are not of the document.
    """
    name = problem["field"].removesuffix("_minor").replace("_at", "").replace("_", " ").capitalize()
    where = f", looked for at {problem['path']}" if problem["path"].startswith("/") else ""
    return f"{name}{where}: {problem['reason']}"


def _store(
    job: Job,
    connection: DbConnection,
    sync_id: int,
    batch: Batch,
    loaded: Loaded,
    *,
    awaited: bool,
    expect_new: bool,
) -> None:
    """Stores a batch, and adds what became of it to `loaded`; see `store_batch`."""
    batch, resolved = store_batch(
        job, connection, sync_id, batch, into=loaded.stored, awaited=awaited, expect_new=expect_new
    )
    loaded.resolved += resolved
    loaded.records += batch.records
    loaded.accepted += batch.invoices.height + batch.voided.height + batch.outdated
    loaded.rejected += batch.rejects.height
    loaded.walk_ins += batch.walk_ins.height
    _note_claims(batch.invoices, loaded)
    _add_notes(batch, loaded)
    _add_reasons(batch, loaded, job.vendor.region)
    _add_results(batch, loaded)


def _add_notes(batch: Batch, loaded: Loaded) -> None:
    for document, note in batch.notes.select("document", "reason").iter_rows():
        loaded.notes[note] += 1
        shown = loaded.note_examples.setdefault(note, [])
        if len(shown) < EXAMPLES:
            shown.append(document)


def _add_reasons(batch: Batch, loaded: Loaded, region: str) -> None:
    """Counts why records are rejected; `region` says how phones among the examples are written."""
    for problem in batch.problems.unique(
        ["page_id", "record_no", "field", "reason"], maintain_order=True
    ).iter_rows(named=True):
        reason = describe(problem)
        loaded.reasons[reason] += 1
        documents = loaded.examples.setdefault(reason, [])
        if problem["document"] and len(documents) < EXAMPLES:
            documents.append(identifier(problem["document"], region))
        values = loaded.values.setdefault(reason, [])
        # (What is looked up elsewhere has the customer's number for an example.)
        if problem["example"] and not problem["path"].startswith("(") and len(values) < EXAMPLES:
            values += [problem["example"]] if problem["example"] not in values else []


def _add_results(batch: Batch, loaded: Loaded) -> None:
    for result in batch.report.results:
        key = (result.column, result.expectation)
        before = loaded.expectations.get(key)
        counts = (0, 0) if before is None else (before.checked, before.failed)
        loaded.expectations[key] = Result(
            result.expectation,
            result.column,
            result.reason,
            counts[0] + result.checked,
            counts[1] + result.failed,
        )


def _note_claims(invoices: pl.DataFrame, loaded: Loaded) -> None:
    """Counts times of change that cannot be right, and keeps those of some documents."""
    claims = invoices.filter(pl.col("claimed_at").is_not_null())
    loaded.ahead += claims.height
    named = claims.select(pl.coalesce("invoice_number", "external_id"), "claimed_at").rows()
    for document, at in named[: EXAMPLES - len(loaded.ahead_documents)]:
        loaded.ahead_documents[document] = at


def store_batch(
    job: Job,
    connection: DbConnection,
    sync_id: int,
    batch: Batch,
    *,
    into: store.Stored,
    awaited: bool = True,
    expect_new: bool = False,
) -> tuple[Batch, int]:
    """Stores what can be used, makes void what is, and rejects the rest by name and class.

    Args:
        job: The synchronisation.
        connection: The transaction.
        sync_id: Its number.
        batch: What was judged.
        into: What became of the documents; it is added to.
        awaited: Whether the account has open rejects that this may resolve.
        expect_new: As in `sql.store.store_invoices`.

    Returns:
        The batch without the rejects that were void documents or older than what is known of
        theirs, and how many open rejects are resolved.
    """
    account = job.account
    store.store_invoices(
        connection, account, sync_id, batch.invoices, batch.lines,
        into=into, zone=job.vendor.timezone, expect_new=expect_new,
    )  # fmt: skip
    store.void_deleted(connection, account, sync_id, batch.deletions, into=into)
    old = outdated(connection, account, batch.rejects)
    into.leave_out(old["external_id"])
    batch = replace(_without(batch, old.select("page_id", "record_no")), outdated=old.height)
    gone = take_void_ones(connection, account, sync_id, batch.voided, into=into)
    batch = _without(batch, gone)
    batch = replace(batch, voided=batch.voided.join(gone, on=gone.columns, how="semi"))
    store.save_rejects(connection, account, sync_id, batch.rejects, mapping=job.mapping_digest)
    if batch.rejects.height:
        refused.classify(connection, account, sync_id, batch.taking)
    refused.note(connection, account, sync_id, batch.notes.select("external_id", "reason").rows())
    if not awaited:
        return batch, 0
    # What this batch rejects is not settled by another version of it that has no customer.
    nobodys = batch.walk_ins.join(batch.rejects, on="external_id", how="anti")
    settled = pl.concat(
        [frame["external_id"] for frame in (batch.invoices, batch.deletions, batch.voided, nobodys)]
    )
    return batch, store.resolve_rejects(connection, account, sync_id, settled.to_list())


def _without(batch: Batch, places: pl.DataFrame) -> Batch:
    """The batch without the rejects of these records (page_id, record_no)."""
    if places.is_empty():
        return batch
    on = places.columns
    return replace(
        batch,
        rejects=batch.rejects.join(places, on=on, how="anti", maintain_order="left"),
        problems=batch.problems.join(places, on=on, how="anti", maintain_order="left"),
    )


def _judge_share(job: Job, loaded: Loaded) -> None:
    judged_count = loaded.accepted + loaded.rejected
    limit = job.policy.reject_percent_max
    if (
        judged_count < job.policy.reject_records_min
        or loaded.rejected * 100 <= limit * judged_count
    ):
        return
    worst = "; ".join(
        f"{count} x {reason}{_shown(loaded, reason)}"
        for reason, count in loaded.reasons.most_common(3)
    )
    message = (
        f"{job.account.system}: {loaded.rejected} of {judged_count} records could not be used, "
        f"more than the {limit} % allowed "
        f"in block {block_name(job.vendor.name or job.vendor.system)!r}. Nothing was stored and "
        f"no cursor moved. Most frequent: {worst}. Correct the field mapping "
        "in the block or the data at the vendor, then retry this run: "
        "it reads the same changes again."
    )
    raise TooManyRejectsError(message, loaded)


def _shown(loaded: Loaded, reason: str) -> str:
    """Examples of a reason: how the values begin, and in which documents; "" for none."""
    values = ", ".join(f'"{value}"' for value in loaded.values.get(reason, []))
    documents = ", ".join(loaded.examples.get(reason, []))
    parts = [
        f"it begins with {values}" if values else "",
        f"for example in {documents}" if documents else "",
    ]
    return f" ({', '.join(part for part in parts if part)})" if any(parts) else ""


def _void_unlisted(
    job: Job,
    connection: DbConnection,
    sync_id: int,
    census: Census,
    streams: Mapping[str, Any],
    loaded: Loaded,
) -> None:
    """Documents that a complete census does not name are void from the moment the read began.

    Raises SightLostError: so many that probably not the documents are gone, but the connected user
    cannot see them any more.
    """
    unlisted = census.unlisted(connection, job.account, sync_id, streams)
    if unlisted is None:
        return
    if too_many := unlisted.too_many(job):
        raise SightLostError(too_many, loaded)
    store.void_deleted(connection, job.account, sync_id, unlisted.deletions, into=loaded.stored)


def _finish(
    job: Job, connection: DbConnection, sync_id: int, streams: Mapping[str, Any], loaded: Loaded
) -> None:
    """Moves the cursors, marks the members and sets the state.

    This comes last, so that the rows everyone shares are locked as briefly as possible.
    """
    if not job.by_hand:
        loaded.cursors = {
            name: datetime.fromisoformat(state["started_at"]) for name, state in streams.items()
        }
        sync.move_cursors(connection, job.account, sync_id, loaded.cursors)
    if job.policy.award is not None:
        loaded.stored.members |= policy.follow(
            connection, job.account, sync_id, job.run_id, job.policy.award
        )
    sync.set_state(connection, sync_id, "stored")
    store.mark_dirty(connection, loaded.stored.members)
