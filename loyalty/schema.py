"""The canonical frames that every layer passes on, whatever the billing system.

Money is Int64 minor units of the row's currency; times are UTC; quantities and unit prices are
exact decimals.
"""

from typing import Final

import polars as pl

UTC_US: Final = pl.Datetime("us", "UTC")
EXACT: Final = pl.Decimal(20, 6)

KINDS: Final = ("invoice", "sale", "credit_note", "refund")
STATUSES: Final = ("draft", "open", "paid", "void")
#: Statuses of documents that earn nothing whatever else they say, so that they need no member.
IDLE: Final = ("draft", "void")
#: Kinds whose amount takes points back. Their `total_minor` is stored positive, as the vendor
#: writes it.
NEGATIVE_KINDS: Final = ("credit_note", "refund")

#: One row per billing document, as mapped from one raw record (`page_id`, `record_no`).
INVOICE: Final = pl.Schema(
    {
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "invoice_number": pl.String(),
        "kind": pl.String(),
        "customer_external_id": pl.String(),
        "customer_phone": pl.String(),
        "currency": pl.String(),
        "total_minor": pl.Int64(),
        "subtotal_minor": pl.Int64(),
        "tax_minor": pl.Int64(),
        "amount_paid_minor": pl.Int64(),
        "amount_refunded_minor": pl.Int64(),
        "status": pl.String(),
        "issued_at": UTC_US,
        "updated_at": UTC_US,
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
    }
)

#: One row per line of an invoice, keyed by the invoice's own key and `line_no` (1-based, dense),
#: and by the raw record.
LINE: Final = pl.Schema(
    {
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "line_no": pl.Int32(),
        "sku": pl.String(),
        "item_external_id": pl.String(),
        "name": pl.String(),
        "quantity": EXACT,
        "unit_price": EXACT,
        "amount_minor": pl.Int64(),
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
    }
)

#: Why a field of a record could not be used: `path` is the source path, `example` is masked.
PROBLEM: Final = pl.Schema(
    {
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
        "field": pl.String(),
        "path": pl.String(),
        "reason": pl.String(),
        "example": pl.String(),
    }
)
