"""Raw pages to canonical frames.

Whole columns are read at a time, and every unusable value is named instead of guessed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, time, timedelta
from typing import Final, Self

import polars as pl

from connectors.kit.mapping.columns import EXPONENT, computed, problems, typed
from connectors.kit.mapping.gather import Raw, gather
from connectors.kit.mapping.ids import content_digest, normal_id
from connectors.kit.mapping.notation import rewritten
from connectors.kit.mapping.parse import currency_code, exponents, instants, texts
from connectors.kit.mapping.places import places
from connectors.kit.mapping.pointers import paused_gc
from connectors.kit.mapping.reader import Plan, plan_for, read_deleted
from connectors.kit.mapping.references import reference_ids
from connectors.kit.mapping.taking_back import lines_without_sign, settled, without_sign
from connectors.kit.spec import Account, ConnectorSpec, Stream, Window
from connectors.kit.spec.fields import REFERENCES
from connectors.kit.spec.records import Broken
from loyalty.masking import identifier
from loyalty.places import PLACES
from loyalty.schema import IDLE, INVOICE, KINDS, LINE, PROBLEM, STATUSES, UTC_US

#: Documents that are gone, when they were deleted, and the page that says so (null: a webhook did).
DELETION: Final = pl.Schema(
    {"external_id": pl.String(), "deleted_at": UTC_US, "page_id": pl.Int64()}
)
#: A time of change further in the future is wrong: the record then belongs to every window.
_FUTURE: Final = timedelta(days=1)
#: Documents that still exist. `kind`: they are listed among documents of this kind only; null: of
#: all kinds.
LISTED: Final = pl.Schema({"external_id": pl.String(), "kind": pl.String()})
#: Records that name no document of their own: the document they are a part of, and a fingerprint of
#: their content, by which they are recognised when they are read again.
IDENTITY: Final = pl.Schema(
    {
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
        "external_id": pl.String(),
        "row_key": pl.String(),
    }
)
#: Sales to nobody, left out; `Stream.walk_ins`.
WALK_IN: Final = pl.Schema(
    {"external_id": pl.String(), "page_id": pl.Int64(), "record_no": pl.Int32()}
)
#: The helper that says when a document was made.
MADE_AT: Final = "made_at"
_REFUNDED: Final = "amount_refunded_minor"
#: What a record has that is a sale, where the vendor sends it.
_TELLING: Final = ("total_minor", "issued_at")
_NOT_NEGATIVE = ("total_minor", _REFUNDED)


@dataclass(frozen=True)
class Mapped:
    """What one or several pages of a list hold."""

    #: Schema INVOICE: every readable record, with nulls where a value is unusable.
    invoices: pl.DataFrame
    #: Schema LINE: the lines of the invoices, by their key.
    lines: pl.DataFrame
    #: Schema PROBLEM: the unusable values, by `page_id` and `record_no`. A record with a problem is
    #: not to be stored as an invoice.
    problems: pl.DataFrame
    #: Schema DELETION: documents that the vendor no longer has.
    deletions: pl.DataFrame
    #: All records, also those left out on purpose (other types, outside of the window).
    record_count: int
    #: Schema LISTED: documents that the vendor says it still has, where a census was read.
    listed: pl.DataFrame = field(default_factory=LISTED.to_frame)
    #: Schema IDENTITY: records that cannot be used and have no id.
    identities: pl.DataFrame = field(default_factory=IDENTITY.to_frame)
    #: Schema PROBLEM: what was read otherwise than it is written, in records that are used.
    notes: pl.DataFrame = field(default_factory=PROBLEM.to_frame)
    #: Schema WALK_IN: sales to nobody, which are no invoices of ours.
    walk_ins: pl.DataFrame = field(default_factory=WALK_IN.to_frame)

    @classmethod
    def empty(cls) -> Self:
        """Nothing, in the right schemas."""
        return cls(INVOICE.to_frame(), LINE.to_frame(), PROBLEM.to_frame(), DELETION.to_frame(), 0)

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """All parts as one."""
        if len(parts) == 1:
            return parts[0]
        frames = {
            column.name: pl.concat([getattr(part, column.name) for part in parts])
            for column in fields(cls)
            if column.name != "record_count"
        }
        return cls(**frames, record_count=sum(part.record_count for part in parts))


def map_page(
    spec: ConnectorSpec,
    stream: Stream,
    account: Account,
    body: bytes,
    *,
    page_id: int,
    window: Window | None = None,
) -> Mapped:
    """Maps one page; see `map_pages`."""
    return map_pages(spec, stream, account, [(page_id, body)], window=window)


def map_pages(
    spec: ConnectorSpec,
    stream: Stream,
    account: Account,
    pages: Iterable[tuple[int, bytes]],
    *,
    window: Window | None = None,
) -> Mapped:
    """Maps pages of one list in one pass.

    A pass has a fixed cost, as high as that of mapping some thousand records.

    Args:
        spec: The billing system.
        stream: The list the pages are of.
        account: Whose pages they are; its time zone, region, overridden paths and default
            currency are used.
        pages: (page_id, body as received); the id is put into every row, so that it points back at
            its source.
        window: If given, records changed outside of it are left out: a server that filters by the
            day sends more than it was asked for. Not used where the stream is not `windowed`.

    Raises:
        ConnectorError: If a page cannot be read at all (UnexpectedShape, or what the vendor's error
            code means).
        Misconfigured: If an overridden path is not one.
    """
    if stream.deleted is not None:
        return _deletions(spec, stream, account, pages)
    plan = plan_for(spec, stream, account)
    with paused_gc():
        raw = gather(plan, plan.open(spec, stream, pages))
    # Most polls find nothing, and assembling has a fixed cost.
    if not raw.count:
        return Mapped.empty()
    return assemble(stream, plan, account, raw, window=window if stream.windowed else None)


def assemble(
    stream: Stream, plan: Plan, account: Account, raw: Raw, *, window: Window | None
) -> Mapped:
    """The frames of some pages.

    Args:
        stream: The list the pages are of.
        plan: How it is read.
        account: As in `map_pages`.
        raw: The pages' columns of text.
        window: As in `map_pages`; None: all records are kept.
    """
    count, broken = raw.count, raw.broken
    every = {**plan.fields, **plan.helpers}
    raw = _with_default_currency(raw, account)
    raw, deletions = _gone(stream, raw, account.timezone)
    raw = _kept(stream, raw)
    with_exponent = raw.records.with_columns(
        exponents(currency_code(pl.col("currency"))).alias(EXPONENT)
    )
    invoices = typed(every, with_exponent, account).with_columns(with_exponent[EXPONENT])
    invoices = _with_kind(stream, invoices)
    kind = plan.fields.get("kind")
    # A computed kind may depend on the sign of the total.
    if kind is None or kind.kind != "computed":
        invoices = without_sign(every, invoices)
    invoices = computed(plan.fields, computed(plan.helpers, invoices))
    raw, invoices = _inside(window, raw, invoices)
    raw, invoices, walk_ins = _of_customers(stream, raw, invoices)
    invoices = _with_times(_known(invoices), account)
    lines, line_problems = _lines(plan, raw, invoices, account)
    lines = lines_without_sign(lines, invoices)
    if stream.finish is not None:
        invoices = _with_unread(raw.records, invoices, stream.finish(invoices, lines))
    if plan.lines is not None and plan.lines.finish is not None:
        lines = plan.lines.finish(lines, invoices)
    invoices, notes = settled(
        invoices.with_columns(raw.places.get_columns()), plan.fields["amount_refunded_minor"].source
    )
    field_problems = pl.concat([_header_problems(plan, raw.records, invoices), line_problems])
    invoices = invoices.with_columns(
        pl.lit(account.system).alias("system"),
        pl.lit(account.account).alias("account"),
        reference_ids(invoices, account.region),
        *places(invoices, account.region),
    )
    return Mapped(
        invoices.select(pl.col(name).cast(kind) for name, kind in INVOICE.items()),
        _keyed_lines(lines, invoices),
        _problem_frame(field_problems, invoices, broken),
        deletions,
        count,
        identities=_identities(raw.records, invoices, broken),
        notes=notes,
        walk_ins=walk_ins,
    )


def _with_default_currency(raw: Raw, account: Account) -> Raw:
    if account.default_currency is None:
        return raw
    return replace(
        raw,
        records=raw.records.with_columns(pl.col("currency").fill_null(account.default_currency)),
    )


def _with_unread(raw: pl.DataFrame, before: pl.DataFrame, finished: pl.DataFrame) -> pl.DataFrame:
    """The finished documents, with null for an amount given back that cannot be read.

    `finish` may have filled it with zero; null is a problem, which names the amount.
    """
    if _REFUNDED not in raw.columns or not before[_REFUNDED].null_count():
        return finished
    unread = before[_REFUNDED].is_null() & raw[_REFUNDED].is_not_null()
    refunded = (
        pl.when(unread).then(pl.lit(None, dtype=pl.Int64)).otherwise(_REFUNDED).alias(_REFUNDED)
    )
    return finished.with_columns(refunded)


def _with_kind(stream: Stream, invoices: pl.DataFrame) -> pl.DataFrame:
    if "kind" in invoices.columns:
        return invoices
    return invoices.with_columns(pl.lit(stream.kind).alias("kind"))


def _with_times(invoices: pl.DataFrame, account: Account) -> pl.DataFrame:
    """Adds `time_known`, and null for the sale that a credit returns where nobody says.

    A document that tells its day only has the time at which it was made (a helper `made_at`), if
    that was on the same day.
    """
    issued, zone = pl.col("issued_at"), account.timezone
    invoices = invoices.with_columns(_original(invoices, account.region))
    whole_day = issued.dt.convert_time_zone(zone).dt.time() == time.min
    if MADE_AT in invoices.columns:
        same_day = pl.col(MADE_AT).dt.convert_time_zone(zone).dt.date() == (
            issued.dt.convert_time_zone(zone).dt.date()
        )
        made = pl.when(whole_day & same_day.fill_null(value=False)).then(MADE_AT)
        invoices = invoices.with_columns(pl.coalesce(made, issued).alias("issued_at"))
    return invoices.with_columns((~whole_day).alias("time_known"))


def _original(invoices: pl.DataFrame, region: str) -> pl.Series:
    """The sale that a credit returns; null where nobody says, or somebody's phone is in its place."""
    name = "original_external_id"
    if name not in invoices.columns or invoices[name].null_count() == invoices.height:
        return pl.Series(name, [None] * invoices.height, dtype=pl.String)
    shown = [text if text and identifier(text, region) == text else None for text in invoices[name]]
    return pl.Series(name, shown, dtype=pl.String)


