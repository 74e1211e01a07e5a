"""What an order of Magento means: which amounts count, in which currency, which rows were sold."""

import re
from typing import Any

import polars as pl

from connectors.kit.mapping.parse import dialled
from connectors.kit.spec import Lines
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    decimal,
    instant,
    money,
    phone,
    text,
)

#: Amounts of an order. Each is there twice: `base_...` in the shop's own currency, which counts,
#: and without it in the currency that the customer saw.
_AMOUNTS = (
    *("grand_total", "total_canceled", "total_invoiced", "total_paid", "total_due"),
    *("total_refunded", "tax_amount", "tax_invoiced"),
)
#: Amounts of Adobe Commerce: what was given back as store credit or to a gift card.
_CREDIT = "customer_balance_total_refunded"
_PAID_BEFORE = ("customer_balance_refunded", "gift_cards_refunded")


def _helpers() -> dict[str, Field]:
    """Every amount in both currencies.

    The database keeps four decimals: they are rounded to the currency.
    """
    amounts = {
        f"{name}_{kind}": money(f"/{prefix}{name}", exact=False)
        for name in _AMOUNTS
        for kind, prefix in (("own", "base_"), ("seen", ""))
    }
    return {
        "state": text("/state"),
        "order_id": text("/order_id"),
        "own_currency": text("/base_currency_code"),
        "seen_currency": text("/order_currency_code"),
        **amounts,
        **{
            name: money(f"/extension_attributes/base_{name}", exact=False)
            for name in (_CREDIT, *_PAID_BEFORE)
        },
    }


def _amount(name: str) -> pl.Expr:
    """An amount in the currency of the document, which is the shop's own.

    The other one is taken only where both currencies are the same, or the own one is not said.
    """
    own, seen = pl.col("own_currency"), pl.col("seen_currency")
    is_same = (seen.is_null() | (own == seen)).fill_null(value=True)
    return (
        pl.when(own.is_not_null())
        .then(pl.coalesce(f"{name}_own", pl.when(is_same).then(f"{name}_seen")))
        .otherwise(pl.coalesce(f"{name}_seen", f"{name}_own"))
    )


_STATE = pl.col("state")
_ZERO = pl.lit(0, dtype=pl.Int64)
#: What the order comes to without what was cancelled of it.
_ORDERED = _amount("grand_total") - _amount("total_canceled").fill_null(0)
#: What was invoiced. Where it is not said, what was paid; a finished order was invoiced.
_INVOICED = pl.coalesce(
    _amount("total_invoiced"),
    _amount("total_paid"),
    pl.when(_STATE.is_in(["complete", "closed"])).then(_ORDERED),
    _ZERO,
)
_IS_INVOICED = (_INVOICED > 0) | (
    # Paid by store credit or gift card as a whole, or free: there is nothing to invoice.
    (_amount("grand_total") == 0) & _STATE.is_in(["processing", "complete", "closed"])
).fill_null(value=False)
#: A cancelled order shows what it would have come to; it earns nothing.
_TOTAL = (
    pl.when((_STATE == "canceled") | _amount("grand_total").is_null())
    .then(_amount("grand_total"))
    .when(_INVOICED > 0)
    .then(_INVOICED)
    .otherwise(_ORDERED)
)
_PAID = pl.coalesce(_amount("total_paid"), _amount("grand_total") - _amount("total_due"))
_TAX = pl.coalesce(
    pl.when(_INVOICED > 0).then(_amount("tax_invoiced")),
    _amount("tax_amount"),
)
#: The part of a refund that became store credit: the shop kept the money, and what is bought with
#: the credit earns nothing again. What had been paid by credit or gift card is no part of it.
_TO_CREDIT = pl.max_horizontal(
    _ZERO,
    pl.col(_CREDIT).fill_null(0)
    - sum((pl.col(name).fill_null(0) for name in _PAID_BEFORE), start=_ZERO),
)
_REFUNDED = pl.max_horizontal(_ZERO, _amount("total_refunded").fill_null(0) - _TO_CREDIT)
_STATUS = (
    pl.when(_STATE == "canceled")
    .then(pl.lit("void"))
    .when(_IS_INVOICED & (_PAID.fill_null(0) >= _INVOICED))
    .then(pl.lit("paid"))
    .when(_IS_INVOICED)
    .then(pl.lit("open"))
    .otherwise(pl.lit("draft"))
)
_STATES = (
    *("new", "pending_payment", "payment_review", "holded"),
    *("processing", "complete", "closed", "canceled"),
)


def _number_of_customer(value: Any) -> str | None:
    """A customer's number; None for a guest, who has none, or 0."""
    if not isinstance(value, str | int):
        raise TypeError("it is neither text nor a number")
    return None if str(value) == "0" else str(value)


def _phone_of(address: Any) -> str | None:
    """The phone of an address, read as in its country where it has no country code.

    Numbers of two countries can look alike: a Portuguese one must not become an Angolan member's.
    """
    telephone, country = address.get("telephone"), address.get("country_id")
    if not telephone:
        return None
    if not isinstance(telephone, str | int):
        raise TypeError("it is neither text nor a number")
    return (dialled(str(telephone), country) if isinstance(country, str) else None) or str(
        telephone
    )


def _transaction(value: Any) -> str | None:
    """The payment that a transaction is of: its step (`-capture`) is written behind the id."""
    return re.sub(r"-(capture|order|void|refund)\b.*$", "", str(value).strip())


