"""Every connector reads everything, once and again, and maps every canonical column as the books have it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from connectors.kit.mapping import map_page
from connectors.kit.mapping.frames import MADE_AT
from connectors.kit.read.pages import extract
from connectors.kit.spec import ConnectorSpec, Page, PageRequest, Resume, Window
from connectors.kit.spec.fields import REFERENCES
from loyalty.schema import INVOICE, LINE, PROBLEM
from tests.contract.conftest import whole_read
from tests.support.completeness import GIVEN
from tests.support.systems import SIMULATED

LUANDA = ZoneInfo("Africa/Luanda")
#: Systems that do not say when a document was changed: lists tell what they can, events the rest.
WITHOUT_TIME_OF_CHANGE = ("stripe",)
#: Systems that let drafts alone be deleted; see their own tests.
DELETES_DRAFTS = ("stripe",)
#: Kinds of documents of which a system says the total alone.
WITHOUT_LINES = (("stripe", "sale"),)
#: Systems that name the amount as a whole, tax included.
WITHOUT_TAX = ("paypal",)


def names_deletions(spec: ConnectorSpec) -> bool:
    """Whether deleted documents are gone from the lists, and named: by another list, or a mark."""
    sales = spec.streams[0]
    lists = (stream for stream in spec.streams if stream.name in sales.deletions)
    return sales.gone is not None or any(one.deleted and not one.census for one in lists)


def lists_the_rest(spec: ConnectorSpec) -> bool:
    """Whether deleted documents are forgotten, and what is left is listed."""
    census = {stream.name for stream in spec.streams if stream.census}
    return set(spec.streams[0].deletions) <= census


def says(spec: ConnectorSpec, name: str) -> bool:
    """Whether the lines of sales have this value themselves."""
    lines = spec.streams[0].lines
    return lines is not None and bool(lines.fields[name].paths)


def keeps(spec: ConnectorSpec) -> bool:
    """Whether deleted documents stay in their list; see test_moving_lists for systems of one's own."""
    return spec.streams[0].name in spec.streams[0].deletions


def truths(bench: Any) -> dict[str, Any]:
    """What the books hold of this system, by id."""
    return {row.external_id: row for row in bench.world.truth() if row.system == bench.spec.name}


def newest(invoices: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["external_id"]: row for row in invoices.sort("updated_at").to_dicts()}


def sold_at(spec: ConnectorSpec, truth: Any) -> datetime:
    """When it was sold: at the vendor's moment, when it was written on its day, or at midnight."""
    if truth.sold_at:
        return truth.sold_at
    tells = any(MADE_AT in stream.helpers for stream in spec.streams if stream.kind == truth.kind)
    if tells and truth.made_at and truth.made_at.astimezone(LUANDA).date() == truth.date:
        return truth.made_at
    return datetime.combine(truth.date, time(), LUANDA).astimezone(UTC)


def test_full_read_agrees_with_the_books(bench: Any) -> None:
    """Every document of the books is read, with every value as the books have it."""
    mapped = whole_read(bench.spec.name)
    rows = newest(mapped.invoices)
    forgets = names_deletions(bench.spec) or lists_the_rest(bench.spec)
    expected = {key: row for key, row in truths(bench).items() if not (row.deleted and forgets)}
    assert set(rows) == set(expected)
    for key, truth in expected.items():
        row = rows[key]
        assert (row["kind"], row["status"], row["currency"]) == (
            truth.kind,
            truth.status,
            truth.currency,
        ), key
        assert (row["invoice_number"] or "") == truth.invoice_number
        assert row["customer_external_id"] == (None if truth.guest else truth.customer_id)
        assert row["total_minor"] == int(Decimal(truth.total) * 100), key
        assert row["amount_refunded_minor"] == int(Decimal(truth.refunded) * 100), key
        assert abs(row["issued_at"] - sold_at(bench.spec, truth)) < timedelta(seconds=1), key
        if bench.spec.name not in WITHOUT_TIME_OF_CHANGE:
            assert abs(row["updated_at"] - truth.updated_at) < timedelta(seconds=1)
        assert row["customer_phone"] in (truth.phone_e164, None)