def _known(invoices: pl.DataFrame) -> pl.DataFrame:
    """Null for kinds and statuses that are not ours: an operator's path may lead to anything."""
    return invoices.with_columns(
        pl.when(pl.col(name).is_in(allowed)).then(pl.col(name)).alias(name)
        for name, allowed in (("kind", KINDS), ("status", STATUSES))
    )


def _gone(stream: Stream, raw: Raw, zone: str) -> tuple[Raw, pl.DataFrame]:
    """Splits off the records that say that a document is deleted.

    Returns the records that are documents, and the deletions with their time, where it is given.
    """
    if stream.gone is None or raw.records[stream.gone].is_null().all():
        return raw, DELETION.to_frame()
    names = (stream.gone, "updated_at")
    is_document = raw.records[stream.gone].is_null()
    deleted = rewritten(raw.records.filter(~is_document), dict.fromkeys(names, "time"), EXPONENT)
    times = [instants(deleted[name], zone, whole_days=False) for name in names]
    gone = deleted.select("external_id", times[0].fill_null(times[1]).alias("deleted_at"))
    gone = gone.with_columns(raw.places["page_id"].filter(~is_document))
    return raw.only(is_document), gone.drop_nulls("external_id").cast(DELETION)


def _kept(stream: Stream, raw: Raw) -> Raw:
    if stream.keep is None or raw.records.is_empty():
        return raw
    return raw.only(raw.records.select(stream.keep).to_series())


