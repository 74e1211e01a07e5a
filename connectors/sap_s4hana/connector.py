"""SAP S/4HANA: billing documents (OData 2, API_BILLING_DOCUMENT_SRV).

https://api.sap.com/api/API_BILLING_DOCUMENT_SRV

Invoices, debit memos, credit memos and what cancels them are in one list; the category of the
document tells them apart, not its type, which each company makes up. A cancelled document and the
one that cancels it are both void. The phone is the business partner's, another service.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("SAP
S/4HANA: ...").
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import httpx
import polars as pl

from connectors.kit.errors import CredentialsRejected
from connectors.kit.http.auth import client_credentials, sign_basic
from connectors.kit.mapping.places import with_store_of_lines
from connectors.kit.mapping.taking_back import with_sale_of_lines
from connectors.kit.read.pagination import by_next_link
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    TokenAuth,
    Window,
    batches,
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
    text,
)
from loyalty.schema import EXACT

_BILLING: Final = "/sap/opu/odata/sap/API_BILLING_DOCUMENT_SRV/A_BillingDocument"
_PARTNERS: Final = "/sap/opu/odata/sap/API_BUSINESS_PARTNER/A_BusinessPartner"
_RESULTS: Final = "/d/results"
_INFO: Final = {"next": "/d/__next", "total": "/d/__count"}
_PAGE_SIZE: Final = 500
_IDS_PER_QUERY: Final = 30
#: Mobile numbers first.
_PHONES: Final = ("to_MobilePhoneNumber", "to_PhoneNumber")


class UserRejected(CredentialsRejected):
    """S/4HANA refuses the communication user, or the client."""

    advice = (
        'Check user name and password (or client ID and secret) in the block "{block}", and in '
        "S/4HANA the communication arrangements: SAP_COM_0120 (billing documents) and SAP_COM_0008 "
        "(business partners) must be active for that user. The host must be the one with -api."
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _first(account: Account, window: Window, _now: datetime) -> PageRequest:
    """The list in the order of document numbers, which never leave it.

    A document that was never changed may have no time of change, so its day of creation counts as
    well, from a day before: nobody says in which time zone that day is.
    """
    filters = []
    if organization := account.options.get("sales_organization"):
        filters.append(f"SalesOrganization eq {_quoted(str(organization))}")
    if window.since:
        changed = f"LastChangeDateTime ge datetimeoffset'{utc_seconds(window.since)}Z'"
        created = utc_seconds(window.since, -timedelta(days=1))[:10]
        filters.append(f"({changed} or CreationDate ge datetime'{created}T00:00:00')")
    params = {
        "$format": "json",
        "$expand": "to_Item",
        "$orderby": "BillingDocument",
        "$inlinecount": "allpages",
        "$top": str(SPEC.size(account)),
        "$skip": "0",
        **({"$filter": " and ".join(filters)} if filters else {}),
    }
    return PageRequest("GET", _BILLING, params)


def _by_id(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for number in ids:
        params = {"$format": "json", "$expand": "to_Item"}
        yield PageRequest("GET", f"{_BILLING}({_quoted(number)})", params)


def _customers(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Business partners by their number as a customer, with all addresses and their phones."""
    expand = ",".join(f"to_BusinessPartnerAddress/{name}" for name in _PHONES)
    for batch in batches(ids, _IDS_PER_QUERY):
        wanted = " or ".join(f"Customer eq {_quoted(number)}" for number in batch)
        params = {
            "$format": "json",
            "$filter": wanted,
            "$expand": expand,
            "$select": f"BusinessPartner,Customer,{expand}",
        }
        yield PageRequest("GET", _PARTNERS, params)


def _plain(value: Any) -> str | None:
    """A number without leading zeros: some services send them, others do not."""
    if not isinstance(value, str | int):
        raise TypeError("it is neither a text nor a number")
    written = str(value).strip()
    return (written.lstrip("0") if written.isdigit() else written) or None


def _number(*paths: str, required: bool = False) -> Field:
    return replace(text(*paths, required=required), pick=_plain)


def _phone(addresses: Any, kind: str) -> str | None:
    """The default phone number of the kind in the first address that has one."""
    if not isinstance(addresses, list):
        return None
    for address in addresses:
        listed = address.get(kind) if isinstance(address, dict) else None
        entries = listed.get("results") if isinstance(listed, dict) else None
        phones = [entry for entry in entries or () if isinstance(entry, dict)]
        # The default one first; sorting keeps the order of the others.
        for entry in sorted(
            phones, key=lambda entry: entry.get("IsDefaultPhoneNumber") is not True
        ):
            if number := entry.get("InternationalPhoneNumber") or entry.get("PhoneNumber"):
                return str(number)
    return None


_CATEGORY: Final = pl.col("category")
#: Invoices and debit memos add, credit memos take; what cancels one counts nothing.
_KINDS: Final = {
    "M": "invoice",
    "P": "invoice",
    "S": "invoice",
    "O": "credit_note",
    "N": "credit_note",
}
#: Pro forma invoices, lists of invoices, and bills between companies of one group: no sales.
_NO_SALES: Final = ("U", "3", "4", "5", "6")
_CANCELLED: Final = (
    (pl.col("is_cancelled") == "true")
    | pl.col("cancels").is_not_null()
    | _CATEGORY.is_in(["N", "S"])
).fill_null(value=False)
_STATUS: Final = (
    pl.when(pl.col("more_items").is_not_null())
    .then(pl.lit(None, dtype=pl.String))
    .when(_CANCELLED)
    .then(pl.lit("void"))
    .when((pl.col("clearing") == "C").fill_null(value=False))
    .then(pl.lit("paid"))
    .otherwise(pl.lit("open"))
)


