"""Oracle Fusion Cloud ERP, REST: receivables invoices and credit memos.

https://docs.oracle.com/en/cloud/saas/financials/26d/farfa/api-receivables-invoices.html
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl

from connectors.kit.errors import CredentialsRejected, Misconfigured, UnexpectedShape
from connectors.kit.http.auth import client_credentials, sign_basic
from connectors.kit.mapping.columns import EXPONENT
from connectors.kit.read.pagination import by_last_id
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    RequestAuth,
    RetryPolicy,
    Stream,
    TokenAuth,
    Window,
)
from connectors.kit.spec.fields import (
    Field,
    Notation,
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

_ROOT = "/fscmRestApi/resources/11.13.18.05"
_PARTIES = "/crmRestApi/resources/11.13.18.05"
#: A larger limit is cut to this without a word.
_PAGE_SIZE = 499
#: By how much a list of changes is read again by the date of the document, where the vendor only
#: tells when a document was made.
_REREAD_DAYS = 31
_KEY = "CustomerTransactionId"
#: The largest id of the page before stands at the beginning of the condition.
_BEHIND = f"{_KEY} > "


def _quoted(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S+00:00')}'"


def _request(account: Account, resource: str, *conditions: str) -> PageRequest:
    """A list behind id 0, in the order of ids.

    Offsets give records twice or never where the list moves, and its totals can be wrong.
    """
    params = {
        "q": " and ".join((f"{_BEHIND}0", *conditions)),
        "orderBy": f"{_KEY}:asc",
        "limit": str(SPEC.size(account)),
        "onlyData": "true",
    }
    return PageRequest("GET", f"{_ROOT}/{resource}", params)


def _in_unit(account: Account) -> tuple[str, ...]:
    """The condition for one business unit; quotes in its name are doubled."""
    unit = str(account.options.get("business_unit") or "").replace("'", "''")
    return (f"BusinessUnit = '{unit}'",) if unit else ()


def _first(resource: str) -> Callable[[Account, Window, datetime], PageRequest]:
    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        changed = str(account.options.get("changed_by") or "CreationDate")
        since = (f"{changed} >= {_quoted(window.since)}",) if window.since else ()
        return _request(account, resource, *since, *_in_unit(account))

    return first


def _recent(resource: str) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The documents of the last weeks, whose status and balance may have changed.

    Not where the account's time of change tells, nor in a first read, which reads everything.
    """

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        if window.since is None or account.options.get("changed_by") == "LastUpdateDate":
            return None
        days = int(account.options.get("reread_days", _REREAD_DAYS))
        since = (now - timedelta(days=days)).astimezone(UTC).strftime("%Y-%m-%d")
        return _request(account, resource, f"TransactionDate >= '{since}'", *_in_unit(account))

    return first


def _behind(request: PageRequest, last_id: str) -> PageRequest:
    """The request of a list, moved behind another id.

    Raises:
        UnexpectedShape: If that is no id behind the page before.
    """
    first, *others = request.param("q").split(" and ", 1)
    before = int(first.removeprefix(_BEHIND))
    if not last_id.isdigit() or int(last_id) <= before:
        raise UnexpectedShape(
            "oracle_fusion", "list", f"the last record of a page has no {_KEY} behind the others"
        )
    query = " and ".join((f"{_BEHIND}{last_id}", *others))
    return PageRequest(request.method, request.path, {**request.params, "q": query})


def _lines_of(
    resource: str, child: str
) -> Callable[[Account, Sequence[str]], Iterable[PageRequest]]:
    """The requests for a document's lines.

    Expanded in the list, only the first 25 might come.
    """

    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for vendor_id in ids:
            path = f"{_ROOT}/{resource}/{quote(vendor_id, safe='')}/child/{child}"
            yield PageRequest("GET", path, {"limit": str(_PAGE_SIZE), "onlyData": "true"})

    return requests


