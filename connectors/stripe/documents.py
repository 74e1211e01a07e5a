"""How Stripe's invoices and payments become sales.

A document may stand anywhere in a record: in a list it is the record, in a list of events it is
below it. Amounts are whole minor units, as Stripe counts them, and times seconds since 1970.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import polars as pl

from connectors.kit.spec import Lines
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    decimal,
    instant,
    money,
    order_reference,
    payment_reference,
    phone,
    status_map,
    text,
)

#: Decimals of minor units, where Stripe does not follow ISO 4217. The shilling and the krona have
#: no decimals any more, and are still written in hundredths.
_MINOR_DIGITS: Final = {"ISK": 2, "UGX": 2, "MGA": 0}


def _minor(*paths: str, required: bool = False, signed: bool = False) -> Field:
    """An amount in the smallest unit, as Stripe counts it."""
    field = money(*paths, required=required, signed=signed)
    return replace(field, notation="minor", minor_digits=_MINOR_DIGITS)


def _time(*paths: str, required: bool = False) -> Field:
    """Seconds since 1970."""
    return replace(instant(*paths, required=required), notation="time")


def _credit_refunds(notes: Any) -> str | None:
    """What credit notes gave back as refunds of payments, in minor units."""
    if not isinstance(notes, list):
        return None
    return str(sum(amount for note in notes for amount in _refunds_of(note)))


def _refunds_of(note: Mapping[str, Any]) -> Iterator[int]:
    """The refunds of a credit note: a list in the later form, one in the earlier."""
    if note.get("status") == "void":
        return
    listed = note.get("refunds")
    for refund in listed if isinstance(listed, list) else ():
        yield int(refund.get("amount_refunded") or 0)
    single = note.get("refund")
    if isinstance(single, dict) and not listed:
        yield int(single.get("amount") or 0)


_TOTAL, _SUBTOTAL = pl.col("total_minor"), pl.col("subtotal_minor")
#: A refund that is no part of a credit note.
_PLAIN_REFUNDS = pl.max_horizontal(
    pl.col("charge_refunded").fill_null(0) - pl.col("credit_refunds").fill_null(0), pl.lit(0)
)
_GIVEN_BACK = pl.min_horizontal(
    pl.col("credited_before").fill_null(0) + pl.col("credited_after").fill_null(0) + _PLAIN_REFUNDS,
    _TOTAL.abs(),
)
_INVOICE_STATES = status_map(
    "state", draft=("draft",), open=("open",), paid=("paid",), void=("void", "uncollectible")
)
#: What a record says of the time of its last change; the first is that of an event.
_TIMES = ("changed_at", "created_at", "finalized_at", "paid_at", "voided_at", "given_up_at")
_NEWEST = pl.max_horizontal(*_TIMES)


def _discounted(lines: pl.DataFrame) -> pl.DataFrame:
    """Amounts after discounts, which stand beside them."""
    discount = pl.col("discount_minor").fill_null(0)
    return lines.with_columns((pl.col("amount_minor") - discount).alias("amount_minor"))


def _invoice_lines(at: str) -> Lines:
    price = decimal("/pricing/unit_amount_decimal", "/price/unit_amount_decimal")
    return Lines(
        f"{at}/lines/data",
        {
            "item_external_id": text(
                "/pricing/price_details/product", "/price/product/id", "/price/product"
            ),
            "sku": text("/metadata/sku", "/price/metadata/sku"),
            "name": text("/description"),
            "quantity": decimal("/quantity_decimal", "/quantity"),
            "unit_price": replace(price, notation="minor_price", minor_digits=_MINOR_DIGITS),
            "amount_minor": _minor("/amount", signed=True),
            "discount_minor": _minor("/discount_amounts/*/amount"),
        },
        adjust=_discounted,
    )


def invoice(at: str) -> dict[str, Any]:
    """How an invoice is read that stands at a pointer of a record: values of a `Stream`."""
    transitions = f"{at}/status_transitions"
    return {
        "keep": pl.col("what").eq_missing(pl.lit("invoice")),
        "walk_ins": True,
        "fields": {
            "external_id": text(f"{at}/id", required=True),
            "invoice_number": text(f"{at}/number"),
            # A negative invoice (a plan that was changed) credits the customer's balance.
            "kind": computed(
                pl.when(_TOTAL < 0).then(pl.lit("credit_note")).otherwise(pl.lit("invoice"))
            ),
            "customer_external_id": text(
                f"{at}/customer/id", f"{at}/customer", f"{at}/customer_account", required=True
            ),
            "customer_phone": phone(
                f"{at}/customer_phone", f"{at}/customer/phone", f"{at}/customer_shipping/phone"
            ),
            "currency": currency(f"{at}/currency"),
            "total_minor": _minor(f"{at}/total", required=True, signed=True),
            "subtotal_minor": _minor(
                f"{at}/total_excluding_tax", f"{at}/subtotal_excluding_tax", signed=True
            ),
            "tax_minor": computed((_TOTAL - _SUBTOTAL).abs(), required=False),
            "amount_paid_minor": computed(
                pl.min_horizontal("paid_minor", _TOTAL.abs()), required=False
            ),
            "amount_refunded_minor": computed(_GIVEN_BACK, required=False),
            "status": computed(_INVOICE_STATES, f"{at}/status"),
            "issued_at": _time(
                f"{at}/effective_at", f"{transitions}/finalized_at", f"{at}/created", required=True
            ),
            "updated_at": computed(_NEWEST, f"{at}/created"),
            "payment_reference": computed(
                pl.concat_str("charge", "intent", separator=" ", ignore_nulls=True), required=False
            ),
            "order_reference": order_reference(*_order_of(at)),
        },
        "helpers": {
            "what": text(f"{at}/object"),
            "state": text(f"{at}/status"),
            "charge": text(f"{at}/charge/id", f"{at}/charge"),
            "intent": payment_reference(f"{at}/payment_intent/id", f"{at}/payment_intent"),
            "paid_minor": _minor(f"{at}/amount_paid"),
            "credited_before": _minor(f"{at}/pre_payment_credit_notes_amount"),
            "credited_after": _minor(f"{at}/post_payment_credit_notes_amount"),
            "charge_refunded": _minor(f"{at}/charge/amount_refunded"),
            "credit_refunds": replace(_minor(f"{at}/credit_notes"), pick=_credit_refunds),
            "changed_at": _time("/created"),
            "created_at": _time(f"{at}/created"),
            "finalized_at": _time(f"{transitions}/finalized_at"),
            "paid_at": _time(f"{transitions}/paid_at"),
            "voided_at": _time(f"{transitions}/voided_at"),
            "given_up_at": _time(f"{transitions}/marked_uncollectible_at"),
        },
        "lines": _invoice_lines(at),
        "windowed": False,
        "deletions": ("deleted_invoices",),
    }


#: Of a payment that was captured in part, what was released. Some integrations book it as a refund.
_RELEASED = (
    pl.when(pl.col("captured") == "true")
    .then(
        pl.max_horizontal(
            pl.col("authorized_minor")
            - pl.col("captured_minor").fill_null(pl.col("authorized_minor")),
            pl.lit(0),
        )
    )
    .otherwise(pl.lit(0))
)
_REFUNDED = pl.col("refunded_minor").fill_null(0)
_PAYMENT_TOTAL = pl.col("authorized_minor") - _RELEASED
_PAYMENT_GIVEN_BACK = (
    pl.when(pl.col("all_refunded") == "true")
    .then(_PAYMENT_TOTAL)
    .when(_REFUNDED >= _RELEASED)
    .then(_REFUNDED - _RELEASED)
    .otherwise(_REFUNDED)
)
#: An authorisation is no sale before it is captured; one that ended never was.
_PAYMENT_STATE = (
    pl.when((pl.col("state") == "succeeded") & (pl.col("captured") == "true"))
    .then(pl.lit("paid"))
    .when((pl.col("state") == "succeeded") & (pl.col("all_refunded") == "true"))
    .then(pl.lit("void"))
    .when(pl.col("state") == "succeeded")
    .then(pl.lit("draft"))
    .when(pl.col("state") == "pending")
    .then(pl.lit("open"))
    .when(pl.col("state") == "failed")
    .then(pl.lit("void"))
)


def _order_of(at: str) -> tuple[str, ...]:
    """Where shops write which order a payment is of: in the metadata, else in the description."""
    names = ("order_id", "order_number", "shopify_order_id", "invoice_id")
    return (*(f"{at}/metadata/{name}" for name in names), f"{at}/description")


def _flag(*paths: str) -> Field:
    """A yes or no as text."""
    return replace(text(*paths), pick=lambda value: str(value).lower())


def payment(at: str) -> dict[str, Any]:
    """How a payment without an invoice is read: values of a `Stream`, as those of `invoice`."""
    not_told = computed(pl.lit(None, dtype=pl.Int64), required=False)
    return {
        "keep": pl.col("what").eq_missing(pl.lit("charge")) & pl.col("invoice").is_null(),
        "walk_ins": True,
        "fields": {
            "external_id": text(f"{at}/id", required=True),
            "invoice_number": text(f"{at}/receipt_number"),
            "customer_external_id": text(f"{at}/customer/id", f"{at}/customer", required=True),
            "customer_phone": phone(
                f"{at}/billing_details/phone", f"{at}/customer/phone", f"{at}/shipping/phone"
            ),
            "currency": currency(f"{at}/currency"),
            "total_minor": computed(_PAYMENT_TOTAL, f"{at}/amount"),
            "subtotal_minor": not_told,
            "tax_minor": not_told,
            "amount_paid_minor": computed(
                pl.when(pl.col("captured") == "true").then(_PAYMENT_TOTAL).otherwise(pl.lit(0)),
                required=False,
            ),
            "amount_refunded_minor": computed(_PAYMENT_GIVEN_BACK, required=False),
            "status": computed(_PAYMENT_STATE, f"{at}/status"),
            "issued_at": _time(f"{at}/created", required=True),
            "updated_at": computed(pl.max_horizontal("changed_at", "created_at"), f"{at}/created"),
            "payment_reference": payment_reference(
                f"{at}/payment_intent/id", f"{at}/payment_intent"
            ),
            "order_reference": order_reference(*_order_of(at)),
        },
        "helpers": {
            "what": text(f"{at}/object"),
            "invoice": text(f"{at}/invoice/id", f"{at}/invoice"),
            "state": text(f"{at}/status"),
            "captured": _flag(f"{at}/captured"),
            "all_refunded": _flag(f"{at}/refunded"),
            "authorized_minor": _minor(f"{at}/amount", required=True),
            "captured_minor": _minor(f"{at}/amount_captured"),
            "refunded_minor": _minor(f"{at}/amount_refunded"),
            "changed_at": _time("/created"),
            "created_at": _time(f"{at}/created"),
        },
        # What was bought is not said.
        "lines": Lines(
            f"{at}/lines/data",
            {
                "item_external_id": text(),
                "sku": text(),
                "name": text(),
                "quantity": decimal(),
                "unit_price": decimal(),
                "amount_minor": money(),
            },
        ),
        "windowed": False,
        # No payment is ever deleted: it fails, or is refunded.
        "deletions": ("payments",),
    }
