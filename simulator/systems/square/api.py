"""Square's orders, customers, catalogue and locations, and its token endpoint."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.oauth import Denied, form_client, read_form
from simulator.subscriptions import Entry, SubscriptionBook
from simulator.systems.square.render import (
    Order,
    customer_json,
    location_json,
    order_json,
    stamp,
    subscription_json,
    variation_json,
)
from simulator.wire import instant, json_response
from simulator.world import World

TOKEN_PATH: Final = "/oauth2/token"
SUBSCRIPTIONS: Final = "/v2/webhooks/subscriptions"
DEFAULT_LIMIT: Final = 500
MAX_LIMIT: Final = 1000
MAX_LOCATIONS: Final = 10
MAX_IDS: Final = 100
#: A cursor is good for about so long.
CURSOR_LIFE: Final = timedelta(minutes=5)
_TIMES: Final[Mapping[str, Callable[[Order], datetime | None]]] = {
    "UPDATED_AT": lambda order: order.updated_at,
    "CREATED_AT": lambda order: order.created_at,
    "CLOSED_AT": lambda order: order.closed_at,
}
_SEARCH_KEYS: Final = {"location_ids", "query", "limit", "cursor", "return_entries"}
_FILTERS: Final = {"date_time_filter", "state_filter", "customer_filter"}


class Refused(Exception):
    """An answer with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        category: str = "INVALID_REQUEST_ERROR",
        field: str = "",
    ) -> None:
        super().__init__(code)
        error = {"category": category, "code": code, "detail": detail}
        self.status, self.body = status, {"errors": [error | ({"field": field} if field else {})]}


