"""Completes invoices with what their lists leave out.

Finds out which customers and items a page needs, reads those, and joins them in.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec
import polars as pl

from connectors.kit.mapping.columns import EXPONENT, raw_columns, typed
from connectors.kit.mapping.frames import Mapped
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.parse import masked
from connectors.kit.mapping.pointers import Shape, dig, segments, shape
from connectors.kit.mapping.reader import UNREADABLE, Opener, opener, plan_for, read
from connectors.kit.spec import Account, ConnectorSpec, Lookup, Stream
from connectors.kit.spec.fields import Field
from loyalty.schema import IDLE, PROBLEM

#: The rows of a page of customers, and of items. `phone` is E.164; null: none that can be dialled.
CUSTOMER = pl.Schema({"external_id": pl.String, "phone": pl.String})
ITEM = pl.Schema({"external_id": pl.String, "name": pl.String, "sku": pl.String})
_ENTRIES = Decoder(dict[str, msgspec.Raw])


def missing(spec: ConnectorSpec, mapped: Mapped) -> dict[str, set[str]]:
    """The ids to ask each lookup for: those of documents without phone, and of lines without sku.

    Items are named by `Lookup.key`: by their id, or by their name where lines carry no id.

    Returns:
        Ids by the lookup's name, "customers" or "items".
    """
    needs: dict[str, set[str]] = {}
    for lookup in spec.lookups:
        if lookup.name == "customers":
            ids = mapped.invoices.filter(pl.col("customer_phone").is_null())["customer_external_id"]
        else:
            key = "name" if lookup.key == "name" else "item_external_id"
            ids = mapped.lines.filter(pl.col("sku").is_null())[key]
        needs[lookup.name] = set(ids.drop_nulls().unique())
    return needs


def map_lookup(spec: ConnectorSpec, lookup: Lookup, account: Account, body: bytes) -> pl.DataFrame:
    """Reads a page of a lookup.

    Customers have external_id and phone (E.164 or null); items have external_id, name and sku.

    Of several phone numbers the first that can be dialled is taken. No other personal datum is
    read.

    Raises:
        ConnectorError: If the page cannot be read.
    """
    record, opened = _lookup_opener(lookup)
    body = _listed(lookup, body)
    items = _single(lookup, opened, body)
    if items is None:
        items = read(spec, lookup.name, lookup.records, opened, body).items
    raw = raw_columns(record, lookup.fields, items).with_columns(
        pl.lit(None, dtype=pl.Int8).alias(EXPONENT)
    )
    frame = typed(lookup.fields, raw, account).filter(pl.col("external_id").is_not_null())
    if lookup.name == "items":
        return frame.select(ITEM.names()).cast(ITEM)
    phones = [name for name, field in lookup.fields.items() if field.kind == "phone"]
    return frame.select("external_id", pl.coalesce(phones).alias("phone")).cast(CUSTOMER)


def lookup_ids(
    spec: ConnectorSpec, lookup: Lookup, body: bytes
) -> tuple[list[str], Mapping[str, Any]]:
    """The ids on a page of a lookup, and the values beside its list (`Lookup.info`).

    Raises:
        ConnectorError: If the page cannot be read.
    """
    record, opened = _lookup_opener(lookup)
    body = _listed(lookup, body)
    single = _single(lookup, opened, body)
    if single is not None:
        items, info = single, {}
    else:
        page = read(spec, lookup.name, lookup.records, opened, body)
        items, info = page.items, page.info
    fields: dict[str, Field] = {"external_id": lookup.fields["external_id"]}
    return raw_columns(record, fields, items)["external_id"].drop_nulls().to_list(), info


@lru_cache(maxsize=64)
def _lookup_opener(lookup: Lookup) -> tuple[Shape, Opener]:
    record = shape(path for field in lookup.fields.values() for path in field.paths)
    return record, opener(
        record.type, lookup.records, lookup.info, missing_is_empty=lookup.missing_is_empty
    )


def _listed(lookup: Lookup, body: bytes) -> bytes:
    """An answer that holds its records by their ids, as one that lists them.

    Any other answer is left as it is, and read as an error.
    """
    if not lookup.keyed:
        return body
    parts, inside = segments(lookup.records), body
    try:
        for part in parts:
            inside = bytes(_ENTRIES.decode(inside)[part])
        entries = _ENTRIES.decode(inside)
    except (*UNREADABLE, KeyError):
        return body
    listed = b"[" + b",".join(map(bytes, entries.values())) + b"]"
    for part in reversed(parts):
        listed = b"{" + msgspec.json.encode(part) + b":" + listed + b"}"
    return listed


def _single(lookup: Lookup, opened: Opener, body: bytes) -> list[Any] | None:
    """The record of an answer to a request for one id, None if this is a list."""
    if (
        lookup.fallback_record is None
        or lookup.fallback_record.encode().rpartition(b"/")[2] not in body
    ):
        return None
    try:
        whole = Decoder(Any).decode(body)
        # Where the whole answer is the record (""), an answer with a list looks like one as well.
        if isinstance(dig(whole, segments(lookup.records)), list):
            return None
        value = dig(whole, segments(lookup.fallback_record))
        return (
            [opened.record.decode(msgspec.json.encode(value))] if isinstance(value, dict) else None
        )
    except UNREADABLE:
        return None


def phone_place(spec: ConnectorSpec, stream: Stream, account: Account) -> str:
    """Where a phone number is looked for, in words.

    With a lookup of customers it is the path in the customer's record, behind "(customer)"; else
    the path in the document; "" for a list that holds no documents.
    """
    for lookup in spec.lookups:
        if lookup.name == "customers":
            paths = [
                path
                for field in lookup.fields.values()
                if field.kind == "phone"
                for path in field.paths
            ]
            return f"(customer) {' or '.join(dict.fromkeys(paths))}"
    field = plan_for(spec, stream, account).fields.get("customer_phone")
    return field.source if field else ""


def fill(
    mapped: Mapped, customers: pl.DataFrame, items: pl.DataFrame, phone_at: str = "(customer)"
) -> Mapped:
    """Puts phone numbers and skus where the page had none.

    Args:
        mapped: A mapped page.
        phone_at: What `phone_place` says.
        customers: external_id, phone (null: the customer has none that can be dialled).
        items: external_id, name, sku. Lines with an item id are matched by it, the others by name.

    Returns:
        The same page; a document that is neither draft nor void and still has no phone number has a
        PROBLEM.
    """
    phones = customers.select(
        pl.col("external_id").alias("customer_external_id"),
        pl.col("phone").alias("_phone"),
        pl.lit(value=True).alias("_found"),
    ).unique("customer_external_id", keep="last")
    invoices = mapped.invoices.join(
        phones, on="customer_external_id", how="left", maintain_order="left"
    ).with_columns(pl.coalesce("customer_phone", "_phone").alias("customer_phone"))
    return replace(
        mapped,
        invoices=invoices.select(mapped.invoices.columns),
        lines=_with_sku(mapped.lines, items),
        problems=pl.concat([mapped.problems, _no_phone(invoices, mapped.problems, phone_at)]),
    )


def _no_phone(invoices: pl.DataFrame, problems: pl.DataFrame, phone_at: str) -> pl.DataFrame:
    """A problem for each document that needs a phone number and has none.

    A draft or void document earns nothing, so it needs no member: voiding must never fail because a
    phone number is missing.
    """
    earning = ~pl.col("status").is_in(IDLE).fill_null(value=False)
    without = invoices.filter(
        pl.col("customer_phone").is_null() & pl.col("customer_external_id").is_not_null() & earning
    )
    phone_problems = problems.filter(pl.col("field") == "customer_phone")
    without = without.join(
        phone_problems, on=["page_id", "record_no"], how="anti", maintain_order="left"
    )
    reason = pl.lit("missing")
    if phone_at.startswith("("):  # customers are looked up
        found_reason = pl.when(pl.col("_found").is_not_null()).then(
            pl.lit("the customer has no phone number that can be dialled")
        )
        reason = found_reason.otherwise(pl.lit("the customer was not found at the vendor"))
    masks = [
        masked(customer) if phone_at.startswith("(") else None
        for customer in without["customer_external_id"]
    ]
    return without.select(
        "page_id",
        "record_no",
        pl.lit("customer_phone").alias("field"),
        pl.lit(phone_at).alias("path"),
        reason.alias("reason"),
        pl.Series("example", masks, dtype=pl.String),
    ).cast(PROBLEM)


def _with_sku(lines: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    if items.is_empty() or lines.is_empty():
        return lines
    by_id = items.select(
        pl.col("external_id").alias("item_external_id"), pl.col("sku").alias("_by_id")
    )
    # With two items of one name nobody knows which was sold, so neither sku is used.
    by_name = items.select("name", pl.col("sku").alias("_by_name")).drop_nulls("name")
    by_name = by_name.filter(pl.col("_by_name").n_unique().over("name") == 1).unique(
        "name", keep="any"
    )
    joined = lines.join(
        by_id.unique("item_external_id", keep="last"),
        on="item_external_id",
        how="left",
        maintain_order="left",
    ).join(by_name, on="name", how="left", maintain_order="left")
    sku = pl.coalesce(
        "sku", "_by_id", pl.when(pl.col("item_external_id").is_null()).then("_by_name")
    )
    return joined.with_columns(sku.alias("sku")).select(lines.columns)