def _parties(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """A party is an organisation or a person; which, an invoice does not say."""
    for vendor_id in ids:
        if vendor_id.isdigit():
            for resource in ("hubOrganizations", "hubPersons"):
                params = {"q": f"PartyId={vendor_id}", "expand": "ContactPoint", "limit": "1"}
                yield PageRequest("GET", f"{_PARTIES}/{resource}", params)


def _number(points: Any, *, kinds: Sequence[str] = ("MOBILE", "CELL", "")) -> str | None:
    """The phone number of a party's points of contact: a mobile one first.

    They are a list, or a list in an object.
    """
    if isinstance(points, dict):
        points = points.get("items")
    phones = [
        point
        for point in points or ()
        if str(point.get("ContactPointType") or "PHONE").upper() == "PHONE"
        and (point.get("PhoneNumber") or point.get("FormattedPhoneNumber"))
    ]
    for kind in kinds:
        for point in phones:
            if kind in str(point.get("PhoneType") or point.get("PhoneLineType") or "").upper():
                return _written(point)
    return None


def _written(point: Mapping[str, Any]) -> str:
    country = str(point.get("PhoneCountryCode") or "").strip().lstrip("+")
    local = f"{point.get('PhoneAreaCode') or ''} {point.get('PhoneNumber') or ''}".strip()
    if not local:
        return str(point["FormattedPhoneNumber"])
    return f"+{country} {local}" if country and not local.startswith("+") else local


_TOTAL = pl.col("total_minor")


def _amounts(lines: pl.DataFrame) -> pl.DataFrame:
    """A line's amount: quantity times price, where it is not said."""
    if lines.is_empty():
        return lines
    scale = pl.lit(10, dtype=pl.Int64).pow(pl.col(EXPONENT).cast(pl.Int64))
    product = pl.col("quantity").cast(pl.Float64) * pl.col("unit_price").cast(pl.Float64) * scale
    amount = pl.coalesce("amount_minor", product.round().cast(pl.Int64, strict=False))
    return lines.with_columns(amount.alias("amount_minor"))


def _tax(documents: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The tax is what the lines and the freight leave of the total; null where that is negative."""
    sums = lines.group_by("row").agg(pl.col("amount_minor").sum().alias("_lines"))
    joined = documents.with_row_index("row").join(sums, on="row", how="left", maintain_order="left")
    tax = _TOTAL - pl.col("_lines") - pl.col("freight_minor").fill_null(0)
    tax = pl.when(tax >= 0).then(tax)
    return joined.with_columns(tax.alias("tax_minor"), (_TOTAL - tax).alias("subtotal_minor")).drop(
        "row", "_lines"
    )


def _status(state: str) -> pl.Expr:
    """Open or paid by what is left; what is not complete is a draft."""
    complete = pl.when(pl.col("balance_minor") == 0).then(pl.lit("paid")).otherwise(pl.lit("open"))
    words = pl.col(state).str.to_lowercase()
    draft = words.is_in(["incomplete", "pending approval", "rejected", "draft", "frozen"])
    return pl.when(words == "complete").then(complete).when(draft).then(pl.lit("draft"))


#: Numbers may be written with groups of thousands.
_GROUPED: Notation = "point"


def _money(*paths: str, required: bool = False) -> Field:
    return Field("money", paths, required=required, exact=False, notation=_GROUPED)


def _fields(state: str) -> dict[str, Field]:
    none = pl.lit(None, dtype=pl.Int64)
    return {
        # Invoices and credit memos are transactions of one sequence.
        "external_id": text(f"/{_KEY}", required=True),
        "invoice_number": text("/TransactionNumber"),
        "customer_external_id": text("/BillToPartyId", required=True),
        "customer_phone": phone(),
        "currency": currency("/InvoiceCurrencyCode", "/CreditMemoCurrency", "/CurrencyCode"),
        "total_minor": _money("/EnteredAmount", required=True),
        "subtotal_minor": computed(none, required=False),
        "tax_minor": computed(none, required=False),
        "amount_paid_minor": computed(
            pl.max_horizontal(pl.lit(0, dtype=pl.Int64), _TOTAL.abs() - pl.col("balance_minor")),
            required=False,
        ),
        "amount_refunded_minor": computed(pl.lit(0, dtype=pl.Int64)),
        "order_reference": order_reference("/PurchaseOrder", "/CrossReference"),
        "status": computed(_status("state"), state),
        "issued_at": day("/TransactionDate", required=True),
        "updated_at": instant("/LastUpdateDate", "/CreationDate", required=True, zone="UTC"),
    }


def _lines(child: str, prefix: str) -> Lines:
    return Lines(
        f"/{child}",
        {
            "item_external_id": text("/ItemNumber"),
            "sku": text("/ItemNumber"),
            "name": text("/Description"),
            "quantity": decimal("/Quantity", f"/{prefix}Quantity"),
            "unit_price": decimal("/UnitSellingPrice"),
            "amount_minor": money("/LineAmount", "/ExtendedAmount", exact=False),
        },
        adjust=_amounts,
    )


def _streams(resource: str, name: str, kind: str, child: str, state: str) -> tuple[Stream, Stream]:
    """A list by its changes, and the same by the date of its documents."""
    balance = "/InvoiceBalanceAmount" if kind == "invoice" else "/TransactionBalanceDue"

    def stream(name: str, first: Any, *, windowed: bool) -> Stream:
        return Stream(
            name,
            kind,
            first,
            partial(by_last_id, after=_behind, more="more"),
            records="/items",
            info={"more": "/hasMore"},
            fields=_fields(state),
            helpers={
                "state": text(state),
                "balance_minor": _money(balance),
                "freight_minor": _money("/FreightAmount"),
            },
            lines=_lines(child, "Credit" if kind == "credit_note" else "Invoiced"),
            finish=_tax,
            incomplete=True,
            by_id=ById(_lines_of(resource, child), single=("/items",)),
            deletions=(name,),  # only what is not complete is deleted, and that earns nothing
            windowed=windowed,
        )

    return (
        stream(name, _first(resource), windowed=True),
        stream(f"recent_{name}", _recent(resource), windowed=False),
    )


class UserRefused(CredentialsRejected):
    """The pod refuses user and password, or the identity domain the client."""

    advice = (
        "Check user and password (or client ID, client secret, scope and token URL) in the block "
        '"{block}", and that the user is active and is of this pod: a test pod has another host '
        "and passwords of its own."
    )


def _basic(account: Account, request: httpx.Request, _now: datetime) -> None:
    sign_basic(request, str(account.options.get("user", "")), account.secret("password"))


def _auth(account: Account) -> RequestAuth | TokenAuth:
    """How the account proves itself, as chosen in the block.

    Raises:
        Misconfigured: If what the choice needs is missing.
    """
    if account.options.get("login") == "client_credentials":
        if not account.token_url:
            raise Misconfigured(account.system, "connect", "fill in the token URL")
        grant = client_credentials(scope=str(account.options.get("scope", "")), basic=True)
        return TokenAuth(grant, seeded=False, refused=UserRefused)
    return RequestAuth(_basic, refused=UserRefused)


def _fault(body: Any) -> str | None:
    """`o:errorDetails` of the API; `error` of the identity domain."""
    details = body.get("o:errorDetails")
    if details:
        return str(details[0].get("o:errorCode") or "unknown")
    if "items" not in body and "title" in body and "status" in body:
        return str(body["status"])
    code = body.get("error")
    return str(code) if code else None


SPEC = ConnectorSpec(
    name="oracle_fusion",
    title="Oracle Fusion",
    docs_url=(
        "https://docs.oracle.com/en/cloud/saas/financials/26d/farfa/api-receivables-invoices.html"
    ),
    base_url="https://{host}",
    token_url="",
    auth=_auth,
    headers=lambda _: {"rest-framework-version": "4"},
    streams=(
        *_streams(
            "receivablesInvoices",
            "invoices",
            "invoice",
            "receivablesInvoiceLines",
            "/InvoiceStatus",
        ),
        *_streams(
            "receivablesCreditMemos",
            "credit_memos",
            "credit_note",
            "receivablesCreditMemoLines",
            "/CreditMemoStatus",
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            _parties,
            "/items",
            {
                "external_id": text("/PartyId"),
                "phone": phone("/ContactPoint", pick=_number),
                "primary": phone("/PrimaryPhoneNumber", "/FormattedPhoneNumber"),
            },
        ),
    ),
    # Oracle publishes none; an identity domain of the smallest tier is said to take 150 a minute.
    rate=RateLimit(((120, 60.0),), concurrency=2, retry_after_seconds=60),
    page_size=_PAGE_SIZE,
    fault=_fault,
    request_id_header="x-oracle-dms-ecid",
    retry=RetryPolicy(longest_wait_seconds=120),
)
