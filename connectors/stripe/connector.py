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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import quote

import httpx

from connectors.kit.errors import CredentialsRejected, PermissionMissing, RateLimited, Transient
from connectors.kit.read.pagination import by_last_id
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Deleted,
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
from connectors.kit.spec.fields import phone, text
from connectors.stripe.documents import invoice, payment

#: The last version before 2025-03-31.basil, which took `charge` from invoices and `invoice` from
#: charges.
VERSION: Final = "2025-02-24.acacia"
_PAGE_SIZE: Final = 100
#: How far events go back, less a margin. Lists are read from their beginning long before that: a
#: read that was interrupted must still find its events when it goes on days later.
_EVENTS_REACH: Final = timedelta(days=30) - timedelta(minutes=5)
_LISTS_REACH: Final = timedelta(days=20)
#: Events after which an invoice may be worth something else, all of them known to the version.
#: Those of credit notes name the invoice.
INVOICE_EVENTS: Final = (
    *("invoice.created", "invoice.finalized", "invoice.updated", "invoice.paid"),
    *("invoice.payment_succeeded", "invoice.voided", "invoice.marked_uncollectible"),
    *("credit_note.created", "credit_note.updated", "credit_note.voided"),
)
REFUND_EVENTS: Final = (
    *("charge.refunded", "charge.refund.updated"),
    *("refund.created", "refund.updated", "refund.failed"),
)
PAYMENT_EVENTS: Final = (
    *("charge.succeeded", "charge.pending", "charge.failed", "charge.captured"),
    *("charge.expired", "charge.updated"),
    *REFUND_EVENTS,
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


def _rest(at: str) -> tuple[Rest, ...]:
    """What is asked for besides of an invoice at a pointer of a record."""
    return _all_lines(at), _credit_notes(at)


def _all_lines(at: str) -> Rest:
    """An invoice shows its first ten lines."""

    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for invoice_id in ids:
            path = f"/v1/invoices/{quote(invoice_id, safe='')}/lines"
            yield PageRequest("GET", path, {"limit": str(_PAGE_SIZE)})

    lookup = Lookup(
        "lines", requests, "/data", {"external_id": text("/id")}, paginate=_paged, info=_INFO
    )
    return Rest(f"{at}/lines/has_more", f"{at}/id", lookup, f"{at}/lines/data")


def _credit_notes(at: str) -> Rest:
    """The credit notes of a paid invoice: some gave back a payment, others did not."""

    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for invoice_id in ids:
            params = {"invoice": invoice_id, "limit": str(_PAGE_SIZE), "expand[]": "data.refund"}
            yield PageRequest("GET", "/v1/credit_notes", params)

    lookup = Lookup(
        "lines", requests, "/data", {"external_id": text("/id")}, paginate=_paged, info=_INFO
    )
    when = f"{at}/post_payment_credit_notes_amount"
    return Rest(when, f"{at}/id", lookup, f"{at}/credit_notes")


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
    return {"stripe-version": VERSION, **connected}


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
            rest=_rest(""),
            **invoice(""),
        ),
        Stream(
            "changed_invoices",
            "invoice",
            _events(*INVOICE_EVENTS),
            _paged,
            records="/data",
            info=_INFO,
            **_changes(_INVOICES, *_OF_INVOICE),
            rest=_rest(f"/{_DOCUMENT}"),
            **invoice(f"/{_DOCUMENT}"),
        ),
        # A refund without a credit note does not touch the invoice: its payment tells.
        Stream(
            "refunded_invoices",
            "invoice",
            _events(*REFUND_EVENTS),
            _paged,
            records="/data",
            info=_INFO,
            **_changes(_PAYMENTS_OF_INVOICES, *_OF_CHARGE),
            rest=_rest(f"/{_DOCUMENT}/invoice"),
            **invoice(f"/{_DOCUMENT}/invoice"),
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
            **payment(""),
        ),
        Stream(
            "changed_payments",
            "sale",
            _events(*PAYMENT_EVENTS, only_if="payments"),
            _paged,
            records="/data",
            info=_INFO,
            **_changes(_PAYMENTS, *_OF_CHARGE),
            **payment(f"/{_DOCUMENT}"),
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
