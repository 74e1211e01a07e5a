"""Stripe: invoices, and payments without an invoice.

https://docs.stripe.com/api

Lists can be filtered by the time of creation only. What changes later (a payment, a void, a credit
note, a refund) is told by events, which Stripe keeps for thirty days: each event names a document,
which is then asked for by its id. After a long pause all lists are read from their beginning.

One version of the API is pinned, the last one in which an invoice names its payment and a payment
its invoice. Without that, nobody could tell which payments are of invoices that earn already, nor
which invoice a refund belongs to. Documents in the later form are read as well.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("Stripe:
...").
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import quote

import httpx
import polars as pl

from connectors.kit.errors import CredentialsRejected, PermissionMissing, RateLimited, Transient
from connectors.kit.read.pagination import by_last_id
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Deleted,
    Lines,
    Lookup,
    PageRequest,
    Pages,
    RateLimit,
    RequestAuth,
    Rest,
    Stream,
    Window,
    batches,
)
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    decimal,
    instant,
    money,
    phone,
    status_map,
    text,
)

#: The last version before 2025-03-31.basil, which took `charge` from invoices and `invoice` from
#: charges.
_VERSION: Final = "2025-02-24.acacia"
_PAGE_SIZE: Final = 100
#: How far events go back, less a margin. Lists are read from their beginning long before that: a
#: read that was interrupted must still find its events when it goes on days later.
_EVENTS_REACH: Final = timedelta(days=30) - timedelta(minutes=5)
_LISTS_REACH: Final = timedelta(days=20)
#: Decimals of minor units, where Stripe does not follow ISO 4217. The shilling and the krona have
#: no decimals any more, and are still written in hundredths.
_MINOR_DIGITS: Final = {"ISK": 2, "UGX": 2, "MGA": 0}
#: Events after which an invoice may be worth something else, all of them known to the version.
#: Those of credit notes name the invoice.
_INVOICE_EVENTS: Final = (
    *("invoice.created", "invoice.finalized", "invoice.updated", "invoice.paid"),
    *("invoice.payment_succeeded", "invoice.voided", "invoice.marked_uncollectible"),
    *("credit_note.created", "credit_note.updated", "credit_note.voided"),
)
_REFUND_EVENTS: Final = (
    *("charge.refunded", "charge.refund.updated"),
    *("refund.created", "refund.updated", "refund.failed"),
)
_PAYMENT_EVENTS: Final = (
    *("charge.succeeded", "charge.pending", "charge.failed", "charge.captured"),
    *("charge.expired", "charge.updated"),
    *_REFUND_EVENTS,
)
#: Under which a list of events has the documents that were asked for.
_DOCUMENT: Final = "document"
_INFO: Final = {"more": "/has_more"}
#: So many customers, or more, are read as a list: none can be asked for by several ids.
_CUSTOMERS_AT_ONCE: Final = 500


class KeyRejected(CredentialsRejected):
    """The secret key is not one, has ended, or was rolled."""

    advice = (
        'Enter a valid key in the block "{block}" (Stripe, Developers, API keys: a restricted key '
        "with read permissions, as the guide says)."
    )
    advice_by_code: ClassVar[dict[str, str]] = {}


def _after(request: PageRequest, last_id: str) -> PageRequest:
    return replace(request, params={**request.params, "starting_after": last_id})


def _paged(first: PageRequest) -> Pages:
    """From the newest to the oldest: what is created meanwhile stands before the first page."""
    return by_last_id(first, _after, more="more")


def _since(window: Window, now: datetime, reach: timedelta) -> datetime | None:
    """The beginning of the window; None where it has none, or it is longer ago than `reach`."""
    recent = window.since is not None and now - window.since <= reach
    return window.since if recent else None


def _seconds(moment: datetime) -> str:
    return str(int(moment.timestamp()))


First = Callable[[Account, Window, datetime], PageRequest | None]


def _list(resource: str, *expand: str, only_if: str = "") -> First:
    """The request for a list; `only_if`: an option of the account that must not be off."""

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        if only_if and not account.options.get(only_if, True):
            return None
        params: dict[str, str | Sequence[str]] = {"limit": str(SPEC.size(account))}
        if since := _since(window, now, _LISTS_REACH):
            params["created[gte]"] = _seconds(since)
        if expand:
            params["expand[]"] = [f"data.{path}" for path in expand]
        return PageRequest("GET", f"/v1/{resource}", params)

    return first


def _events(*types: str, only_if: str = "") -> First:
    """The request for events; none where they do not go back far enough."""

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        since = _since(window, now, _EVENTS_REACH)
        if since is None or (only_if and not account.options.get(only_if, True)):
            return None
        params = {
            "limit": str(SPEC.size(account)),
            "types[]": list(types),
            "created[gte]": _seconds(since),
        }
        return PageRequest("GET", "/v1/events", params)

    return first


def _single(
    resource: str, *expand: str
) -> Callable[[Account, Sequence[str]], Iterable[PageRequest]]:
    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for vendor_id in ids:
            path = f"/v1/{resource}/{quote(vendor_id, safe='')}"
            yield PageRequest("GET", path, {"expand[]": list(expand)} if expand else {})

    return requests


def _deleted(body: Any) -> Deleted:
    events = [event for event in body["data"] if event["type"] == "invoice.deleted"]
    ids = tuple(str(event["data"]["object"]["id"]) for event in events)
    times = tuple(f"/Date({int(event['created'])}000)/" for event in events)
    return Deleted(ids, times, len(body["data"]))


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


def _invoice(at: str) -> dict[str, Any]:
    """How an invoice is read that stands at a pointer of a record."""
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
        },
        "helpers": {
            "what": text(f"{at}/object"),
            "state": text(f"{at}/status"),
            "charge": text(f"{at}/charge/id", f"{at}/charge"),
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
        "rest": (_all_lines(at), _credit_notes(at)),
        "windowed": False,
        "deletions": ("deleted_invoices",),
    }


def _all_lines(at: str) -> Rest:
    """An invoice shows its first ten lines."""

    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for invoice in ids:
            path = f"/v1/invoices/{quote(invoice, safe='')}/lines"
            yield PageRequest("GET", path, {"limit": str(_PAGE_SIZE)})

    lookup = Lookup(
        "lines", requests, "/data", {"external_id": text("/id")}, paginate=_paged, info=_INFO
    )
    return Rest(f"{at}/lines/has_more", f"{at}/id", lookup, f"{at}/lines/data")


def _credit_notes(at: str) -> Rest:
    """The credit notes of a paid invoice: some gave back a payment, others did not."""

    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for invoice in ids:
            params = {"invoice": invoice, "limit": str(_PAGE_SIZE), "expand[]": "data.refund"}
            yield PageRequest("GET", "/v1/credit_notes", params)

    lookup = Lookup(
        "lines", requests, "/data", {"external_id": text("/id")}, paginate=_paged, info=_INFO
    )
    when = f"{at}/post_payment_credit_notes_amount"
    return Rest(when, f"{at}/id", lookup, f"{at}/credit_notes")


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


def _flag(*paths: str) -> Field:
    """A yes or no as text."""
    return replace(text(*paths), pick=lambda value: str(value).lower())


def _payment(at: str) -> dict[str, Any]:
    """How a payment without an invoice is read that stands at a pointer of a record."""
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


def _changes(requests: Callable[..., Iterable[PageRequest]], *named: str) -> dict[str, Any]:
    """How documents are asked for that events name."""
    return {
        "row_id": ("/id", f"/{_DOCUMENT}/id"),
        "incomplete": True,
        "by_id": ById(requests, ("",), under=_DOCUMENT, named=named),
    }


_INVOICES = _single("invoices", "charge", "customer")
_PAYMENTS = _single("charges", "customer")
_PAYMENTS_OF_INVOICES = _single("charges", "invoice.charge", "invoice.customer")
_OF_INVOICE = ("/data/object/invoice", "/data/object/id")
_OF_CHARGE = ("/data/object/charge", "/data/object/id")


def _customers(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    if len(ids) >= _CUSTOMERS_AT_ONCE:
        yield PageRequest("GET", "/v1/customers", {"limit": str(_PAGE_SIZE)})


def _customer(_account: Account, external_id: str) -> PageRequest:
    return PageRequest("GET", f"/v1/customers/{quote(external_id, safe='')}")


def _products(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for batch in batches(ids, _PAGE_SIZE):
        yield PageRequest("GET", "/v1/products", {"ids[]": batch, "limit": str(_PAGE_SIZE)})


def _product(_account: Account, external_id: str) -> PageRequest:
    return PageRequest("GET", f"/v1/products/{quote(external_id, safe='')}")


def _sign(account: Account, request: httpx.Request, _now: datetime) -> None:
    request.headers["authorization"] = f"Bearer {account.secret('api_key')}"


def _headers(account: Account) -> Mapping[str, str]:
    """The version, and for a platform's key the account that is meant."""
    connected = {"stripe-account": account.account} if account.options.get("connected") else {}
    return {"stripe-version": _VERSION, **connected}


