"""WooCommerce, REST API v3: the orders of a shop, with what was refunded of them.

https://woocommerce.github.io/woocommerce-rest-api-docs/

An order holds all that points need: its lines, its refunds, and the phone in its billing address.
What tells of later changes is the order's own time of change. That time need not move when a part
is refunded, so the shop's list of refunds is read as well, and leads to the orders. Deleted orders
are in the bin (status `trash`) or gone; for the latter, all ids are listed every few hours.

Where the vendor's documents leave a question open, our answer is in docs/decisions.md
("WooCommerce: ...").
"""

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final
from urllib.parse import quote

import httpx
import phonenumbers
import polars as pl

from connectors.kit.errors import CredentialsRejected, UnexpectedShape
from connectors.kit.http.auth import sign_basic
from connectors.kit.http.signing import oauth1_hmac_sha256
from connectors.kit.mapping.parse import dialled
from connectors.kit.read.pagination import by_page
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
    Window,
    batches,
    is_due,
    utc_seconds,
)
from connectors.kit.spec.fields import (
    Field,
    computed,
    currency,
    decimal,
    instant,
    money,
    payment_reference,
    status_map,
    text,
)

_PAGE_SIZE: Final = 100
_API: Final = "/wp-json/wc/v3"
#: Decimals of amounts. Without this parameter a shop may round to two, and some currencies have
#: more.
_DECIMALS: Final = "4"
#: How often orders are looked for that were deleted for good, unless the block says otherwise.
_CENSUS_HOURS: Final = 6
#: Ways to pay with money that was paid to the shop before: a wallet that was topped up.
STORE_CREDIT: Final = ("wallet",)
#: The mode of a payment that was none.
_TEST: Final = "test"
#: What a shop says of a list that came with a later version.
_NO_ROUTE: Final = "rest_no_route"


class KeyRejected(CredentialsRejected):
    """The shop refuses the key, or does not see it."""

    advice = (
        'Check consumer key and secret in the block "{block}": the key must be there in the shop '
        "(WooCommerce, Settings, Advanced, REST API), with the permission Read, and its user must "
        'see orders. If they are right, the server hides them from WordPress: choose "query" for '
        '"Key is sent in".'
    )


class NoSuchRoute(UnexpectedShape):
    """The server answers, and knows no WooCommerce at this address."""

    by_settings = True
    advice = (
        'Check the shop address in the block "{block}". The shop needs WooCommerce 3.5 or later, '
        "and permalinks other than Plain (Settings, Permalinks)."
    )


def _sign(account: Account, request: httpx.Request, now: datetime) -> None:
    """Proves the key as WooCommerce wants it.

    Over an encrypted connection it is HTTP Basic, or in the query where the server hides the header
    from WordPress. Without encryption the secret itself must not travel: the request is signed.
    """
    key, secret = account.secret("consumer_key"), account.secret("consumer_secret")
    if request.url.scheme == "http":
        oauth1_hmac_sha256(request, consumer=(key, secret), now=now, in_query=True)
    elif account.options.get("key_in") == "query":
        # Put in here and not into the page's request, which is stored.
        request.url = request.url.copy_merge_params(
            {"consumer_key": key, "consumer_secret": secret}
        )
    else:
        sign_basic(request, key, secret)


def _listed(resource: str, account: Account, **params: str) -> PageRequest:
    """The first page of a list in the order of its ids.

    Times are compared in UTC only where that is asked for, else on the shop's clock.
    """
    asked = {
        "page": "1",
        "per_page": str(SPEC.size(account)),
        "orderby": "id",
        "order": "asc",
        "dates_are_gmt": "true",
        **params,
    }
    return PageRequest("GET", f"{_API}/{resource}", asked)


def _after(since: datetime) -> str:
    """A lower bound a second early: whether the shop leaves out the bound itself is not clear."""
    return utc_seconds(since, timedelta(seconds=-1))


def _orders(**params: str) -> Callable[[Account, Window, datetime], PageRequest]:
    def first(account: Account, window: Window, _now: datetime) -> PageRequest:
        since = {"modified_after": _after(window.since)} if window.since else {}
        return _listed("orders", account, dp=_DECIMALS, **params, **since)

    return first


def _refunds(account: Account, window: Window, _now: datetime) -> PageRequest | None:
    """The request for refunds that were made since; none for all orders, which hold theirs."""
    if window.since is None:
        return None
    return _listed(
        "refunds", account, per_page=str(_PAGE_SIZE), after=_after(window.since), dp=_DECIMALS
    )


