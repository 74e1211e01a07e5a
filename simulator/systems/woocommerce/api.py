"""A WooCommerce shop's REST API v3: orders, refunds and customers, for a key that may read."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import httpx

from simulator.limits import Throttled
from simulator.model import LUANDA, Customer, Document
from simulator.subscriptions import SubscriptionBook
from simulator.systems.woocommerce import render
from simulator.systems.woocommerce.auth import NOBODY, Keys
from simulator.wire import cached, join, json_response, raw_response
from simulator.world import World

ROOT: Final = "/wp-json/wc/v3"
DEFAULT_PAGE: Final = 10
MAX_PAGE: Final = 100
_ORDERS_BY: Final = ("date", "id", "include", "title", "slug", "modified")
_STATUSES: Final = (
    *("any", "trash", "pending", "processing", "on-hold", "completed", "cancelled", "refunded"),
    *("failed", "checkout-draft"),
)
_REALM: Final = (
    'Basic realm="WooCommerce API. Use a consumer key in the username field and a consumer secret '
    'in the password field."'
)


Row = TypeVar("Row", Document, Customer)


class Invalid(Exception):
    """A parameter that is not as it must be."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class WooCommerce:
    """The API of the simulated shop."""

    name = "woocommerce"

    def __init__(self, world: World) -> None:
        self.world, self.books = world, world.books[self.name]
        self.keys = Keys()
        #: Before version 9.0 there was no list of all refunds.
        self.has_refunds = True

    def is_token_path(self, path: str) -> bool:  # noqa: ARG002  the protocol's
        """See `wire.Vendor`: there are no tokens."""
        return False

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429 of the host, a page of HTML."""
        headers = {"retry-after": str(limit.retry_after_seconds), "content-type": "text/html"}
        return httpx.Response(429, content=b"<html>Too Many Requests</html>", headers=headers)

    def broken(self) -> httpx.Response:
        """500, as WordPress answers after a fatal error."""
        return _error(500, "internal_server_error", "There has been a critical error.")

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        refusal = self.keys.refusal(request, self.world.now())
        if refusal == NOBODY:
            return _error(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")
        if refusal is not None:
            return _refused(request, refusal)
        parts = path.removeprefix(ROOT).strip("/").split("/")
        book, writes = self.world.subscriptions[self.name], request.method not in ("GET", "HEAD")
        if writes and not (parts[0] == "webhooks" and book.allowed):
            return _refused(request, "The API key provided does not have write permissions.")
        try:
            if parts[0] == "webhooks":
                return self._webhooks(request, book, "".join(parts[1:]))
            return self._routed(request, parts)
        except Invalid as invalid:
            return _error(
                400,
                "rest_invalid_param",
                f"Invalid parameter(s): {invalid.name}",
                params={invalid.name: "Invalid parameter."},
            )

    def _webhooks(self, request: httpx.Request, book: SubscriptionBook, key: str) -> httpx.Response:
        if request.method == "GET" and not key:
            page = _number(request.url.params, "page", 1)
            size = _number(request.url.params, "per_page", DEFAULT_PAGE)
            rows = book.all()[::-1][(page - 1) * size : page * size]
            return json_response([render.webhook_json(entry) for entry in rows])
        if request.method == "POST" and not key:
            return self._new_webhook(book, _json(request))
        entry = book.get(key)
        if entry is None:
            message = "Invalid ID."
            return _error(404, "woocommerce_rest_shop_webhook_invalid_id", message)
        if request.method == "DELETE":
            if request.url.params.get("force") != "true":
                message = "Webhooks do not support trashing."
                return _error(501, "woocommerce_rest_trash_not_supported", message)
            book.remove(key)
        elif request.method == "PUT":
            fields = _json(request)
            entry.facts["status"] = fields.get("status", entry.facts["status"])
            entry.enabled = entry.facts["status"] == "active"
            entry.secret = fields.get("secret", entry.secret)
            entry.url = fields.get("delivery_url", entry.url)
        return json_response(render.webhook_json(entry))

    def _new_webhook(self, book: SubscriptionBook, fields: dict[str, Any]) -> httpx.Response:
        """The address must answer a ping: an unsigned form with the number of the webhook."""
        url, topic = str(fields.get("delivery_url", "")), str(fields.get("topic", ""))
        if not url.startswith(("http://", "https://")):
            raise Invalid("delivery_url")
        if topic.partition(".")[0] not in ("order", "customer", "product", "coupon"):
            raise Invalid("topic")
        number = 142 + int(book.next_digest()[:6], 16)
        ping = urlencode({"webhook_id": number}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        try:
            status = self.world.outside(
                httpx.Request("POST", url, content=ping, headers=headers)
            ).status_code
        except httpx.TransportError:
            status = 0
        if status != 200:
            message = f"Error: Delivery URL returned response code: {status}"
            return _error(400, "woocommerce_rest_invalid_webhook_delivery_url", message)
        entry = book.add(
            url, (topic,), secret=fields.get("secret") or book.digest("secret"), key=str(number),
            name=fields.get("name", ""), status=fields.get("status", "active"),
        )  # fmt: skip
        return json_response(render.webhook_json(entry), 201)

    def _routed(self, request: httpx.Request, parts: list[str]) -> httpx.Response:
        match parts:
            case ["orders"]:
                return self._orders(request)
            case ["orders", key]:
                return self._order(key, request)
            case ["orders", key, "refunds"]:
                return self._listed(request, self._refunds(key), self._refund_body)
            case ["refunds"] if self.has_refunds:
                return self._listed(request, self._refunds(), self._refund_body)
            case ["customers"]:
                return self._customers(request)
            case ["customers", key] if key in self.books.customers:
                return raw_response(_customer_body(self.books.customers[key], 2))
            case ["customers", _]:
                return _error(404, "woocommerce_rest_invalid_id", "Invalid resource ID.")
            case _:
                message = "No route was found matching the URL and request method."
                return _error(404, "rest_no_route", message)

    def _rows(self) -> list[Document]:
        """All orders, also those in the bin; one that was deleted for good is `archived` too."""
        return [row for row in self.books.all("Invoice") if not (row.deleted and row.archived)]

    def _refunds(self, order: str | None = None) -> list[Document]:
        alive = {row.id for row in self._rows() if not row.deleted}
        return [
            row
            for row in self.books.all("OrderRefund")
            if row.source is not None
            and row.source.id in alive
            and not row.deleted
            and order in (None, row.source.id)
        ]

    def _orders(self, request: httpx.Request) -> httpx.Response:
        statuses = _words(request.url.params, "status") or ["any"]
        if unknown := [word for word in statuses if word not in _STATUSES]:
            raise Invalid(f"status[{statuses.index(unknown[0])}]")
        rows = [
            row
            for row in self._rows()
            if render.status_of(row) in statuses or ("any" in statuses and not row.deleted)
        ]
        if customer := request.url.params.get("customer"):
            rows = [row for row in rows if row.customer.id == customer]
        return self._listed(request, rows, self._order_body)

    def _order(self, key: str, request: httpx.Request) -> httpx.Response:
        row = next((row for row in self._rows() if row.id == key), None)
        if row is None:
            return _error(404, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
        return raw_response(self._order_body(row, _decimals(request.url.params)))

    def _customers(self, request: httpx.Request) -> httpx.Response:
        return self._listed(request, list(self.books.customers.values()), _customer_body)

    @staticmethod
    def _order_body(row: Document, decimals: int) -> bytes:
        return cached(row.cache, f"dp={decimals}", lambda: render.order_json(row, decimals))

    @staticmethod
    def _refund_body(row: Document, decimals: int) -> bytes:
        return cached(row.cache, f"dp={decimals}", lambda: render.refund_json(row, decimals))

    def _listed(
        self, request: httpx.Request, rows: Sequence[Row], body: Callable[[Row, int], bytes]
    ) -> httpx.Response:
        """A page of a list, with the numbers of the whole in its headers."""
        params = request.url.params
        page, size = _number(params, "page", 1), _number(params, "per_page", DEFAULT_PAGE)
        if size > MAX_PAGE:
            raise Invalid("per_page")
        found = _ordered(_filtered(rows, params), params)
        offset = _number(params, "offset", (page - 1) * size, least=0)
        shown = found[offset : offset + size]
        pages = -(-len(found) // size)
        headers = {"x-wp-total": str(len(found)), "x-wp-totalpages": str(pages)}
        links = [
            f'<{_page_url(request, number)}>; rel="{rel}"'
            for rel, number in (("prev", page - 1), ("next", page + 1))
            if (rel == "prev" and page > 1) or (rel == "next" and page < pages)
        ]
        if links:
            headers["link"] = ", ".join(links)
        decimals = _decimals(params)
        return raw_response(join(body(row, decimals) for row in shown), headers=headers)


def _json(request: httpx.Request) -> dict[str, Any]:
    try:
        fields = json.loads(request.content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise Invalid("body")
    return fields


def _customer_body(row: Customer, _decimals: int) -> bytes:
    return cached(row.cache, "full", lambda: render.customer_json(row))


def _page_url(request: httpx.Request, page: int) -> str:
    params = [(name, value) for name, value in request.url.params.multi_items() if name != "page"]
    return f"{request.url.copy_with(query=None)}?{urlencode([*params, ('page', page)])}"


def _filtered(rows: Sequence[Row], params: httpx.QueryParams) -> list[Row]:
    """The rows between the bounds, which are no part of it themselves, and of the ids asked for."""
    utc = params.get("dates_are_gmt") == "true"
    found = list(rows)
    for name, created, later in (
        ("after", True, True),
        ("before", True, False),
        ("modified_after", False, True),
        ("modified_before", False, False),
    ):
        if name in params:
            bound = _time(params, name)
            stamps = [_stamp(row.created_at if created else row.updated_at, utc) for row in found]
            pairs = zip(found, stamps, strict=True)
            found = [row for row, at in pairs if (at > bound if later else at < bound)]
    if include := _words(params, "include"):
        found = [row for row in found if row.id in include]
    exclude = _words(params, "exclude")
    return [row for row in found if row.id not in exclude]


def _ordered(rows: Sequence[Row], params: httpx.QueryParams) -> list[Row]:
    """By date of creation, newest first, unless asked otherwise; equal ones by id."""
    by, order = params.get("orderby", "date"), params.get("order", "desc")
    if by not in _ORDERS_BY:
        raise Invalid("orderby")
    if order not in ("asc", "desc"):
        raise Invalid("order")

    def key(row: Row) -> tuple[Any, int]:
        at = {"date": row.created_at, "modified": row.updated_at}.get(by)
        return (at or 0, int(row.id))

    return sorted(rows, key=key, reverse=order == "desc")


def _stamp(moment: datetime, utc: bool) -> datetime:  # noqa: FBT001  a filter, not a mode
    """What the shop compares: its own clock, unless dates are said to be UTC; no fractions."""
    return moment.astimezone(UTC if utc else LUANDA).replace(tzinfo=None, microsecond=0)


def _time(params: httpx.QueryParams, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(params[name])
    except ValueError:
        raise Invalid(name) from None
    return moment.replace(tzinfo=None)


def _number(params: httpx.QueryParams, name: str, usual: int, *, least: int = 1) -> int:
    text = params.get(name)
    if text is None:
        return usual
    if not text.isdigit() or int(text) < least:
        raise Invalid(name)
    return int(text)


def _decimals(params: httpx.QueryParams) -> int:
    return _number(params, "dp", 2, least=0)


def _words(params: httpx.QueryParams, name: str) -> list[str]:
    """A parameter that is a list: with commas, or given several times with brackets."""
    texts = [*params.get_list(name), *params.get_list(f"{name}[]")]
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def _refused(request: httpx.Request, message: str) -> httpx.Response:
    headers = {"www-authenticate": _REALM} if request.url.scheme == "https" else {}
    return _error(401, "woocommerce_rest_authentication_error", message, headers=headers)


def _error(
    status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **data: Any
) -> httpx.Response:
    body = {"code": code, "message": message, "data": {"status": status, **data}}
    return json_response(body, status, headers)


#: What the registry finds.
API: Final = WooCommerce
