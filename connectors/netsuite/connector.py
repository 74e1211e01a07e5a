"""NetSuite, SuiteQL over REST.

Invoices, cash sales, credit memos, cash refunds, customer refunds, and deletions.

https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157909186990.html
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl

from connectors.kit.errors import CredentialsRejected, PermissionMissing, RateLimited
from connectors.kit.http.signing import machine_to_machine, token_based
from connectors.kit.mapping.places import with_store_of_lines
from connectors.kit.mapping.taking_back import with_sale_of_lines
from connectors.kit.read.pagination import by_last_id, by_offset
from connectors.kit.spec import (
    Account,
    AssertionAuth,
    ConnectorSpec,
    Deleted,
    Details,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    Window,
)
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    day,
    instant,
    money,
    phone,
    status_map,
    text,
)
from connectors.netsuite.suiteql import (
    STAMP,
    behind_id,
    changed_since,
    id_lists,
    query,
    signed_lines,
    unit_rate,
)
from loyalty.schema import NEGATIVE_KINDS

_PAGE_SIZE = 1000
_MORE = {"more": "/hasMore"}


def _list(kind: str, total: str) -> Callable[[Account, Window, datetime], PageRequest]:
    columns = (
        "t.id AS id, t.type AS type, t.tranid AS tranid, TO_CHAR(t.trandate, 'YYYY-MM-DD') AS "
        "trandate, "
        f"t.entity AS customer, c.symbol AS symbol, {total} AS total, t.status AS status, t.voided "
        "AS isvoided, "
        f"t.posting AS isposting, TO_CHAR(t.lastmodifieddate, {STAMP}) AS modified, "
        f"TO_CHAR(t.createddate, {STAMP}) AS made"
    )

    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        in_window = changed_since("t.lastmodifieddate", window)
        statement = (
            f"SELECT {columns} FROM transaction t LEFT JOIN currency c ON c.id = t.currency "
            f"WHERE t.type = '{kind}' AND t.id > 0{in_window} ORDER BY t.id ASC"
        )
        return query(statement, SPEC.size(account))

    return first


def _of_documents(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """The requests for the product lines of documents.

    Left out are the document's own row, rows of tax, and the cost of what was sold.
    """
    # Not every account has locations: a column that it does not know has the query refused.
    location = "BUILTIN.DF(l.location) AS location, " if account.options.get("locations") else ""
    for numbers in id_lists(ids):
        yield query(
            f"SELECT {location}l.uniquekey AS line, l.transaction AS document, "
            "l.item AS item, i.itemid AS sku, "
            "i.displayname AS name, l.memo AS description, l.quantity AS quantity, l.rate AS rate, "
            "l.foreignamount AS amount, l.createdfrom AS made_from FROM transactionline l "
            "LEFT JOIN item i ON i.id = l.item "
            f"WHERE l.transaction IN ({numbers}) AND l.mainline = 'F' AND NVL(l.taxline, 'F') = "
            "'F' "
            "AND NVL(l.iscogs, 'F') = 'F' ORDER BY l.transaction ASC, l.id ASC",
            _PAGE_SIZE,
        )


def _customers(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for numbers in id_lists(ids):
        yield query(
            "SELECT c.id AS id, c.mobilephone AS mobilephone, c.phone AS phone, c.altphone AS "
            "altphone "
            f"FROM customer c WHERE c.id IN ({numbers}) ORDER BY c.id ASC",
            _PAGE_SIZE,
        )


#: The types of deleted records that are our documents, in lower case and without spaces. Other
#: types must be left out: ids are unique among transactions only.
_DELETED = frozenset(
    [
        "invoice",
        "cashsale",
        "creditmemo",
        "cashrefund",
        "customerrefund",
        "custinvc",
        "custcred",
        "cashrfnd",
        "custrfnd",
    ]
)


def _deletions(account: Account, window: Window, _now: datetime) -> PageRequest | None:
    """The request for deletions, in the order of their time.

    Deletions are only ever added, so in that order an offset stays where it is.
    """
    if window.since is None:
        return None
    return query(
        f"SELECT d.recordid AS recordid, d.type AS type, TO_CHAR(d.deleteddate, {STAMP}) AS "
        "deleted "
        f"FROM deletedrecord d WHERE d.recordid > 0{changed_since('d.deleteddate', window)} "
        "ORDER BY d.deleteddate ASC, d.recordid ASC",
        SPEC.size(account),
    )


def _deleted(body: Any) -> Deleted:
    rows = [
        row for row in body["items"] if re.sub(r"[^a-z]", "", str(row["type"]).lower()) in _DELETED
    ]
    ids = tuple(str(row["recordid"]) for row in rows)
    return Deleted(ids, tuple(row.get("deleted") for row in rows), len(body["items"]))


_TOTAL, _CODE = pl.col("total_minor"), pl.col("code")
#: The vendor's statuses for ours. SuiteQL gives a letter, sometimes behind the type's name; the
#: record API gives words.
_STATUSES = {
    "draft": ("D", "E", "Pending Approval", "Rejected"),
    "open": ("A", "Open"),
    "paid": ("B", "Paid In Full", "Fully Applied"),
    "void": ("V", "Voided"),
}
_NOT_POSTED = (pl.col("posting") == "F").fill_null(value=False)
_VOIDED = (pl.col("voided") == "T").fill_null(value=False) | _CODE.is_in(
    _STATUSES["void"]
).fill_null(value=False)


def _status(*, at_once: bool) -> pl.Expr:
    """The status: void by mark or status, and a draft where a document is not in the books.

    The amounts of a void document are zero or stay, as the account prefers.
    """
    other = pl.lit("paid") if at_once else status_map("code", **_STATUSES)
    return (
        pl.when(_VOIDED)
        .then(pl.lit("void"))
        .when(_NOT_POSTED)
        .then(pl.lit("draft"))
        .otherwise(other)
    )


def _code(value: Any) -> str:
    """A status without the type's name before it."""
    return str(value).rpartition(":")[2].strip()


