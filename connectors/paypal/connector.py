"""PayPal: the transactions of an account, or its invoices.

https://developer.paypal.com/docs/api/transaction-search/v1/

An invoice that is paid by PayPal is a transaction as well, and nothing says for sure which refund
belongs to which invoice. So an operator chooses one of the two lists, or a sale would count twice.

Transactions can be asked for by their time only, 31 days at once, some hours late, and not by their
time of change. Invoices can be asked for by the time of a payment; what was refunded later must be
read again. So each run reads a day again, and one run a day reads some months.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import polars as pl

from connectors.kit.errors import CredentialsRejected, Misconfigured, PermissionMissing, RateLimited
from connectors.kit.http.auth import client_credentials
from connectors.kit.mapping.columns import EXPONENT
from connectors.kit.read.pagination import by_page
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Lines,
    PageRequest,
    Pages,
    RateLimit,
    Stream,
    TokenAuth,
    Window,
)
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    day,
    decimal,
    instant,
    money,
    order_reference,
    payment_reference,
    phone,
    status_map,
    text,
)

_TRANSACTIONS = "/v1/reporting/transactions"
_INVOICES = "/v2/invoicing"
_PAGE_SIZE = 500
_INVOICE_PAGE_SIZE = 100
#: Days of transactions that one question may be about.
_SLICE_DAYS = 31
#: Transactions are kept for three years; a question about an earlier time is refused.
_KEPT = timedelta(days=3 * 365 - 2)
#: How far, and how often, a run looks back for what changed without a new time.
_LOOK_BACK_DAYS = 120
_LOOK_BACK_HOURS = 24
_HOUR_SECONDS = 3600
#: PayPal gets to know transactions while they are read: by so little the end is not followed.
_STANDS_STILL = timedelta(minutes=10)
#: Before PayPal's first invoice.
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _start(account: Account, window: Window, now: datetime) -> datetime | None:
    """Where to begin: at the window, and further back from time to time.

    None reads everything.
    """
    if window.since is None:
        return None
    last_run = window.since + timedelta(minutes=int(account.options.get("overlap_minutes", 0)))
    every_hours = int(account.options.get("look_back_hours", _LOOK_BACK_HOURS))
    if every_hours and _period(last_run, every_hours) >= _period(now, every_hours):
        return window.since
    days = int(account.options.get("look_back_days", _LOOK_BACK_DAYS))
    return min(window.since, now - timedelta(days=days))


def _period(moment: datetime, hours: int) -> int:
    """Counts times of so many hours, which begin at midnight UTC where a day has whole ones."""
    return int(moment.timestamp()) // (hours * _HOUR_SECONDS)


def reads_invoices(account: Account) -> bool:
    """Whether the account's invoices are read, in place of its transactions."""
    return account.options.get("reads") == "invoices"


def _first_transactions(account: Account, window: Window, now: datetime) -> PageRequest:
    oldest = now - _KEPT
    start = max(_start(account, window, now) or oldest, oldest)
    size = str(SPEC.size(account))
    params = {"fields": "all", "balance_affecting_records_only": "Y", "page_size": size}
    days = int(account.options.get("slice_days", _SLICE_DAYS))
    end = min(start + timedelta(days=days), now)
    return PageRequest(
        "GET",
        _TRANSACTIONS,
        {**params, "page": "1", "start_date": _stamp(start), "end_date": _stamp(end)},
    )


def _by_slice(first: PageRequest) -> Pages:
    """The pages of one slice of time after the other, as long as the first.

    The answers say up to when PayPal knows its transactions: there the list ends. What it gets to
    know meanwhile is left to the next run, which looks back further.
    """
    request = first
    length = _moment(first.param("end_date")) - _moment(first.param("start_date"))
    while True:
        view = yield request
        page = int(request.param("page"))
        if page < (view.number("pages") or 0):
            request = request.turn(page=str(page + 1))
            continue
        end = _moment(request.param("end_date"))
        known = view.info.get("known_until")
        until = _moment(str(known)) if known else end
        if end >= until - _STANDS_STILL or not length:
            return
        request = request.turn(
            page="1", start_date=_stamp(end), end_date=_stamp(min(end + length, until))
        )


