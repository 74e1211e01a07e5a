"""PayPal: the transactions of an account, or its invoices.

https://developer.paypal.com/docs/api/transaction-search/v1/

An invoice that is paid by PayPal is a transaction as well, and nothing says for sure which refund
belongs to which invoice. So an operator chooses one of the two lists, or a sale would count twice.

Transactions can be asked for by their time only, 31 days at once, some hours late, and not by their
time of change. Invoices can be asked for by the time of a payment; what was refunded later must be
read again. So each run reads a day again, and one run a day reads more.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
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
#: How far one run a day looks back, for what changed without a new time.
_LOOK_BACK = timedelta(days=31)
_INVOICE_LOOK_BACK = timedelta(days=120)
#: Before PayPal's first invoice.
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _start(
    account: Account, window: Window, now: datetime, look_back: timedelta
) -> datetime | None:
    """Where to begin: at the window, and further back in the first run of a day (UTC).

    None reads everything.
    """
    if window.since is None:
        return None
    overlap = timedelta(minutes=int(account.options.get("overlap_minutes", 0)))
    last_run = window.since + overlap
    is_first_of_day = last_run.astimezone(UTC).date() < now.astimezone(UTC).date()
    return min(window.since, now - look_back) if is_first_of_day else window.since


def _reads(account: Account) -> str:
    return str(account.options.get("reads", "transactions"))


def _first_transactions(account: Account, window: Window, now: datetime) -> PageRequest | None:
    if _reads(account) != "transactions":
        return None
    oldest = now - _KEPT
    start = max(_start(account, window, now, _LOOK_BACK) or oldest, oldest)
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

    The answers say up to when PayPal knows its transactions: there the list ends.
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
        if end >= until or not length:
            return
        request = request.turn(
            page="1", start_date=_stamp(end), end_date=_stamp(min(end + length, until))
        )


def _moment(text: str) -> datetime:
    """A time as PayPal writes it, with Z or +0000."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _first_invoices(account: Account, window: Window, now: datetime) -> PageRequest | None:
    """Invoices that were paid since, in whatever state they are by now."""
    if _reads(account) != "invoices":
        return None
    start = _start(account, window, now, _INVOICE_LOOK_BACK) or _BEGINNING
    paid = {"start": _stamp(start), "end": _stamp(now + timedelta(days=1))}
    size = str(min(SPEC.size(account), _INVOICE_PAGE_SIZE))
    return PageRequest(
        "POST",
        f"{_INVOICES}/search-invoices",
        {"page": "1", "page_size": size, "total_required": "true"},
        body=json.dumps({"payment_date_range": paid}),
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


_NOTHING = pl.lit(None, dtype=pl.Int64)
_CODE = pl.col("code")
_IS_NEGATIVE = pl.col("total_minor").str.starts_with("-")
#: Goods that were paid for: neither what we paid ourselves, nor donations.
_IS_SALE = _CODE.str.starts_with("T00") & (_CODE != "T0013") & ~_IS_NEGATIVE
#: Refunds and reversals (T11), and chargebacks (T1201).
_IS_REFUND = (_CODE.str.starts_with("T11") | (_CODE == "T1201")) & _IS_NEGATIVE


def _transaction(name: str) -> str:
    return f"/transaction_info/{name}"


_TRANSACTION_FIELDS: Mapping[str, Field] = {
    "external_id": text(_transaction("transaction_id"), required=True),
    "invoice_number": text(_transaction("invoice_id"), _transaction("transaction_id")),
    # Of a payer without a phone nobody can get points: such sales are counted and left out.
    "customer_external_id": computed(
        pl.when(pl.col("customer_phone").is_not_null()).then("payer"), required=False
    ),
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
}
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
    "amount_refunded_minor": money("/refunds/refund_amount/value"),
    "status": computed(
        status_map(
            "state",
            draft=(
                *("DRAFT", "SENT", "SCHEDULED", "UNPAID"),
                *("PARTIALLY_PAID", "PAYMENT_PENDING"),
            ),
            paid=(
                *("PAID", "MARKED_AS_PAID"),
                *("PARTIALLY_REFUNDED", "REFUNDED", "MARKED_AS_REFUNDED"),
            ),
            void=("CANCELLED",),
        ),
        "/status",
    ),
    "issued_at": day("/detail/invoice_date", "/detail/metadata/create_time", required=True),
    # A cancellation moves no other time.
    "updated_at": computed(
        pl.max_horizontal("created_at", "changed_at", "cancelled_at"),
        "/detail/metadata/last_update_time",
        "/detail/metadata/create_time",
    ),
}


def _fault(body: Any) -> str | None:
    """The name of an error; the token endpoint has a form of its own."""
    if "transaction_details" in body or "items" in body:
        return None
    code = body.get("name") if body.get("debug_id") or body.get("details") else body.get("error")
    return str(code) if code else None


def _auth(_account: Account) -> TokenAuth:
    return TokenAuth(client_credentials(basic=True), seeded=False)


SPEC = ConnectorSpec(
    name="paypal",
    title="PayPal",
    docs_url="https://developer.paypal.com/docs/api/transaction-search/v1/",
    # {environment}: paypal.com, or sandbox.paypal.com.
    base_url="https://api-m.{environment}",
    token_url="https://api-m.{environment}/v1/oauth2/token",
    auth=_auth,
    streams=(
        Stream(
            "transactions",
            "sale",
            _first_transactions,
            _by_slice,
            records="/transaction_details",
            info={"pages": "/total_pages", "known_until": "/last_refreshed_datetime"},
            missing_is_empty=True,
            fields=_TRANSACTION_FIELDS,
            helpers={
                "code": text(_transaction("transaction_event_code"), required=True),
                "state": text(_transaction("transaction_status")),
                "payer": text("/payer_info/account_id"),
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
        ),
        Stream(
            "invoices",
            "invoice",
            _first_invoices,
            partial(by_page, size_param="page_size", vendor_size=_INVOICE_PAGE_SIZE),
            records="/items",
            info={"pages": "/total_pages", "total": "/total_items"},
            missing_is_empty=True,
            fields=_INVOICE_FIELDS,
            helpers={
                "state": text("/status"),
                "created_at": instant("/detail/metadata/create_time", zone="UTC"),
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
        ),
    ),
    lookups=(),
    # Not published; others were shut out for more than 50 a minute.
    rate=RateLimit(((45, 60.0),), concurrency=2, retry_after_seconds=60),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={
        "AUTHENTICATION_FAILURE": CredentialsRejected,
        "invalid_token": CredentialsRejected,
        "NOT_AUTHORIZED": PermissionMissing,
        "PERMISSION_DENIED": PermissionMissing,
        "RATE_LIMIT_REACHED": RateLimited,
        # More than 10,000 transactions in a slice: the block says how long one is.
        "RESULTSET_TOO_LARGE": Misconfigured,
    },
    request_id_header="paypal-debug-id",
)