def test_tax_and_lines_agree_with_the_books(bench: Any) -> None:
    mapped = whole_read(bench.spec.name)
    rows = newest(mapped.invoices)
    lines = mapped.lines.unique(["external_id", "line_no"], maintain_order=True)
    for key, truth in truths(bench).items():
        if key not in rows or rows[key]["status"] == "void":
            continue
        if (bench.spec.name, truth.kind) in WITHOUT_LINES:
            continue
        # A customer refund of NetSuite is a payment: no lines, and nothing said about tax.
        says_tax = truth.skus and bench.spec.name not in WITHOUT_TAX
        assert rows[key]["tax_minor"] == (int(Decimal(truth.tax) * 100) if says_tax else None), key
        if not says(bench.spec, "quantity"):
            sold = lines.filter(pl.col("external_id") == key)
            assert sold["quantity"].null_count() == sold.height
            assert sorted(sold["sku"], key=str) == sorted(
                (sku for sku, _ in truth.skus), key=str
            ), key
            continue
        sold = lines.filter((pl.col("external_id") == key) & pl.col("quantity").is_not_null())
        if not says(bench.spec, "sku") and not any(
            lookup.name == "items" for lookup in bench.spec.lookups
        ):
            assert sold["sku"].null_count() == sold.height
            assert sorted(sold["quantity"]) == sorted(quantity for _, quantity in truth.skus), key
            continue
        found = list(
            zip(sold["sku"], (int(quantity) for quantity in sold["quantity"]), strict=True)
        )
        assert sorted(found, key=str) == sorted(truth.skus, key=str), key


def test_schemas_and_every_column_is_mapped(bench: Any) -> None:
    """Frames have the canonical schemas, and no column of INVOICE is left without a source."""
    mapped = whole_read(bench.spec.name)
    assert (mapped.invoices.schema, mapped.lines.schema, mapped.problems.schema) == (
        INVOICE,
        LINE,
        PROBLEM,
    )
    for stream in bench.spec.streams:
        if stream.deleted is None:
            fields = set(stream.fields) - set(REFERENCES)  # what `reference_ids` is made of
            assert fields | GIVEN == set(INVOICE.names()), stream.name
            assert stream.lines is not None
            keys = ("system", "account", "external_id", "line_no", "page_id", "record_no")
            assert set(LINE.names()) <= {*stream.lines.fields, *keys}


def test_only_missing_phones_are_problems(bench: Any) -> None:
    """A customer who never gave a number is named as the reason; drafts and voided documents need none."""
    mapped = whole_read(bench.spec.name)
    assert set(mapped.problems["field"]) <= {"customer_phone"}
    rows = newest(mapped.invoices)
    known = truths(bench)
    lacking = {
        key
        for key, row in rows.items()
        if row["customer_phone"] is None and row["status"] not in ("draft", "void")
    }
    for key in lacking:
        assert known[key].phone_e164 is None or known[key].phone is None, key
    assert mapped.problems.height >= len(lacking)


@pytest.mark.parametrize("page_size", [1, 7, None])
def test_page_size_does_not_matter(
    bench: Any, benches: Callable[..., Any], page_size: int | None
) -> None:
    small = {"customers": 10, "invoices": 30}
    bench = benches(bench.spec.name, **small)
    with_default = newest(whole_read(bench.spec.name, **small).invoices)
    bench.page_size = page_size
    stream = bench.spec.streams[0].name
    ids = [
        key
        for page in bench.pages(stream)
        for key in map_page(
            bench.spec, bench.spec.stream(stream), bench.connection, page.body, page_id=1
        ).invoices["external_id"]
    ]
    assert (
        len(ids) == len(set(ids)) or bench.spec.streams[0].shrinks
    )  # such lists are read with an overlap
    assert set(ids) <= set(with_default)


def test_incremental_reads_only_what_changed(bench: Any, since: datetime) -> None:
    """A window's lower bound is inclusive, and nothing changed since is missing."""
    mapped = bench.read(Window(since, None))
    changed = {key for key, row in truths(bench).items() if row.updated_at >= since}
    gone = {key for key, row in truths(bench).items() if row.deleted and row.updated_at >= since}
    read = {key for key, row in newest(mapped.invoices).items() if row["updated_at"] >= since}
    if names_deletions(bench.spec):
        assert set(mapped.deletions["external_id"]) == gone
        assert mapped.deletions["deleted_at"].null_count() == 0
        changed -= gone
    if lists_the_rest(bench.spec):
        alive = {key for key, row in truths(bench).items() if not row.deleted}
        assert set(mapped.listed["external_id"]) == alive
        changed -= gone
    assert read == changed
    assert len(mapped.invoices) < len(truths(bench))


def test_overlap_reads_the_edge_again(bench: Any) -> None:
    """The record changed at the very instant of the bound is in the window."""
    latest = max(row.updated_at for row in truths(bench).values() if not row.deleted)
    mapped = bench.read(Window(latest, None))
    assert latest.replace(microsecond=0) in {
        at.replace(microsecond=0) for at in mapped.invoices["updated_at"]
    }


def test_until_is_applied_after_reading(bench: Any, since: datetime) -> None:
    """An upper bound is not sent (records would leave the list while it is paged): map_page applies it."""
    stream = bench.spec.streams[0]
    if not stream.windowed:
        pytest.skip("its records are kept whatever their time of change")
    until = since + timedelta(days=2)
    for page in bench.pages(stream.name, Window(since, until)):
        window = Window(since, until)
        mapped = map_page(bench.spec, stream, bench.connection, page.body, page_id=1, window=window)
        assert mapped.invoices.filter(
            (pl.col("updated_at") < since) | (pl.col("updated_at") >= until)
        ).is_empty()


