"""Xero, accounting API 2.0: sales invoices and credit notes.

https://developer.xero.com/documentation/api/accounting/invoices
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from urllib.parse import quote

import polars as pl

from connectors.kit.http.auth import basic_form, refresh_token
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
from loyalty.places import PLACES

_ROOT = "/api.xro/2.0"
_PAGE_SIZE = 1000
_IDS_PER_QUERY = 50
_PHONES = ("MOBILE", "DEFAULT", "DDI", "OFFICE")


def _list(resource: str, kind: str, key: str) -> Callable[[Account, Window, datetime], PageRequest]:
    """The first request of a list. Without `page` the answer would leave out the lines."""

    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        params = {
            "where": f'Type=="{kind}"',
            "order": f"{key} ASC",
            "page": "1",
            "pageSize": str(SPEC.size(account)),
        }
        # UTC in whole seconds. Xero's API description wants a date-time of RFC 3339 in this header,
        # which must have the Z.
        since = window.since and f"{utc_seconds(window.since)}Z"
        headers = {"If-Modified-Since": since} if since else {}
        return PageRequest("GET", f"{_ROOT}/{resource}", params, headers=headers)

    return first


def _invoices(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for batch in batches(ids, _IDS_PER_QUERY):
        yield PageRequest(
            "GET", f"{_ROOT}/Invoices", {"IDs": ",".join(batch), "page": "1", "pageSize": "100"}
        )


def _credit_notes(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Credit notes can only be asked for one by one; each answer is a list of one."""
    for vendor_id in ids:
        yield PageRequest("GET", f"{_ROOT}/CreditNotes/{quote(vendor_id, safe='')}")


def _phone(phones: Any, kinds: Sequence[str] = _PHONES) -> str | None:
    """The phone number of the first of the kinds that has one, put together from its parts.

    Country, area and number are separate fields. Fax numbers are never used.
    """
    if not isinstance(phones, list):
        return None
    for kind in kinds:
        for entry in phones:
            if (
                isinstance(entry, dict)
                and (entry.get("PhoneType") or "DEFAULT") == kind
                and entry.get("PhoneNumber")
            ):
                country = str(entry.get("PhoneCountryCode") or "").strip().lstrip("+")
                local = f"{entry.get('PhoneAreaCode') or ''} {entry['PhoneNumber']}".strip()
                return f"+{country} {local}" if country and not local.startswith("+") else local
    return None


def _sum(key: str) -> Callable[[Any], str | None]:
    """Adds up one amount of nested objects, as exact text.

    Entries that are marked as deleted do not count.
    """

    def total(entries: Any) -> str | None:
        if not isinstance(entries, list):
            return None
        try:
            alive = [
                entry
                for entry in entries
                if entry.get("IsDeleted") is not True and entry.get("Status") != "DELETED"
            ]
            amounts = [Decimal(str(entry[key])) for entry in alive if entry.get(key) is not None]
            return str(sum(amounts, Decimal(0)))
        except (AttributeError, InvalidOperation, TypeError):
            return None

    return total


_NONE = pl.lit(0, dtype=pl.Int64)
#: What was given back. AmountCredited counts prepayments and overpayments too, which are money
#: received.
_CREDITED = pl.col("credited_minor").fill_null(0) - (
    pl.col("prepaid_minor").fill_null(0) + pl.col("overpaid_minor").fill_null(0)
)
#: The part of a credit note that already counts at the invoices it is allocated to. The rest counts
#: here, even if it is paid out in cash, which lowers RemainingCredit as well.
_ALLOCATED = (
    pl.when(pl.col("allocated_minor") > 0)
    .then(pl.col("allocated_minor"))
    .otherwise(
        pl.max_horizontal(
            _NONE,
            pl.col("total_minor") - pl.col("remaining_minor") - pl.col("cash_minor").fill_null(0),
        )
    )
    .fill_null(0)
)
_STATUS = status_map(
    "state",
    draft=("DRAFT", "SUBMITTED"),
    open=("AUTHORISED",),
    paid=("PAID",),
    void=("VOIDED", "DELETED"),
)
_LINES = Lines(
    "/LineItems",
    {
        "item_external_id": text("/Item/ItemID"),
        "sku": text("/ItemCode"),
        "name": text("/Description", "/Item/Name"),
        "quantity": decimal("/Quantity"),
        "unit_price": decimal("/UnitAmount"),
        "amount_minor": money("/LineAmount", exact=False),
    },
)


def _fields(entity: str, refunded: pl.Expr, paid: Field) -> dict[str, Field]:
    return {
        "external_id": text(f"/{entity}ID", required=True),
        "invoice_number": text(f"/{entity}Number"),
        "customer_external_id": text("/Contact/ContactID", required=True),
        "customer_phone": phone("/Contact/Phones", pick=_phone),
        "currency": currency("/CurrencyCode"),
        "total_minor": money("/Total", required=True),
        "subtotal_minor": money("/SubTotal"),
        "tax_minor": money("/TotalTax"),
        "amount_paid_minor": paid,
        "amount_refunded_minor": computed(refunded, required=False),
        "status": computed(_STATUS, "/Status"),
        # A calendar day of the organisation. Its number form (/Date(ms)/) is midnight UTC of that
        # day.
        "issued_at": day("/DateString", "/Date", required=True),
        "updated_at": instant("/UpdatedDateUTC", "/DateString", "/Date", required=True, zone="UTC"),
        "order_reference": order_reference("/Reference"),
        # Not said; an operator may know which tracking category is the shops.
        **dict.fromkeys(PLACES, text()),
    }


