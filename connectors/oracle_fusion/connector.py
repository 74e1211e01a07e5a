"""Oracle Fusion Cloud ERP, REST: receivables invoices and credit memos.

https://docs.oracle.com/en/cloud/saas/financials/26d/farfa/api-receivables-invoices.html

What is not complete can be deleted, also after it was complete and earned points. Deletions leave
no trace, so every few hours all ids are listed and compared. The documents of the last weeks are
read again then, because a payment changes their balance and may change nothing else.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("Oracle
Fusion: ...").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import httpx
import polars as pl

from connectors.kit.errors import CredentialsRejected, Misconfigured, UnexpectedShape
from connectors.kit.http.auth import client_credentials, sign_basic
from connectors.kit.mapping.columns import EXPONENT
from connectors.kit.read.pagination import by_last_id
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    Deleted,
    Lines,
    ListMovedError,
    Lookup,
    PageRequest,
    Pages,
    RateLimit,
    RequestAuth,
    Rest,
    RetryPolicy,
    Stream,
    TokenAuth,
    Window,
    is_due,
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
#: How many days back documents are read again by their date.
_REREAD_DAYS = 31
#: How often deletions are looked for, unless the block says otherwise.
_CENSUS_HOURS: Final = 6
_KEY = "CustomerTransactionId"
#: The largest id of the page before stands at the beginning of the condition.
_BEHIND = f"{_KEY} > "


def _quoted(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S+00:00')}'"


def _request(account: Account, resource: str, *conditions: str, **more: str) -> PageRequest:
    """A list behind id 0, in the order of ids.

    Offsets give records twice or never where the list moves, and its totals can be wrong.
    """
    params = {
        "q": " and ".join((f"{_BEHIND}0", *conditions)),
        "orderBy": f"{_KEY}:asc",
        "limit": str(SPEC.size(account)),
        "onlyData": "true",
        **more,
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


def _is_census_due(account: Account, window: Window, now: datetime) -> bool:
    return is_due(window.since, now, int(account.options.get("deletions_hours", _CENSUS_HOURS)))


def _recent(resource: str) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The documents of the last weeks, whose status and balance may have changed.

    In every run where only the creation of a document is known; else a few times a day, because
    the time of change may not move with a payment. Not in a first read, which reads everything.
    """

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        by_change = account.options.get("changed_by") == "LastUpdateDate"
        if window.since is None or (by_change and not _is_census_due(account, window, now)):
            return None
        days = int(account.options.get("reread_days", _REREAD_DAYS))
        if not days:
            return None
        since = (now - timedelta(days=days)).astimezone(UTC).strftime("%Y-%m-%d")
        return _request(account, resource, f"TransactionDate >= '{since}'", *_in_unit(account))

    return first


def _census(resource: str) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The ids of all documents, a few times a day.

    Also those of other business units: whoever chooses one later has not deleted the rest. The
    first read of an account needs none, as it has nothing to compare with.
    """

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        if not _is_census_due(account, window, now):
            return None
        return _request(account, resource, fields=_KEY)

    return first


def _listed(body: Any) -> Deleted:
    ids = tuple(str(row[_KEY]) for row in body["items"])
    return Deleted(ids, (None,) * len(ids), len(ids))


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


def _pages_of_lines(first: PageRequest) -> Pages:
    """The pages of a document's lines: each begins behind as many lines as came before.

    Not behind as many as were asked for, because the vendor may cut a page without a word.

    Raises:
        ListMovedError: The answer says that there are more lines, and holds none.
    """
    request, received = first, 0
    while True:
        view = yield request
        received += view.record_count
        if view.info.get("more") is not True:
            return
        if not view.record_count:
            raise ListMovedError
        request = request.turn(offset=str(received))


def _whole_lines(resource: str, child: str) -> Rest:
    """Asks for the lines of each document: expanded in the list, only the first 25 might come."""

    def requests(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for vendor_id in ids:
            path = f"{_ROOT}/{resource}/{quote(vendor_id, safe='')}/child/{child}"
            params = {
                "limit": str(_PAGE_SIZE),
                "orderBy": "CustomerTransactionLineId:asc",
                "onlyData": "true",
            }
            yield PageRequest("GET", path, params)

    lookup = Lookup(
        "lines",
        requests,
        "/items",
        {"external_id": text("/CustomerTransactionLineId")},
        paginate=_pages_of_lines,
        info={"more": "/hasMore"},
    )
    # Every document has a key, so every document is asked for its lines.
    return Rest(f"/{_KEY}", f"/{_KEY}", lookup, f"/{child}")


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
    product = pl.col("quantity") * pl.col("unit_price") * scale.cast(pl.Decimal(38, 0))
    rounded = product.round(mode="half_away_from_zero").cast(pl.Int64, strict=False)
    amount = pl.coalesce("amount_minor", rounded)
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
    complete = pl.when(pl.col("balance_minor") <= 0).then(pl.lit("paid")).otherwise(pl.lit("open"))
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
        # Of a credit memo, the transaction that it is for.
        "original_external_id": text("/CrossReference"),
        "status": computed(_status("state"), state),
        "issued_at": day("/TransactionDate", required=True),
        # The part of the company that sold it, and the program or desk that it came from. Names of
        # sites are made up by each company, and say no city for certain.
        "store": text("/BusinessUnit"),
        "channel": text("/TransactionSource"),
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


def _streams(resource: str, name: str, kind: str, child: str, state: str) -> tuple[Stream, ...]:
    """A list by its changes, the same by the date of its documents, and that of all ids."""
    balance = "/InvoiceBalanceAmount" if kind == "invoice" else "/TransactionBalanceDue"
    paginate = partial(by_last_id, after=_behind, more="more")
    info = {"more": "/hasMore"}

    def stream(name: str, first: Any, *, windowed: bool) -> Stream:
        return Stream(
            name,
            kind,
            first,
            paginate,
            records="/items",
            info=info,
            fields=_fields(state),
            helpers={
                "state": text(state),
                "balance_minor": _money(balance),
                "freight_minor": _money("/FreightAmount"),
                "made_at": instant("/CreationDate", zone="UTC"),
            },
            lines=_lines(child, "Credit" if kind == "credit_note" else "Invoiced"),
            finish=_tax,
            rest=(_whole_lines(resource, child),),
            deletions=("invoices_census", "credit_memos_census"),
            windowed=windowed,
        )

    return (
        stream(name, _first(resource), windowed=True),
        stream(f"recent_{name}", _recent(resource), windowed=False),
        Stream(
            f"{name}_census",
            kind,
            _census(resource),
            paginate,
            records="/items",
            info=info,
            row_id=(f"/{_KEY}",),
            deleted=_listed,
            census=True,
        ),
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
