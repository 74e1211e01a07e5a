"""Square: orders, which are sales, and the returns among them.

https://developer.squareup.com/reference/square/orders-api

Every sale of a location is an order, whether a till, an online shop or an invoice made it; so
invoices and payments are not read, or sales would count twice. What is given back is an order of
its own with `returns`, and an exchange is one order with both. So the same list is read twice: for
what was sold, and for what came back.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import polars as pl

from connectors.kit.errors import CredentialsRejected, PermissionMissing, RateLimited
from connectors.kit.http.auth import json_body
from connectors.kit.read.pagination import by_change
from connectors.kit.spec import (
    Account,
    Beside,
    ById,
    ConnectorSpec,
    Consent,
    GrantedAccount,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    TokenAuth,
    Window,
    batches,
)
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    decimal,
    instant,
    money,
    order_reference,
    payment_reference,
    phone,
    status_map,
    text,
)

#: The version of the API that this is written for; Square answers each version as it was.
VERSION = "2025-08-20"
_PAGE_SIZE = 1000
_IDS_PER_CALL = 100
_SEARCH = "/v2/orders/search"
#: Before Square's first order: a list must have a lower bound to go on from a time of change.
_BEGINNING = datetime(2009, 1, 1, tzinfo=UTC)
#: Where a return keeps the sale that it takes back.
_SALE = "@sale"
#: The order of the sale that a return takes back.
_SOLD_BY = "/returns/0/source_order_id"
_CUSTOMER = ("/customer_id", "/tenders/0/customer_id")


def _search(body: Mapping[str, Any]) -> PageRequest:
    return PageRequest("POST", _SEARCH, body=json.dumps(body, separators=(",", ":")))


def _changed_since(
    **filters: Mapping[str, Any],
) -> Callable[[Account, Window, datetime], PageRequest]:
    """The orders of the location by their time of change, oldest first.

    Square filters by a time only where it sorts by the same one. By the time of creation, orders
    that a till made without a network would be missed: they arrive up to three days late.

    Args:
        filters: More filters of the search.
    """

    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        since = (window.since or _BEGINNING).astimezone(UTC)
        times = {"date_time_filter": {"updated_at": {"start_at": _stamp(since)}}}
        return _search(
            {
                "location_ids": [account.account],
                "query": {
                    "filter": {**times, **filters},
                    "sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"},
                },
                "limit": SPEC.size(account),
            }
        )

    return first


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from(request: PageRequest, changed_at: str) -> PageRequest:
    """The same search from another time of change on."""
    body = json.loads(request.body or "{}")
    body.pop("cursor", None)
    body["query"]["filter"]["date_time_filter"]["updated_at"]["start_at"] = changed_at
    return _search(body)


def _behind(request: PageRequest, cursor: str) -> PageRequest:
    """The next page of the same search, which must be sent again with the cursor."""
    return _search({**json.loads(request.body or "{}"), "cursor": cursor})


def _orders(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Orders of the location by id; those of other locations are another account's."""
    return _batches({"location_id": account.account}, ids)


