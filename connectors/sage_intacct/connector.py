"""Sage Intacct, REST API v1.

AR invoices, AR adjustments (credit and debit memos), and a census of both for deletions.

https://developer.sage.com/intacct/docs/developer-portal/

Every sale ends as an invoice in accounts receivable (AR), also one that was entered as an
order-entry document. So only AR is read: reading both would count sales twice. When a sales
document is edited, its invoice is deleted and written again under another key; such invoices have
the id of their sales document, which stays. Other deletions leave no trace, so every few hours all
ids are listed and compared.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("Sage
Intacct: ...").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from connectors.kit.errors import CredentialsRejected, RateLimited
from connectors.kit.http.auth import client_credentials, form_body
from connectors.kit.mapping.places import with_store_of_lines
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    Consent,
    Deleted,
    Details,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    Stream,
    TokenAuth,
    Window,
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
from connectors.sage_intacct.query_service import (
    META,
    both_spellings,
    by_last_key,
    changed_since,
    field_names,
    queries_by_ids,
    query,
)

_PAGE_SIZE = 2000
_RESULT = "/ia::result"
_INVOICE, _ADJUSTMENT = "accounts-receivable/invoice", "accounts-receivable/adjustment"
_SALES_DOCUMENT = "salesDocument.id"
_PREFIX = "adjustment/"
_PHONES = ("mobile", "phone1", "phone2")
_CUSTOMER_FIELDS = ["id", "key", *(f"contacts.default.{name}" for name in _PHONES)]
#: How often deletions are looked for, unless the block says otherwise.
_CENSUS_HOURS = 6


def _list(name: str, kind: str) -> Callable[[Account, Window, datetime], PageRequest]:
    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        fields = field_names(SPEC, name, account, "key")
        return query(kind, fields, changed_since(window), SPEC.size(account))

    return first


def _lines_of(
    name: str, kind: str, owner: str
) -> Callable[[Account, Sequence[str]], Iterable[PageRequest]]:
    def requests(account: Account, keys: Sequence[str]) -> Iterable[PageRequest]:
        fields = field_names(SPEC, name, account, "key", owner, lines=True)
        return queries_by_ids(f"{kind}-line", fields, owner, keys, _PAGE_SIZE)

    return requests


def _customers(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    return queries_by_ids("accounts-receivable/customer", _CUSTOMER_FIELDS, "id", ids, _PAGE_SIZE)


def _all(kind: str, *fields: str) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The request for all records, whenever they were changed, a few times a day.

    The first read of an account needs none: it has nothing to compare with.
    """

    def first(account: Account, window: Window, now: datetime) -> PageRequest | None:
        every_hours = int(account.options.get("deletions_hours", _CENSUS_HOURS))
        if not is_due(window.since, now, every_hours):
            return None
        return query(kind, ["key", *fields], [], SPEC.size(account))

    return first


def _invoices_listed(body: Any) -> Deleted:
    rows = ((row, row.get("salesDocument") or {}) for row in body["ia::result"])
    return _listed(
        str(row.get(_SALES_DOCUMENT) or nested.get("id") or row["key"]) for row, nested in rows
    )


def _adjustments_listed(body: Any) -> Deleted:
    return _listed(f"{_PREFIX}{row['key']}" for row in body["ia::result"])


def _listed(external_ids: Iterable[str]) -> Deleted:
    ids = tuple(external_ids)
    return Deleted(ids, (None,) * len(ids), len(ids))


_TOTAL, _LINE = pl.col("total_minor"), pl.col("amount_minor")
_STATES = status_map(
    "state",
    draft=("draft", "submitted", "approved"),
    open=("posted", "partiallyPaid", "selected"),
    paid=("paid",),
    # A document that was reversed, and the document of the opposite sign that reverses it.
    void=("reversed", "reversal"),
)
#: A document without amount has the state noValue; with an amount, that state is refused.
_STATUS = (
    pl.when((pl.col("state") == "noValue") & (_TOTAL == 0)).then(pl.lit("open")).otherwise(_STATES)
)
#: When a record was written.
_WRITTEN_AT = instant(*both_spellings("audit.createdDateTime"), zone="UTC")
#: Amounts whose sign is turned with that of the document.
_TURNED = ("total_minor", "amount_paid_minor")


