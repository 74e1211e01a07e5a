"""Shopify's Admin API as requests: queries of GraphQL, and how much one may cost.

A query costs points before it is answered: one for each object that it could give, so the number
of records multiplies the number of lines. A query of more than 1000 points is refused; that is why
pages are small, and why long orders are asked for page by page.

https://shopify.dev/docs/api/usage/limits
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connectors.kit.errors import UnexpectedShape
from connectors.kit.spec import (
    Account,
    Lookup,
    PageRequest,
    Pages,
    Window,
    batches,
    utc_seconds,
)
from connectors.kit.spec.fields import text

#: The version of the API that the queries are written for, unless the block names another.
VERSION: Final = "2026-10"
#: Orders on a page, and lines that come with each; both together stay below the limit of a query.
ORDERS_MAX: Final = 25
_LINES: Final = 6
#: Lines on a further page of one order.
_MORE_LINES: Final = 250
#: Customers and events in one answer.
_CUSTOMERS: Final = 100
EVENTS_MAX: Final = 250

_LINE: Final = """id sku title quantity currentQuantity isGiftCard
discountedUnitPriceAfterAllDiscountsSet { shopMoney { amount } }"""
_PAGE: Final = "pageInfo { hasNextPage endCursor }"
#: What is asked for of an order. Amounts are those of the shop's currency, not of the buyer's.
_ORDER: Final = f"""legacyResourceId name test processedAt updatedAt cancelledAt
displayFinancialStatus currencyCode phone
customer {{ legacyResourceId defaultPhoneNumber {{ phoneNumber }} }}
billingAddress {{ phone }}
shippingAddress {{ phone }}
totalPriceSet {{ shopMoney {{ amount }} }}
currentTotalPriceSet {{ shopMoney {{ amount }} }}
totalRefundedSet {{ shopMoney {{ amount }} }}
totalTaxSet {{ shopMoney {{ amount }} }}
currentTotalTaxSet {{ shopMoney {{ amount }} }}
totalTipReceivedSet {{ shopMoney {{ amount }} }}
lineItems(first: {_LINES}) {{ nodes {{ {_LINE} }} {_PAGE} }}"""

#: Every query that is sent, by its name.
QUERIES: Final[Mapping[str, str]] = {
    "orders": (
        "query($first: Int!, $search: String!) { orders(first: $first, sortKey: ID, "
        f"query: $search) {{ nodes {{ {_ORDER} }} pageInfo {{ hasNextPage }} }} }}"
    ),
    "orders by id": (
        f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on Order {{ {_ORDER} }} }} }}"
    ),
    "lines": (
        "query($id: ID!, $first: Int!, $after: String) { order(id: $id) { "
        f"lineItems(first: $first, after: $after) {{ nodes {{ {_LINE} }} {_PAGE} }} }} }}"
    ),
    "customers": (
        "query($ids: [ID!]!) { nodes(ids: $ids) { ... on Customer { legacyResourceId "
        "defaultPhoneNumber { phoneNumber } defaultAddress { phone } } } }"
    ),
    "events": (
        "query($first: Int!, $search: String!) { events(first: $first, sortKey: ID, "
        "query: $search) { nodes { id action createdAt ... on BasicEvent { subjectId subjectType "
        "} } pageInfo { hasNextPage } } }"
    ),
}

_FROM_ID: Final = re.compile(r"\bid:>=\d+")


def asked(account: Account, name: str, **variables: Any) -> PageRequest:
    """The request for one of `QUERIES`."""
    version = version_of(account)
    body = {"query": QUERIES[name], "variables": variables}
    return PageRequest("POST", f"/admin/api/{version}/graphql.json", body=json.dumps(body))


def version_of(account: Account) -> str:
    """The version of the API that is asked for."""
    return str(account.options.get("api_version") or VERSION)


def another_version(account: Account, headers: Mapping[str, str]) -> str | None:
    """Says so where another version answers than was asked for: that one has ended."""
    served, wanted = headers.get("x-shopify-api-version", ""), version_of(account)
    if served in ("", wanted) or not re.fullmatch(r"[\w-]{1,20}", served):
        return None
    return (
        f"version {wanted} of the API has ended, {served} answers in its place: update this "
        "program, or set API version in the block"
    )


def listed(
    account: Account, name: str, size: int, column: str, window: Window, *terms: str
) -> PageRequest:
    """The first page of a list in the order of its ids.

    Later pages ask for higher ids instead of a cursor. A cursor ends after 25 000 records; and
    whatever is edited or deleted meanwhile, no record can slip past an id.

    Args:
        account: The account.
        name: Which of `QUERIES`.
        size: Records on a page.
        column: The time that the window is about.
        window: Without a lower bound all records are asked for.
        terms: Further conditions.
    """
    search = ["id:>=1", *terms]
    if window.since is not None:
        search.append(f"{column}:>='{utc_seconds(window.since)}Z'")
    return asked(account, name, first=size, search=" ".join(search))


def behind_id(request: PageRequest, last_id: str) -> PageRequest:
    """The request of a list, moved behind an id, which may be a `gid://shopify/Event/1`.

    Raises:
        UnexpectedShape: If that is no id.
    """
    number = plain_id(last_id) or ""
    if not number.isdigit():
        detail = "the last record of a page has no numeric id"
        raise UnexpectedShape("shopify", "graphql", detail)
    body = json.loads(request.body or "{}")
    variables = body["variables"]
    variables["search"] = _FROM_ID.sub(f"id:>={int(number) + 1}", variables["search"])
    return replace(request, body=json.dumps(body))


def orders_by_id(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Orders by their numeric ids; the index of searches is not asked, for it lags behind."""
    for batch in batches(ids, ORDERS_MAX):
        yield asked(account, "orders by id", ids=[global_id("Order", number) for number in batch])