def _moment(text: str) -> datetime:
    """A time as PayPal writes it, with Z or +0000."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _first_invoices(account: Account, window: Window, now: datetime) -> PageRequest:
    """Invoices that were paid since, in whatever state they are by now."""
    start = _start(account, window, now) or _BEGINNING
    paid = {"start": _stamp(start), "end": _stamp(now + timedelta(days=1))}
    size = str(min(SPEC.size(account), _INVOICE_PAGE_SIZE))
    return PageRequest(
        "POST",
        f"{_INVOICES}/search-invoices",
        {"page": "1", "page_size": size, "total_required": "true"},
        body=json.dumps({"payment_date_range": paid}),
        headers={"content-type": "application/json"},
    )


def _single_invoices(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Lists leave out the items, the refunds and the time of change."""
    for vendor_id in ids:
        yield PageRequest("GET", f"{_INVOICES}/invoices/{quote(vendor_id, safe='')}")


_KINDS = ("MOBILE", "HOME", "OFFICE", "OTHER")


def _number(entry: Any) -> str | None:
    """A phone number, put together from its country code and the rest."""
    country = str(entry.get("country_code") or "").strip().lstrip("+")
    national = str(entry.get("national_number") or "").strip()
    return f"+{country} {national}" if country and national else national or None


def _phone(phones: Any) -> str | None:
    """The number of the first kind that there is; fax machines and pagers are not called."""
    numbers = {entry.get("phone_type") or "MOBILE": _number(entry) for entry in reversed(phones)}
    return next((numbers[kind] for kind in _KINDS if numbers.get(kind)), None)


