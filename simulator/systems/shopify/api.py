"""Shopify's Admin API: tokens, and GraphQL with points of cost, cursors and errors in 200."""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import eq, ge, gt, le, lt
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import CLIENT_SECRET, CURRENCY, Document
from simulator.oauth import Denied, form_client, read_form
from simulator.systems.shopify.language import QueryError
from simulator.systems.shopify.render import ORDERS, customer, events, gid, order
from simulator.systems.shopify.schema import Query
from simulator.wire import instant, json_response
from simulator.world import World

TOKEN_PATH: Final = "/admin/oauth/access_token"
_PATH: Final = re.compile(r"/admin/api/([\w-]+)/graphql\.json")
VERSIONS: Final = (
    *("2025-01", "2025-04", "2025-07", "2025-10"),
    *("2026-01", "2026-04", "2026-07", "2026-10", "unstable"),
)
#: The bucket of points, and how many come back in a second, of the smallest plan.
BUCKET: Final = 2000.0
RESTORE_RATE: Final = 100.0
#: No list is paged further than this.
OBJECTS_MAX: Final = 25_000
#: Without the scope for all orders, older ones are not shown.
_RECENT: Final = timedelta(days=60)
_TERM: Final = re.compile(r"(\w+):(>=|<=|>|<)?('[^']*'|\"[^\"]*\"|\S+)")
_Row = Mapping[str, Any]