def customers_by_id(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    """Customers by their numeric ids."""
    for batch in batches([number for number in ids if number.isdigit()], _CUSTOMERS):
        yield asked(account, "customers", ids=[global_id("Customer", number) for number in batch])


def lines_of_orders(account: Account, orders: Sequence[str]) -> Iterable[PageRequest]:
    """The first page of an order's lines, for orders that have more of them than a list shows."""
    for order in orders:
        yield asked(account, "lines", id=global_id("Order", order), first=_MORE_LINES)


def _by_line_cursor(first: PageRequest) -> Pages:
    """Page after page of an order's lines, by the cursor behind each.

    Raises:
        UnexpectedShape: A page says that there are more, and not how they are asked for.
    """
    request = first
    while True:
        view = yield request
        if view.info.get("more") is not True:
            return
        cursor = view.info.get("next")
        if not cursor:
            detail = "an order has more lines, and its page has no endCursor"
            raise UnexpectedShape("shopify", "lines", detail)
        body = json.loads(request.body or "{}")
        body["variables"]["after"] = cursor
        request = replace(request, body=json.dumps(body), page_no=request.page_no + 1)


#: All lines of one order.
ORDER_LINES: Final = Lookup(
    "lines",
    lines_of_orders,
    "/data/order/lineItems/nodes",
    {"external_id": text("/id")},
    paginate=_by_line_cursor,
    info={
        "more": "/data/order/lineItems/pageInfo/hasNextPage",
        "next": "/data/order/lineItems/pageInfo/endCursor",
    },
)


def global_id(kind: str, number: str) -> str:
    """The id as GraphQL writes it."""
    return f"gid://shopify/{kind}/{number}"


def plain_id(value: Any) -> str | None:
    """The number in an id of either API; None where there is none.

    Raises:
        TypeError: If it is no id at all.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("an id is a text or a number")
    number = str(value).rpartition("/")[2].partition("?")[0]
    return number or None


def fault(body: Any) -> str | None:
    """The code of the first error, also where data came with it.

    GraphQL lists errors; a refusal before GraphQL is a text, or an object of texts.
    """
    errors = body.get("errors")
    if not errors:
        code = body.get("error")  # the token endpoint
        return str(code) if code else None
    if not isinstance(errors, list):
        return "refused"
    codes = [(error.get("extensions") or {}).get("code") for error in errors]
    return str(next(filter(None, codes), "unknown"))


def rest_seconds(body: Any) -> float | None:
    """How long to wait until the next query of this cost can be paid.

    Every answer says what is left of the points and how many come back in a second; both depend
    on the shop's plan.
    """
    cost = body["extensions"]["cost"]
    status = cost["throttleStatus"]
    lacking = float(cost["requestedQueryCost"]) - float(status["currentlyAvailable"])
    return max(0.0, lacking / float(status["restoreRate"])) if lacking > 0 else 0.0