def _fault(body: Any) -> str | None:
    error = body["error"]
    return str(error.get("code") or error["type"])


SPEC = ConnectorSpec(
    name="stripe",
    title="Stripe",
    docs_url="https://docs.stripe.com/api/invoices",
    base_url="https://api.stripe.com",
    token_url="",
    auth=lambda _: RequestAuth(_sign, refused=KeyRejected),
    headers=_headers,
    streams=(
        Stream(
            "invoices",
            "invoice",
            _list("invoices", "charge", "customer"),
            _paged,
            records="/data",
            info=_INFO,
            # A draft can be deleted.
            shrinks=True,
            by_id=ById(_INVOICES, ("",)),
            **_invoice(""),
        ),
        Stream(
            "changed_invoices",
            "invoice",
            _events(*_INVOICE_EVENTS),
            _paged,
            records="/data",
            info=_INFO,
            **_changes(_INVOICES, *_OF_INVOICE),
            **_invoice(f"/{_DOCUMENT}"),
        ),
        # A refund without a credit note does not touch the invoice: its payment tells.
        Stream(
            "refunded_invoices",
            "invoice",
            _events(*_REFUND_EVENTS),
            _paged,
            records="/data",
            info=_INFO,
            **_changes(_PAYMENTS_OF_INVOICES, *_OF_CHARGE),
            **_invoice(f"/{_DOCUMENT}/invoice"),
        ),
        Stream(
            "deleted_invoices",
            "invoice",
            _events("invoice.deleted"),
            _paged,
            "/data",
            info=_INFO,
            row_id=("/id",),
            deleted=_deleted,
        ),
        Stream(
            "payments",
            "sale",
            _list("charges", "customer", only_if="payments"),
            _paged,
            records="/data",
            info=_INFO,
            by_id=ById(_PAYMENTS, ("",)),
            **_payment(""),
        ),
        Stream(
            "changed_payments",
            "sale",
            _events(*_PAYMENT_EVENTS, only_if="payments"),
            _paged,
            records="/data",
            info=_INFO,
            **_changes(_PAYMENTS, *_OF_CHARGE),
            **_payment(f"/{_DOCUMENT}"),
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            _customers,
            "/data",
            {
                "external_id": text("/id"),
                "phone": phone("/phone"),
                "shipping": phone("/shipping/phone"),
            },
            paginate=_paged,
            info=_INFO,
            fallback=_customer,
            fallback_record="",
        ),
        Lookup(
            "items",
            _products,
            "/data",
            {
                "external_id": text("/id"),
                "name": text("/name"),
                "sku": text("/metadata/sku", "/metadata/SKU"),
            },
            info=_INFO,
            fallback=_product,
            fallback_record="",
        ),
    ),
    # 100 requests a second with a live key, 25 with a test key; a 429 does not say when to come
    # back.
    rate=RateLimit(((25, 1.0),), concurrency=8, retry_after_seconds=2),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={
        "rate_limit": RateLimited,
        "lock_timeout": Transient,
        "account_invalid": PermissionMissing,
        "api_key_expired": KeyRejected,
        409: Transient,
    },
    request_id_header="request-id",
)
