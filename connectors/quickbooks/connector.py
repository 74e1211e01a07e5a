"""QuickBooks Online, accounting API v3.

Invoices, sales receipts, credit memos, refund receipts, and deletions.

https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/invoice
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from connectors.kit.errors import CredentialsRejected, PermissionMissing, RateLimited
from connectors.kit.http.auth import basic_form, refresh_token
from connectors.kit.read.pagination import by_start_position, single
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Consent,
    Deleted,
    Lines,
    Lookup,
    PageRequest,
    Pages,
    PageView,
    RateLimit,
    Stream,
    Window,
    batches,
    utc_seconds,
)
from connectors.kit.spec.fields import (
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

#: 75 is the only version served since August 2025.
_MINOR_VERSION = {"minorversion": "75"}
_PAGE_SIZE = 1000
_IDS_PER_QUERY = 100
#: Without it, inactive customers and items are left out of answers.
_ALSO_INACTIVE = " AND Active IN (true,false)"
#: How far change data capture (CDC) goes back, less a margin; and the records that one of its
#: answers holds at most.
_CDC_DAYS = timedelta(days=30) - timedelta(minutes=5)
_CDC_OBJECTS = 1000
#: The kinds of documents, as the API calls them.
_ENTITIES = ("Invoice", "SalesReceipt", "CreditMemo", "RefundReceipt")


def _query(account: Account, statement: str) -> PageRequest:
    path = f"/v3/company/{account.account}/query"
    return PageRequest("GET", path, {"query": statement, **_MINOR_VERSION})


def _list(entity: str) -> Callable[[Account, Window, datetime], PageRequest]:
    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        where = (
            f" WHERE MetaData.LastUpdatedTime >= '{utc_seconds(window.since)}Z'"
            if window.since
            else ""
        )
        size = SPEC.size(account)
        statement = f"SELECT * FROM {entity}{where} ORDERBY Id STARTPOSITION 1 MAXRESULTS {size}"
        return _query(account, statement)

    return first


def _changes(account: Account, window: Window, now: datetime) -> PageRequest | None:
    """The request for deletions, which change data capture names for thirty days.

    Deleted documents vanish from queries. For a longer time see `_census`.
    """
    if window.since is None or now - window.since > _CDC_DAYS:
        return None
    params = {
        "entities": ",".join(_ENTITIES),
        "changedSince": f"{utc_seconds(window.since)}Z",
        **_MINOR_VERSION,
    }
    return PageRequest("GET", f"/v3/company/{account.account}/cdc", params)


def _per_entity(request: PageRequest, view: PageView) -> Sequence[PageRequest]:
    """The requests that replace a full answer, which may be cut off and cannot be paged.

    Each entity is asked for alone. Where the answer for one entity is full, the ids of all its
    documents that still exist are listed instead.
    """
    if "entities" not in request.params or view.record_count < _CDC_OBJECTS:
        return ()
    entities = request.param("entities").split(",")
    if len(entities) == 1:
        path = request.path.removesuffix("cdc") + "query"
        return [
            PageRequest(
                "GET",
                path,
                {"query": _ids(entities[0]), **_MINOR_VERSION},
                page_no=request.page_no + 1,
            )
        ]
    asked = [{**request.params, "entities": entity} for entity in entities]
    return [
        replace(request, params=params, page_no=request.page_no + n)
        for n, params in enumerate(asked, 1)
    ]


def _ids(entity: str) -> str:
    return f"SELECT Id FROM {entity} ORDERBY Id STARTPOSITION 1 MAXRESULTS {_PAGE_SIZE}"


def _census(account: Account, window: Window, now: datetime) -> PageRequest | None:
    """The request for all ids that still exist, where change data does not go back far enough.

    Change data has deletions of the last thirty days only.
    """
    if window.since is None or now - window.since <= _CDC_DAYS:
        return None
    return _query(account, _ids(_ENTITIES[0]))


def _of_all_entities(first: PageRequest) -> Pages:
    """Pages of ids, one entity after the other.

    A document that is missing counts as deleted, so only an empty page ends the ids of an entity.
    """
    page_no = first.page_no
    for entity in _ENTITIES:
        steps = by_start_position(
            replace(first, params={**first.params, "query": _ids(entity)}), short_is_last=False
        )
        asked = next(steps)
        while True:
            view = (
                yield replace(asked, page_no=page_no) if isinstance(asked, PageRequest) else asked
            )
            page_no += 1
            try:
                asked = steps.send(view)
            except StopIteration:
                break


def _changes_or_ids(first: PageRequest) -> Pages:
    """Change data is one answer; lists of ids are paged."""
    if "entities" in first.params:
        return single(first)
    return by_start_position(first, short_is_last=False)


def _existing(body: Any) -> Deleted:
    """The ids on a page; an empty page does not name the entity."""
    for entity in _ENTITIES:
        if entity in body["QueryResponse"]:
            ids = tuple(f"{_PREFIX[entity]}{row['Id']}" for row in body["QueryResponse"][entity])
            return Deleted(ids, (None,) * len(ids), len(ids), ids, _KINDS[entity])
    return Deleted((), (), 0)


def _deleted(body: Any) -> Deleted:
    if "QueryResponse" in body:
        existing = _existing(body)
        return replace(existing, external_ids=(), deleted_at=())
    ids, times, count = [], [], 0
    for answer in body["CDCResponse"]:
        for entities in answer.get("QueryResponse") or ():
            for entity, records in entities.items():
                for record in records if isinstance(records, list) else ():
                    count += 1
                    if (
                        entity in _ENTITIES
                        and record.get("status") == "Deleted"
                        and record.get("Id")
                    ):
                        ids.append(f"{_PREFIX[entity]}{record['Id']}")
                        times.append((record.get("MetaData") or {}).get("LastUpdatedTime"))
    return Deleted(tuple(ids), tuple(times), count)


def _amounts(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines that sell something, and discounts as negative amounts.

    Sub-totals repeat other lines, and descriptions sell nothing. Discounts are written positive.
    """
    lines = lines.filter(
        ~pl.col("detail").is_in(["SubTotalLineDetail", "DescriptionOnly"]).fill_null(value=False)
    )
    discount = (pl.col("detail") == "DiscountLineDetail").fill_null(value=False)
    amount = pl.col("amount_minor")
    return lines.with_columns(
        pl.when(discount).then(-amount.abs()).otherwise(amount).alias("amount_minor")
    )