def _sales(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """The sales that returns take back; goods may come back at another location."""
    return _batches({}, ids)


def _batches(where: Mapping[str, Any], ids: Sequence[str]) -> Iterable[PageRequest]:
    for batch in batches(ids, _IDS_PER_CALL):
        body = json.dumps({**where, "order_ids": batch})
        yield PageRequest("POST", "/v2/orders/batch-retrieve", body=body)


def _customers(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for batch in batches(ids, _IDS_PER_CALL):
        body = json.dumps({"customer_ids": batch})
        yield PageRequest("POST", "/v2/customers/bulk-retrieve", body=body)


def _items(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Variations of the catalogue, also deleted ones: their sales are still sales."""
    for batch in batches(ids, _IDS_PER_CALL):
        body = json.dumps({"object_ids": batch, "include_deleted_objects": True})
        yield PageRequest("POST", "/v2/catalog/batch-retrieve", body=body)


def _minor(*names: str, required: bool = False, signed: bool = False) -> Field:
    """An amount of Square, which counts the smallest unit of the currency."""
    paths = tuple(f"{name}/amount" for name in names)
    return replace(money(*paths, required=required, signed=signed), notation="minor")


def _lines(path: str, *, nested: str | None = None) -> Lines:
    """How lines are read; a custom amount has neither a name nor an item."""
    return Lines(
        path,
        {
            "item_external_id": text("/catalog_object_id"),
            "sku": text(),
            "name": text("/name", "/variation_name", "/note"),
            "quantity": decimal("/quantity"),
            "unit_price": replace(decimal("/base_price_money/amount"), notation="minor"),
            "amount_minor": _minor("/total_money"),
            "item_type": text("/item_type"),
        },
        nested=nested,
        adjust=_without_gift_cards,
    )


def _without_gift_cards(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines, with what was paid for gift cards in a column of its own.

    A gift card earns where it is spent, not where it is bought.
    """
    is_gift_card = pl.col("item_type").eq_missing(pl.lit("GIFT_CARD"))
    amount = pl.col("amount_minor")
    return lines.with_columns(
        pl.when(is_gift_card).then(amount).otherwise(0).fill_null(0).alias("gift_card_minor"),
        pl.when(is_gift_card).then(0).otherwise(amount).alias("amount_minor"),
    )


_TOTAL = pl.col("total_minor")
_PAID = pl.col("state") == "COMPLETED"
_STATUS = status_map("state", draft=("OPEN", "DRAFT"), paid=("COMPLETED",), void=("CANCELED",))


def _settled(
    total: pl.Expr, tax: pl.Expr, tip: pl.Expr
) -> Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]:
    """Gives documents the amount that counts: without the tip, and without gift cards.

    Args:
        total: The whole amount.
        tax: The tax in it.
        tip: The tip in it.
    """

    def finish(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
        cards = lines.group_by("row").agg(pl.col("gift_card_minor").sum().alias("_cards"))
        joined = invoices.with_row_index("row").join(
            cards, on="row", how="left", maintain_order="left"
        )
        left_out = tip.fill_null(0) + pl.col("_cards").abs().fill_null(0)
        joined = joined.with_columns(
            (total - left_out).alias("total_minor"), tax.alias("tax_minor")
        )
        return joined.with_columns(
            (_TOTAL - pl.col("tax_minor").fill_null(0)).alias("subtotal_minor"),
            pl.when(_PAID).then(_TOTAL).alias("amount_paid_minor"),
        ).drop("row", "_cards")

    return finish


def _fields(**fields: Field) -> dict[str, Field]:
    none = pl.lit(None, dtype=pl.Int64)
    return {
        "invoice_number": text("/reference_id", "/id"),
        # Who brings something back, or exchanges it, is who bought it.
        "customer_external_id": text(*_CUSTOMER, *(f"/{_SALE}{path}" for path in _CUSTOMER)),
        "customer_phone": phone(),
        "currency": currency("/total_money/currency", "/net_amounts/total_money/currency"),
        "subtotal_minor": computed(none, required=False),
        "amount_paid_minor": computed(none, required=False),
        "amount_refunded_minor": computed(pl.lit(0), required=False),
        "status": computed(_STATUS, "/state"),
        "issued_at": instant("/created_at", required=True),
        "updated_at": instant("/updated_at", "/created_at", required=True),
        "payment_reference": payment_reference("/tenders/0/payment_id", "/tenders/0/id"),
        # Of a return, the sale that it takes back.
        "order_reference": order_reference(_SOLD_BY, "/reference_id"),
        **fields,
    }


#: An order that only takes back sells nothing. `keep` sees texts.
_SELLS = pl.col("sold_total_minor").str.contains("^[1-9]").fill_null(value=False)
_HELPERS = {
    "sold_total_minor": _minor("/total_money", signed=True),
    "state": text("/state"),
    "has_returns": replace(text("/returns"), pick=lambda returns: "yes" if returns else None),
}


def _stream(name: str, kind: str, first: Any, *, parts: str, **more: Any) -> Stream:
    """One of the two lists; `parts` is a pointer to what it reads of an order."""
    return Stream(
        name,
        kind,
        first,
        partial(by_change, since=_from, follow=_behind),
        records="/orders",
        info={"next": "/cursor"},
        single=("/order",),
        missing_is_empty=True,
        shrinks=True,  # an edited order moves to the end of the list
        walk_ins=True,
        deletions=(name,),  # an order stays for ever, as CANCELED
        by_id=ById(_orders),
        beside=Beside(
            _SALE,
            (_SOLD_BY,),
            _sales,
            records="/orders",
            id="/id",
            unless=_CUSTOMER,
            where=parts,
        ),
        **more,
    )


_ORDERS = _stream(
    "orders",
    "sale",
    _changed_since(),
    parts="/line_items",
    fields=_fields(
        external_id=text("/id", required=True),
        total_minor=_minor("/total_money", required=True),
        tax_minor=_minor("/total_tax_money"),
    ),
    helpers={**_HELPERS, "tip_minor": _minor("/total_tip_money")},
    lines=_lines("/line_items"),
    keep=pl.col("has_returns").is_null() | _SELLS,
    finish=_settled(_TOTAL, pl.col("tax_minor"), pl.col("tip_minor")),
)


def _taken_back(name: str) -> pl.Expr:
    """What an order takes back of an amount.

    Where it does not say, it is what it sells less what it comes to in the end.
    """
    sold = pl.col(f"sold_{name}_minor").fill_null(0)
    return pl.coalesce(f"returned_{name}_minor", sold - pl.col(f"net_{name}_minor")).abs()


#: `total_minor` is the amount itself, but for an exchange that does not say what it takes back.
_EXCHANGES = pl.col("returned_total_minor").is_null() & (pl.col("sold_total_minor") != 0)
_TOTAL_BACK = (
    pl.when(_EXCHANGES.fill_null(value=False) & _TOTAL.is_not_null())
    .then(_taken_back("total"))
    .otherwise(_TOTAL)
)


def _of_one_sale(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Returns with the amount that counts; one of several sales names none of them.

    A return that names its sale lowers no other, so the others are found by what came back.
    """
    sale, second = pl.col("original_external_id"), pl.col("second_sale")
    named = invoices.with_columns(pl.when(second.is_null() | (second == sale)).then(sale))
    return _settled(_TOTAL_BACK, _taken_back("tax"), _taken_back("tip"))(named, lines)


_RETURNS = _stream(
    "returns",
    "refund",
    # An exchange is final only then.
    _changed_since(state_filter={"states": ["COMPLETED"]}),
    parts="/returns",
    fields=_fields(
        external_id=text("/id", required=True, prefix="return/"),
        total_minor=_minor(
            "/return_amounts/total_money", "/net_amounts/total_money", required=True
        ),
        tax_minor=computed(pl.lit(None, dtype=pl.Int64), required=False),
        original_external_id=text(_SOLD_BY),
    ),
    helpers={
        **_HELPERS,
        **{
            f"{where}_{name}_minor": _minor(path.format(name), signed=True)
            for name in ("total", "tax", "tip")
            for where, path in (
                ("returned", "/return_amounts/{}_money"),
                ("net", "/net_amounts/{}_money"),
            )
        },
        "sold_tax_minor": _minor("/total_tax_money", signed=True),
        "sold_tip_minor": _minor("/total_tip_money", signed=True),
        "second_sale": text("/returns/1/source_order_id"),
    },
    lines=_lines("/returns", nested="/return_line_items"),
    keep=pl.col("has_returns").is_not_null(),
    finish=_of_one_sale,
)


def _sign(account: Account, request: httpx.Request, _now: datetime) -> None:
    request.headers["authorization"] = f"Bearer {account.secret('access_token')}"


def _auth(account: Account) -> TokenAuth | RequestAuth:
    """The token of a consent, or the one that Square shows the owner of an application."""
    if account.options.get("login") == "access_token":
        return RequestAuth(_sign)
    return TokenAuth(json_body)


def _locations(body: Any) -> list[GrantedAccount]:
    """The locations of the business; the list is left out where there are none."""
    locations = body.get("locations") or []
    return [GrantedAccount(entry["id"], entry.get("name") or "") for entry in locations]


def _fault(body: Any) -> str | None:
    """The code of the first error, which the status is of as well."""
    return str(body["errors"][0]["code"]) if body.get("errors") else None


SPEC = ConnectorSpec(
    name="square",
    title="Square",
    docs_url="https://developer.squareup.com/reference/square/orders-api",
    base_url="https://connect.squareup.com",
    token_url="https://connect.squareup.com/oauth2/token",
    auth=_auth,
    # Addresses that applications register for real accounts must be https, so the operator pastes
    # the answer.
    consent=Consent(
        "https://connect.squareup.com/oauth2/authorize",
        scopes=("ORDERS_READ", "CUSTOMERS_READ", "ITEMS_READ", "MERCHANT_PROFILE_READ"),
        register_url="https://developer.squareup.com/apps",
        loopback=False,
        accounts=PageRequest("GET", "/v2/locations"),
        read_accounts=_locations,
        json_body=True,
    ),
    headers=lambda _: {"square-version": VERSION, "content-type": "application/json"},
    streams=(_ORDERS, _RETURNS),
    lookups=(
        Lookup(
            "customers",
            _customers,
            "/responses",
            {"external_id": text("/customer/id"), "phone": phone("/customer/phone_number")},
            keyed=True,
            missing_is_empty=True,
        ),
        Lookup(
            "items",
            _items,
            "/objects",
            {
                "external_id": text("/id"),
                "name": text("/item_variation_data/name"),
                "sku": text("/item_variation_data/sku"),
            },
            missing_is_empty=True,
        ),
    ),
    # Limits are not published, and change; this is modest.
    rate=RateLimit(((10, 1.0),), concurrency=4),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={
        "UNAUTHORIZED": CredentialsRejected,
        "ACCESS_TOKEN_EXPIRED": CredentialsRejected,
        "ACCESS_TOKEN_REVOKED": CredentialsRejected,
        "INSUFFICIENT_SCOPES": PermissionMissing,
        "FORBIDDEN": PermissionMissing,
        "RATE_LIMITED": RateLimited,
    },
)
