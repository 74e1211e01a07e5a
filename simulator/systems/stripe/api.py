"""Stripe's API v1: lists by creation, newest first; single objects; events of thirty days."""

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import Customer, Document
from simulator.subscriptions import Entry as Subscribed
from simulator.subscriptions import SubscriptionBook
from simulator.systems.stripe.books import Entry, StripeBooks
from simulator.systems.stripe.render import (
    DEFAULT_VERSION,
    charge_json,
    credit_note_json,
    customer_json,
    invoice_json,
    line_json,
    product_json,
    refund_json,
    seconds,
)
from simulator.systems.stripe.system import API_KEY, SYSTEM
from simulator.wire import json_response
from simulator.world import World

DEFAULT_PAGE: Final = 10
MAX_PAGE: Final = 100
EVENT_DAYS: Final = 30
ENDPOINTS: Final = "/v1/webhook_endpoints"
#: Endpoints that an account may have.
ENDPOINTS_MAX: Final = 16
TYPES_MAX: Final = 20
#: What each list takes besides its paging.
_FILTERS: Final = {
    "invoices": {"created", "customer", "status", "collection_method", "subscription", "due_date"},
    "charges": {"created", "customer", "payment_intent"},
    "credit_notes": {"created", "customer", "invoice"},
    "refunds": {"created", "charge", "payment_intent"},
    "customers": {"created", "email"},
    "products": {"created", "active", "ids"},
    "events": {"created", "type", "types", "delivery_success"},
}
#: Filters for one value.
_EQUAL: Final = {"customer", "invoice", "status", "charge", "payment_intent"}
#: Event names that may be asked for, by their first word.
_KNOWN_EVENTS: Final = re.compile(
    r"(invoice|invoice_payment|invoiceitem|credit_note|charge|refund|customer|product)"
    r"(\.[a-z_]+)+"
)


