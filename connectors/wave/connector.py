"""Wave (waveapps.com), public GraphQL API: the invoices of a business.

https://developer.waveapps.com/hc/en-us

One query reads a page of invoices with their customers and lines. There are no credit notes, and a
deleted invoice only leaves the list: all ids are listed every few hours. Whether a payment moves an
invoice's time of change is not documented, so recent invoices are read again as often.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("Wave:
...").
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import polars as pl

from connectors.kit.errors import CredentialsRejected, PermissionMissing, UnexpectedShape
from connectors.kit.read.positions import Numbers, guarded
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    Consent,
    Deleted,
    GrantedAccount,
    Lines,
    ListMovedError,
    PageRequest,
    Pages,
    PageView,
    RateLimit,
    RequestAuth,
    Stream,
    TokenAuth,
    Window,
    is_due,
    utc_seconds,
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
    phone,
    status_map,
    text,
)

_PAGE_SIZE: Final = 50
_PATH: Final = "/graphql/public"
_LIST: Final = "/data/business/invoices"
#: How often all ids are listed and recent invoices read again, unless the block says otherwise.
_CENSUS_HOURS: Final = 6
#: Days whose invoices are read again then, unless the block says otherwise.
_RECHECK_DAYS: Final = 120

#: The pages of a business's invoices, in the order in which they were made; `%s` is what of each
#: invoice is asked for.
_INVOICES: Final = """
query ($business: ID!, $page: Int!, $size: Int!, $changedAfter: DateTime, $datedFrom: Date) {
  business(id: $business) {
    id
    invoices(
      page: $page
      pageSize: $size
      sort: [CREATED_AT_ASC]
      modifiedAtAfter: $changedAfter
      invoiceDateStart: $datedFrom
    ) {
      pageInfo { currentPage totalPages totalCount }
      edges { node { %s } }
    }
  }
}
"""
_WHOLE: Final = """
id status invoiceNumber poNumber invoiceDate createdAt modifiedAt
currency { code }
customer { id phone mobile }
taxTotal { value }
total { value }
amountPaid { value }
items {
  product { id name }
  description quantity unitPrice
  subtotal { value }
}
"""
_BUSINESSES: Final = """
query { businesses(page: 1, pageSize: 100) { edges { node { id name } } } }
"""


class BusinessHidden(UnexpectedShape):
    """Wave answers, and shows no such business."""

    by_settings = True
    advice = (
        'Check the business in the block "{block}". Wave shows a business to applications only '
        "while it has a paid plan (Pro, or an adviser's); connect it again after a change of plan."
    )


def _query(selection: str, variables: Mapping[str, Any]) -> PageRequest:
    body = {"query": " ".join((_INVOICES % selection).split()), "variables": dict(variables)}
    return PageRequest("POST", _PATH, body=json.dumps(body))


def _variables(account: Account, **more: str) -> dict[str, Any]:
    return {"business": account.account, "page": 1, "size": SPEC.size(account), **more}


def _changed(account: Account, window: Window, _now: datetime) -> PageRequest:
    """Invoices by their time of change, a second early: it may leave out the bound itself."""
    if window.since is None:
        return _query(_WHOLE, _variables(account))
    after = utc_seconds(window.since, timedelta(seconds=-1))
    return _query(_WHOLE, _variables(account, changedAfter=f"{after}.000Z"))


def _is_due(account: Account, window: Window, now: datetime) -> bool:
    return is_due(window.since, now, int(account.options.get("deletions_hours", _CENSUS_HOURS)))


def _recent(account: Account, window: Window, now: datetime) -> PageRequest | None:
    """Invoices of the last months, a few times a day, whatever their time of change says."""
    days = int(account.options.get("recheck_days", _RECHECK_DAYS))
    if not days or not _is_due(account, window, now):
        return None
    dated_from = (now - timedelta(days=days)).date().isoformat()
    return _query(_WHOLE, _variables(account, datedFrom=dated_from))


def _all_ids(account: Account, window: Window, now: datetime) -> PageRequest | None:
    return _query("id", _variables(account)) if _is_due(account, window, now) else None


def _ids_of(body: Any) -> Deleted:
    edges = body["data"]["business"]["invoices"]["edges"]
    ids = tuple(str(edge["node"]["id"]) for edge in edges)
    return Deleted(ids, (None,) * len(ids), len(ids))


def _place(request: PageRequest) -> tuple[int, int]:
    variables = json.loads(request.body or "{}")["variables"]
    return variables["page"] - 1, variables["size"]


def _at(request: PageRequest, number: int, size: int) -> PageRequest:
    body = json.loads(request.body or "{}")
    body["variables"] |= {"page": number + 1, "size": size}
    return replace(request, body=json.dumps(body), page_no=request.page_no + 1)


def _ended(request: PageRequest, view: PageView, _behind: int) -> bool:
    """Whether a page is the last, as the answer says."""
    pages = view.number("pages")
    more = pages is not None and _place(request)[0] + 1 < pages
    if more and view.record_count == 0:
        raise ListMovedError
    return not more


def _paged(first: PageRequest) -> Pages:
    """Numbered pages, whose number is in the query's variables."""
    return guarded(first, Numbers(_place, _at, _ended))