HELPERS = _helpers()
FIELDS = {
    "external_id": text("/entity_id", required=True),
    # Numbered per store, so it tells no orders apart.
    "invoice_number": text("/increment_id"),
    "payment_reference": Field("text", ("/payment/last_trans_id",), pick=_transaction),
    "customer_external_id": Field("text", ("/customer_id",), pick=_number_of_customer),
    "customer_phone": phone(
        "/billing_address",
        "/extension_attributes/shipping_assignments/0/shipping/address",
        pick=_phone_of,
    ),
    "currency": currency("/base_currency_code", "/order_currency_code"),
    "total_minor": computed(_TOTAL, "/base_grand_total", "/grand_total"),
    "subtotal_minor": computed(_TOTAL - _TAX, required=False),
    "tax_minor": computed(_TAX, required=False),
    "amount_paid_minor": computed(_PAID, required=False),
    "amount_refunded_minor": computed(
        pl.when(_STATE != "canceled").then(_REFUNDED).otherwise(_ZERO),
        "/base_total_refunded",
        "/total_refunded",
        required=False,
    ),
    "status": computed(pl.when(_STATE.is_in(_STATES)).then(_STATUS), "/state"),
    "issued_at": instant("/created_at", required=True, zone="UTC"),
    "updated_at": instant("/updated_at", required=True, zone="UTC"),
}

#: Of the lists of invoices and credit memos: whether the order took the document's place. It does
#: not where the shop no longer has the order.
WHOLE_ORDER = (
    (pl.col("order_id") == pl.col("external_id")) & ~_STATE.str.contains(r"^\d+$")
).fill_null(value=False)


def _net(kind: str) -> pl.Expr:
    """A row's amount: without tax, after its discount.

    Where prices are entered with tax, a part of the discount is tax: the compensation adds it.
    """
    row, discount, compensation = (
        pl.col(f"{name}_{kind}_minor") for name in ("row", "discount", "compensation")
    )
    return row - discount.fill_null(0) + compensation.fill_null(0)


def _sold(lines: pl.DataFrame) -> pl.DataFrame:
    """The rows that were sold, each once.

    Once something of an order is invoiced, what is not invoiced of it is left out. A configurable
    product, a bundle and what is in them are rows of their own: the rows with the money are kept.
    """
    if lines.is_empty():
        return lines
    invoiced = pl.col("quantity_invoiced").fill_null(0)
    by_invoice = (invoiced > 0).any().over("row")
    lines = lines.with_columns(
        pl.when(by_invoice)
        .then(invoiced)
        .otherwise(pl.col("quantity") - pl.col("quantity_canceled").fill_null(0))
        .alias("quantity"),
        pl.when(by_invoice & pl.col("row_invoiced_minor").is_not_null())
        .then(_net("invoiced"))
        .otherwise(_net("ordered"))
        .alias("amount_minor"),
    )
    if lines["parent_id"].null_count() < lines.height:
        lines = _each_once(lines)
    return lines.filter((pl.col("quantity") != 0) | pl.col("quantity").is_null())


def _each_once(lines: pl.DataFrame) -> pl.DataFrame:
    """Either a product or what is in it: the latter only of a bundle whose parts have the price."""
    parts = (
        lines.filter(pl.col("parent_id").is_not_null())
        .group_by("row", pl.col("parent_id").alias("item_id"))
        .agg(pl.col("row_ordered_minor").sum().alias("_of_parts"))
    )
    lines = lines.join(parts, on=["row", "item_id"], how="left", maintain_order="left")
    lines = lines.with_columns(
        ((pl.col("product_type") == "bundle") & (pl.col("_of_parts") > 0))
        .fill_null(value=False)
        .alias("_is_split")
    )
    parents = lines.drop_nulls("item_id").select(
        "row", pl.col("item_id").alias("parent_id"), pl.col("_is_split").alias("_of_split")
    )
    lines = lines.join(
        parents.unique(["row", "parent_id"]),
        on=["row", "parent_id"],
        how="left",
        maintain_order="left",
    )
    is_part = pl.col("parent_id").is_not_null() & pl.col("_of_split").is_not_null()
    return lines.filter(pl.when(is_part).then("_of_split").otherwise(~pl.col("_is_split"))).drop(
        "_of_parts", "_is_split", "_of_split"
    )


def _both(name: str) -> Field:
    """A row's amount. Without the shop's own, the header decides whether the other may count."""
    return money(f"/base_{name}", f"/{name}", exact=False)


LINES = Lines(
    "/items",
    {
        "item_external_id": text("/product_id"),
        "sku": text("/sku"),
        "name": text("/name"),
        "quantity": decimal("/qty_ordered"),
        "unit_price": decimal("/base_price", "/price"),
        "amount_minor": _both("row_total"),
        "item_id": text("/item_id"),
        "parent_id": text("/parent_item_id"),
        "product_type": text("/product_type"),
        "quantity_invoiced": decimal("/qty_invoiced"),
        "quantity_canceled": decimal("/qty_canceled"),
        "row_ordered_minor": _both("row_total"),
        "discount_ordered_minor": _both("discount_amount"),
        "compensation_ordered_minor": _both("discount_tax_compensation_amount"),
        "row_invoiced_minor": _both("row_invoiced"),
        "discount_invoiced_minor": _both("discount_invoiced"),
        "compensation_invoiced_minor": _both("discount_tax_compensation_invoiced"),
    },
    adjust=_sold,
)
