"""Microsoft Dynamics 365 Business Central, API v2.0: sales invoices and sales credit memos.

https://learn.microsoft.com/dynamics365/business-central/dev-itpro/api-reference/v2.0/

Drafts and posted documents are in the same lists, and their status tells them apart. A document
that was cancelled and the one that cancels it are both void: Business Central writes the second one
by itself, over the whole amount. Deletions leave no trace, so every few hours all ids are listed
and compared.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("Business
Central: ...").
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import httpx
import polars as pl

from connectors.kit.errors import CredentialsRejected, Misconfigured
from connectors.kit.http.auth import client_credentials, sign_basic
from connectors.kit.read.pagination import by_next_link
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Deleted,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    TokenAuth,
    Window,
    batches,
    is_due,
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

_INVOICES, _CREDIT_MEMOS = "salesInvoices", "salesCreditMemos"
_PREFIX: Final = "credit_note/"
#: Documents of a page, which come with their lines. The vendor's limit is 20 000.
_PAGE_SIZE: Final = 300
#: Ids of a page of the census.
_CENSUS_PAGE_SIZE: Final = 20_000
#: How often deletions are looked for, unless the block says otherwise.
_CENSUS_HOURS: Final = 6
#: As many as fit into a query of 2000 characters, which some servers take at most.
_IDS_PER_QUERY: Final = 30
_SCOPE: Final = "https://api.businesscentral.dynamics.com/.default"
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: How the vendor writes that a reference, or a day, is empty.
_NO_REFERENCE: Final = "00000000-0000-0000-0000-000000000000"
_NO_DAY: Final = "0001-01-01"
#: How names of options are written that are no words of a program: `In_x0020_Review`.
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_LIST: Final = "/value"
#: Beside a list: the address of the next page, and the number of all records where it was asked
#: for.
_INFO: Final = {"next": "/@odata.nextLink", "total": "/@odata.count"}


class AppRejected(CredentialsRejected):
    """Microsoft gives the application no token, or Business Central does not take it."""

    advice = (
        'Check tenant ID, client ID and client secret (an expired one?) in the block "{block}". In '
        "Microsoft Entra the app needs the application permission API.ReadWrite.All of Dynamics "
        "365 Business Central with admin consent; in Business Central its card among the "
        "*Microsoft Entra Applications* must be enabled and have permission sets (not SUPER)."
    )


class KeyRejected(CredentialsRejected):
    """A server on premises refuses the user or the web service access key."""

    advice = (
        'Check user name and web service access key in the block "{block}" (Business Central: '
        "*Users*, the user's card, *Web Service Access*: has the key expired?)."
    )


def api_root(account: Account) -> str:
    """Where the API begins, behind the host (or behind the base URL of a server on premises)."""
    if account.options.get("login") == "web_service_key":
        return "/api/v2.0"
    places = (str(account.options.get(name) or "") for name in ("tenant_id", "environment"))
    tenant, environment = (quote(place, safe="") for place in places)
    return f"/v2.0/{tenant}/{environment}/api/v2.0"


def _path(account: Account, rest: str) -> str:
    return f"{api_root(account)}/companies({quote(account.account, safe='')})/{rest}"


def _pages(size: int) -> dict[str, str]:
    """The header that asks for pages of a size. With `$top` no next page would be named."""
    return {"prefer": f"odata.maxpagesize={size}"}


def _since(window: Window) -> dict[str, str]:
    if window.since is None:
        return {}
    since = window.since.astimezone(UTC).isoformat(timespec="milliseconds")
    return {"$filter": f"lastModifiedDateTime ge {since.replace('+00:00', 'Z')}"}


def _list(resource: str) -> Callable[[Account, Window, datetime], PageRequest]:
    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        params = {"$expand": f"{resource[:-1]}Lines", "$orderby": "id", **_since(window)}
        path = _path(account, resource)
        return PageRequest("GET", path, params, headers=_pages(SPEC.size(account)))

    return first


def _census(resource: str) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The request for the ids of all documents, a few times a day.

    The first read of an account needs none: it has nothing to compare with.
    """

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        every_hours = int(account.options.get("deletions_hours", _CENSUS_HOURS))
        if not is_due(window.since, now, every_hours):
            return None
        # A total that is not reached has the list read again: a missing id would count as deleted.
        params = {"$select": "id", "$orderby": "id", "$count": "true"}
        size = _CENSUS_PAGE_SIZE if account.page_size is None else SPEC.size(account)
        return PageRequest("GET", _path(account, resource), params, headers=_pages(size))

    return first