def _amounts(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines of an invoice, with the amounts that PayPal leaves to multiply."""
    columns = ("quantity", "unit_price", EXPONENT)
    rows = lines.select(columns).iter_rows()
    amounts = [
        int((quantity * price).scaleb(exponent).to_integral_value())
        if None not in (quantity, price, exponent)
        else None
        for quantity, price, exponent in rows
    ]
    return lines.with_columns(pl.Series("amount_minor", amounts, dtype=pl.Int64))


class AppRejected(CredentialsRejected):
    """PayPal gives the application no token, or does not take it."""

    advice = (
        'Check Client ID, Secret and Environment in the block "{block}" against '
        "developer.paypal.com, Apps & Credentials: those of Live and of Sandbox are others. If the "
        "secret was renewed there, enter the new one."
    )


_NOTHING = pl.lit(None, dtype=pl.Int64)
_CODE = pl.col("code")
_IS_NEGATIVE = pl.col("total_minor").str.starts_with("-")
#: Codes: https://developer.paypal.com/docs/transaction-search/transaction-event-codes/
#: What comes in and sells nothing: payouts, postage, gift certificates (they earn where they are
#: spent), donations, rebates, and transfers between stores.
_NO_SALES = ("T0001", "T0008", "T0009", "T0013", "T0014", "T0015", "T0016", "T0017")
#: Reversals (T11) of what was no sale: of withdrawals, of holds, of fees, of payouts; and money
#: that is held back during a dispute, until that is decided.
_NO_REFUNDS = (
    *("T1101", "T1102", "T1103", "T1105", "T1108", "T1109"),
    *("T1110", "T1111", "T1114", "T1115", "T1117"),
)
_IS_SALE = _CODE.str.starts_with("T00") & ~_CODE.is_in(_NO_SALES) & ~_IS_NEGATIVE
#: Refunds and reversals, and chargebacks (T1201).
_IS_REFUND = (
    (_CODE.str.starts_with("T11") & ~_CODE.is_in(_NO_REFUNDS)) | (_CODE == "T1201")
) & _IS_NEGATIVE


def _transaction(name: str) -> str:
    return f"/transaction_info/{name}"


_TRANSACTION_FIELDS: Mapping[str, Field] = {
    "external_id": text(_transaction("transaction_id"), required=True),
    "invoice_number": text(_transaction("invoice_id"), _transaction("transaction_id")),
    # PayPal knows its customers by their e-mail addresses, which say nothing to us.
    "customer_external_id": text(),
    "customer_phone": phone("/payer_info/phone_number", pick=_number),
    "currency": currency(_transaction("transaction_amount/currency_code")),
    "kind": computed(
        pl.when(pl.col("code").str.starts_with("T00"))
        .then(pl.lit("sale"))
        .otherwise(pl.lit("refund"))
    ),
    "total_minor": money(_transaction("transaction_amount/value"), required=True),
    "subtotal_minor": computed(_NOTHING, required=False),
    "tax_minor": computed(_NOTHING, required=False),
    "amount_paid_minor": money(_transaction("transaction_amount/value")),
    "amount_refunded_minor": computed(pl.lit(0), required=False),
    "status": computed(
        # V is a sale that was given back: another transaction says so.
        status_map("state", paid=("S", "V"), draft=("P",), void=("D",)),
        _transaction("transaction_status"),
    ),
    "issued_at": instant(_transaction("transaction_initiation_date"), required=True, zone="UTC"),
    "updated_at": instant(
        _transaction("transaction_updated_date"),
        _transaction("transaction_initiation_date"),
        required=True,
        zone="UTC",
    ),
    # Shops write their order's number here.
    "order_reference": order_reference(_transaction("invoice_id"), _transaction("custom_field")),
    # Of a refund, the transaction that it gives back.
    "original_external_id": text(_transaction("paypal_reference_id")),
}
_REFUNDED = ("PARTIALLY_REFUNDED", "REFUNDED", "MARKED_AS_REFUNDED")
_STATES = status_map(
    "state",
    draft=("DRAFT", "SENT", "SCHEDULED", "UNPAID", "PARTIALLY_PAID", "PAYMENT_PENDING"),
    paid=("PAID", "MARKED_AS_PAID", *_REFUNDED),
    void=("CANCELLED",),
)
#: A refund hides whether the invoice was paid as a whole before.
_INVOICE_STATUS = (
    pl.when(pl.col("state").is_in(_REFUNDED) & (pl.col("due_minor") > 0))
    .then(pl.lit("draft"))
    .otherwise(_STATES)
)
_INVOICE_FIELDS: Mapping[str, Field] = {
    "external_id": text("/id", required=True),
    "invoice_number": text("/detail/invoice_number"),
    # PayPal knows its customers by their e-mail addresses, which say nothing to us.
    "customer_external_id": text(),
    "customer_phone": phone("/primary_recipients/0/billing_info/phones", pick=_phone),
    "currency": currency("/amount/currency_code", "/detail/currency_code"),
    "total_minor": money("/amount/value", required=True),
    "subtotal_minor": computed(pl.col("total_minor") - pl.col("tax_minor"), required=False),
    "tax_minor": money("/amount/breakdown/tax_total/value"),
    "amount_paid_minor": money("/payments/paid_amount/value"),
    "amount_refunded_minor": computed(
        pl.col("refunded_minor").fill_null(0), "/refunds/refund_amount/value", required=False
    ),
    "status": computed(_INVOICE_STATUS, "/status"),
    "issued_at": day("/detail/invoice_date", "/detail/metadata/create_time", required=True),
    # A cancellation moves no other time.
    "updated_at": computed(
        pl.max_horizontal("created_at", "changed_at", "cancelled_at"),
        "/detail/metadata/last_update_time",
        "/detail/metadata/create_time",
    ),
    "payment_reference": payment_reference("/payments/transactions/0/payment_id"),
    "order_reference": order_reference("/detail/reference"),
}


def _fault(body: Any) -> str | None:
    """The name of an error; the token endpoint has a form of its own."""
    if "transaction_details" in body or "items" in body:
        return None
    code = body.get("name") if body.get("debug_id") or body.get("details") else body.get("error")
    return str(code) if code else None


def _auth(_account: Account) -> TokenAuth:
    return TokenAuth(client_credentials(basic=True), seeded=False, refused=AppRejected)


_TRANSACTION_STREAM = Stream(
    "transactions",
    "sale",
    _first_transactions,
    _by_slice,
    records="/transaction_details",
    info={
        "pages": "/total_pages",
        "count": "/total_items",
        "known_until": "/last_refreshed_datetime",
    },
    missing_is_empty="count is 0",
    fields=_TRANSACTION_FIELDS,
    helpers={
        "code": text(_transaction("transaction_event_code"), required=True),
        "state": text(_transaction("transaction_status")),
    },
    lines=Lines(
        "/cart_info/item_details",
        {
            "item_external_id": text(),
            "sku": text("/item_code"),
            "name": text("/item_name", "/item_description"),
            "quantity": decimal("/item_quantity"),
            "unit_price": decimal("/item_unit_price/value"),
            "amount_minor": money("/item_amount/value", exact=False),
        },
    ),
    keep=(_IS_SALE | _IS_REFUND).fill_null(value=True),
    walk_ins=True,
    windowed=False,  # the window is about the time of a transaction
    deletions=("transactions",),  # they stay for ever, as denied or with a reversal
)
_INVOICE_STREAM = Stream(
    "invoices",
    "invoice",
    _first_invoices,
    partial(by_page, size_param="page_size", vendor_size=_INVOICE_PAGE_SIZE),
    records="/items",
    info={"pages": "/total_pages", "total": "/total_items", "count": "/total_items"},
    missing_is_empty="count is 0",
    fields=_INVOICE_FIELDS,
    helpers={
        "state": text("/status"),
        "due_minor": money("/due_amount/value"),
        "refunded_minor": money("/refunds/refund_amount/value"),
        "created_at": instant("/detail/metadata/create_time", zone="UTC"),
        "made_at": instant("/detail/metadata/create_time", zone="UTC"),
        "changed_at": instant("/detail/metadata/last_update_time", zone="UTC"),
        "cancelled_at": instant("/detail/metadata/cancel_time", zone="UTC"),
    },
    lines=Lines(
        "/items",
        {
            "item_external_id": text(),
            "sku": text(),
            "name": text("/name", "/description"),
            "quantity": decimal("/quantity"),
            "unit_price": decimal("/unit_amount/value"),
            "amount_minor": computed(_NOTHING, required=False),
        },
        adjust=_amounts,
    ),
    walk_ins=True,
    windowed=False,  # the window is about the time of the payment
    deletions=("invoices",),  # only drafts can be deleted, and they never counted
    incomplete=True,
    by_id=ById(_single_invoices, single=("",)),
)

#: Transactions; see `spec_from`.
SPEC = ConnectorSpec(
    name="paypal",
    title="PayPal",
    docs_url="https://developer.paypal.com/docs/api/transaction-search/v1/",
    # {environment}: paypal.com, or sandbox.paypal.com.
    base_url="https://api-m.{environment}",
    token_url="https://api-m.{environment}/v1/oauth2/token",
    auth=_auth,
    streams=(_TRANSACTION_STREAM,),
    lookups=(),
    # Not published; others were shut out for more than 50 a minute.
    rate=RateLimit(((45, 60.0),), concurrency=2, retry_after_seconds=60),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={
        "AUTHENTICATION_FAILURE": AppRejected,
        "invalid_token": AppRejected,
        "NOT_AUTHORIZED": PermissionMissing,
        "PERMISSION_DENIED": PermissionMissing,
        "RATE_LIMIT_REACHED": RateLimited,
        # More than 10,000 transactions in a slice: the block says how long one is.
        "RESULTSET_TOO_LARGE": Misconfigured,
    },
    request_id_header="paypal-debug-id",
)
_OF_INVOICES = replace(SPEC, streams=(_INVOICE_STREAM,))


def spec_from(account: Account) -> ConnectorSpec:
    """The one list that is read of an account."""
    return _OF_INVOICES if reads_invoices(account) else SPEC