_SHARED = {"state": text("/Status"), "type": text("/Type")}


def _contacts(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for batch in batches(ids, _IDS_PER_QUERY):
        params = {"IDs": ",".join(batch), "page": "1", "pageSize": "100", "includeArchived": "true"}
        yield PageRequest("GET", f"{_ROOT}/Contacts", params)


def _tenants(body: Any) -> list[GrantedAccount]:
    """The organisations that a consent covers; other tenants (practices) have no invoices."""
    return [
        GrantedAccount(entry["tenantId"], entry.get("tenantName") or "")
        for entry in body
        if entry.get("tenantType", "ORGANISATION") == "ORGANISATION"
    ]


def _capital(key: str) -> str:
    """The key as Xero spells it: Xero's own keys start with a capital.

    Hand-made samples write invoiceNumber and id for InvoiceNumber and Id.
    """
    return {"phoneNumbers": "Phones"}.get(key, key[:1].upper() + key[1:])


def _fault(body: Any) -> str | None:
    """The error code: `ErrorNumber` of validation errors, `Title` or `title` of gateway errors."""
    code = body.get("ErrorNumber") or body.get("Title") or body.get("title")
    return str(code) if code and "Invoices" not in body else None


SPEC = ConnectorSpec(
    name="xero",
    title="Xero",
    docs_url="https://developer.xero.com/documentation/api/accounting/invoices",
    base_url="https://api.xero.com",
    token_url="https://identity.xero.com/connect/token",
    auth=refresh_token(basic_form),
    consent=Consent(
        "https://login.xero.com/identity/connect/authorize",
        register_url="https://developer.xero.com/app/manage",
        # Applications registered since March 2026 may not ask for accounting.transactions. The
        # narrower scope is known to all.
        scopes=("offline_access", "accounting.invoices.read", "accounting.contacts.read"),
        older={"accounting.invoices.read": "accounting.transactions.read"},
        pkce=True,
        accounts=PageRequest("GET", "/connections"),
        read_accounts=_tenants,
    ),
    headers=lambda account: {"Xero-Tenant-Id": account.account},
    streams=(
        Stream(
            "invoices",
            "invoice",
            _list("Invoices", "ACCREC", "InvoiceID"),
            partial(by_page, size_param="pageSize", vendor_size=100),
            records="/Invoices",
            info={
                "pages": "/pagination/pageCount",
                "size": "/pagination/pageSize",
                "total": "/pagination/itemCount",
            },
            shrinks=True,
            deletions=("invoices",),  # they stay, as VOIDED or DELETED
            fields=_fields("Invoice", _CREDITED, money("/AmountPaid")),
            helpers={
                **_SHARED,
                "credited_minor": money("/AmountCredited"),
                "prepaid_minor": money("/Prepayments", pick=_sum("AppliedAmount")),
                "overpaid_minor": money("/Overpayments", pick=_sum("AppliedAmount")),
            },
            lines=_LINES,
            keep=(pl.col("type") == "ACCREC").fill_null(value=True),
            by_id=ById(_invoices),
        ),
        Stream(
            "credit_notes",
            "credit_note",
            _list("CreditNotes", "ACCRECCREDIT", "CreditNoteID"),
            partial(by_page, size_param="pageSize", vendor_size=100),
            records="/CreditNotes",
            info={
                "pages": "/pagination/pageCount",
                "size": "/pagination/pageSize",
                "total": "/pagination/itemCount",
            },
            shrinks=True,
            deletions=("credit_notes",),
            fields={
                **_fields("CreditNote", _ALLOCATED, computed(_ALLOCATED, required=False)),
                "original_external_id": text("/Allocations/0/Invoice/InvoiceID"),
            },
            helpers={
                **_SHARED,
                "remaining_minor": money("/RemainingCredit"),
                "allocated_minor": money("/Allocations", pick=_sum("Amount")),
                "cash_minor": money("/Payments", pick=_sum("Amount")),
            },
            lines=_LINES,
            keep=(pl.col("type") == "ACCRECCREDIT").fill_null(value=True),
            by_id=ById(_credit_notes),
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            _contacts,
            "/Contacts",
            {
                "external_id": text("/ContactID"),
                **{
                    kind.lower(): phone("/Phones", pick=partial(_phone, kinds=(kind,)))
                    for kind in _PHONES
                },
            },
        ),
    ),
    # 60 a minute, 5000 a day and 5 at once for each organisation. Smaller plans have fewer a day: a
    # header says how many are left.
    rate=RateLimit(
        ((60, 60.0), (5000, 86_400.0)), concurrency=5, day_left_header="x-daylimit-remaining"
    ),
    page_size=_PAGE_SIZE,
    fault=_fault,
    request_id_header="xero-correlation-id",
    key_style=_capital,
)