def _entries(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines without rows of subtotals (mostly tax).

    Their sign is turned so that they add up to a positive total, as the total is.
    """
    if "subtotal" in lines.columns:
        lines = lines.filter(pl.col("subtotal").is_null())
    turned = _LINE.sum().over("row") < 0
    return lines.with_columns(pl.when(turned).then(-_LINE).otherwise(_LINE).alias("amount_minor"))


def _of_lines(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The store that the lines name, and the tax, which is computed: no total of it is sent.

    It is what the entries leave of the total; null where that would be negative.
    """
    sums = lines.group_by("row").agg(_LINE.sum().alias("_lines"))
    joined = invoices.with_row_index("row").join(sums, on="row", how="left", maintain_order="left")
    tax = _TOTAL - pl.col("_lines")
    tax = pl.when(tax >= 0).then(tax)
    documents = joined.with_columns(
        tax.alias("tax_minor"), (_TOTAL - tax).alias("subtotal_minor")
    ).drop("row", "_lines")
    return with_store_of_lines(documents, lines, "sold_by")


def _invoice(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Invoices with the amounts of reversals, which are negative and void, as positive ones.

    Any other negative invoice stays negative, and is rejected: nobody knows whether it takes back a
    sale.
    """
    void = (pl.col("status") == "void").fill_null(value=False)
    turned = invoices.with_columns(
        pl.when(void).then(pl.col(name).abs()).otherwise(pl.col(name)) for name in _TURNED
    )
    return _of_lines(turned, lines)


def _adjustment(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Adjustments with positive amounts: their sign is in the kind by now."""
    return _of_lines(invoices.with_columns(pl.col(name).abs() for name in _TURNED), lines)


def _fields(**fields: Field) -> dict[str, Field]:
    none = pl.lit(None, dtype=pl.Int64)
    return {
        "customer_external_id": text(*both_spellings("customer.id"), required=True),
        "customer_phone": phone(),
        "subtotal_minor": computed(none, required=False),
        "tax_minor": computed(none, required=False),
        "amount_paid_minor": computed(_TOTAL - pl.col("due_minor"), required=False),
        "amount_refunded_minor": computed(pl.lit(0), required=False),
        "status": computed(_STATUS, "/state"),
        "store": text(),
        "updated_at": instant(*both_spellings("audit.modifiedDateTime"), required=True),
        **fields,
    }


def _lines(amount: str, **more: Field) -> Lines:
    """How lines are read: the item and the amount.

    Quantities and prices are known to order entry only, which is not read.
    """
    fields: Mapping[str, Field] = {
        "item_external_id": text(),
        "sku": text(*both_spellings("dimensions.item.id")),
        "name": text("/memo"),
        "quantity": decimal(),
        "unit_price": decimal(),
        "amount_minor": money(*both_spellings(amount), exact=False),
        "sold_by": text(*both_spellings("dimensions.location.id", "dimensions.department.id")),
        **more,
    }
    return Lines("/lines", fields, adjust=_entries)


def _details(name: str, kind: str, owner: str) -> Details:
    lookup = Lookup(
        "lines",
        _lines_of(name, kind, f"{owner}.key"),
        _RESULT,
        {"external_id": text("/key")},
        paginate=by_last_key,
        info=META,
    )
    return Details(lookup, record="/key", line=both_spellings(f"{owner}.key"))


def _census(name: str, kind: str, listed: Callable[[Any], Deleted], *fields: str) -> Stream:
    first = _all(kind, *fields)
    return Stream(
        name,
        "invoice",
        first,
        by_last_key,
        _RESULT,
        info=META,
        row_id=("/key",),
        deleted=listed,
        census=True,
    )


def _auth(account: Account) -> TokenAuth:
    """The consent of a user, or the application acting for a user.

    That user is written `user@company` or `user@company|entity`.
    """
    if account.options.get("login") == "client_credentials":
        return TokenAuth(
            client_credentials(f"{account.options.get('user')}@{account.account}"),
            seeded=False,
        )
    return TokenAuth(form_body)


def _headers(account: Account) -> Mapping[str, str]:
    """The headers of every call, with the entity if there is one.

    Without an entity the top level is read. A misspelt header is ignored, so it reads the same.
    """
    entity = account.account.partition("|")[2]
    return {
        "content-type": "application/json",
        **({"x-ia-api-param-entity": entity} if entity else {}),
    }


def _fault(body: Any) -> str | None:
    """The error code, in the result (also with status 200) or beside it.

    The token endpoint has a form of its own. A token that ended gives a 400 that only a text tells
    from others.
    """
    result = body.get("ia::result")
    error = (result.get("ia::error") if isinstance(result, dict) else None) or body.get("ia::error")
    if not error:
        code = body.get("error")
        return str(code) if code else None
    if any(text in str(error) for text in ("Invalid token", "The token is not valid")):
        return "invalidToken"
    return str(error.get("code") or "unknown")


SPEC = ConnectorSpec(
    name="sage_intacct",
    title="Sage Intacct",
    docs_url="https://developer.sage.com/intacct/docs/developer-portal/",
    base_url="https://api.intacct.com",
    token_url="https://api.intacct.com/ia/api/v1/oauth2/token",
    auth=_auth,
    # No call tells which company a consent opened, so the block names it. PKCE is allowed; which
    # redirect URIs are allowed is not documented.
    consent=Consent(
        authorize_url="https://api.intacct.com/ia/api/v1/oauth2/authorize",
        register_url="https://developer.sage.com/intacct/",
        scopes=("offline_access",),
        pkce=True,
        secret_in_body=True,
        loopback=False,
    ),
    headers=_headers,
    streams=(
        Stream(
            "invoices",
            "invoice",
            _list("invoices", _INVOICE),
            by_last_key,
            records=_RESULT,
            info=META,
            single=(_RESULT,),
            row_id=("/key",),
            deletions=("invoice_census", "adjustment_census"),
            fields=_fields(
                external_id=text(*both_spellings(_SALES_DOCUMENT), "/key", required=True),
                invoice_number=text("/invoiceNumber"),
                order_reference=order_reference("/referenceNumber"),
                currency=currency(*both_spellings("currency.txnCurrency", "currency.baseCurrency")),
                total_minor=money("/totalTxnAmount", required=True),
                issued_at=day("/invoiceDate", required=True),
            ),
            helpers={
                "state": text("/state"),
                "due_minor": money("/totalTxnAmountDue"),
                "sales_document": text(*both_spellings(_SALES_DOCUMENT)),
                "written_at": _WRITTEN_AT,
                # An edit of the sales document writes its invoice anew: nobody can tell whether
                # that is the sale's time or the edit's.
                "made_at": computed(
                    pl.when(pl.col("sales_document").is_null()).then(pl.col("written_at")),
                    required=False,
                ),
            },
            lines=_lines("txnAmount", subtotal=text("/isSubtotal")),
            details=_details("invoices", _INVOICE, "invoice"),
            finish=_invoice,
        ),
        Stream(
            "adjustments",
            "credit_note",
            _list("adjustments", _ADJUSTMENT),
            by_last_key,
            records=_RESULT,
            info=META,
            single=(_RESULT,),
            row_id=("/key",),
            deletions=("invoice_census", "adjustment_census"),
            fields=_fields(
                external_id=text("/key", required=True, prefix=_PREFIX),
                invoice_number=text("/adjustmentNumber"),
                kind=computed(
                    pl.when(_TOTAL < 0).then(pl.lit("credit_note")).otherwise(pl.lit("invoice"))
                ),
                currency=currency(*both_spellings("txnCurrency.currency", "baseCurrency.currency")),
                total_minor=money(*both_spellings("txnCurrency.totalEntered"), required=True),
                issued_at=day("/createdDate", required=True),
                # The number of the invoice that was chosen as its reference.
                original_external_id=computed(
                    pl.when(_TOTAL < 0).then(pl.col("refers_to")), required=False
                ),
            ),
            helpers={
                "state": text("/state"),
                "refers_to": text("/documentNumber"),
                "made_at": _WRITTEN_AT,
                "due_minor": money(*both_spellings("txnCurrency.totalDue")),
            },
            lines=_lines("txnCurrency.amount"),
            details=_details("adjustments", _ADJUSTMENT, "arAdjustment"),
            finish=_adjustment,
        ),
        _census("invoice_census", _INVOICE, _invoices_listed, _SALES_DOCUMENT),
        _census("adjustment_census", _ADJUSTMENT, _adjustments_listed),
    ),
    lookups=(
        Lookup(
            "customers",
            _customers,
            _RESULT,
            {
                "external_id": text("/id"),
                **{name: phone(*both_spellings(f"contacts.default.{name}")) for name in _PHONES},
            },
        ),
    ),
    # A company may have few requests under way (two on the smallest tier), and pays for more than
    # 100 000 a month. A 429 does not say when to come back.
    rate=RateLimit(((10, 1.0),), concurrency=2, retry_after_seconds=10),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={"invalidToken": CredentialsRejected, "GW-0010": RateLimited},
)