def test_resumed_read_goes_on_where_it_stopped(bench: Any) -> None:
    """The rest of a list is read from the stored request of the following page; where lists shrink, after a look back."""
    stream = bench.spec.streams[0].name
    whole = bench.pages(stream)
    assert len(whole) > 2
    asked = len(lists(bench))
    rest = bench.pages(stream, resume=stopped_after(whole[0]))
    if bench.spec.streams[0].incomplete:  # each document is a request of its own
        asked += sum(page.record_count for page in rest)
    assert len(lists(bench)) - asked == len(whole) - 1 + bench.spec.streams[0].shrinks
    assert [page.page_no for page in rest] == [page.page_no for page in whole[1:]]
    assert [page.record_count for page in rest] == [page.record_count for page in whole[1:]]
    assert whole[-1].next_request is None


def lists(bench: Any) -> list[Any]:
    """The calls for lists, without those for what they leave out: lines, and other records."""
    return [call for call in bench.calls if call.operation not in ("token", "lines")]


def stopped_after(page: Page) -> Resume:
    """What is known of an interrupted read, as it comes back from the database."""
    request, following = (
        json.loads(json.dumps(one.to_json())) for one in (page.request, page.next_request)
    )
    return Resume(PageRequest.from_json(request), page.body, PageRequest.from_json(following))


def gone_of(bench: Any, page: Page, count: int) -> None:
    """Deletes some documents of a page at the vendor."""
    books = bench.world.books[bench.spec.name]
    ids = map_page(
        bench.spec, bench.spec.streams[0], bench.connection, page.body, page_id=1
    ).invoices["external_id"]
    deleted = [
        one
        for one in books.all()
        if one.entity == "Invoice" and one.id in set(ids) and books.delete(one, bench.world.now())
    ]
    assert len(deleted[:count]) == count


@pytest.mark.parametrize("interrupted", [False, True])
def test_no_sale_is_lost_when_documents_are_deleted_while_paging(
    bench: Any, *, interrupted: bool
) -> None:
    """Later records move up when earlier ones leave a list: onto a page that was read already."""
    stream = bench.spec.streams[0]
    if keeps(bench.spec) or bench.spec.name in DELETES_DRAFTS:
        pytest.skip("this vendor keeps its documents in the list, or all but drafts")
    before = {key for key, row in truths(bench).items() if not row.deleted}
    pages = []
    with bench.client() as client:
        reading = extract(bench.spec, stream, client, Window())
        pages.append(next(reading))
        gone_of(bench, pages[0], 3)
        if interrupted:
            reading = extract(bench.spec, stream, client, Window(), resume=stopped_after(pages[0]))
        pages.extend(reading)
    read = set()
    for page in pages:
        read |= set(
            map_page(bench.spec, stream, bench.connection, page.body, page_id=1).invoices[
                "external_id"
            ]
        )
    alive = {
        key for key, row in truths(bench).items() if not row.deleted and row.kind == stream.kind
    }
    alive = {key for key in alive if "/" not in key}  # the others are of other lists
    assert alive & before <= read


def test_empty_account(benches: Callable[..., Any]) -> None:
    for system in SIMULATED:
        bench = benches(system, customers=1, invoices=0, example=False)
        mapped = bench.read()
        assert (mapped.invoices.height, mapped.problems.height) == (0, 0)
        assert mapped.invoices.schema == INVOICE


def test_no_row_is_lost_when_rows_change_while_paging(bench: Any) -> None:
    """Documents edited between two pages are seen twice at worst: all that were there before are read."""
    before = {key for key, row in truths(bench).items() if not row.deleted}
    bench.page_size = 10
    turns = iter(range(1000))

    def edit(request: Any) -> None:
        if "token" not in request.url.path and next(turns) % 2:
            bench.world.evolve(systems=(bench.spec.name,))

    bench.before = edit
    read = set()
    for stream in bench.spec.streams:
        if stream.deleted is None:
            for page in bench.pages(stream.name):
                mapped = map_page(bench.spec, stream, bench.connection, page.body, page_id=1)
                read |= set(mapped.invoices["external_id"])
    after = truths(bench)
    assert {key for key in before if not after[key].deleted} <= read


def test_calls_are_reported(bench: Any) -> None:
    pages = bench.pages(bench.spec.streams[0].name)
    calls = lists(bench)
    documents = sum(page.record_count for page in pages) if bench.spec.streams[0].incomplete else 0
    assert len(calls) == len(pages) + documents
    assert {(call.status, call.throttled, call.system) for call in calls} == {
        (200, False, bench.spec.name)
    }
