"""The canonical frames that every layer passes on, whatever the billing system.

Money is Int64 minor units of the row's currency; times are UTC; quantities and unit prices are
exact decimals.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

#: An instant, to the microsecond.
UTC_US: Final = pl.Datetime("us", "UTC")
#: A quantity or a price, exactly.
EXACT: Final = pl.Decimal(20, 6)

#: Kinds of documents. A `sale` is a receipt of a till, an `invoice` may be paid later.
KINDS: Final = ("invoice", "sale", "credit_note", "refund")
#: What became of a document so far.
STATUSES: Final = ("draft", "open", "paid", "void")
#: Statuses of documents that earn nothing whatever else they say, so that they need no member.
IDLE: Final = ("draft", "void")
#: Kinds whose amount takes points back. Their `total_minor` is stored positive, as the vendor
#: writes it.
NEGATIVE_KINDS: Final = ("credit_note", "refund")

#: One row per billing document, as mapped from one raw record (`page_id`, `record_no`).
INVOICE: Final = pl.Schema(
    {
        #: The billing system: `xero`, `quickbooks`, ...
        "system": pl.String(),
        #: The account at that system: a realm, tenant or company.
        "account": pl.String(),
        #: The document's id there; with system and account it is the key of a sale.
        "external_id": pl.String(),
        #: The number that people know it by; null: it has none.
        "invoice_number": pl.String(),
        #: One of KINDS.
        "kind": pl.String(),
        #: The customer's id at the billing system; null: it names none.
        "customer_external_id": pl.String(),
        #: In E.164, as in `+244923456789`: who the member is.
        "customer_phone": pl.String(),
        #: Three letters of ISO 4217.
        "currency": pl.String(),
        #: The whole amount with tax; positive for credits too.
        "total_minor": pl.Int64(),
        #: The amount without tax; null: not known.
        "subtotal_minor": pl.Int64(),
        #: The tax; null: not known.
        "tax_minor": pl.Int64(),
        #: What was paid of it so far; null: not known.
        "amount_paid_minor": pl.Int64(),
        #: What was given back of it, with tax; null: nothing.
        "amount_refunded_minor": pl.Int64(),
        #: One of STATUSES.
        "status": pl.String(),
        #: The sale's own time, which decides the rules that it is awarded by.
        "issued_at": UTC_US,
        #: Whether `issued_at` has a time of day. False: the document tells its day only, and it is
        #: the beginning of that day.
        "time_known": pl.Boolean(),
        #: Of a credit document: the id or number of the sale that it returns; null: it does not
        #: say.
        "original_external_id": pl.String(),
        #: The shop, branch or warehouse that sold it: its name, else its id; null: not known. So
        #: for all that says where a sale was made (`loyalty.places`).
        "store": pl.String(),
        #: How it was sold, as the vendor says: `pos`, `web`, ...
        "channel": pl.String(),
        #: The city that it went to, else that of the customer.
        "city": pl.String(),
        #: The province or state of that city.
        "region": pl.String(),
        #: When the vendor last changed it: of two versions the later one counts.
        "updated_at": UTC_US,
        #: What it names of other systems, divided by blanks: `payment:ID` of a payment service, and
        #: `order:ID`, a number or an id of a document elsewhere; null: nothing.
        "reference_ids": pl.String(),
        #: The raw page that it was read from.
        "page_id": pl.Int64(),
        #: Its record on that page, from 0.
        "record_no": pl.Int32(),
    }
)

#: One row per line of an invoice, keyed by the invoice's own key and `line_no` (1-based, dense),
#: and by the raw record.
LINE: Final = pl.Schema(
    {
        #: The invoice's.
        "system": pl.String(),
        #: The invoice's.
        "account": pl.String(),
        #: The invoice's.
        "external_id": pl.String(),
        #: From 1, without gaps.
        "line_no": pl.Int32(),
        #: The product's code; null: it has none, or it must be looked up.
        "sku": pl.String(),
        #: The product's id at the billing system, by which the SKU is looked up.
        "item_external_id": pl.String(),
        #: What the line says.
        "name": pl.String(),
        #: Units sold; negative for what is given back.
        "quantity": EXACT,
        #: In whole currency units.
        "unit_price": EXACT,
        #: What the line adds to the invoice; a discount is negative.
        "amount_minor": pl.Int64(),
        #: The invoice's raw page.
        "page_id": pl.Int64(),
        #: The invoice's record on it.
        "record_no": pl.Int32(),
    }
)

#: Why a field of a record could not be used.
PROBLEM: Final = pl.Schema(
    {
        #: The raw page.
        "page_id": pl.Int64(),
        #: The record on it.
        "record_no": pl.Int32(),
        #: Our field, a column of INVOICE or LINE.
        "field": pl.String(),
        #: Where it was looked for in the record, as a JSON pointer; in brackets where it is not of
        #: the document; `""` for nowhere.
        "path": pl.String(),
        #: What is wrong, for an operator.
        "reason": pl.String(),
        #: How the value begins, masked; null where there is none.
        "example": pl.String(),
    }
)


def schema_problems(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> list[str]:
    """How a frame differs from its declared schema, column by column; [] if it does not.

    For tests, which call it on what each stage hands on. In production frames are not checked: a
    stage builds them from the same declaration.
    """
    lacking = [f"{name} is missing" for name in schema if name not in frame.columns]
    extra = [f"{name} is not declared" for name in frame.columns if name not in schema]
    other = [
        f"{name} is {frame.schema[name]}, declared as {dtype}"
        for name, dtype in schema.items()
        if name in frame.columns and frame.schema[name] != dtype
    ]
    return [*lacking, *extra, *other]