def _inside(window: Window | None, raw: Raw, invoices: pl.DataFrame) -> tuple[Raw, pl.DataFrame]:
    if window is None or (window.since is None and window.until is None):
        return raw, invoices
    changed = pl.col("updated_at")
    inside = pl.lit(value=True)
    if window.since is not None:
        inside = inside & (changed >= window.since)
    if window.until is not None:
        inside = inside & ((changed < window.until) | (changed > datetime.now(UTC) + _FUTURE))
    mask = invoices.select(inside.fill_null(value=True)).to_series()
    return raw.only(mask), invoices.filter(mask)


def _of_customers(
    stream: Stream, raw: Raw, invoices: pl.DataFrame
) -> tuple[Raw, pl.DataFrame, pl.DataFrame]:
    """Splits off the sales to nobody (WALK_IN), where the stream has them.

    A phone or a customer's id that cannot be read is somebody's: its record stays, and is rejected
    by name. So does one without its amount or its time: nobody knows whether it is a sale.
    """
    if not stream.walk_ins:
        return raw, invoices, WALK_IN.to_frame()
    is_nobody = (
        invoices["customer_external_id"].is_null()
        & raw.records["customer_external_id"].is_null()
        & raw.records["customer_phone"].is_null()
        & invoices["external_id"].is_not_null()
    )
    for name in _TELLING:
        if stream.fields[name].expr is None:
            is_nobody = is_nobody & invoices[name].is_not_null()
    if not is_nobody.any():
        return raw, invoices, WALK_IN.to_frame()
    walk_ins = invoices.filter(is_nobody).select("external_id")
    walk_ins = walk_ins.with_columns(
        raw.places.filter(is_nobody).get_column(name) for name in ("page_id", "record_no")
    )
    return raw.only(~is_nobody), invoices.filter(~is_nobody), walk_ins.cast(WALK_IN)