_INFO: Final = {
    "pages": f"{_LIST}/pageInfo/totalPages",
    "total": f"{_LIST}/pageInfo/totalCount",
}
_STATUS: Final = status_map(
    "state",
    draft=("DRAFT",),
    open=("SAVED", "SENT", "VIEWED", "UNPAID", "PARTIAL", "OVERDUE"),
    paid=("PAID", "OVERPAID"),
)
_FIELDS: Final[Mapping[str, Field]] = {
    "external_id": text("/node/id", required=True),
    "invoice_number": text("/node/invoiceNumber"),
    "order_reference": order_reference("/node/poNumber"),
    "customer_external_id": text("/node/customer/id", required=True),
    "customer_phone": phone("/node/customer/mobile", "/node/customer/phone"),
    "currency": currency("/node/currency/code"),
    "total_minor": money("/node/total/value", required=True),
    "tax_minor": money("/node/taxTotal/value", exact=False),
    "subtotal_minor": computed(pl.col("total_minor") - pl.col("tax_minor"), required=False),
    "amount_paid_minor": money("/node/amountPaid/value"),
    "amount_refunded_minor": computed(pl.lit(0), required=False),
    "status": computed(_STATUS, "/node/status"),
    "issued_at": day("/node/invoiceDate", required=True),
    "updated_at": instant("/node/modifiedAt", required=True, zone="UTC"),
}
_LINES: Final = Lines(
    "/node/items",
    {
        "item_external_id": text("/product/id"),
        # Wave's products have no code; their name is what rules can match.
        "sku": text(),
        "name": text("/product/name", "/description"),
        "quantity": decimal("/quantity"),
        "unit_price": decimal("/unitPrice"),
        "amount_minor": money("/subtotal/value", exact=False),
    },
)


def _stream(
    name: str, first: Callable[[Account, Window, datetime], PageRequest | None], **more: Any
) -> Stream:
    return Stream(
        name,
        "invoice",
        first,
        _paged,
        records=f"{_LIST}/edges",
        info=_INFO,
        shrinks=True,
        deletions=("invoice_census",),
        fields=_FIELDS,
        helpers={
            "state": text("/node/status"),
            "made_at": instant("/node/createdAt", zone="UTC"),
        },
        lines=_LINES,
        **more,
    )


def _grant(account: Account, url: str, refresh_token: str) -> httpx.Request:
    """Everything in a form, with the redirect URI of the consent."""
    form = {
        "grant_type": "refresh_token",
        "client_id": account.client_id,
        "client_secret": account.client_secret.get_secret_value(),
        "refresh_token": refresh_token,
        "redirect_uri": account.redirect_uri,
    }
    return httpx.Request("POST", url, data=form, headers={"accept": "application/json"})


def _with_token(account: Account, request: httpx.Request, _now: datetime) -> None:
    request.headers["authorization"] = f"Bearer {account.secret('full_access_token').strip()}"


def _auth(account: Account) -> TokenAuth | RequestAuth:
    """The consent of a user, or the full access token that Wave gives for one's own use."""
    if account.options.get("login") == "full_access_token":
        return RequestAuth(_with_token)
    return TokenAuth(_grant)


def _businesses(body: Any) -> list[GrantedAccount]:
    edges = body["data"]["businesses"]["edges"]
    return [GrantedAccount(edge["node"]["id"], edge["node"].get("name") or "") for edge in edges]


def _fault(body: Any) -> str | None:
    """The error code: of GraphQL, also with status 200, or of the token endpoint."""
    errors = body.get("errors")
    if errors:
        extensions = errors[0].get("extensions") or {}
        return str(extensions.get("code") or "unknown")
    code = body.get("error")
    return str(code) if code else None


SPEC: Final = ConnectorSpec(
    name="wave",
    title="Wave",
    docs_url="https://developer.waveapps.com/hc/en-us",
    base_url="https://gql.waveapps.com",
    token_url="https://api.waveapps.com/oauth2/token/",
    auth=_auth,
    # Which redirect URIs may be registered is not documented, so the operator pastes the answer.
    consent=Consent(
        "https://api.waveapps.com/oauth2/authorize/",
        scopes=(
            *(f"{name}:read" for name in ("business", "invoice", "customer", "product")),
            "offline_access",
        ),
        register_url="https://developer.waveapps.com",
        secret_in_body=True,
        loopback=False,
        accounts=PageRequest("POST", _PATH, body=json.dumps({"query": _BUSINESSES})),
        read_accounts=_businesses,
    ),
    headers=lambda _: {"content-type": "application/json"},
    streams=(
        _stream("invoices", _changed),
        _stream("recent_invoices", _recent, windowed=False),
        Stream(
            "invoice_census",
            "invoice",
            _all_ids,
            _paged,
            records=f"{_LIST}/edges",
            info=_INFO,
            row_id=("/node/id",),
            deleted=_ids_of,
            census=True,
        ),
    ),
    lookups=(),
    # Wave publishes no limit.
    rate=RateLimit(((60, 60.0),), concurrency=2, retry_after_seconds=30),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={"UNAUTHENTICATED": CredentialsRejected, "NOT_FOUND": PermissionMissing},
    no_list=BusinessHidden,
)
