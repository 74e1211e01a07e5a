"""Shopify, Admin API (GraphQL): orders with their refunds, and deleted orders.

https://shopify.dev/docs/api/admin-graphql

An order is one document from the checkout to the last refund: payments, edits, returns, exchanges
and refunds change it, and with it its time of change. What was given back in money counts as
refunded on the order; what was swapped or taken off without money changes the order itself.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md ("Shopify:
...").
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import httpx
import polars as pl

from connectors.kit.errors import (
    CredentialsRejected,
    Misconfigured,
    PermissionMissing,
    RateLimited,
    Transient,
)
from connectors.kit.http.auth import client_credentials
from connectors.kit.read.pagination import by_last_id
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    Deleted,
    Lines,
    Lookup,
    PageRequest,
    RateLimit,
    Rest,
    Stream,
    TokenAuth,
    Window,
)
from connectors.kit.spec.access import RequestAuth
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    decimal,
    instant,
    money,
    phone,
    status_map,
    text,
)
from connectors.shopify.graphql import (
    EVENTS_MAX,
    ORDER_LINES,
    ORDERS_MAX,
    another_version,
    behind_id,
    customers_by_id,
    fault,
    listed,
    orders_by_id,
    plain_id,
    rest_seconds,
)

#: A scope to write also allows reading. Without that for all orders only 60 days are shown.
_SCOPES: Final = (
    ("read_orders", "write_orders"),
    ("read_all_orders",),
    ("read_customers", "write_customers"),
)
#: The header that takes the token.
_HEADER: Final = "x-shopify-access-token"
_TOTAL, _TAX = pl.col("total_minor"), pl.col("tax_minor")
_NONE: Final = pl.lit(None, dtype=pl.Int64)


def _orders(account: Account, window: Window, _now: datetime) -> PageRequest:
    return listed(account, "orders", SPEC.size(account), "updated_at", window)


def _deletions(account: Account, window: Window, _now: datetime) -> PageRequest | None:
    """The request for deletions; the first read of an account has nothing that could be gone."""
    if window.since is None or not account.options.get("read_deletions", True):
        return None
    terms = ("action:destroy", "subject_type:ORDER")
    return listed(account, "events", EVENTS_MAX, "created_at", window, *terms)


def _deleted(body: Any) -> Deleted:
    """The orders that events say are deleted; other events are passed over, however they came."""
    nodes = body["data"]["events"]["nodes"]
    events = [
        event
        for event in nodes
        if event.get("action") == "destroy" and event.get("subjectType") == "ORDER"
    ]
    return Deleted(
        tuple(str(plain_id(event["subjectId"])) for event in events),
        tuple(event.get("createdAt") for event in events),
        len(nodes),
    )


def _flag(value: Any) -> str | None:
    return "true" if value is True else None


def _upper(value: str) -> str:
    return value.upper()


def _allocated(allocations: Any) -> str:
    """The sum of a line's discounts, in the shop's currency."""
    return str(sum((Decimal(str(entry["amount"])) for entry in allocations), Decimal(0)))


def _shop(name: str, snake: str) -> tuple[str, ...]:
    """Where an amount in the shop's currency stands: in GraphQL, and in the old API."""
    return (f"/{name}Set/shopMoney/amount", f"/{snake}_set/shop_money/amount", f"/{snake}")


_STATES = status_map(
    "state",
    open=("AUTHORIZED", "PENDING", "PARTIALLY_PAID"),
    paid=("PAID", "PARTIALLY_REFUNDED", "REFUNDED"),
    # The money was never taken, and will not be by this payment.
    void=("VOIDED", "EXPIRED"),
)
_STATUS = pl.when(pl.col("cancelled").is_not_null()).then(pl.lit("void")).otherwise(_STATES)
_REFUND_STATES: Final = ("PARTIALLY_REFUNDED", "REFUNDED")