class Square:
    """The API of the simulated business."""

    name = "square"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:  # noqa: ARG002  the protocol's
        """429; whether it says when to come back is not known, so it does not."""
        error = Refused(429, "RATE_LIMITED", "Too many requests.", category="RATE_LIMIT_ERROR")
        return json_response(error.body, error.status)

    def broken(self) -> httpx.Response:
        """500."""
        error = Refused(500, "INTERNAL_SERVER_ERROR", "Something went wrong.", category="API_ERROR")
        return json_response(error.body, error.status)

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        try:
            if self.is_token_path(path):
                return json_response(self._token(request))
            self._authorise(request)
            body = self._routed(request, path)
        except Refused as refused:
            return json_response(refused.body, refused.status)
        version = request.headers.get("square-version", "2026-08-19")
        return json_response(body, headers={"square-version": version})

    def _routed(self, request: httpx.Request, path: str) -> dict[str, Any]:
        route = (request.method, path)
        if path.startswith(SUBSCRIPTIONS):
            return self._subscriptions(request, path.removeprefix(SUBSCRIPTIONS).strip("/"))
        if route == ("GET", "/v2/locations"):
            return self._locations()
        if request.method == "GET":
            return self._single(path)
        served: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "/v2/orders/search": self._search,
            "/v2/orders/batch-retrieve": self._orders_by_id,
            "/v2/customers/bulk-retrieve": self._customers,
            "/v2/catalog/batch-retrieve": self._catalogue,
        }
        if request.method != "POST" or path not in served:
            raise Refused(404, "NOT_FOUND", "API endpoint not found.")
        return served[path](_json(request))

    def _subscriptions(self, request: httpx.Request, key: str) -> dict[str, Any]:
        """Those of the application, for its own token alone."""
        book = self.world.subscriptions[self.name]
        if not book.allowed:
            detail = "This endpoint takes personal access tokens only."
            raise Refused(403, "FORBIDDEN", detail, category="AUTHENTICATION_ERROR")
        if request.method == "GET" and not key:
            hidden = request.url.params.get("include_disabled") != "true"
            entries = [entry for entry in book.all() if entry.enabled or not hidden]
            shown = [subscription_json(entry) for entry in entries]
            return {"subscriptions": shown} if shown else {}
        if request.method == "POST" and not key:
            return {"subscription": subscription_json(_subscribed(book, _json(request)))}
        entry = book.get(key)
        if entry is None:
            raise Refused(404, "NOT_FOUND", "There is no such subscription.")
        if request.method == "DELETE":
            book.remove(key)
            return {}
        if request.method != "PUT":
            raise Refused(404, "NOT_FOUND", "API endpoint not found.")
        changed = _json(request).get("subscription") or {}
        entry.enabled = bool(changed.get("enabled", entry.enabled))
        entry.topics = tuple(changed.get("event_types", entry.topics))
        return {"subscription": subscription_json(entry)}

    def _token(self, request: httpx.Request) -> dict[str, Any]:
        if "json" not in request.headers.get("content-type", ""):
            raise Refused(400, "BAD_REQUEST", "The body must be JSON.")
        form = read_form(request)
        if not form_client(form):
            raise Refused(
                401, "UNAUTHORIZED", "Unknown application.", category="AUTHENTICATION_ERROR"
            )
        try:
            token = dict(self.grants.grant(form))
        except Denied:
            raise Refused(
                401, "UNAUTHORIZED", "The grant is refused.", category="AUTHENTICATION_ERROR"
            ) from None
        del token["expires_in"]  # Square says `expires_at`
        ends_at = self.world.now() + timedelta(seconds=self.grants.access_seconds)
        return token | {"expires_at": stamp(ends_at)}

    def _authorise(self, request: httpx.Request) -> None:
        state = self.grants.check(request)
        if state == "valid":
            return
        code = "ACCESS_TOKEN_EXPIRED" if state == "expired" else "UNAUTHORIZED"
        raise Refused(
            401,
            code,
            "This request could not be authorized.",
            category="AUTHENTICATION_ERROR",
        )

    def _locations(self) -> dict[str, Any]:
        accounts = self.world.accounts[self.name]
        return {
            "locations": [
                location_json(location, number, self.world.anchor)
                for number, location in enumerate(accounts)
            ]
        }

    def orders(self) -> list[Order]:
        """Every order, in the order of the books."""
        returned = {document.record_key: document for document in self.books.all("RefundReceipt")}
        sales = {document.id: document for document in self.books.all("Invoice", "SalesReceipt")}
        orders = [Order(sale, returned.get(key)) for key, sale in sales.items()]
        return orders + [
            Order(None, document) for key, document in returned.items() if key not in sales
        ]

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        if unknown := set(body) - _SEARCH_KEYS:
            raise Refused(400, "BAD_REQUEST", "An unknown field.", field=min(unknown))
        self._check_locations(body.get("location_ids"))
        limit = body.get("limit", DEFAULT_LIMIT)
        if not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise Refused(400, "INVALID_VALUE", f"At most {MAX_LIMIT}.", field="limit")
        begun_at, start = self._continued(body)
        rows = self._asked(body.get("query") or {}, begun_at)
        shown = rows[start : start + limit]
        # What is empty is left out.
        answer: dict[str, Any] = {}
        if body.get("return_entries"):
            entries = [
                {"order_id": order.id, "version": order.version, "location_id": self.books.account}
                for order in shown
            ]
            answer |= {"order_entries": entries} if entries else {}
        elif shown:
            answer["orders"] = [order_json(order) for order in shown]
        if len(rows) > start + limit:
            answer["cursor"] = _cursor(body, begun_at, self.world.now(), start + limit)
        return answer

    def _check_locations(self, location_ids: Any) -> None:
        if not isinstance(location_ids, list) or not location_ids:
            raise Refused(
                400, "MISSING_REQUIRED_PARAMETER", "Missing location_ids.", field="location_ids"
            )
        if len(location_ids) > MAX_LOCATIONS:
            raise Refused(400, "ARRAY_LENGTH_TOO_LONG", "At most 10.", field="location_ids")
        if not set(location_ids) <= set(self.world.accounts[self.name]):
            raise Refused(
                403,
                "FORBIDDEN",
                "The merchant has no such location.",
                category="AUTHENTICATION_ERROR",
                field="location_ids",
            )

    def _continued(self, body: dict[str, Any]) -> tuple[datetime, int]:
        """When the first request was made, and how many orders were given since.

        A cursor counts orders: how Square's remember their place is not known, and this is the kind
        that loses most when orders are edited between two pages.
        """
        if "cursor" not in body:
            return self.world.now(), 0
        try:
            begun, made, start, digest = json.loads(urlsafe_b64decode(body["cursor"]))
            fresh = self.world.now() - instant(made) <= CURSOR_LIFE
        except (ValueError, TypeError):
            raise Refused(400, "INVALID_CURSOR", "It is none.", field="cursor") from None
        if not fresh or digest != _digest(body):
            raise Refused(400, "INVALID_CURSOR", "It is not of this query.", field="cursor")
        return instant(begun), start

    def _asked(self, query: dict[str, Any], begun_at: datetime) -> list[Order]:
        filters, sort = query.get("filter") or {}, query.get("sort") or {}
        if unknown := set(filters) - _FILTERS:
            raise Refused(400, "BAD_REQUEST", "Not served.", field=min(unknown))
        field = sort.get("sort_field", "CREATED_AT")
        if field not in _TIMES:
            raise Refused(
                400, "INVALID_ENUM_VALUE", "Unknown field.", field="query.sort.sort_field"
            )
        rows = _between(self.orders(), filters.get("date_time_filter") or {}, field, begun_at)
        if states := (filters.get("state_filter") or {}).get("states"):
            rows = [order for order in rows if order.state in states]
        if customers := (filters.get("customer_filter") or {}).get("customer_ids"):
            rows = [order for order in rows if order.customer.id in customers]
        at = _TIMES[field]
        rows.sort(key=lambda order: (at(order) or order.updated_at, order.id))
        return rows if sort.get("sort_order") == "ASC" else rows[::-1]

    def _single(self, path: str) -> dict[str, Any]:
        resource, _, key = path.removeprefix("/v2/").partition("/")
        if resource == "orders":
            orders = [order for order in self.orders() if order.id == key]
            if orders:
                return {"order": order_json(orders[0])}
        if resource == "customers" and key in self.books.customers:
            return {"customer": customer_json(self.books.customers[key])}
        raise Refused(404, "NOT_FOUND", "It was not found.")

    def _orders_by_id(self, body: dict[str, Any]) -> dict[str, Any]:
        """Unknown ids are skipped, and those of another location."""
        ids = _ids(body, "order_ids")
        if body.get("location_id") not in (None, *self.world.accounts[self.name]):
            return {}
        orders = [order_json(order) for order in self.orders() if order.id in ids]
        return {"orders": orders} if orders else {}

    def _customers(self, body: dict[str, Any]) -> dict[str, Any]:
        """By id; an unknown id has an error in its place."""
        responses: dict[str, Any] = {}
        for key in _ids(body, "customer_ids"):
            customer = self.books.customers.get(key)
            missing = Refused(404, "NOT_FOUND", f"Customer with ID `{key}` not found.").body
            responses[key] = {"customer": customer_json(customer)} if customer else missing
        return {"responses": responses}

    def _catalogue(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = _ids(body, "object_ids")
        objects = [
            variation_json(product) for key, product in self.books.products.items() if key in ids
        ]
        return {"objects": objects} if objects else {}


def _subscribed(book: SubscriptionBook, body: dict[str, Any]) -> Entry:
    """A new subscription; the same idempotency key gives the same one."""
    key, wanted = body.get("idempotency_key"), body.get("subscription") or {}
    same = [entry for entry in book.all() if key and entry.facts["idempotency_key"] == key]
    if same:
        return same[0]
    url, topics = wanted.get("notification_url"), wanted.get("event_types")
    if not str(url).startswith("https://"):
        raise Refused(400, "INVALID_VALUE", "It is no https URL.", field="notification_url")
    if not isinstance(topics, list) or not topics:
        raise Refused(400, "MISSING_REQUIRED_PARAMETER", "None are named.", field="event_types")
    digest = book.next_digest()
    return book.add(
        str(url), tuple(topics), secret=digest[32:54], key=f"wbhk_{digest[:32]}",
        name=wanted.get("name", ""), idempotency_key=key,
        api_version=wanted.get("api_version", "2026-08-19"),
    )  # fmt: skip


def _json(request: httpx.Request) -> dict[str, Any]:
    if "json" not in request.headers.get("content-type", ""):
        raise Refused(400, "BAD_REQUEST", "The body must be JSON, and say so.")
    try:
        body = json.loads(request.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "BAD_REQUEST", "The body is no JSON object.")
    return body


def _ids(body: dict[str, Any], name: str) -> list[str]:
    ids = body.get(name)
    if not isinstance(ids, list) or not ids:
        raise Refused(400, "MISSING_REQUIRED_PARAMETER", f"Missing {name}.", field=name)
    if len(ids) > MAX_IDS:
        raise Refused(400, "ARRAY_LENGTH_TOO_LONG", f"At most {MAX_IDS}.", field=name)
    return ids


def _between(
    rows: list[Order], filters: dict[str, Any], field: str, begun_at: datetime
) -> list[Order]:
    """The orders within a time, both ends inclusive; it must be the time that they are sorted by."""
    if not filters:
        return rows
    if list(filters) != [field.lower()]:
        raise Refused(
            400,
            "BAD_REQUEST",
            "The sort field must be the time that is filtered by.",
            field="query.sort.sort_field",
        )
    try:
        asked = filters[field.lower()]
        first = instant(asked["start_at"]) if "start_at" in asked else None
        last = instant(asked["end_at"]) if "end_at" in asked else begun_at
    except (TypeError, ValueError):
        raise Refused(400, "INVALID_TIME", "It is no time.") from None
    if first and first > last:
        raise Refused(400, "INVALID_TIME_RANGE", "It ends before it begins.")
    at = _TIMES[field]
    return [
        order
        for order in rows
        if (moment := at(order)) and (first is None or first <= moment) and moment <= last
    ]


def _digest(body: dict[str, Any]) -> str:
    query = {name: value for name, value in body.items() if name != "cursor"}
    return sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()[:16]


def _cursor(body: dict[str, Any], begun_at: datetime, now: datetime, start: int) -> str:
    held = [begun_at.isoformat(), now.isoformat(), start, _digest(body)]
    return urlsafe_b64encode(json.dumps(held).encode()).decode()


#: What the registry finds.
API: Final = Square