def _listed(body: Any, prefix: str = "") -> Deleted:
    ids = tuple(f"{prefix}{row['id']}" for row in body["value"])
    return Deleted(ids, (None,) * len(ids), len(ids))


def _by_id(resource: str) -> ById:
    def requests(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for vendor_id in ids:
            path = _path(account, f"{resource}({quote(vendor_id, safe='')})")
            yield PageRequest("GET", path, {"$expand": f"{resource[:-1]}Lines"})

    return ById(requests, single=("",))


_CUSTOMER = {"$select": "id,phoneNumber"}


def _customers(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    known = [vendor_id for vendor_id in ids if _GUID.fullmatch(vendor_id)]
    for batch in batches(known, _IDS_PER_QUERY):
        wanted = " or ".join(f"id eq {vendor_id}" for vendor_id in batch)
        yield PageRequest("GET", _path(account, "customers"), {**_CUSTOMER, "$filter": wanted})


def _customer(account: Account, vendor_id: str) -> PageRequest:
    return PageRequest("GET", _path(account, f"customers({quote(vendor_id, safe='')})"), _CUSTOMER)


def decoded(value: Any) -> str | None:
    """A word of the vendor without its escapes: `In_x0020_Review` is "In Review"."""
    if not isinstance(value, str):
        raise TypeError("it is no text")
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value).strip() or None


def _unless(empty: str) -> Callable[[Any], str | None]:
    """Reads a text, and nothing where it says that it is empty."""

    def read(value: Any) -> str | None:
        if not isinstance(value, str):
            raise TypeError("it is no text")
        return None if value.startswith(empty) else value

    return read


def _word(*paths: str) -> Field:
    return replace(text(*paths), pick=decoded)


def _reference(*paths: str) -> Field:
    return replace(text(*paths), pick=_unless(_NO_REFERENCE))


_STATUS = status_map(
    "state",
    draft=("Draft", "In Review"),
    open=("Open",),
    paid=("Paid",),
    # A cancelled document, and the one that cancels it.
    void=("Canceled", "Corrective"),
)
_POSTED = pl.col("state").is_in(["Open", "Paid"])


def _sold(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines without comments; the number of an account or a fixed asset is no SKU."""
    lines = lines.filter(pl.col("type").ne_missing("Comment"))
    is_item = pl.col("type").eq_missing("Item")
    return lines.with_columns(pl.when(is_item).then(pl.col("sku")).alias("sku"))


_LINE: Final[dict[str, Field]] = {
    "item_external_id": _reference("/itemId"),
    "sku": text("/lineObjectNumber"),
    "name": text("/description"),
    "quantity": decimal("/quantity"),
    "unit_price": decimal("/unitPrice"),
    # Without tax, after the discounts of the line and its share of the document's.
    "amount_minor": money("/netAmount", "/amountExcludingTax", exact=False),
    "type": _word("/lineType"),
}


def _stream(
    name: str,
    kind: str,
    resource: str,
    date: str,
    external_id: Field,
    paid: Field,
    **place: Field,
) -> Stream:
    """The list of sales invoices, or that of sales credit memos: they differ in little."""
    lines = f"/{resource[:-1]}Lines"
    # Lines that are a part of them only are not booked: what is missing would be left out.
    whole = pl.when(pl.col("more_lines").is_null()).then(_STATUS)
    return Stream(
        name,
        kind,
        _list(resource),
        by_next_link,
        records=_LIST,
        info=_INFO,
        single=("",),
        fields={
            "external_id": external_id,
            "invoice_number": text("/number"),
            "customer_external_id": replace(_reference("/customerId"), required=True),
            "customer_phone": phone("/phoneNumber"),
            "currency": currency("/currencyCode"),
            "total_minor": money("/totalAmountIncludingTax", required=True),
            "subtotal_minor": money("/totalAmountExcludingTax"),
            "tax_minor": money("/totalTaxAmount"),
            "amount_paid_minor": paid,
            "amount_refunded_minor": computed(pl.lit(0), required=False),
            "status": computed(whole, "/status", f"{lines}@odata.nextLink"),
            "issued_at": replace(day(date, "/postingDate", required=True), pick=_unless(_NO_DAY)),
            "updated_at": instant("/lastModifiedDateTime", required=True, zone="UTC"),
            # A credit memo names its invoice.
            "order_reference": order_reference("/invoiceNumber", "/externalDocumentNumber"),
            "original_external_id": text("/invoiceNumber"),
            **place,
        },
        helpers={
            "state": _word("/status"),
            "left_minor": money("/remainingAmount"),
            "more_lines": text(f"{lines}@odata.nextLink"),
        },
        lines=Lines(lines, _LINE, adjust=_sold),
        shrinks=True,
        deletions=("invoice_census", "credit_memo_census"),
        by_id=_by_id(resource),
    )


def _ids(name: str, kind: str, resource: str, prefix: str = "") -> Stream:
    return Stream(
        name,
        kind,
        _census(resource),
        by_next_link,
        records=_LIST,
        info=_INFO,
        row_id=("/id",),
        shrinks=True,
        deleted=partial(_listed, prefix=prefix),
        census=True,
    )


def _sign(account: Account, request: httpx.Request, _now: datetime) -> None:
    sign_basic(request, str(account.options.get("username", "")), account.secret("web_service_key"))


def _auth(account: Account) -> TokenAuth | RequestAuth:
    """In the cloud the application, with a token; on premises a user, with a key."""
    if account.options.get("login") == "web_service_key":
        return RequestAuth(_sign, refused=KeyRejected)
    return TokenAuth(client_credentials(scope=_SCOPE), seeded=False, refused=AppRejected)


def _fault(body: Any) -> str | None:
    code = body["error"]["code"]
    return str(code) if code else None


SPEC = ConnectorSpec(
    name="business_central",
    title="Business Central",
    docs_url=(
        "https://learn.microsoft.com/en-us/dynamics365/business-central/dev-itpro/"
        "api-reference/v2.0/"
    ),
    base_url="https://api.businesscentral.dynamics.com",
    token_url="https://login.microsoftonline.com/{tenant_id}/oauth2/v2.0/token",
    auth=_auth,
    streams=(
        _stream(
            "invoices",
            "invoice",
            _INVOICES,
            "/invoiceDate",
            text("/id", required=True),
            computed(
                pl.when(_POSTED).then(pl.col("total_minor") - pl.col("left_minor")), required=False
            ),
            # Where it was sent, else where the customer is, else whoever pays.
            city=text("/shipToCity", "/sellToCity", "/billToCity"),
            region=text("/shipToState", "/sellToState", "/billToState"),
        ),
        _stream(
            "credit_memos",
            "credit_note",
            _CREDIT_MEMOS,
            "/creditMemoDate",
            text("/id", required=True, prefix=_PREFIX),
            # Nothing says how much of a credit memo was used.
            computed(pl.lit(None, dtype=pl.Int64), required=False),
            city=text("/billingPostalAddress/city"),
            region=text("/billingPostalAddress/state"),
        ),
        _ids("invoice_census", "invoice", _INVOICES),
        _ids("credit_memo_census", "credit_note", _CREDIT_MEMOS, _PREFIX),
    ),
    lookups=(
        Lookup(
            "customers",
            _customers,
            _LIST,
            {"external_id": text("/id"), "phone": phone("/phoneNumber")},
            paginate=by_next_link,
            info=_INFO,
            fallback=_customer,
            fallback_record="",
        ),
    ),
    # A user may ask 6000 times in 5 minutes; environments used to have 600 a minute. A sixth
    # request at once waits in a queue, which ends in a 503.
    rate=RateLimit(((600, 60.0), (6000, 300.0)), concurrency=5),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={"Internal_CompanyNotFound": Misconfigured, "NoEnvironment": Misconfigured},
)