def _boolean(value: Any) -> str | None:
    """OData sends true or false; other tools write a text."""
    if not isinstance(value, str | bool):
        raise TypeError("it is neither true nor false")
    return str(value).lower()


def _priced(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines with a price per unit, which is not sent: the net amount by the quantity."""
    net, quantity = (pl.col(name).cast(pl.Float64) for name in ("net", "quantity"))
    price = pl.when(quantity != 0).then((net / quantity).round(6)).cast(EXACT)
    return lines.with_columns(price.alias("unit_price"))


_LINES: Final = Lines(
    "/to_Item/results",
    {
        "item_external_id": text(),
        "sku": text("/Material"),
        "name": text("/BillingDocumentItemText"),
        "quantity": decimal("/BillingQuantity"),
        "unit_price": decimal(),
        "amount_minor": money("/NetAmount", exact=False),
        "net": decimal("/NetAmount"),
        "refers_to": text("/ReferenceSDDocument"),
        # The shop or warehouse that delivered it; services have none.
        "plant": text("/Plant"),
    },
    adjust=_priced,
)


def _of_items(documents: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """What items say of their document: the sale that a credit memo returns, and the plant.

    A credit memo that was billed by way of a request names the request, which is no sale: documents
    of sales and billing never share a number.
    """
    return with_store_of_lines(with_sale_of_lines(documents, items, "refers_to"), items, "plant")


def _sign(account: Account, request: httpx.Request, _now: datetime) -> None:
    sign_basic(request, str(account.options.get("username", "")), account.secret("password"))


def _auth(account: Account) -> TokenAuth | RequestAuth:
    """A communication user, or a client of the token server (private cloud, on premises)."""
    if account.options.get("login") == "oauth_client":
        return TokenAuth(client_credentials(), seeded=False, refused=UserRejected)
    return RequestAuth(_sign, refused=UserRejected)


def _headers(account: Account) -> Mapping[str, str]:
    client = account.options.get("sap_client")
    return {"sap-client": str(client)} if client else {}


def _fault(body: Any) -> str | None:
    code = body["error"]["code"]
    return str(code) if code else None


SPEC = ConnectorSpec(
    name="sap_s4hana",
    title="SAP S/4HANA",
    docs_url="https://api.sap.com/api/API_BILLING_DOCUMENT_SRV/overview",
    base_url="https://{host}",
    token_url="https://{host}/sap/bc/sec/oauth2/token",
    auth=_auth,
    headers=_headers,
    streams=(
        Stream(
            "billing_documents",
            "invoice",
            _first,
            partial(by_next_link, size_param="$top", skip_param="$skip"),
            records=_RESULTS,
            info=_INFO,
            single=("/d",),
            fields={
                "external_id": text("/BillingDocument", required=True),
                "invoice_number": text("/BillingDocument"),
                "kind": computed(
                    _CATEGORY.replace_strict(_KINDS, default=None, return_dtype=pl.String),
                    "/SDDocumentCategory",
                ),
                "customer_external_id": _number("/SoldToParty", required=True),
                "customer_phone": phone(),
                "currency": currency("/TransactionCurrency"),
                "total_minor": money("/TotalGrossAmount", required=True),
                "subtotal_minor": money("/TotalNetAmount"),
                "tax_minor": money("/TaxAmount"),
                "amount_paid_minor": computed(
                    pl.when(pl.col("clearing") == "C").then(pl.col("total_minor")), required=False
                ),
                "amount_refunded_minor": computed(pl.lit(0), required=False),
                "order_reference": order_reference("/PurchaseOrderByCustomer"),
                "store": text(),
                "channel": text("/DistributionChannel"),
                "region": text("/Region"),
                "status": computed(_STATUS, "/to_Item/__next"),
                "issued_at": day("/BillingDocumentDate", required=True),
                "updated_at": instant(
                    "/LastChangeDateTime", "/LastChangeDate", "/CreationDate", required=True
                ),
            },
            helpers={
                "category": text("/SDDocumentCategory"),
                "is_cancelled": replace(text("/BillingDocumentIsCancelled"), pick=_boolean),
                "cancels": _number("/CancelledBillingDocument"),
                "clearing": text("/InvoiceClearingStatus"),
                "more_items": text("/to_Item/__next"),
            },
            lines=_LINES,
            finish=_of_items,
            keep=(~_CATEGORY.is_in(_NO_SALES)).fill_null(value=True),
            # Documents without a time of change have only the day of their creation.
            windowed=False,
            # Nothing is deleted: what was wrong is cancelled, and stays.
            deletions=("billing_documents",),
            by_id=ById(_by_id, single=("/d",)),
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            _customers,
            _RESULTS,
            {
                "external_id": _number("/Customer", "/BusinessPartner"),
                **{
                    name.lower(): phone(
                        "/to_BusinessPartnerAddress/results", pick=partial(_phone, kind=name)
                    )
                    for name in _PHONES
                },
            },
            paginate=by_next_link,
            info=_INFO,
        ),
    ),
    # No limit is published. A 429 is said to name a minute.
    rate=RateLimit(((10, 1.0),), concurrency=2, retry_after_seconds=60),
    page_size=_PAGE_SIZE,
    fault=_fault,
)