def _lines(
    plan: Plan, raw_page: Raw, invoices: pl.DataFrame, account: Account
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines with `row`, the position of their invoice, and their problems by that row."""
    if plan.lines is None:
        return pl.DataFrame(schema={"row": pl.UInt32, "amount_minor": pl.Int64}), problems(
            {}, invoices, invoices
        )
    raw, owner = raw_page.lines, raw_page.owners
    exponent = invoices[EXPONENT].gather(owner)
    context = [exponent.alias(EXPONENT)]
    # In other notations amounts may name a currency.
    if any(field.notation != "plain" for field in plan.lines.fields.values()):
        context.append(invoices["currency"].gather(owner))
    lines = typed(plan.lines.fields, raw.with_columns(context), account)
    lines = computed(plan.lines.fields, lines.with_columns(exponent.alias(EXPONENT), owner))
    line_problems = problems(
        plan.lines.fields, raw, lines, label="lines.{}", under=f"{plan.lines.path}/*"
    )
    line_problems = line_problems.with_columns(owner.gather(line_problems["row"]).alias("row"))
    if plan.lines.adjust is not None:
        lines = plan.lines.adjust(lines)
    return lines, line_problems


def _keyed_lines(lines: pl.DataFrame, invoices: pl.DataFrame) -> pl.DataFrame:
    keys = [
        invoices[name].gather(lines["row"])
        for name in ("system", "account", "external_id", "page_id", "record_no")
    ]
    missing = [
        pl.lit(None).alias(name)
        for name in LINE
        if name not in (*lines.columns, *invoices.columns, "line_no")
    ]
    # Lines are in the order of their rows, so each change of row begins a document.
    number = pl.int_range(pl.len())
    begins = pl.col("row") != pl.col("row").shift().fill_null(-1)
    line_no = number - pl.when(begins).then(number).forward_fill() + 1
    frame = lines.with_columns(*keys, *missing, line_no.alias("line_no"))
    return frame.select(pl.col(name).cast(kind) for name, kind in LINE.items())


def _header_problems(plan: Plan, raw: pl.DataFrame, invoices: pl.DataFrame) -> pl.DataFrame:
    """Problems of the documents' own fields.

    Either the customer's number or the phone number is enough. A phone number that cannot be used
    is looked up at the vendor, where that is possible. Documents that earn nothing need none.
    """
    # What a document names of others, or of its place, is a help: nothing is rejected for it.
    helping = (*REFERENCES, *PLACES, "original_external_id")
    checked = {name: field for name, field in plan.fields.items() if name not in helping}
    field_problems = problems({**checked, **plan.helpers}, raw, invoices)
    has = {
        name: invoices[name].gather(field_problems["row"]).is_not_null()
        for name in ("customer_external_id", "customer_phone")
    }
    excused = (field_problems["field"] == "customer_external_id") & has["customer_phone"]
    spared = has["customer_external_id"]
    if not plan.looks_up:
        spared = spared & invoices["status"].is_in(IDLE).fill_null(value=False).gather(
            field_problems["row"]
        )
    excused = excused | ((field_problems["field"] == "customer_phone") & spared)
    negative = [
        _negative(plan, invoices, name) for name in _NOT_NEGATIVE if name in invoices.columns
    ]
    return pl.concat(
        [_one_cause(plan, _of_nobody(plan, field_problems.filter(~excused))), *negative]
    )


def _of_nobody(plan: Plan, field_problems: pl.DataFrame) -> pl.DataFrame:
    """Names the phone as missing where phones are not looked up by the customer's number."""
    if plan.looks_up:
        return field_problems
    phone = plan.fields["customer_phone"]
    rows_with_phone_problem = field_problems.filter(field="customer_phone")["row"].implode()
    nobody = (pl.col("field") == "customer_external_id") & (pl.col("reason") == "missing")
    return field_problems.filter(
        ~(nobody & pl.col("row").is_in(rows_with_phone_problem))
    ).with_columns(
        pl.when(nobody).then(pl.lit(phone.source)).otherwise("path").alias("path"),
        pl.when(nobody).then(pl.lit("customer_phone")).otherwise("field").alias("field"),
    )


def _one_cause(plan: Plan, field_problems: pl.DataFrame) -> pl.DataFrame:
    """One problem per cause.

    Left out are problems of a value that an earlier field with a problem was read from as well.
    """
    if field_problems["row"].is_duplicated().any():
        sources = {
            name: set(field.paths) for name, field in (*plan.fields.items(), *plan.helpers.items())
        }
        for number, (name, paths) in enumerate(sources.items()):
            # An operator does not know helpers, so for them one path in common is enough.
            same = paths.intersection if name in plan.helpers else paths.__le__
            earlier = [
                name_above
                for name_above in list(sources)[:number]
                if name_above in plan.fields and paths and same(sources[name_above])
            ]
            explained_rows = field_problems.filter(pl.col("field").is_in(earlier))["row"]
            field_problems = field_problems.filter(
                (pl.col("field") != name) | ~pl.col("row").is_in(explained_rows.implode())
            )
    return field_problems


def _negative(plan: Plan, invoices: pl.DataFrame, name: str) -> pl.DataFrame:
    return (
        invoices.with_row_index("row")
        .filter(pl.col(name) < 0)
        .select(
            "row",
            pl.lit(name).alias("field"),
            pl.lit(plan.fields[name].source).alias("path"),
            pl.lit("is negative").alias("reason"),
            pl.lit("-…").alias("example"),
        )
    )


def _problem_frame(
    field_problems: pl.DataFrame, invoices: pl.DataFrame, broken: list[Broken]
) -> pl.DataFrame:
    named = field_problems.with_columns(
        invoices[name].gather(field_problems["row"]) for name in ("page_id", "record_no")
    )
    rows = [
        {
            "page_id": b.page_id,
            "record_no": b.record_no,
            "field": b.field,
            "path": b.path,
            "reason": b.reason,
        }
        for b in broken
    ]
    frame = pl.concat([named.select(PROBLEM.names()), pl.DataFrame(rows, schema=PROBLEM)])
    return frame.sort("page_id", "record_no", maintain_order=True)


def _identities(
    records: pl.DataFrame, invoices: pl.DataFrame, broken: list[Broken]
) -> pl.DataFrame:
    rows = [
        (record.page_id, record.record_no, record.document, record.row_key) for record in broken
    ]
    nameless = invoices["external_id"].is_null()
    if nameless.any():
        places = invoices.filter(nameless).select("page_id", "record_no").rows()
        raw_rows = records.filter(nameless).iter_rows(named=True)
        times: Counter[tuple[int, str]] = Counter()
        for (page_id, record_no), cells in zip(places, raw_rows, strict=True):
            key = f"row {content_digest(cells)}"
            times[page_id, key] += 1
            number = times[page_id, key]
            rows.append((page_id, record_no, None, key if number == 1 else f"{key} #{number}"))
    return pl.DataFrame(rows, schema=IDENTITY, orient="row")


def _deletions(
    spec: ConnectorSpec, stream: Stream, account: Account, pages: Iterable[tuple[int, bytes]]
) -> Mapped:
    read = [(page_id, read_deleted(spec, stream, body)) for page_id, body in pages]
    answers = [answer for _, answer in read]
    ids = [normal_id(vendor_id) for answer in answers for vendor_id in answer.external_ids]
    times = [time for answer in answers for time in answer.deleted_at]
    places = [page_id for page_id, answer in read for _ in answer.external_ids]
    frame = pl.DataFrame({"external_id": ids}, schema={"external_id": pl.String})
    frame = frame.with_columns(
        instants(texts(times).alias("deleted_at"), account.timezone, whole_days=False)
    )
    frame = frame.with_columns(pl.Series("page_id", places, dtype=pl.Int64)).select(
        DELETION.names()
    )
    count = sum(answer.record_count for answer in answers)
    if stream.census:
        rows = [
            (normal_id(vendor_id), answer.listed_kind)
            for answer in answers
            for vendor_id in answer.external_ids
        ]
        return replace(
            Mapped.empty(),
            record_count=count,
            listed=pl.DataFrame(rows, schema=LISTED, orient="row"),
        )
    rows = [
        (normal_id(vendor_id), answer.listed_kind)
        for answer in answers
        for vendor_id in answer.listed
    ]
    listed = pl.DataFrame(rows, schema=LISTED, orient="row")
    return replace(Mapped.empty(), deletions=frame, record_count=count, listed=listed)
