"""Business Central's API v2.0, and the token endpoint of Microsoft Entra."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx

from simulator.limits import Throttled
from simulator.model import ACCOUNTS
from simulator.oauth import Denied, form_client, read_form
from simulator.odata import (
    QueryError,
    Row,
    behind,
    filtered,
    ordered,
    skip_token,
)
from simulator.subscriptions import Entry, SubscriptionBook
from simulator.systems.business_central.render import (
    credit_memo_json,
    customer_json,
    derived_id,
    invoice_json,
    item_json,
    lines_json,
    moment,
)
from simulator.systems.business_central.system import ENVIRONMENT, TENANT
from simulator.wire import json_response, unsupported
from simulator.world import World

COMPANY: Final = ACCOUNTS["business_central"]
TOKEN_PATH: Final = f"/{TENANT}/oauth2/v2.0/token"
#: The tenant may be left out.
_ROOT: Final = re.compile(r"/v2\.0/(?:(?P<tenant>[^/]+)/)?(?P<environment>[^/]+)/api/v2\.0/(.*)")
_SEGMENT: Final = re.compile(r"(\w+)(?:\(([^)]*)\))?")
_SCOPE: Final = "https://api.businesscentral.dynamics.com/.default"
#: A subscription that is not renewed ends after so long.
SUBSCRIPTION_LIFE: Final = timedelta(days=3)
#: Rows of a page, at most; without a preference as many are sent.
PAGE_MAX: Final = 20_000
_OPTIONS: Final = (
    "$filter", "$orderby", "$select", "$expand", "$top", "$skip", "$count", "$skiptoken", "aid",
)  # fmt: skip
_LINES: Final = {
    "salesInvoices": "salesInvoiceLines",
    "salesCreditMemos": "salesCreditMemoLines",
}


@dataclass
class Failure(Exception):
    """An answer that is an error."""

    status: int
    code: str
    message: str


class BusinessCentral:
    """The API of the simulated company."""

    name = "business_central"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._errors = 0
        self._rows: Mapping[str, Callable[[], list[dict[str, Any]]]] = {
            "salesInvoices": lambda: self._documents("Invoice", invoice_json),
            "salesCreditMemos": lambda: self._documents("CreditMemo", credit_memo_json),
            "customers": lambda: [customer_json(one) for one in self.books.customers.values()],
            "items": lambda: [item_json(one) for one in self.books.products.values() if one.sku],
        }

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429; when to come back is not said."""
        return self._error(Failure(429, "Application_TooManyRequests", f"Too many: {limit.name}."))

    def broken(self) -> httpx.Response:
        """500."""
        return self._error(Failure(500, "Internal_ServerError", "An internal error occurred."))

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        try:
            return self._routed(request, path)
        except Failure as failure:
            return self._error(failure)
        except QueryError as error:
            return self._error(Failure(400, "BadRequest", str(error)))

    def _error(self, failure: Failure) -> httpx.Response:
        self._errors += 1
        correlation = derived_id(str(self.world.seed), "error", str(self._errors))
        message = f"{failure.message}  CorrelationId:  {correlation}."
        body = {"error": {"code": failure.code, "message": message}}
        return json_response(body, failure.status)

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if "json" in request.headers.get("content-type", "") or not form_client(form):
            return _token_error(401, "invalid_client", 7000215)
        if form.get("scope") != _SCOPE:
            return _token_error(400, "invalid_scope", 70011)
        try:
            answer = self.grants.grant(form)
        except Denied as denied:
            return _token_error(400, denied.error, 70003)
        return json_response(answer | {"ext_expires_in": answer["expires_in"]})

    def _routed(self, request: httpx.Request, path: str) -> httpx.Response:
        if self.grants.check(request) != "valid":
            message = "The server has rejected the client credentials."
            raise Failure(401, "Authentication_InvalidCredentials", message)
        matched = _ROOT.fullmatch(path)
        if matched is None:
            raise Failure(404, "BadRequest_NotFound", "The resource is not found.")
        if matched["tenant"] not in (None, TENANT) or matched["environment"] != ENVIRONMENT:
            message = f"Environment '{matched['environment']}' does not exist."
            raise Failure(404, "NoEnvironment", message)
        if _segment(matched[3].split("/")[0])[0] == "subscriptions":
            return self._subscriptions(request, _segment(matched[3])[1])
        if request.method != "GET":
            raise Failure(405, "BadRequest_MethodNotAllowed", "The method is not allowed.")
        return self._company(request, matched[3].split("/"))

    def _subscriptions(self, request: httpx.Request, key: str | None) -> httpx.Response:
        book = self.world.subscriptions[self.name]
        if not book.allowed:
            message = "The server has rejected the client credentials."
            raise Failure(401, "Authentication_InvalidCredentials", message)
        if request.method == "GET" and key is None:
            shown = [subscription_json(entry) for entry in book.all()]
            return json_response({"@odata.context": self._context("subscriptions"), "value": shown})
        if request.method == "POST" and key is None:
            return json_response(subscription_json(self._subscribed(request, book)), 201)
        entry = book.get((key or "").strip("'"))
        if entry is None:
            raise Failure(404, "Internal_RecordNotFound", "The record does not exist.")
        if "if-match" not in request.headers:
            raise Failure(400, "BadRequest", "The header If-Match is required.")
        if request.method == "DELETE":
            book.remove(entry.id)
            return httpx.Response(204)
        if request.method != "PATCH":
            raise Failure(405, "BadRequest_MethodNotAllowed", "The method is not allowed.")
        fields = _fields(request)
        entry.url = str(fields.get("notificationUrl", entry.url))
        self._shake_hands(entry.url)
        entry.secret = str(fields.get("clientState", entry.secret))
        entry.expires_at = self.world.now() + SUBSCRIPTION_LIFE
        return json_response(subscription_json(entry))

    def _subscribed(self, request: httpx.Request, book: SubscriptionBook) -> Entry:
        fields = _fields(request)
        resource = str(fields.get("resource", ""))
        name = resource.rpartition("/")[2]
        if f"companies({COMPANY})" not in resource.lower() or name not in _LINES:
            raise Failure(400, "BadRequest", "The resource is not supported for webhooks.")
        url = str(fields.get("notificationUrl", ""))
        if any(entry.url == url and entry.topics == (name,) for entry in book.all()):
            raise Failure(400, "Internal_EntityWithSameKeyExists", "The record already exists.")
        self._shake_hands(url)
        return book.add(
            url, (name,), secret=str(fields.get("clientState", "")), key=book.next_digest()[:32],
            life=SUBSCRIPTION_LIFE, resource=resource,
        )  # fmt: skip

    def _shake_hands(self, url: str) -> None:
        """Calls the address; it must answer 200 with the token."""
        if not url.startswith("https://"):
            raise Failure(400, "BadRequest", "The notification URL must be https.")
        token = derived_id(str(self.world.seed), "validation", url)
        asked = httpx.Request("POST", f"{url}?validationToken={token}")
        try:
            answer = self.world.outside(asked)
        except httpx.TransportError:
            answer = httpx.Response(503)
        if answer.status_code != 200 or answer.text != token:
            raise Failure(400, "BadRequest", "The notification URL did not return the token.")

    def _company(self, request: httpx.Request, parts: Sequence[str]) -> httpx.Response:
        name, key = _segment(parts[0])
        if name != "companies":
            raise Failure(404, "BadRequest_NotFound", f"No resource for the segment '{name}'.")
        if key is None:
            return json_response({"value": [_company_json()]})
        if key.lower() != COMPANY:
            raise Failure(404, "Internal_CompanyNotFound", "The company does not exist.")
        if len(parts) == 1:
            return json_response(_company_json())
        return self._resource(request, parts[1:])

    def _resource(self, request: httpx.Request, parts: Sequence[str]) -> httpx.Response:
        name, key = _segment(parts[0])
        if name in _LINES.values() and key is None:
            return self._lines(request, name)
        if name not in self._rows:
            raise Failure(404, "BadRequest_NotFound", f"No resource for the segment '{name}'.")
        rows = self._rows[name]()
        if key is None:
            return self._list(request, name, rows)
        row = next((row for row in rows if row["id"] == key.lower()), None)
        if row is None:
            raise Failure(404, "Internal_RecordNotFound", "The record does not exist.")
        if len(parts) > 1 and parts[1] == _LINES.get(name):
            return self._list(request, parts[1], self._lines_of(name, row["id"]))
        context = {"@odata.context": self._context(name, entity=True)}
        return json_response(context | self._shown(request, name, row))

    def _lines(self, request: httpx.Request, name: str) -> httpx.Response:
        wanted = re.search(
            r"documentId eq ([0-9a-fA-F-]{36})", request.url.params.get("$filter", "")
        )
        if wanted is None:
            message = "You must specify an Id or a Document Id to get the lines."
            raise Failure(400, "Application_DialogException", message)
        owner = next(owner for owner, lines in _LINES.items() if lines == name)
        return self._list(request, name, self._lines_of(owner, wanted[1].lower()))

    def _documents(
        self, entity: str, render: Callable[[Any], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        return [render(one) for one in self.books.all(entity) if not one.deleted]

    def _lines_of(self, name: str, key: str) -> list[dict[str, Any]]:
        entity = "Invoice" if name == "salesInvoices" else "CreditMemo"
        document = self.books.documents.get(entity, {}).get(key)
        return lines_json(document) if document else []

    def _context(self, name: str, *, entity: bool = False) -> str:
        root = f"https://api.businesscentral.dynamics.com/v2.0/{ENVIRONMENT}/api/v2.0"
        return f"{root}/$metadata#companies({COMPANY})/{name}{'/$entity' if entity else ''}"

    def _shown(self, request: httpx.Request, name: str, row: Row) -> dict[str, Any]:
        """A row with what `$expand` adds and what `$select` leaves."""
        params, shown = request.url.params, dict(row)
        selected = [part.strip() for part in params.get("$select", "").split(",") if part.strip()]
        if unknown := set(selected) - set(row):
            raise QueryError(f"Could not find a property named '{min(unknown)}'.")
        if selected:
            shown = {key: shown[key] for key in shown if key in ("@odata.etag", *selected)}
        for part in filter(None, re.split(r",(?![^(]*\))", params.get("$expand", ""))):
            expanded = part.partition("(")[0].strip()
            if expanded == _LINES.get(name):
                shown[expanded] = self._lines_of(name, row["id"])
            elif expanded == "customer" and name in _LINES:
                shown[expanded] = customer_json(self.books.customers[row["customerId"]])
            else:
                raise QueryError(f"Could not find a property named '{expanded}'.")
        return shown

    def _list(self, request: httpx.Request, name: str, rows: Sequence[Row]) -> httpx.Response:
        params = request.url.params
        if strange := unsupported(params, *_OPTIONS):
            raise QueryError(f"The query parameter '{strange}' is not supported.")
        names, usual = tuple(rows[0]) if rows else (), "sequence" if name in _LINES.values() else ""
        order = params.get("$orderby", usual)
        if rows:
            rows = ordered(filtered(rows, params.get("$filter", ""), names), order, names)
        count, body = len(rows), dict[str, Any]({"@odata.context": self._context(name)})
        if params.get("$count", "").lower() == "true":
            body["@odata.count"] = count
        if "$skiptoken" in params and rows:
            rows = behind(rows, order, names, params["$skiptoken"])
        rows, top = rows[_whole(params, "$skip", 0) :], _whole(params, "$top", -1)
        size = _preferred_size(request)
        page = rows[:top] if top >= 0 else rows[:size]
        body["value"] = [self._shown(request, name, row) for row in page]
        # Who asks for a number of rows is not told that there are more.
        if top < 0 and len(rows) > len(page):
            token = skip_token(page[-1], order, names)
            body["@odata.nextLink"] = _next_link(request, token)
        headers = {"preference-applied": f"odata.maxpagesize={size}"} if size < PAGE_MAX else {}
        return json_response(body, headers=headers)


def _token_error(status: int, error: str, number: int) -> httpx.Response:
    described = f"AADSTS{number}: The request was refused."
    body = {"error": error, "error_description": described, "error_codes": [number]}
    return json_response(body, status)


def _fields(request: httpx.Request) -> dict[str, Any]:
    try:
        fields = json.loads(request.content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise Failure(400, "BadRequest", "The body is not a JSON object.")
    return fields


def subscription_json(entry: Entry) -> dict[str, Any]:
    """As the vendor's example has it."""
    assert entry.expires_at is not None
    return {
        "subscriptionId": entry.id,
        "notificationUrl": entry.url,
        "resource": entry.facts["resource"],
        "userId": "00000000-0000-0000-0000-000000000001",
        "lastModifiedDateTime": moment(entry.created_at),
        "clientState": entry.secret,
        "expirationDateTime": moment(entry.expires_at),
    }


def _segment(text: str) -> tuple[str, str | None]:
    matched = _SEGMENT.fullmatch(text)
    if matched is None:
        raise Failure(400, "BadRequest", f"The segment '{text}' cannot be read.")
    return matched[1], matched[2]


def _company_json() -> dict[str, Any]:
    return {
        "id": COMPANY,
        "systemVersion": "27.0",
        "name": "AGUA TWEZAH",
        "displayName": "Água Twezah, Lda",
        "businessProfileId": "",
    }


def _whole(params: httpx.QueryParams, name: str, default: int) -> int:
    text = params.get(name, "")
    if text and not text.isdigit():
        raise QueryError(f"Invalid value '{text}' for {name}.")
    return int(text) if text else default


def _preferred_size(request: httpx.Request) -> int:
    matched = re.search(r"odata\.maxpagesize=(\d+)", request.headers.get("prefer", ""))
    size = int(matched[1]) if matched else PAGE_MAX
    if size > PAGE_MAX:
        raise Failure(413, "Request_EntityTooLarge", f"A page has {PAGE_MAX} entities at most.")
    return max(1, size)


def _next_link(request: httpx.Request, token: str) -> str:
    """The address of the next page, with the same options and the place of the last row."""
    params = request.url.params
    kept = [(name, params[name]) for name in params if name not in ("$skip", "$skiptoken", "aid")]
    options = [*kept, ("aid", "FIRST"), ("$skiptoken", token)]
    query = "&".join(f"{name}={quote(value, safe='(),=;$')}" for name, value in options)
    return f"{request.url.copy_with(query=None)}?{query}"


#: What the registry finds.
API: Final = BusinessCentral
