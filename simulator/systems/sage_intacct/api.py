"""Sage Intacct's REST API v1: its token endpoint, the query service, single objects and the object model."""

import json
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import ACCOUNTS, Customer, Document, Product
from simulator.oauth import Denied, form_client, read_form
from simulator.systems.sage_intacct.query import (
    DEFAULT_SIZE,
    QueryError,
    ordered,
    page,
    parse,
    shown,
)
from simulator.systems.sage_intacct.render import KINDS, Kind, Row
from simulator.wire import json_response, unsupported
from simulator.world import World

_ROOT: Final = "/ia/api/v1"
TOKEN_PATH: Final = f"{_ROOT}/oauth2/token"
COMPANY, _, ENTITY = ACCOUNTS["sage_intacct"].partition("|")
#: Another entity of the company, which sold nothing.
EMPTY_ENTITY: Final = "E200"
_Record = Document | Customer | Product | Row


class SageIntacct:
    """The API of the simulated company."""

    name = "sage_intacct"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._errors = 0
        self._rendered: dict[tuple[str, str], tuple[object, dict[str, Any]]] = {}

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429; when to come back is not said."""
        return self._error(429, "tooManyRequests", f"Too many requests: {limit.name}")

    def broken(self) -> httpx.Response:
        """500."""
        return self._error(500, "internalServerError", "An unexpected error occurred")

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        known = self.grants.check(request)
        if known == "expired":  # observed: 400, not 401
            return self._error(400, "invalidRequest", "The token is not valid")
        if known != "valid":
            return self._error(401, "unauthorized", "Login credential is not valid")
        # A header of any other name is ignored, and gives what the top level sees.
        entity = request.headers.get("x-ia-api-param-entity", "")
        if entity not in ("", ENTITY, EMPTY_ENTITY):
            return self._error(
                403, "forbidden", "The entity does not exist, or is not open to this user"
            )
        rest = path.removeprefix(_ROOT)
        served = {"/services/core/model": ("name",), "/services/core/query": ()}.get(
            rest, ("start",)
        )
        if name := unsupported(request.url.params, *served):
            return self._error(400, "invalidRequest", f"The parameter {name} is not supported")
        if rest == "/services/core/query":
            return self._query(request, entity)
        if rest == "/services/core/model":
            return self._model(request.url.params.get("name", ""))
        if rest.startswith("/objects/"):
            return self._object(rest.removeprefix("/objects/"), entity, request)
        return self._error(404, "notFound", "The resource does not exist")

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if "json" in request.headers.get("content-type", "") or not form_client(form):
            return json_response({"error": "invalid_client"}, 401)
        user, _, company = form.get("username", "").partition("@")
        if form.get("grant_type") == "client_credentials" and (
            not user or company.partition("|")[0] != COMPANY
        ):
            described = "The username format is invalid (expected user@company)"
            return json_response({"error": "invalid_request", "error_description": described}, 400)
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _error(self, status: int, code: str, message: str) -> httpx.Response:
        self._errors += 1
        error = {
            "code": code,
            "message": message,
            "errorId": f"REST-{status}0",
            "additionalInfo": {"messageId": "IA.ERROR", "placeholders": {}},
            "supportId": f"SIM{self._errors:06d}",
        }
        body = {
            "ia::result": {"ia::error": error},
            "ia::meta": {"totalCount": 1, "totalSuccess": 0, "totalError": 1},
        }
        return json_response(body, status)

    def _found(self, name: str, entity: str) -> list[dict[str, Any]] | None:
        kind = KINDS.get(name)
        if kind is None:
            return None
        shared = not name.startswith("accounts-receivable/") or name.endswith("/customer")
        if entity == EMPTY_ENTITY and not shared:
            return []
        return [self._json(name, kind, one) for one in kind.found(self.books)]

    def _json(self, name: str, kind: Kind, one: _Record) -> dict[str, Any]:
        """Rendered once for each version of what it shows."""
        source = one.document if isinstance(one, Row) else one
        key = f"{id(source)}/{one.position}" if isinstance(one, Row) else str(id(source))
        version = 0 if isinstance(source, Product) else source.version
        known = self._rendered.get((name, key))
        customer = source.customer.version if isinstance(source, Document) else 0
        if known is None or known[0] != (version, customer):
            known = self._rendered[name, key] = ((version, customer), kind.render(one))
        return known[1]

    def _query(self, request: httpx.Request, entity: str) -> httpx.Response:
        if request.method != "POST":
            return self._error(405, "methodNotAllowed", "Use POST")
        try:
            query = parse(json.loads(request.content))
            records = self._found(query.object, entity)
            if records is None:
                return self._error(
                    400, "invalidRequest", f"The object {query.object} does not exist"
                )
            found, meta = page(query, ordered(query, records))
            return json_response(
                {"ia::result": [shown(query, record) for record in found], "ia::meta": meta}
            )
        except (QueryError, ValueError) as error:
            return self._error(400, "invalidRequest", f"Payload contains errors: {error}")

    def _object(self, rest: str, entity: str, request: httpx.Request) -> httpx.Response:
        """One object in full, or the list that has no more than keys."""
        found = self._found(rest, entity)
        if found is not None:
            start = request.url.params.get("start", "1")
            if not start.isdigit() or start == "0":
                return self._error(400, "invalidRequest", "start is from 1")
            query = parse(
                {
                    "object": rest,
                    "fields": ["key", "id", "href"],
                    "start": int(start),
                    "size": DEFAULT_SIZE,
                }
            )
            shown_rows, meta = page(query, found)
            return json_response(
                {"ia::result": [shown(query, row) for row in shown_rows], "ia::meta": meta}
            )
        name, _, key = rest.rpartition("/")
        kind = KINDS.get(name)
        if kind is not None and self._found(name, entity):
            for one in kind.found(self.books):
                if self._json(name, kind, one)["key"] == key:
                    meta = {"totalCount": 1, "totalSuccess": 1, "totalError": 0}
                    return json_response(
                        {"ia::result": (kind.full or kind.render)(one), "ia::meta": meta}
                    )
        return self._error(404, "invalidRequest", "The object does not exist")

    def _model(self, name: str) -> httpx.Response:
        """The fields of an object, references apart."""
        found = self._found(name, "")
        if not found:
            return json_response(
                {
                    "ia::result": [],
                    "ia::meta": {"totalCount": 0, "totalSuccess": 0, "totalError": 0},
                }
            )
        record = found[0]
        fields = {
            one: {"type": "string"}
            for one, value in record.items()
            if not isinstance(value, dict | list)
        }
        groups = {
            one: {"fields": {inner: {"type": "string"} for inner in value}}
            for one, value in record.items()
            if isinstance(value, dict) and "href" not in value
        }
        refs = {
            one: {"fields": {inner: {"type": "string"} for inner in value}}
            for one, value in record.items()
            if isinstance(value, dict) and "href" in value
        }
        body = {
            "fields": fields,
            "groups": groups,
            "refs": refs,
            "httpMethods": "OPTIONS,GET,POST,DELETE,PATCH",
        }
        return json_response(
            {"ia::result": body, "ia::meta": {"totalCount": 1, "totalSuccess": 1, "totalError": 0}}
        )


#: What the registry finds.
API: Final = SageIntacct