def _status() -> pl.Expr:
    """The status, which is not sent: it follows from the balance and the note.

    A voided document stays in the list, with zero amounts and a note that starts with "Voided".
    """
    voided = (pl.col("total_minor") == 0) & pl.col("note").str.starts_with("Voided").fill_null(
        value=False
    )
    balance = pl.col("balance_minor").fill_null(0)
    return (
        pl.when(voided)
        .then(pl.lit("void"))
        .when(balance > 0)
        .then(pl.lit("open"))
        .otherwise(pl.lit("paid"))
    )


#: Put before ids, because each entity numbers its documents from 1.
_PREFIX = {"Invoice": "", **{entity: f"{entity}/" for entity in _ENTITIES[1:]}}
_KINDS = dict(zip(_ENTITIES, ("invoice", "sale", "credit_note", "refund"), strict=True))
_TOTAL, _TAX = pl.col("total_minor"), pl.col("tax_minor")
_LINES = Lines(
    "/Line",
    {
        "item_external_id": text("/SalesItemLineDetail/ItemRef/value"),
        "sku": text(),
        "name": text("/SalesItemLineDetail/ItemRef/name", "/Description"),
        "quantity": decimal("/SalesItemLineDetail/Qty"),
        "unit_price": decimal("/SalesItemLineDetail/UnitPrice"),
        "amount_minor": money("/Amount", exact=False),
        "detail": text("/DetailType"),
    },
    nested="/GroupLineDetail/Line",
    adjust=_amounts,
)