def _all_ids(account: Account, window: Window, now: datetime) -> PageRequest | None:
    """The request for the ids of all orders that exist, a few times a day."""
    every_hours = int(account.options.get("deletions_hours", _CENSUS_HOURS))
    if not is_due(window.since, now, every_hours):
        return None
    return _listed("orders", account, per_page=str(_PAGE_SIZE), status="any", _fields="id")


def _ids_of(body: Any) -> Deleted:
    ids = tuple(str(order["id"]) for order in body)
    return Deleted(ids, (None,) * len(ids), len(ids))


def _one_by_one(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Orders asked for one by one: only so does the shop show those in the bin as well."""
    for vendor_id in ids:
        yield PageRequest("GET", f"{_API}/orders/{quote(vendor_id, safe='')}", {"dp": _DECIMALS})


def _customers(_account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Customers by their ids; without `role` the shop leaves out its own staff who bought."""
    for batch in batches(ids, _PAGE_SIZE):
        params = {"include": ",".join(batch), "per_page": str(_PAGE_SIZE), "role": "all"}
        yield PageRequest("GET", f"{_API}/customers", params)


def _customer(_account: Account, external_id: str) -> PageRequest:
    return PageRequest("GET", f"{_API}/customers/{quote(external_id, safe='')}")


def _id(value: Any) -> str | None:
    """An id; WooCommerce writes 0 for "none"."""
    number = _scalar(value)
    return number if number != "0" else None


def _scalar(value: Any) -> str:
    """A text or a number, as a text.

    Raises:
        TypeError: If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("it is neither text nor a number")
    return str(value)


def _word(status: Any) -> str:
    """A status as the API writes it; WordPress itself puts `wc-` before it."""
    return re.sub(r"^wc-", "", str(status).strip())


def _plain(value: Any) -> str | None:
    """A name without the codes of HTML in it."""
    return html.unescape(_scalar(value))


def _billing_phone(billing: Any) -> str | None:
    """The phone of an address, read in the country of that address.

    A number that does not exist there is not read as one of another country: it would be somebody
    else's. Without a country it is read in the account's.
    """
    number = str(billing.get("phone") or "").strip()
    country = str(billing.get("country") or "").strip().upper()
    code = phonenumbers.country_code_for_region(country) if country else 0
    if not number or not code:
        return number or None
    return dialled(number, country) or (number if number.startswith("+") else f"+{code} {number}")


def _test_mode(entries: Any) -> str | None:
    """The mark of an order that was paid in the test mode of WooPayments.

    Anything may stand among these entries.
    """
    marks = [entry for entry in entries if isinstance(entry, dict)]
    is_test = any(mark.get("key") == "_wcpay_mode" and mark.get("value") == _TEST for mark in marks)
    return _TEST if is_test else None


def _status(sale_statuses: Sequence[str], store_credit: Sequence[str]) -> pl.Expr:
    """Our status of an order.

    An order is a sale once the shop works on it. It is paid when it is completed, or when the shop
    has noted the payment; cash on delivery may come later.
    """
    state, is_paid = pl.col("state"), pl.col("paid_at").is_not_null()
    ours = status_map(
        "state",
        draft=("pending", "on-hold", "failed"),
        paid=("completed", "refunded"),
        void=("cancelled", "trash"),
    )
    return (
        pl.when(state.is_not_null() & pl.col("method").is_in(store_credit).fill_null(value=False))
        .then(pl.lit("void"))
        .when(state.is_in(["processing", *sale_statuses]))
        .then(pl.when(is_paid).then(pl.lit("paid")).otherwise(pl.lit("open")))
        .otherwise(ours)
    )


def _fields(status: pl.Expr) -> dict[str, Field]:
    total, given_back = pl.col("total_minor"), pl.col("refunds_minor").abs().fill_null(0)
    refunded = pl.when(pl.col("state") == "refunded").then(total).otherwise(given_back)
    return {
        "external_id": text("/id", required=True),
        "invoice_number": text("/number", "/id"),
        "customer_external_id": Field("text", ("/customer_id",), pick=_id),
        "customer_phone": Field("phone", ("/billing",), pick=_billing_phone),
        "currency": currency("/currency"),
        "total_minor": money("/total", required=True, exact=False),
        "tax_minor": money("/total_tax", exact=False),
        "subtotal_minor": computed(total - pl.col("tax_minor"), required=False),
        "amount_paid_minor": computed(
            pl.when(status == "paid").then(total).otherwise(0), required=False
        ),
        "amount_refunded_minor": computed(refunded, required=False),
        "status": computed(status, "/status"),
        "issued_at": instant("/date_created_gmt", required=True, zone="UTC"),
        "updated_at": instant("/date_modified_gmt", "/date_created_gmt", required=True, zone="UTC"),
        # What the payment service calls it: a charge of Stripe, a transaction of PayPal.
        "payment_reference": payment_reference("/transaction_id"),
    }


_HELPERS: Final[Mapping[str, Field]] = {
    "state": Field("text", ("/status",), pick=_word),
    "paid_at": text("/date_paid_gmt"),
    "method": text("/payment_method"),
    "parent": Field("text", ("/parent_id",), pick=_id),
    "test": Field("text", ("/meta_data",), pick=_test_mode),
    "refunds_minor": money("/refunds/*/total", exact=False, signed=True),
}
_LINES: Final = Lines(
    "/line_items",
    {
        "item_external_id": Field("text", ("/variation_id", "/product_id"), pick=_id),
        "sku": text("/sku"),
        "name": Field("text", ("/name",), pick=_plain),
        "quantity": decimal("/quantity"),
        "unit_price": decimal("/price"),
        "amount_minor": money("/total", exact=False),
    },
)
#: Left out: orders paid in a test mode, carts that are no orders yet, and the parts into which
#: marketplace plugins divide an order that is in the list as a whole.
_KEPT: Final = (
    (pl.col("test").fill_null("") != _TEST)
    & pl.col("parent").is_null()
    & ~pl.col("state").is_in(["checkout-draft", "auto-draft"]).fill_null(value=False)
)
_PAGES: Final = partial(by_page, size_param="per_page", vendor_size=_PAGE_SIZE, link=True)


def _stream(
    name: str,
    status: pl.Expr,
    first: Callable[[Account, Window, datetime], PageRequest | None],
    **more: Any,
) -> Stream:
    values = {
        "shrinks": True,
        "walk_ins": True,
        "keep": _KEPT,
        "fields": _fields(status),
        "helpers": _HELPERS,
        "lines": _LINES,
        "by_id": ById(_one_by_one, single=("",)),
        "deletions": ("deleted_orders", "order_census"),
        **more,
    }
    return Stream(name, "sale", first, _PAGES, records="", **values)


def _streams(status: pl.Expr) -> tuple[Stream, ...]:
    return (
        _stream("orders", status, _orders()),
        _stream("deleted_orders", status, _orders(status="trash")),
        # Its records are refunds; the order that each belongs to takes its place. A refund whose
        # order is gone has no status.
        _stream(
            "refunds",
            status,
            _refunds,
            row_id=("/parent_id",),
            by_id=ById(_one_by_one, single=("",), named=("/parent_id",)),
            incomplete=True,
            windowed=False,
            keep=_KEPT & pl.col("state").is_not_null(),
            absent=(_NO_ROUTE,),
        ),
        Stream(
            "order_census",
            "sale",
            _all_ids,
            partial(_PAGES, short_is_last=False),
            records="",
            row_id=("/id",),
            deleted=_ids_of,
            census=True,
        ),
    )


def _fault(body: Any) -> str | None:
    """The error code; only WordPress's own form has one: `code`, `message` and `data`."""
    return str(body["code"]) if "message" in body else None


@lru_cache(maxsize=64)
def _spec(sale_statuses: tuple[str, ...], store_credit: tuple[str, ...]) -> ConnectorSpec:
    return ConnectorSpec(
        name="woocommerce",
        title="WooCommerce",
        docs_url="https://woocommerce.github.io/woocommerce-rest-api-docs/",
        # Every shop is at an address of its own: the block has it.
        base_url="",
        token_url="",
        auth=lambda _: RequestAuth(_sign, refused=KeyRejected),
        streams=_streams(_status(sale_statuses, store_credit)),
        lookups=(
            Lookup(
                "customers",
                _customers,
                "",
                {
                    "external_id": text("/id"),
                    "phone": Field("phone", ("/billing",), pick=_billing_phone),
                },
                fallback=_customer,
                fallback_record="",
            ),
        ),
        # WooCommerce publishes no limit; the shop's own server must serve its buyers as well.
        rate=RateLimit(((120, 60.0),), concurrency=2, retry_after_seconds=30),
        page_size=_PAGE_SIZE,
        fault=_fault,
        errors={_NO_ROUTE: NoSuchRoute},
    )


SPEC: Final = _spec((), STORE_CREDIT)


def spec_from(account: Account) -> ConnectorSpec:
    """The description with the shop's own statuses and ways to pay."""
    names = (account.options.get(key, usual) for key, usual in _WORDS.items())
    return _spec(*(tuple(map(_word, listed)) for listed in names))


#: Options with words of the shop, and their usual values, in the order of `_spec`.
_WORDS: Final[Mapping[str, Sequence[str]]] = {
    "sale_statuses": (),
    "store_credit": STORE_CREDIT,
}
