"""FreshBooks, accounting API: invoices and credit notes, and the deleted ones of both.

https://www.freshbooks.com/api/invoices
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import polars as pl

from connectors.kit.errors import CredentialsRejected, PermissionMissing
from connectors.kit.http.auth import json_body, refresh_token
from connectors.kit.read.pagination import by_page
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Consent,
    GrantedAccount,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    Stream,
    Window,
    batches,
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
    text,
)

_PAGE_SIZE = 100
#: The accounting API writes its times on New York's clock, without saying so.
_EASTERN = "America/New_York"
_RESULT = "/response/result"
_INFO = {
    name: f"{_RESULT}/{key}"
    for name, key in (("pages", "pages"), ("total", "total"), ("size", "per_page"))
}


def _list(resource: str, **params: str) -> Callable[[Account, Window, datetime], PageRequest]:
    """The first request of a list, which FreshBooks orders by id, newest first.

    The filter knows only days, so it starts a day early.
    """

    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        asked = {
            "page": "1",
            "per_page": str(SPEC.size(account)),
            "include[]": "lines",
            **params,
        }
        if window.since:
            since = window.since.astimezone(ZoneInfo(_EASTERN)) - timedelta(days=1)
            asked["search[updated_min]"] = f"{since:%Y-%m-%d}"
        path = f"/accounting/account/{account.account}/{resource}/{resource}"
        return PageRequest("GET", path, asked)

    return first


def _by_id(resource: str, name: str) -> ById:
    """Documents are asked for one by one.

    Lists leave out deleted documents; asked for by its id, a document says that it is deleted.
    """

    def requests(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        list_path = f"/accounting/account/{account.account}/{resource}/{resource}"
        for vendor_id in ids:
            path = f"{list_path}/{quote(vendor_id, safe='')}"
            yield PageRequest("GET", path, {"include[]": "lines"})

    return ById(requests, single=(f"{_RESULT}/{name}",))


def _tax(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The tax is computed, because no tax total is sent.

    It is what the lines, less the (negative) discount, leave of the total.
    """
    sums = lines.group_by("row").agg(pl.col("amount_minor").sum().alias("_lines"))
    joined = invoices.with_row_index("row").join(sums, on="row", how="left", maintain_order="left")
    subtotal = pl.col("_lines") + pl.col("discount_minor").fill_null(0)
    tax = pl.col("total_minor") - subtotal
    return joined.with_columns(subtotal.alias("subtotal_minor"), tax.alias("tax_minor")).drop(
        "row", "_lines"
    )


#: Our status. `vis_state` 1 means deleted; the other helpers are spellings of the status in
#: different versions of the API.
_STATE = (
    pl.when(pl.col("vis_state") == "1")
    .then(pl.lit("void"))
    .when(
        (pl.col("v3_status") == "draft") | (pl.col("v3_status").is_null() & (pl.col("code") == "1"))
    )
    .then(pl.lit("draft"))
    .when(
        pl.col("payment_status").is_in(["paid", "auto-paid"])
        | pl.col("v3_status").is_in(["paid", "auto-paid", "autopaid"])
    )
    .then(pl.lit("paid"))
    .when(pl.coalesce("v3_status", "payment_status", "code").is_not_null())
    .then(pl.lit("open"))
)
_HELPERS = {
    "made_at": instant("/created_at", zone=_EASTERN),
    "vis_state": text("/vis_state"),
    "v3_status": text("/v3_status", "/display_status"),
    "payment_status": text("/payment_status"),
    "code": text("/status"),
    "discount_minor": money("/discount_total/amount", exact=False, signed=True),
}
_LINES = Lines(
    "/lines",
    {
        "item_external_id": text(),
        "sku": text(),
        "name": text("/name", "/description"),
        "quantity": decimal("/qty"),
        "unit_price": decimal("/unit_cost/amount"),
        "amount_minor": money("/amount/amount", exact=False),
    },
)


def _fields(external_id: Field, number: str, customer: str) -> dict[str, Field]:
    return {
        "external_id": external_id,
        "invoice_number": text(number),
        "customer_external_id": text(customer, required=True),
        "customer_phone": phone(),
        "currency": currency("/currency_code", "/amount/code"),
        "total_minor": money("/amount/amount", required=True),
        "amount_paid_minor": money("/paid/amount", exact=False),
        "amount_refunded_minor": computed(pl.lit(0), required=False),
        "subtotal_minor": computed(pl.lit(None, dtype=pl.Int64), required=False),
        "tax_minor": computed(pl.lit(None, dtype=pl.Int64), required=False),
        "status": computed(_STATE, "/v3_status", "/payment_status", "/status"),
        "issued_at": day("/create_date", required=True),
        "updated_at": instant(
            "/updated", "/created_at", "/create_date", required=True, zone=_EASTERN
        ),
        "order_reference": order_reference("/po_number"),
    }