class Shopify:
    """The API of the simulated shop."""

    name = "shopify"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._rendered: dict[str, tuple[object, dict[str, Any]]] = {}
        self._points, self._counted_at = BUCKET, world.now()

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429 of the edge, before GraphQL."""
        message = "Exceeded the number of calls per second. Reduce request rates to resume."
        headers = {"retry-after": str(limit.retry_after_seconds)}
        return json_response({"errors": message}, 429, headers)

    def broken(self) -> httpx.Response:
        """500."""
        return json_response({"errors": "Internal Server Error"}, 500)

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        token = request.headers.get("x-shopify-access-token", "")
        bearer = httpx.Request("GET", request.url, headers={"authorization": f"Bearer {token}"})
        if self.grants.check(bearer) != "valid":
            message = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            headers = {"www-authenticate": 'Basic Realm="Shopify API Authentication"'}
            return json_response({"errors": message}, 401, headers)
        match = _PATH.fullmatch(path)
        if match is None:
            return json_response({"errors": "Not Found"}, 404)
        if request.method != "POST":
            return json_response({"errors": "Method Not Allowed"}, 405)
        # A version that ended is answered by the oldest one that is still served.
        served = match[1] if match[1] in VERSIONS else VERSIONS[0]
        response = self._graphql(request)
        response.headers["x-shopify-api-version"] = served
        return response

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not form_client(form):
            return json_response({"error": "invalid_client"}, 400)
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _graphql(self, request: httpx.Request) -> httpx.Response:
        try:
            asked = json.loads(request.content)
            text, variables = asked["query"], asked.get("variables") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return json_response(
                {"errors": {"query": "Required parameter missing or invalid"}}, 400
            )
        try:
            query = Query.read(text, variables)
        except QueryError as error:
            return json_response(_errors(error))
        left = self._left()
        if query.requested_cost > left:
            refused = {"errors": [_error("Throttled", "THROTTLED")]}
            return json_response(refused | self._cost(query, left, throttled=True))
        denied: list[dict[str, Any]] = []
        try:
            data = query.answer(self._resolver(denied))
        except QueryError as error:
            return json_response(_errors(error))
        self._points = left - query.actual_cost
        body = {"data": data} | ({"errors": denied[:1]} if denied else {})
        return json_response(body | self._cost(query, self._points, throttled=False))

    def _left(self) -> float:
        """The points in the bucket now; it stays full where limits are not enforced."""
        if not self.world.limits[self.name].scale:
            return BUCKET
        now = self.world.now()
        seconds = (now - self._counted_at).total_seconds()
        self._points = min(BUCKET, self._points + max(0.0, seconds) * RESTORE_RATE)
        self._counted_at = now
        return self._points

    def _cost(self, query: Query, left: float, *, throttled: bool) -> dict[str, Any]:
        status = {
            "maximumAvailable": BUCKET,
            "currentlyAvailable": max(0, int(left)),
            "restoreRate": RESTORE_RATE,
        }
        cost = {
            "requestedQueryCost": query.requested_cost,
            "actualQueryCost": None if throttled else query.actual_cost,
            "throttleStatus": status,
        }
        return {"extensions": {"cost": cost}}

    def _resolver(self, denied: list[dict[str, Any]]) -> Callable[..., Any]:
        def resolve(name: str, arguments: Mapping[str, Any], held: Any) -> Any:
            match name:
                case "orders":
                    return _page(self._orders(denied), arguments, "PROCESSED_AT", _ORDER_KEYS)
                case "events":
                    return _page(list(events(self.books)), arguments, "ID", _EVENT_KEYS)
                case "order" | "node":
                    return self._by_id(str(arguments.get("id")), denied)
                case "nodes":
                    return [self._by_id(str(one), denied) for one in arguments.get("ids") or ()]
                case "shop":
                    return {
                        "__typename": "Shop",
                        "id": gid("Shop", 690933842),
                        "name": "Água Twezah",
                        "myshopifyDomain": "agua-twezah.myshopify.com",
                        "currencyCode": CURRENCY,
                        "ianaTimezone": "Africa/Luanda",
                    }
                case "webhookSubscriptions" if held is None:
                    return _slice(self._subscriptions(denied), arguments, "webhooks")
                case "webhookSubscriptionCreate" | "webhookSubscriptionDelete":
                    return self._mutation(name, arguments, denied)
                case "refunds":
                    return held[: arguments.get("first") or len(held)]
                case _:
                    return _slice(held, arguments, "")

        return resolve

    def _subscriptions(self, denied: list[dict[str, Any]]) -> list[_Row]:
        book = self.world.subscriptions[self.name]
        if not book.allowed:
            denied.append(_error("Access denied for webhookSubscriptions.", "ACCESS_DENIED"))
            return []
        return [
            {"id": entry.id, "topic": entry.topics[0], "uri": entry.url, "format": "JSON",
             "createdAt": entry.created_at.isoformat()}
            for entry in book.all()
        ]  # fmt: skip

    def _subscribe(
        self, arguments: Mapping[str, Any], denied: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Signed with the secret of the app, whoever subscribes."""
        book = self.world.subscriptions[self.name]
        topic = str(arguments["topic"])
        uri = str(arguments["webhookSubscription"].get("uri", ""))
        problem = ""
        if not uri.startswith("https://"):
            problem = "Address protocol must be https"
        elif any((entry.url, entry.topics) == (uri, (topic,)) for entry in book.all()):
            problem = "Address for this topic has already been taken"
        if not book.allowed:
            denied.append(_error("Access denied.", "ACCESS_DENIED"))
        if problem or not book.allowed:
            errors = [_user_error("uri", problem)] if problem else []
            return {"webhookSubscription": None, "userErrors": errors}
        number = int(book.next_digest()[:10], 16)
        key = gid("WebhookSubscription", number)
        book.add(uri, (topic,), secret=CLIENT_SECRET, key=key)
        row = next(row for row in self._subscriptions(denied) if row["id"] == key)
        return {"webhookSubscription": row, "userErrors": []}

    def _mutation(
        self, name: str, arguments: Mapping[str, Any], denied: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if name == "webhookSubscriptionCreate":
            return self._subscribe(arguments, denied)
        removed = self.world.subscriptions[self.name].remove(str(arguments["id"]))
        return {
            "deletedWebhookSubscriptionId": arguments["id"] if removed else None,
            "userErrors": [] if removed else [_user_error("id", "does not exist")],
        }

    def _orders(self, denied: list[dict[str, Any]]) -> list[_Row]:
        scopes = self.grants.scope.split(",")
        since = None if "read_all_orders" in scopes else self.world.now() - _RECENT
        return [
            self._shown(document, denied)
            for document in self.books.all(*ORDERS)
            if not document.deleted and (since is None or document.created_at >= since)
        ]

    def _shown(self, document: Document, denied: list[dict[str, Any]]) -> dict[str, Any]:
        """Rendered once for each version of what it shows."""
        version = (document.version, document.customer.version)
        known = self._rendered.get(document.id)
        if known is None or known[0] != version:
            known = self._rendered[document.id] = (version, order(self.books, document))
        if "read_customers" in self.grants.scope.split(","):
            return known[1]
        message = "Access denied for customer field. Required access: `read_customers` scope."
        denied.append(_error(message, "ACCESS_DENIED"))
        return known[1] | {"customer": None}

    def _by_id(self, one: str, denied: list[dict[str, Any]]) -> _Row | None:
        match = re.fullmatch(r"gid://shopify/(\w+)/(\d+)", one)
        if match is None:
            raise QueryError(f"Invalid global id '{one}'", "argumentLiteralsIncompatible")
        if match[1] == "Customer":
            buyer = self.books.customers.get(match[2])
            return customer(buyer) if buyer else None
        documents = (self.books.documents.get(entity, {}).get(match[2]) for entity in ORDERS)
        document = next(filter(None, documents), None)
        if match[1] != "Order" or document is None or document.deleted:
            return None
        return self._shown(document, denied)


def _number(row: _Row) -> int:
    return int(str(row["id"]).rpartition("/")[2])


#: What lists can be ordered and filtered by.
_ORDER_KEYS: Final[Mapping[str, Callable[[_Row], Any]]] = {
    "ID": _number,
    "CREATED_AT": lambda row: row["createdAt"],
    "PROCESSED_AT": lambda row: row["processedAt"],
    "UPDATED_AT": lambda row: row["updatedAt"],
}
_EVENT_KEYS: Final[Mapping[str, Callable[[_Row], Any]]] = {
    "ID": _number,
    "CREATED_AT": lambda row: row["createdAt"],
}
_TEXTS: Final[Mapping[str, Callable[[_Row], str]]] = {
    "financial_status": lambda row: str(row["displayFinancialStatus"]),
    "name": lambda row: str(row["name"]),
    "test": lambda row: str(row["test"]),
    "customer_id": lambda row: str((row["customer"] or {}).get("legacyResourceId")),
    "action": lambda row: str(row["action"]),
    "subject_type": lambda row: str(row["subjectType"]),
}


def _matching(rows: Sequence[_Row], search: str, keys: Mapping[str, Any]) -> list[_Row]:
    """The rows that meet all terms of a search.

    Raises:
        QueryError: For what the simulator does not know: it would hide a client's mistake.
    """
    kept = list(rows)
    for word in re.sub(_TERM, "", search).split():
        if word != "AND":
            raise QueryError(f"the search {word!r} is not known to the simulator", "badSearch")
    for name, operator, written in _TERM.findall(search):
        value = written.strip("'\"")
        key = keys.get(name.upper())
        if key is None and (name not in _TEXTS or operator):
            raise QueryError(f"the filter {name!r} is not known to the simulator", "badSearch")
        if key is None:
            read = _TEXTS[name]
            kept = [row for row in kept if read(row).lower() == value.lower()]
            continue
        bound: Any = int(value) if name == "id" else _moment(value)
        kept = [row for row in kept if _holds(_comparable(key(row)), operator, bound)]
    return kept


def _moment(text: str) -> datetime:
    try:
        return instant(text)
    except ValueError:
        raise QueryError(f"{text!r} is no time", "badSearch") from None


def _comparable(value: Any) -> Any:
    return value if isinstance(value, int) else instant(value)


def _holds(value: Any, operator: str, bound: Any) -> bool:
    compare = {"<": lt, "<=": le, ">": gt, ">=": ge, "": eq}[operator]
    return bool(compare(value, bound))


def _page(
    rows: Sequence[_Row], arguments: Mapping[str, Any], usual: str, keys: Mapping[str, Any]
) -> dict[str, Any]:
    """A page of a list, filtered and ordered."""
    sort = arguments.get("sortKey") or usual
    if sort not in keys:
        raise QueryError(f"the order {sort!r} is not known to the simulator", "badSearch")
    search = arguments.get("query") or ""
    ordered = sorted(_matching(rows, search, keys), key=lambda row: (keys[sort](row), _number(row)))
    if arguments.get("reverse"):
        ordered.reverse()
    return _slice(ordered, arguments, f"{sort}/{search}")


def _slice(rows: Sequence[_Row], arguments: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """One page, from behind a cursor, which belongs to one order and search."""
    start, after = 0, arguments.get("after")
    if after is not None:
        numbers = [_number(row) for row in rows]
        last = _opened(after, scope)
        # Where that record is gone by now, the page begins behind where it stood.
        start = numbers.index(last) + 1 if last in numbers else sum(n < last for n in numbers)
    if start >= OBJECTS_MAX:
        raise QueryError("pagination is limited to 25,000 objects", "PAGINATION_LIMIT")
    shown = rows[start : start + arguments["first"]]
    cursors = [_cursor(_number(row), scope) for row in shown]
    return {
        "nodes": list(shown),
        "edges": [
            {"cursor": cursor, "node": row} for cursor, row in zip(cursors, shown, strict=True)
        ],
        "pageInfo": {
            "hasNextPage": start + len(shown) < len(rows),
            "hasPreviousPage": start > 0,
            "startCursor": cursors[0] if cursors else None,
            "endCursor": cursors[-1] if cursors else None,
        },
    }


def _cursor(last: int, scope: str) -> str:
    return base64.b64encode(json.dumps({"last_id": last, "scope": scope}).encode()).decode()


def _opened(cursor: str, scope: str) -> int:
    try:
        held = json.loads(base64.b64decode(cursor))
        last = int(held["last_id"])
    except (ValueError, KeyError, TypeError):
        raise QueryError("Invalid cursor for current pagination sort.", "invalidCursor") from None
    if held.get("scope") != scope:
        raise QueryError("Invalid cursor for current pagination sort.", "invalidCursor")
    return last


def _user_error(field: str, message: str) -> dict[str, Any]:
    return {"field": ["webhookSubscription", field], "message": message}


def _error(message: str, code: str) -> dict[str, Any]:
    return {"message": message, "extensions": {"code": code}}


def _errors(error: QueryError) -> dict[str, Any]:
    return {"errors": [_error(str(error), error.code)]}


#: What the registry finds.
API: Final = Shopify
