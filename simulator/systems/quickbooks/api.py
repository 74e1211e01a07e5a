"""QuickBooks Online's accounting API v3: query, change data capture, batch and single objects."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import Customer, Document, Payment, Product
from simulator.oauth import Denied, basic_client, read_form
from simulator.systems.quickbooks import query as qbo_query
from simulator.systems.quickbooks import render as qbo_render
from simulator.wire import (
    cached,
    instant,
    join,
    json_response,
    raw_response,
    unsupported,
    xml_response,
)
from simulator.world import World

TOKEN_PATH: Final = "/oauth2/v1/tokens/bearer"
CDC_DAYS: Final = 30
CDC_OBJECTS: Final = 1000
BATCH_ITEMS: Final = 30

_RENDER: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    **dict.fromkeys(qbo_render.TXN_ENTITIES, qbo_render.document_json),
    "Customer": qbo_render.customer_json,
    "Payment": qbo_render.payment_json,
    "Item": qbo_render.item_json,
}
Row = Document | Customer | Payment | Product


class QuickBooks:
    """The API of the simulated company."""

    name = "quickbooks"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._items: dict[str, bytes] = {}

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429; no Retry-After: clients are told to wait a minute."""
        message = "message=ThrottleExceeded; errorCode=003001; statusCode=429"
        return self._fault(429, "THROTTLED", message, f"limit: {limit.name}", "3001", gateway=True)

    def broken(self) -> httpx.Response:
        """500."""
        message = "An application error has occurred while processing your request"
        return self._fault(500, "SystemFault", message, "System Failure Error: simulated", "10000")

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        if self.grants.check(request) != "valid":
            message = "message=AuthenticationFailed; errorCode=003200; statusCode=401"
            return self._fault(
                401, "AUTHENTICATION", message, "Token expired or invalid", "3200", gateway=True
            )
        realm, _, rest = path.removeprefix("/v3/company/").partition("/")
        if realm not in self.world.accounts[self.name]:
            message = "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403"
            return self._fault(
                403,
                "AUTHORIZATION",
                message,
                "The application has no access to this realm",
                "3100",
                gateway=True,
            )
        if "json" not in request.headers.get("accept", ""):
            return xml_response('IntuitResponse xmlns="http://schema.intuit.com/finance/v3"')
        route: Callable[[httpx.Request], httpx.Response] | None = {
            "query": self._query,
            "cdc": self._cdc,
            "batch": self._batch,
        }.get(rest)
        served = {"query": ("query",), "cdc": ("entities", "changedSince")}.get(rest, ())
        if name := unsupported(request.url.params, "minorversion", "requestid", *served):
            detail = f"The parameter {name} is not supported here"
            return self._fault(400, "ValidationFault", "Invalid parameter", detail, "2010")
        return route(request) if route else self._single(rest)

    def _token(self, request: httpx.Request) -> httpx.Response:
        if not basic_client(request):
            return json_response({"error": "invalid_client"}, 401)
        try:
            return json_response(self.grants.grant(read_form(request)))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _now(self) -> str:
        return self.world.now().astimezone(qbo_render.PACIFIC).isoformat(timespec="milliseconds")

    def _fault(
        self, status: int, kind: str, message: str, detail: str, code: str, *, gateway: bool = False
    ) -> httpx.Response:
        """An error body; the gateway writes the same in lower case."""
        if gateway:
            error = {"message": message, "detail": detail, "code": code}
            return json_response(
                {"fault": {"error": [error], "type": kind}, "time": self._now()}, status
            )
        body = {"Error": [{"Message": message, "Detail": detail, "code": code}], "type": kind}
        return json_response({"Fault": body, "time": self._now()}, status)

    def _rows(self, entity: str) -> Sequence[Row]:
        match entity:
            case "Customer":
                return list(self.books.customers.values())
            case "Payment":
                return [row for row in self.books.payments.values() if not row.deleted]
            case "Item":
                return list(self.books.products.values())
            case _ if entity in qbo_render.TXN_ENTITIES:
                return [row for row in self.books.all(entity) if not row.deleted]
        raise qbo_query.QueryError(f"QueryValidationError: Entity {entity} not found", "4001")

    def _json(self, entity: str, row: Row) -> bytes:
        cache = self._items if isinstance(row, Product) else row.cache
        view = f"Item/{row.id}" if isinstance(row, Product) else "full"
        return cached(cache, view, lambda: _RENDER[entity](row))

    def _query(self, request: httpx.Request) -> httpx.Response:
        statement = request.url.params.get("query") or request.content.decode()
        try:
            body = self._select(statement)
        except qbo_query.QueryError as error:
            message = "Error parsing query" if error.code == "4000" else "Invalid query"
            return self._fault(400, "ValidationFault", message, error.detail, error.code)
        return raw_response(b'{"QueryResponse":%s,"time":"%s"}' % (body, self._now().encode()))

    def _select(self, statement: str) -> bytes:
        query = qbo_query.parse(statement)
        rows = self._rows(query.entity)
        if query.entity == "Customer" and not any(
            condition.field == "Active" for condition in query.conditions
        ):
            rows = [row for row in rows if isinstance(row, Customer) and row.active]
        found = qbo_query.select(query, rows, qbo_render.ACCESSORS[query.entity])
        if query.count:
            return b'{"totalCount":%d}' % len(found)
        page = found[query.start - 1 : query.start - 1 + query.limit]
        if not page:  # recorded: the entity's key is missing, and maxResults is what was asked
            return b'{"startPosition":%d,"maxResults":%d}' % (query.start, query.limit)
        objects = [self._json(query.entity, row) for row in page]
        if query.fields:
            objects = [_project(body, query.fields) for body in objects]
        total = b',"totalCount":%d' % len(found) if query.entity in qbo_render.TXN_ENTITIES else b""
        parts = (query.entity.encode(), join(objects), query.start, len(page), total)
        return b'{"%s":%s,"startPosition":%d,"maxResults":%d%s}' % parts

    def _cdc(self, request: httpx.Request) -> httpx.Response:
        params = request.url.params
        try:
            since = instant(
                params.get("changedSince", "").replace(" ", "+")
            )  # an unescaped + arrives as a space
        except ValueError:
            return self._fault(
                400, "ValidationFault", "Invalid changedSince", "Not a dateTime", "2010"
            )
        if self.world.now() - since > timedelta(days=CDC_DAYS):
            detail = f"changedSince is more than {CDC_DAYS} days ago"
            return self._fault(400, "ValidationFault", "Invalid changedSince", detail, "2010")
        answers, room = [], CDC_OBJECTS
        for entity in filter(None, map(str.strip, params.get("entities", "").split(","))):
            if entity not in _RENDER:
                return self._fault(
                    400,
                    "ValidationFault",
                    "Unsupported Operation",
                    f"{entity} has no change data",
                    "500",
                )
            changed = self._changed(entity, since)[:room]
            room -= len(changed)
            if not changed:
                answers.append(b"{}")
                continue
            form = b'{"%s":%s,"startPosition":1,"maxResults":%d}'
            answers.append(form % (entity.encode(), join(changed), len(changed)))
        time = self._now().encode()
        return raw_response(
            b'{"CDCResponse":[{"QueryResponse":%s}],"time":"%s"}' % (join(answers), time)
        )

    def _changed(self, entity: str, since: datetime) -> list[bytes]:
        if entity == "Item":
            return []
        records: Sequence[Document | Customer | Payment]
        if entity == "Customer":
            records = list(self.books.customers.values())
        elif entity == "Payment":
            records = list(self.books.payments.values())
        else:
            records = list(self.books.all(entity))
        changed = sorted(
            (row for row in records if row.updated_at >= since), key=lambda row: row.updated_at
        )
        return [
            json.dumps(qbo_render.tombstone(row)).encode()
            if getattr(row, "deleted", False)
            else self._json(entity, row)
            for row in changed
        ]

    def _batch(self, request: httpx.Request) -> httpx.Response:
        try:
            items = json.loads(request.content)["BatchItemRequest"]
        except (ValueError, KeyError, TypeError):
            return self._fault(
                400,
                "ValidationFault",
                "Request has invalid or unsupported property",
                "BatchItemRequest",
                "2010",
            )
        if len(items) > BATCH_ITEMS:
            detail = f"The maximum number of items in a batch is {BATCH_ITEMS}"
            return self._fault(400, "ValidationFault", "Batch size exceeded", detail, "1040")
        answers = []
        for item in items:
            bid = json.dumps(item.get("bId")).encode()
            try:
                answers.append(
                    b'{"bId":%s,"QueryResponse":%s}' % (bid, self._select(item.get("Query", "")))
                )
            except qbo_query.QueryError as error:
                fault = {
                    "Error": [
                        {"Message": "Invalid query", "Detail": error.detail, "code": error.code}
                    ]
                }
                body = json.dumps(fault | {"type": "ValidationFault"}).encode()
                answers.append(b'{"bId":%s,"Fault":%s}' % (bid, body))
        form = b'{"BatchItemResponse":%s,"time":"%s"}'
        return raw_response(form % (join(answers), self._now().encode()))

    def _single(self, rest: str) -> httpx.Response:
        kind, _, key = rest.partition("/")
        if kind == "companyinfo":
            info = {
                "CompanyName": "Água Twezah, Lda",
                "Country": "AO",
                "Id": "1",
                "SyncToken": "0",
                "domain": "QBO",
            }
            return json_response({"CompanyInfo": info, "time": self._now()})
        entity = next((name for name in _RENDER if name.lower() == kind.lower()), None)
        if entity is None:
            return self._fault(
                400,
                "ValidationFault",
                "Unsupported Operation",
                f"Operation {rest} is not supported.",
                "500",
            )
        row = next((row for row in self._rows(entity) if row.id == key), None)
        if row is None:
            detail = "Object Not Found : Something you're trying to use has been made inactive."
            return self._fault(400, "ValidationFault", "Object Not Found", detail, "610")
        form = b'{"%s":%s,"time":"%s"}'
        return raw_response(form % (entity.encode(), self._json(entity, row), self._now().encode()))


def _project(body: bytes, fields: Sequence[str]) -> bytes:
    record = json.loads(body)
    wanted = {field.partition(".")[0].replace("Metadata", "MetaData") for field in fields} | {
        "Id",
        "domain",
        "sparse",
    }
    return json.dumps(
        {name: value for name, value in record.items() if name in wanted}, ensure_ascii=False
    ).encode()


#: What the registry finds.
API: Final = QuickBooks