def _invoices(name: str, **params: str) -> Stream:
    return Stream(
        name,
        "invoice",
        _list("invoices", **params),
        partial(by_page, size_param="per_page", vendor_size=_PAGE_SIZE),
        records=f"{_RESULT}/invoices",
        info=_INFO,
        shrinks=True,
        deletions=("deleted_invoices",),
        single=(f"{_RESULT}/invoice", "/invoice"),
        fields={
            **_fields(text("/id", "/invoiceid", required=True), "/invoice_number", "/customerid"),
            # The customer's, as they were when the invoice was written.
            "city": text("/city"),
            "region": text("/province"),
        },
        helpers=_HELPERS,
        lines=_LINES,
        finish=_tax,
        by_id=_by_id("invoices", "invoice"),
    )


def _credit_notes(name: str, **params: str) -> Stream:
    return Stream(
        name,
        "credit_note",
        _list("credit_notes", **params),
        partial(by_page, size_param="per_page", vendor_size=_PAGE_SIZE),
        records=f"{_RESULT}/credit_notes",
        info=_INFO,
        shrinks=True,
        deletions=("deleted_credit_notes",),
        single=(f"{_RESULT}/credit_note", "/credit_note"),
        fields=_fields(
            text("/creditid", "/id", required=True, prefix="credit_note/"),
            "/credit_number",
            "/clientid",
        ),
        helpers={**_HELPERS, "credit_type": text("/credit_type")},
        lines=_LINES,
        # Prepayments and overpayments are money received in advance: no goods were taken back.
        keep=~pl.col("credit_type").is_in(["prepayment", "overpayment"]).fill_null(value=False),
        finish=_tax,
        by_id=_by_id("credit_notes", "credit_note"),
    )


def _clients(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    path = f"/accounting/account/{account.account}/users/clients"
    for batch in batches(ids, _PAGE_SIZE):
        yield PageRequest(
            "GET", path, {"page": "1", "per_page": str(_PAGE_SIZE), "search[ids][]": batch}
        )


def _client(account: Account, external_id: str) -> PageRequest:
    return PageRequest("GET", f"/accounting/account/{account.account}/users/clients/{external_id}")


def _items(account: Account, _names: Sequence[str]) -> Iterable[PageRequest]:
    """The whole list of items, which is joined by name: lines have no item id."""
    path = f"/accounting/account/{account.account}/items/items"
    yield PageRequest("GET", path, {"page": "1", "per_page": str(_PAGE_SIZE)})


def _businesses(body: Any) -> list[GrantedAccount]:
    """Accounting calls want `account_id`; a business without one has no accounting."""
    businesses = [entry["business"] for entry in body["response"]["business_memberships"]]
    return [
        GrantedAccount(business["account_id"], business.get("name") or "")
        for business in businesses
        if business.get("account_id")
    ]


def _fault(body: Any) -> str | None:
    """The error code of an answer.

    Old endpoints send an errno (also with status 200), new ones google.rpc's form, and the
    authorisation API has a form of its own.
    """
    response = body.get("response")
    if isinstance(response, dict) and response.get("errors"):
        return str(response["errors"][0].get("errno", "unknown"))
    if isinstance(body.get("details"), list) and "code" in body:
        return (
            str(body["details"][0].get("reason", body["code"]))
            if body["details"]
            else str(body["code"])
        )
    if isinstance(body.get("errors"), dict):
        return str(body["errors"].get("status", "unknown"))
    code = body.get("error") or body.get("errno")
    return str(code) if code else None


SPEC = ConnectorSpec(
    name="freshbooks",
    title="FreshBooks",
    docs_url="https://www.freshbooks.com/api/invoices",
    base_url="https://api.freshbooks.com",
    token_url="https://api.freshbooks.com/auth/oauth/token",
    auth=refresh_token(json_body),
    # Redirect URIs of applications must be https, so the operator pastes the answer.
    consent=Consent(
        "https://auth.freshbooks.com/oauth/authorize",
        register_url="https://my.freshbooks.com/#/developer",
        scopes=tuple(
            f"user:{name}:read"
            for name in ("profile", "invoices", "clients", "credit_notes", "billable_items")
        ),
        secret_in_body=True,
        loopback=False,
        accounts=PageRequest("GET", "/auth/api/v1/users/me"),
        read_accounts=_businesses,
    ),
    streams=(
        _invoices("invoices"),
        # Deleted documents are left out of the lists; they come back as void.
        _invoices("deleted_invoices", **{"search[vis_state]": "1"}),
        _credit_notes("credit_notes"),
        _credit_notes("deleted_credit_notes", **{"search[vis_state]": "1"}),
    ),
    lookups=(
        Lookup(
            "customers",
            _clients,
            f"{_RESULT}/clients",
            {
                "external_id": text("/id", "/userid"),
                "mobile": phone("/mob_phone"),
                "business": phone("/bus_phone"),
                "home": phone("/home_phone"),
            },
            fallback=_client,
            fallback_record=f"{_RESULT}/client",
        ),
        Lookup(
            "items",
            _items,
            f"{_RESULT}/items",
            {"external_id": text("/id", "/itemid"), "name": text("/name"), "sku": text("/sku")},
            key="name",
            paginate=partial(by_page, size_param="per_page", vendor_size=_PAGE_SIZE),
            info=_INFO,
        ),
    ),
    # Limits are not published; this is well below what others report.
    rate=RateLimit(((10, 1.0), (300, 60.0)), concurrency=4),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={
        "1003": PermissionMissing,
        "unauthenticated": CredentialsRejected,
        403: PermissionMissing,
    },
)