#: ISO 4217 codes for the currency names that come with every account. The record API writes the
#: name that the account gives a currency; only samples are of that API.
_CURRENCY_NAMES = {
    "USA": "USD",
    "US Dollar": "USD",
    "British pound": "GBP",
    "Canadian Dollar": "CAD",
    "Euro": "EUR",
}


def _tax(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The tax: where it is not sent, it is what the lines leave of the total.

    Whether it is sent depends on the account's tax engine.
    """
    sums = lines.group_by("row").agg(pl.col("amount_minor").sum().alias("_lines"))
    joined = invoices.with_row_index("row").join(sums, on="row", how="left", maintain_order="left")
    tax = pl.coalesce("tax_sum_minor", _TOTAL - pl.col("_lines"))
    tax = pl.when(tax >= 0).then(tax)
    return joined.with_columns(tax.alias("tax_minor"), (_TOTAL - tax).alias("subtotal_minor")).drop(
        "row", "_lines"
    )


def _finished(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The documents with their tax and location, and credits with what they were made from.

    That is the sale, or the authorization of a return, which is no sale and finds none.
    """
    of_sales = with_sale_of_lines(invoices, lines, "made_from")
    return _tax(with_store_of_lines(of_sales, lines, "location"), lines)


_LINES = Lines(
    "/item/items",
    {
        "item_external_id": text("/item/id", "/item"),
        "sku": text("/sku", "/item/refName"),
        "name": text("/name", "/description"),
        "quantity": Field("decimal", ("/quantity",)),
        "unit_price": Field("decimal", ("/rate",), pick=unit_rate),
        "amount_minor": money("/amount", exact=False),
        "made_from": text("/made_from"),
        "location": text("/location"),
    },
    adjust=signed_lines,
)
_DETAILS = Details(
    Lookup(
        "lines",
        _of_documents,
        "/items",
        {"external_id": text("/line")},
        paginate=partial(by_offset, more="more"),
        info=_MORE,
    ),
    record="/id",
    line="/document",
)


def _stream(
    name: str, code: str, kind: str, *, at_once: bool = False, refunded: pl.Expr | None = None
) -> Stream:
    status = _status(at_once=at_once)
    none = pl.lit(None, dtype=pl.Int64)
    takes = kind in NEGATIVE_KINDS
    return Stream(
        name,
        kind,
        # The totals of credit memos and refunds are negative in the books.
        _list(code, "ABS(t.foreigntotal)" if takes else "t.foreigntotal"),
        partial(by_last_id, after=behind_id, more="more"),
        records="/items",
        info=_MORE,
        deletions=("deletions",),
        fields={
            # All transactions share one sequence of ids.
            "external_id": text("/id", required=True),
            "invoice_number": text("/tranid", "/tranId"),
            "customer_external_id": text("/customer", "/entity/id", required=True),
            "customer_phone": phone(),
            "currency": replace(
                currency("/symbol", "/currency/refName"),
                pick=lambda value: _CURRENCY_NAMES.get(value, str(value)),
            ),
            "total_minor": money("/total", required=True),
            "subtotal_minor": computed(none, required=False),
            "tax_minor": computed(none, required=False),
            "amount_paid_minor": computed(
                pl.coalesce("paid_sum_minor", pl.when(status == "paid").then(_TOTAL)),
                required=False,
            ),
            "amount_refunded_minor": computed(
                pl.lit(0) if refunded is None else refunded, required=False
            ),
            "status": computed(status, "/status/id", "/status"),
            "store": text(),
            # A calendar day of the account.
            "issued_at": day("/trandate", "/tranDate", required=True),
            **({"original_external_id": text("/createdFrom/id")} if takes else {}),
            # On the account's clock in SuiteQL, UTC in the record API.
            "updated_at": instant("/modified", "/lastModifiedDate", required=True),
        },
        helpers={
            "made_at": instant("/made", "/createdDate"),
            "code": replace(text("/status/id", "/status"), pick=_code),
            "voided": text("/isvoided"),
            "posting": text("/isposting"),
            "type": text("/type"),
            "tax_sum_minor": money("/taxTotal", exact=False),
            "paid_sum_minor": money("/amountPaid", exact=False),
        },
        keep=(pl.col("type") == code).fill_null(value=True),
        lines=_LINES,
        finish=_finished,
        details=_DETAILS,
    )


class LoginRejected(CredentialsRejected):
    """NetSuite refuses the login and does not say why; the account's Login Audit Trail does."""

    advice = (
        "Look it up in NetSuite under Setup, Users/Roles, View Login Audit Trail. Usual causes: "
        "the account ID (a sandbox is "
        "1234567_SB1), consumer key and secret, token ID and secret, the token or integration "
        "switched off, this machine's "
        'clock more than 5 minutes off. Correct them in the block "{block}".'
    )


class AssertionRejected(CredentialsRejected):
    """NetSuite refuses the signed assertion or its token."""

    advice = (
        "Check client ID, certificate ID, private key and scope, that the certificate is still "
        "valid, that it is mapped to this "
        "integration, user and role (Setup, Integration, OAuth 2.0 Client Credentials), and this "
        "machine's clock. "
        'Correct them in the block "{block}".'
    )


def _auth(account: Account) -> AssertionAuth | RequestAuth:
    """How the account proves itself, as chosen in the block.

    The realm is the account's id with an underscore and in capitals; in the host it has a hyphen
    and is in lower case.

    Raises:
        Misconfigured: If what the choice needs is missing or unusable.
    """
    if account.options.get("login") == "machine_to_machine":
        return machine_to_machine(
            account, default_scope="rest_webservices", refused=AssertionRejected
        )
    return token_based(
        account, realm=account.account.upper().replace("-", "_"), refused=LoginRejected
    )


def _fault(body: Any) -> str | None:
    """`o:errorDetails` of the API; `error` of the token endpoint."""
    details = body.get("o:errorDetails")
    if details:
        return str(details[0].get("o:errorCode") or "unknown")
    code = body.get("error")
    return str(code) if code else None


SPEC = ConnectorSpec(
    name="netsuite",
    title="NetSuite",
    docs_url=(
        "https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157909186990.html"
    ),
    base_url="https://{account}.suitetalk.api.netsuite.com",
    token_url="https://{account}.suitetalk.api.netsuite.com/services/rest/auth/oauth2/v1/token",
    auth=_auth,
    headers=lambda _: {"content-type": "application/json", "prefer": "transient"},
    streams=(
        _stream("invoices", "CustInvc", "invoice"),
        _stream("cash_sales", "CashSale", "sale", at_once=True),
        _stream("credit_memos", "CustCred", "credit_note"),
        _stream("cash_refunds", "CashRfnd", "refund", at_once=True),
        # A customer refund pays out what a credit memo took back, or money that never was a sale.
        # All of it counts as given back, so that no points are taken a second time.
        _stream("customer_refunds", "CustRfnd", "refund", at_once=True, refunded=_TOTAL),
        Stream(
            "deletions",
            "invoice",
            _deletions,
            partial(by_offset, more="more"),
            "/items",
            deleted=_deleted,
            info=_MORE,
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            _customers,
            "/items",
            {
                "external_id": text("/id"),
                "mobile": phone("/mobilephone"),
                "main": phone("/phone"),
                "alternate": phone("/altphone"),
            },
            paginate=partial(by_offset, more="more"),
            info=_MORE,
        ),
    ),
    # An account answers five requests at once, ours and those of its other integrations together;
    # other limits exist and are not published. A 429 does not say when to come back.
    rate=RateLimit(((10, 1.0), (300, 60.0)), concurrency=3),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={
        "CONCURRENCY_LIMIT_EXCEEDED": RateLimited,
        "INVALID_LOGIN": LoginRejected,
        "INSUFFICIENT_PERMISSION": PermissionMissing,
    },
)