def _by_id(
    entity: str, more: str = ""
) -> Callable[[Account, Sequence[str]], Iterable[PageRequest]]:
    """Requests for records by their ids; `more` is added to the condition."""

    def requests(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
        for batch in batches(ids, _IDS_PER_QUERY):
            listed = ",".join(
                "'" + vendor_id.replace("\\", "\\\\").replace("'", "\\'") + "'"
                for vendor_id in batch
            )
            where = f"WHERE Id IN ({listed}){more}"
            yield _query(
                account,
                f"SELECT * FROM {entity} {where} STARTPOSITION 1 MAXRESULTS {_PAGE_SIZE}",
            )

    return requests


def _invoice_linked(transactions: Any) -> str | None:
    """The id of the first invoice among linked transactions."""
    if not isinstance(transactions, list):
        return None
    linked = (t for t in transactions if isinstance(t, dict) and t.get("TxnType") == "Invoice")
    return next((str(t["TxnId"]) for t in linked if t.get("TxnId")), None)


def _stream(name: str, entity: str) -> Stream:
    return Stream(
        name,
        _KINDS[entity],
        _list(entity),
        by_start_position,
        records=f"/QueryResponse/{entity}",
        info={"total": "/QueryResponse/totalCount"},
        single=(f"/{entity}",),
        missing_is_empty=True,
        shrinks=True,
        deletions=("deletions", "census"),
        fields={
            "external_id": text("/Id", required=True, prefix=_PREFIX[entity]),
            "invoice_number": text("/DocNumber"),
            "customer_external_id": text("/CustomerRef/value", required=True),
            "customer_phone": phone(),
            "currency": currency("/CurrencyRef/value"),
            "total_minor": money("/TotalAmt", required=True),
            "tax_minor": money("/TxnTaxDetail/TotalTax"),
            "subtotal_minor": computed(_TOTAL - _TAX, required=False),
            "amount_paid_minor": computed(_TOTAL - pl.col("balance_minor"), required=False),
            "amount_refunded_minor": computed(pl.lit(0), required=False),
            "status": computed(_status()),
            "original_external_id": replace(text("/LinkedTxn"), pick=_invoice_linked),
            "issued_at": day("/TxnDate", required=True),
            "updated_at": instant(
                "/MetaData/LastUpdatedTime", "/MetaData/CreateTime", "/TxnDate", required=True
            ),
            # Where programs that bring orders in write which one it was.
            "order_reference": order_reference("/PrivateNote"),
            # What people call a location is a department in the API. A class, and the kind of
            # place that some countries tax by, are no shops.
            "store": text("/DepartmentRef/name", "/DepartmentRef/value"),
            "city": text("/ShipAddr/City", "/BillAddr/City"),
            "region": text("/ShipAddr/CountrySubDivisionCode", "/BillAddr/CountrySubDivisionCode"),
        },
        helpers={
            "balance_minor": money("/Balance"),
            "note": text("/PrivateNote"),
            "made_at": instant("/MetaData/CreateTime"),
        },
        lines=_LINES,
        by_id=ById(_by_id(entity)),
    )


def _fault(body: Any) -> str | None:
    """The error code: in `Fault` from the service, in `fault` from the gateway before it."""
    fault = body.get("Fault") or body.get("fault")
    errors = fault.get("Error") or fault.get("error") if fault else None
    return str(errors[0].get("code", "unknown")) if errors else None


SPEC = ConnectorSpec(
    name="quickbooks",
    title="QuickBooks Online",
    docs_url=(
        "https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/invoice"
    ),
    base_url="https://quickbooks.api.intuit.com",
    token_url="https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
    auth=refresh_token(basic_form),
    # The callback names the company. An http://localhost redirect URI is accepted for development
    # keys only.
    consent=Consent(
        "https://appcenter.intuit.com/connect/oauth2",
        register_url="https://developer.intuit.com",
        scopes=("com.intuit.quickbooks.accounting",),
        account_param="realmId",
    ),
    streams=(
        _stream("invoices", "Invoice"),
        _stream("sales_receipts", "SalesReceipt"),
        _stream("credit_memos", "CreditMemo"),
        _stream("refund_receipts", "RefundReceipt"),
        Stream(
            "deletions",
            "invoice",
            _changes,
            _changes_or_ids,
            "/CDCResponse",
            deleted=_deleted,
            split=_per_entity,
        ),
        Stream(
            "census",
            "invoice",
            _census,
            _of_all_entities,
            "/QueryResponse",
            deleted=_existing,
            census=True,
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            _by_id("Customer", _ALSO_INACTIVE),
            "/QueryResponse/Customer",
            {
                "external_id": text("/Id"),
                "mobile": phone("/Mobile/FreeFormNumber"),
                "primary": phone("/PrimaryPhone/FreeFormNumber"),
                "alternate": phone("/AlternatePhone/FreeFormNumber"),
            },
            missing_is_empty=True,
        ),
        Lookup(
            "items",
            _by_id("Item", _ALSO_INACTIVE),
            "/QueryResponse/Item",
            {"external_id": text("/Id"), "name": text("/Name"), "sku": text("/Sku")},
            missing_is_empty=True,
        ),
    ),
    # 10 a second and 500 a minute. A 429 does not say when to come back; the vendor's guide says
    # after one minute.
    rate=RateLimit(((10, 1.0), (500, 60.0)), concurrency=5, retry_after_seconds=60),
    page_size=_PAGE_SIZE,
    fault=_fault,
    # 3200: expired or unknown token. 3100: token of another environment. 3001: throttled.
    errors={
        "3200": CredentialsRejected,
        "3100": PermissionMissing,
        "3001": RateLimited,
        "003001": RateLimited,
    },
    request_id_header="intuit_tid",
)