def _finished(orders: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The worth of orders: without tips and gift cards sold, and what of it was given back.

    `total_minor` is what the order came to before money was given back: what is left of it, and
    the money. Goods that were swapped or taken off without money are in neither. `as_sold` says
    that the lines are those that were sold; otherwise they are what is left.
    """
    cards = lines.filter(pl.col("gift").is_not_null())
    unit = pl.col("unit_minor")
    of_cards = cards.group_by("row").agg(
        (unit * pl.col("quantity").cast(pl.Int64)).sum().alias("_cards"),
        (unit * pl.col("current").cast(pl.Int64)).sum().alias("_cards_left"),
    )
    frame = orders.with_row_index("row").join(of_cards, "row", how="left", maintain_order="left")
    sold, left = pl.col("_cards").fill_null(0), pl.col("_cards_left").fill_null(0)
    tip = pl.col("tip_minor").fill_null(0)
    whole = (_TOTAL - sold - tip).clip(lower_bound=0)
    now = (pl.col("current_minor") - left - tip).clip(lower_bound=0)
    money_back = (pl.col("amount_refunded_minor") - (sold - left)).clip(lower_bound=0)
    # Without a word on money, all that is gone from the order counts as given back; where even
    # that is not said, only a state without refunds tells that there were none.
    unsaid = pl.when(pl.col("state").is_in(_REFUND_STATES)).then(_NONE).otherwise(pl.lit(0))
    frame = frame.with_columns(
        whole.alias("_whole"),
        now.alias("_now"),
        pl.coalesce(money_back, (whole - now).clip(lower_bound=0), unsaid).alias("_back"),
    )
    is_void = (pl.col("status") == "void").fill_null(value=False)
    # A total that cannot be read stays unknown, though the other amounts would give one.
    come_to = pl.min_horizontal("_whole", pl.col("_now") + pl.col("_back"))
    as_written = is_void | pl.any_horizontal(pl.col("_whole", "_now", "_back").is_null())
    total = pl.when(as_written).then("_whole").otherwise(come_to)
    frame = frame.with_columns(total.alias("total_minor"))
    back = pl.when(pl.col("_back").is_not_null()).then(pl.min_horizontal("_back", _TOTAL))
    tax = pl.when(pl.col("_whole") == _TOTAL).then(_TAX).otherwise(pl.col("current_tax_minor"))
    frame = frame.with_columns(back.alias("amount_refunded_minor"), tax.alias("tax_minor"))
    return frame.drop("row").with_columns(
        (_TOTAL - _TAX).alias("subtotal_minor"),
        pl.when(pl.col("status") == "paid").then(_TOTAL).alias("amount_paid_minor"),
        (
            is_void
            | ((pl.col("amount_refunded_minor") > 0) & (pl.col("_whole") == _TOTAL)).fill_null(
                value=False
            )
        ).alias("as_sold"),
    )


def _with_current(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines with what is left of them; of those that do not say, everything is."""
    return lines.with_columns(pl.col("current").fill_null(pl.col("quantity")))


def _fitted(lines: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """The lines that an order's total is of, without gift cards.

    They are as sold where money was given back, which counts in proportion, and what is left of
    them where goods were swapped or taken off.
    """
    as_sold = orders["as_sold"].gather(lines["row"])
    units = pl.when(as_sold).then("quantity").otherwise("current")
    share = units.cast(pl.Int64) * pl.col("unit_minor")
    discount = pl.col("discount_minor").fill_null(0) * units.cast(pl.Int64)
    sold = pl.max_horizontal(pl.col("quantity").cast(pl.Int64), pl.lit(1))
    lines = lines.with_columns(
        (share - discount // sold).alias("amount_minor"), units.alias("quantity")
    )
    return lines.filter(pl.col("gift").is_null() & (pl.col("quantity") != 0).fill_null(value=True))


_UNIT_PRICE: Final = (
    "/discountedUnitPriceAfterAllDiscountsSet/shopMoney/amount",
    "/price_set/shop_money/amount",
    "/price",
)
_LINE_FIELDS: Final[Mapping[str, Field]] = {
    "item_external_id": text(),
    "sku": text("/sku"),
    "name": text("/title", "/name"),
    "quantity": decimal("/quantity"),
    "unit_price": decimal(*_UNIT_PRICE),
    "amount_minor": computed(_NONE, required=False),
    "unit_minor": money(*_UNIT_PRICE, exact=False),
    "current": decimal("/currentQuantity", "/current_quantity"),
    # The old API's price is before discounts.
    "discount_minor": money("/discount_allocations", pick=_allocated),
    "gift": replace(text("/isGiftCard", "/gift_card"), pick=_flag),
}


class AppRejected(CredentialsRejected):
    """Shopify refuses the app or its token."""

    advice = (
        "Check Shop, Way to log in, and Client ID and Client secret (or Access token) in the "
        'block "{block}". The app must be installed on this shop and belong to the same '
        "organisation."
    )


def _sign(account: Account, request: httpx.Request, _now: datetime) -> None:
    request.headers[_HEADER] = account.secret("access_token")


def _auth(account: Account) -> TokenAuth | RequestAuth:
    """The app's own credentials, whose tokens live for a day; or a token that does not end."""
    if account.options.get("login") == "access_token":
        return RequestAuth(_sign, refused=AppRejected)
    return TokenAuth(
        client_credentials(),
        seeded=False,
        refused=AppRejected,
        word="",
        header=_HEADER,
        scopes=_SCOPES,
    )


SPEC = ConnectorSpec(
    name="shopify",
    title="Shopify",
    docs_url="https://shopify.dev/docs/api/admin-graphql",
    base_url="https://{account}.myshopify.com",
    token_url="https://{account}.myshopify.com/admin/oauth/access_token",
    auth=_auth,
    headers=lambda _: {"content-type": "application/json"},
    streams=(
        Stream(
            "orders",
            "sale",
            _orders,
            partial(by_last_id, after=behind_id, more="more"),
            records="/data/orders/nodes",
            info={"more": "/data/orders/pageInfo/hasNextPage"},
            single=("/data/order", "/order", "/orders/0"),
            fields={
                "external_id": replace(
                    text("/legacyResourceId", "/id", required=True), pick=plain_id
                ),
                "invoice_number": text("/name"),
                "customer_external_id": replace(
                    text("/customer/legacyResourceId", "/customer/id"), pick=plain_id
                ),
                "customer_phone": phone(
                    "/phone",
                    "/customer/defaultPhoneNumber/phoneNumber",
                    "/customer/phone",
                    "/billingAddress/phone",
                    "/billing_address/phone",
                    "/shippingAddress/phone",
                    "/shipping_address/phone",
                ),
                "currency": currency(
                    "/currencyCode", "/total_price_set/shop_money/currency_code", "/currency"
                ),
                "total_minor": money(*_shop("totalPrice", "total_price"), required=True),
                "subtotal_minor": computed(_NONE, required=False),
                "tax_minor": money(*_shop("totalTax", "total_tax")),
                "amount_paid_minor": computed(_NONE, required=False),
                "amount_refunded_minor": money("/totalRefundedSet/shopMoney/amount", required=True),
                "status": computed(_STATUS, "/displayFinancialStatus", "/financial_status"),
                # The moment of the sale; orders brought in from elsewhere have their own.
                "issued_at": instant(
                    "/processedAt", "/processed_at", "/createdAt", "/created_at", required=True
                ),
                "updated_at": instant("/updatedAt", "/updated_at", required=True),
            },
            helpers={
                "state": replace(text("/displayFinancialStatus", "/financial_status"), pick=_upper),
                "cancelled": text("/cancelledAt", "/cancelled_at"),
                "test": replace(text("/test"), pick=_flag),
                "current_minor": money(*_shop("currentTotalPrice", "current_total_price")),
                "current_tax_minor": money(*_shop("currentTotalTax", "current_total_tax")),
                "tip_minor": money("/totalTipReceivedSet/shopMoney/amount", "/total_tip_received"),
            },
            # Orders of the test gateway are no sales.
            keep=pl.col("test").is_null(),
            walk_ins=True,
            lines=Lines(
                "/lineItems/nodes",
                _LINE_FIELDS,
                also=("/line_items",),
                adjust=_with_current,
                finish=_fitted,
            ),
            rest=(
                Rest(
                    "/lineItems/pageInfo/hasNextPage",
                    "/legacyResourceId",
                    ORDER_LINES,
                    "/lineItems/nodes",
                ),
            ),
            finish=_finished,
            by_id=ById(orders_by_id, records="/data/nodes"),
            deletions=("deleted_orders",),
        ),
        Stream(
            "deleted_orders",
            "sale",
            _deletions,
            partial(by_last_id, after=behind_id, more="more"),
            records="/data/events/nodes",
            info={"more": "/data/events/pageInfo/hasNextPage"},
            row_id=("/id",),
            deleted=_deleted,
        ),
    ),
    lookups=(
        Lookup(
            "customers",
            customers_by_id,
            "/data/nodes",
            {
                "external_id": text("/legacyResourceId"),
                "default": phone("/defaultPhoneNumber/phoneNumber"),
                "address": phone("/defaultAddress/phone"),
            },
        ),
    ),
    # What counts are points of cost, which every answer tells (`rest_seconds`); this only keeps
    # many small queries apart.
    rate=RateLimit(((4, 1.0),), concurrency=2, retry_after_seconds=2),
    page_size=ORDERS_MAX,
    fault=fault,
    errors_beside_records=True,
    rest_seconds=rest_seconds,
    warning=another_version,
    errors={
        "THROTTLED": RateLimited,
        "ACCESS_DENIED": PermissionMissing,
        "SHOP_INACTIVE": PermissionMissing,
        "MAX_COST_EXCEEDED": Misconfigured,
        "INTERNAL_SERVER_ERROR": Transient,
        "TIMEOUT": Transient,
        # The shop is frozen (unpaid), or locked.
        402: PermissionMissing,
        423: PermissionMissing,
        430: RateLimited,
    },
)