class ApiError(Exception):
    """A refusal: status, code, message, and the parameter at fault."""

    def __init__(self, status: int, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param


class Stripe:
    """The API of the simulated account."""

    name = "stripe"

    def __init__(self, world: World) -> None:
        books = world.books[self.name]
        assert isinstance(books, StripeBooks)
        self.world, self.books, self.grants = world, books, world.grants[self.name]
        self._requests = count(1)

    def is_token_path(self, path: str) -> bool:  # noqa: ARG002  the protocol's
        """There is none: a key comes with every request."""
        return False

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429; when to come back is not said."""
        message = "Request rate limit exceeded. You can learn more about rate limits here"
        response = self._error(ApiError(429, "rate_limit", message))
        response.headers["stripe-rate-limited-reason"] = limit.name
        return response

    def broken(self) -> httpx.Response:
        """500."""
        body = {"error": {"type": "api_error", "message": "An unknown error occurred"}}
        return self._sent(body, 500)

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        try:
            self._let_in(request)
            version = _version(request)
            if path.startswith(ENDPOINTS):
                return self._sent(self._endpoints(request, path.removeprefix(ENDPOINTS).strip("/")))
            return self._sent(self._read(request.method, path, Query(request.url.params), version))
        except ApiError as error:
            return self._error(error)

    def _let_in(self, request: httpx.Request) -> None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        key = value.strip()
        if scheme.lower() == "basic":
            try:
                key = base64.b64decode(key, validate=True).decode().rstrip(":")
            except ValueError:
                key = ""
        if not key:
            raise ApiError(401, "", "You did not provide an API key.")
        if key != API_KEY and self.grants.check(request) != "valid":
            raise ApiError(401, "", "Invalid API Key provided: sk_live_****")
        meant = request.headers.get("stripe-account", SYSTEM.account)
        if meant not in self.world.accounts[self.name]:
            message = "The provided key does not have access to that account"
            raise ApiError(403, "account_invalid", message)

    def _endpoints(self, request: httpx.Request, key: str) -> Any:
        """Webhook endpoints; the secret is in the answer to the creation alone."""
        book = self.world.subscriptions[self.name]
        if not book.allowed:
            message = "The provided key does not have the required permissions"
            raise ApiError(403, "more_permissions_required", message)
        if request.method == "GET" and not key:
            query = Query(request.url.params)
            query.refuse_others({"limit", "starting_after", "ending_before", "expand"})
            rows = [
                Row(entry.id, at(entry.created_at), partial(endpoint_json, entry))
                for entry in reversed(book.all())
            ]
            page = self._paged(ENDPOINTS, rows, query)
            return page | {"data": [row.write(DEFAULT_VERSION) for row in page["data"]]}
        form = Query(httpx.QueryParams(request.content.decode()))
        if request.method == "POST" and not key:
            entry = _subscribed(book, form)
            return endpoint_json(entry) | {"secret": entry.secret}
        found = book.get(key)
        if found is None:
            message = f"No such webhook endpoint: '{key}'"
            raise ApiError(404, "resource_missing", message, "webhook_endpoint")
        if request.method == "DELETE":
            book.remove(key)
            return {"id": key, "object": "webhook_endpoint", "deleted": True}
        found.topics = tuple(form.many("enabled_events")) or found.topics
        if form.text("disabled"):
            found.enabled = form.text("disabled") != "true"
        return endpoint_json(found)

    def _sent(self, body: Any, status: int = 200) -> httpx.Response:
        return json_response(body, status, {"request-id": f"req_{next(self._requests):014d}"})

    def _error(self, error: ApiError) -> httpx.Response:
        body = {
            "type": "invalid_request_error",
            "message": error.message,
            **({"code": error.code} if error.code else {}),
            **({"param": error.param} if error.param else {}),
        }
        return self._sent({"error": body}, error.status)

    def _read(self, method: str, path: str, query: "Query", version: str) -> Any:
        if method != "GET":
            raise ApiError(403, "more_permissions_required", "The key may only read")
        return self._routed(path, query, version)

    def _routed(self, path: str, query: "Query", version: str) -> Any:
        parts = path.strip("/").split("/")
        match parts:
            case ["v1", "account"]:
                query.refuse_others(set())
                return {"id": SYSTEM.account, "object": "account", "default_currency": "eur"}
            case ["v1", "invoices", key, "lines"]:
                return self._lines(key, query, version)
            case ["v1", resource] if resource in _FILTERS:
                return self._list(resource, query, version)
            case ["v1", resource, key] if resource in _FILTERS:
                query.refuse_others({"expand"})
                single = self._one(resource, key, version)
                return self._expanded(single, query.many("expand"), version)
        raise ApiError(404, "", f"Unrecognized request URL (GET: {path}).")

    def _lines(self, key: str, query: "Query", version: str) -> Any:
        document = self._document("Invoice", key)
        query.refuse_others({"limit", "starting_after", "ending_before", "expand"})
        rows = [Row(line.id, 0, partial(line_json, document, line)) for line in document.lines]
        page = self._paged(f"/v1/invoices/{key}/lines", rows, query)
        return page | {"data": [row.write(version) for row in page["data"]]}

    def _list(self, resource: str, query: "Query", version: str) -> Any:
        paging = {"limit", "starting_after", "ending_before", "expand"}
        query.refuse_others(_FILTERS[resource] | paging)
        rows = self._entries(query) if resource == "events" else self._rows(resource, query)
        page = self._paged(f"/v1/{resource}", rows, query)
        wanted = [path.removeprefix("data.") for path in query.many("expand")]
        written = (row.write(version) for row in page["data"])
        page["data"] = [self._expanded(row, wanted, version) for row in written]
        return page

    def _rows(self, resource: str, query: "Query") -> list["Row"]:
        """Newest first, as far as the filters let them through."""
        since, until = query.range("created")
        asked = [name for name in query.names if name in _EQUAL]
        rows = [row for row in self._all(resource) if since <= row.created < until]
        rows = [
            row
            for row in rows
            if all(str(row.write(DEFAULT_VERSION).get(name)) == query.text(name) for name in asked)
        ]
        if ids := query.many("ids"):
            if "starting_after" in query.names:
                raise ApiError(400, "parameter_invalid", "ids cannot be paged", "ids")
            rows = [row for row in rows if row.id in ids]
        return sorted(rows, key=lambda row: (row.created, row.id), reverse=True)

    def _all(self, resource: str) -> list["Row"]:
        books, facts = self.books, self.books.facts
        match resource:
            case "invoices":
                return [
                    Row(row.id, at(row.created_at), partial(invoice_json, row, facts[row.id]))
                    for row in books.all("Invoice")
                    if not row.deleted
                ]
            case "charges":
                paid = [row for row in books.all("Invoice") if facts[row.id].charge_id]
                return [
                    Row(
                        facts[row.id].charge_id or row.id,
                        at(facts[row.id].times.get("paid_at", row.created_at)),
                        partial(charge_json, row, facts[row.id]),
                    )
                    for row in (*books.all("Charge"), *paid)
                ]
            case "credit_notes":
                return [
                    Row(row.id, at(row.created_at), partial(credit_note_json, row, books))
                    for row in books.all("CreditNote")
                ]
            case "refunds":
                return [
                    Row(
                        facts[row.id].refund_id,
                        at(row.created_at),
                        partial(refund_json, row, books),
                    )
                    for row in books.all("CreditNote", "Refund")
                    if facts[row.id].refund_id
                ]
            case "customers":
                return [
                    Row(row.id, at(row.created_at), partial(customer_json, row))
                    for row in books.customers.values()
                ]
        return [Row(row.id, 0, partial(product_json, row)) for row in books.products.values()]

    def _document(self, entity: str, key: str) -> Document:
        document = self.books.documents.get(entity, {}).get(key)
        if document is None or document.deleted:
            raise ApiError(404, "resource_missing", f"No such {entity.lower()}: '{key}'", "id")
        return document

    def _one(self, resource: str, key: str, version: str) -> dict[str, Any]:
        if resource == "invoices":
            document = self._document("Invoice", key)
            return invoice_json(document, self.books.facts[key], version)
        if resource == "customers" and key in self.books.customers:
            return customer_json(self.books.customers[key])
        every = self._recent_rows() if resource == "events" else self._all(resource)
        row = next((row for row in every if row.id == key), None)
        if row is None:
            raise ApiError(404, "resource_missing", f"No such {resource[:-1]}: '{key}'", "id")
        return row.write(version)

    def _expanded(self, row: dict[str, Any], paths: Sequence[str], version: str) -> dict[str, Any]:
        """The object with ids replaced by what they name; a path goes four levels deep."""
        for path in sorted(paths):
            name, _, deeper = path.partition(".")
            resource = {"customer": "customers", "charge": "charges", "invoice": "invoices"}
            resource |= {"refund": "refunds"}
            if path.count(".") > 3 or name not in resource or name not in row:
                message = f"This property cannot be expanded ({name})."
                raise ApiError(400, "", message, "expand")
            value = row[name]
            if isinstance(value, str):
                value = self._one(resource[name], value, version)
            if isinstance(value, dict) and deeper:
                value = self._expanded(value, [deeper], version)
            row = {**row, name: value}
        return row

    def _paged(self, url: str, rows: Sequence["Row"], query: "Query") -> dict[str, Any]:
        limit = query.number("limit", DEFAULT_PAGE)
        if not 1 <= limit <= MAX_PAGE:
            raise ApiError(400, "parameter_invalid_integer", "limit is between 1 and 100", "limit")
        start = 0
        if after := query.text("starting_after"):
            places = [number for number, row in enumerate(rows) if row.id == after]
            if not places:
                message = f"No such object: '{after}'"
                raise ApiError(400, "resource_missing", message, "starting_after")
            start = places[0] + 1
        shown = list(rows[start : start + limit])
        return {"object": "list", "url": url, "has_more": start + limit < len(rows), "data": shown}

    def _recent_rows(self) -> list["Row"]:
        """Events of the last days, the latest first."""
        oldest = self.world.now() - timedelta(days=EVENT_DAYS)
        return [
            Row(entry.id, at(entry.at), partial(_written, entry, self.books), entry.type)
            for entry in reversed(self.books.journal)
            if entry.at >= oldest
        ]

    def _entries(self, query: "Query") -> list["Row"]:
        types, pattern = query.many("types"), query.text("type")
        if types and pattern:
            raise ApiError(400, "", "You may pass either type or types, but not both")
        if len(types) > TYPES_MAX:
            raise ApiError(400, "", f"At most {TYPES_MAX} types", "types")
        for name in types:
            if not _KNOWN_EVENTS.fullmatch(name):
                raise ApiError(400, "", f"The event {name} does not exist", "types")
        since, until = query.range("created")

        def wanted(row: Row) -> bool:
            named = (
                row.type.startswith(pattern[:-1]) if pattern.endswith("*") else row.type == pattern
            )
            return (
                since <= row.created < until
                and (not types or row.type in types)
                and (not pattern or named)
            )

        # Things happen in the order of the journal; a second may hold several.
        return sorted(filter(wanted, self._recent_rows()), key=lambda r: r.created, reverse=True)


@dataclass(frozen=True)
class Row:
    """An object of a list, not yet written."""

    id: str
    #: Seconds since 1970.
    created: int
    #: Writes it in a version; what is the same in all versions ignores it.
    write: Callable[[str], dict[str, Any]]
    #: Of an event: its name.
    type: str = ""


def at(moment: datetime) -> int:
    """An instant in whole seconds."""
    return int(moment.timestamp())


def _written(entry: Entry, books: StripeBooks, _version: str) -> dict[str, Any]:
    return event_json(entry, books)


def event_json(entry: Entry, books: StripeBooks) -> dict[str, Any]:
    """An Event: its object is as it was then, in the account's own version."""
    return {
        "id": entry.id,
        "object": "event",
        "api_version": DEFAULT_VERSION,
        "created": seconds(entry.at),
        "data": {"object": _object(entry, books)},
        "livemode": True,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": entry.type,
    }


def _object(entry: Entry, books: StripeBooks) -> dict[str, Any]:
    document, facts, version = entry.document, entry.facts, DEFAULT_VERSION
    if isinstance(document, Customer):
        return customer_json(document)
    if entry.type.startswith("credit_note."):
        return credit_note_json(document, books, version)
    if entry.type.startswith("refund."):
        return refund_json(document, books)
    if entry.type.startswith("charge."):
        return charge_json(document, facts, version)
    return invoice_json(document, facts, version)


class Query:
    """The parameters of a request: `created[gte]`, `expand[]`, `expand[0]`, `limit`."""

    def __init__(self, params: httpx.QueryParams) -> None:
        self._pairs = [(*_split(name), value) for name, value in params.multi_items()]
        self.names = {name for name, _, _ in self._pairs}

    def refuse_others(self, served: Iterable[str]) -> None:
        """A filter that is ignored would hide a client's mistake."""
        for name in sorted(self.names - set(served)):
            message = f"Received unknown parameter: {name}"
            raise ApiError(400, "parameter_unknown", message, name)

    def text(self, name: str) -> str:
        """A plain parameter, "" without one."""
        return next((v for n, key, v in self._pairs if n == name and key is None), "")

    def many(self, name: str) -> list[str]:
        """The values of `name[]` or `name[0]`, `name[1]`."""
        return [v for n, key, v in self._pairs if n == name and key is not None]

    def named(self, name: str) -> dict[str, str]:
        """The values of `name[key]`, by their keys."""
        return {key: value for n, key, value in self._pairs if n == name and key}

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self.text(name)
        if value and not value.isdecimal():
            raise ApiError(400, "parameter_invalid_integer", f"Invalid integer: {value}", name)
        return int(value) if value else default

    def range(self, name: str) -> tuple[float, float]:
        """From (inclusive) and to (exclusive) of a time in whole seconds."""
        since, until = float("-inf"), float("inf")
        for n, key, value in self._pairs:
            if n != name:
                continue
            if not value.isdecimal():
                raise ApiError(400, "parameter_invalid_integer", f"Invalid integer: {value}", name)
            # The first second that counts, and the first that does not.
            first, end = {
                None: (int(value), int(value) + 1),
                "gte": (int(value), until),
                "gt": (int(value) + 1, until),
                "lt": (since, int(value)),
                "lte": (since, int(value) + 1),
            }.get(key, (None, None))
            if first is None or end is None:
                raise ApiError(400, "parameter_unknown", f"Unknown: {name}[{key}]", name)
            since, until = max(since, first), min(until, end)
        return since, until


def _subscribed(book: SubscriptionBook, form: Query) -> Subscribed:
    if not form.text("url").startswith("https://"):
        raise ApiError(400, "url_invalid", "Invalid URL: it must begin with https", "url")
    topics = tuple(form.many("enabled_events"))
    for name in topics:
        if name != "*" and not _KNOWN_EVENTS.fullmatch(name):
            raise ApiError(400, "", f"The event {name} does not exist", "enabled_events")
    if not topics:
        raise ApiError(400, "parameter_missing", "Missing: enabled_events", "enabled_events")
    if len(book.all()) >= ENDPOINTS_MAX:
        raise ApiError(400, "", f"You have reached the maximum of {ENDPOINTS_MAX} endpoints")
    digest = book.next_digest()
    return book.add(
        form.text("url"), topics, secret=f"whsec_{digest[32:]}", key=f"we_{digest[:24]}",
        api_version=form.text("api_version") or None, description=form.text("description") or None,
        metadata=form.named("metadata"),
    )  # fmt: skip


def endpoint_json(entry: Subscribed, _version: str = "") -> dict[str, Any]:
    """A webhook endpoint without its secret."""
    return {
        "id": entry.id,
        "object": "webhook_endpoint",
        "api_version": entry.facts["api_version"],
        "application": None,
        "created": at(entry.created_at),
        "description": entry.facts["description"],
        "enabled_events": list(entry.topics),
        "livemode": True,
        "metadata": entry.facts["metadata"],
        "status": "enabled" if entry.enabled else "disabled",
        "url": entry.url,
    }


def _version(request: httpx.Request) -> str:
    version: str = request.headers.get("stripe-version") or DEFAULT_VERSION
    if not re.fullmatch(r"20\d\d-\d\d-\d\d(\.[a-z]+)?", version):
        raise ApiError(400, "", f"Invalid Stripe API version: {version}")
    return version


def _split(name: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"([a-z_]+)(?:\[([a-z_0-9]*)\])?", name)
    return (match[1], match[2]) if match else (name, None)


#: What the registry finds.
API: Final = Stripe
