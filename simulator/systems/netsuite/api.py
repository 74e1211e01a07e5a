"""NetSuite's REST web services: SuiteQL, single records, and the token endpoint."""

import json
from itertools import count
from random import Random
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.oauth import read_form
from simulator.systems.netsuite.auth import TOKEN_PATH, assertion_refusal, tba_refusal
from simulator.systems.netsuite.suiteql import parse
from simulator.systems.netsuite.suiteql_values import SuiteQLError, ordered, shown
from simulator.systems.netsuite.tables import TYPES, alive, record_json, tables
from simulator.wire import json_response, unsupported
from simulator.world import World

_SUITEQL: Final = "/services/rest/query/v1/suiteql"
_RECORD: Final = "/services/rest/record/v1/"
MAX_LIMIT: Final = 1000
MAX_ROWS: Final = 100_000
_RFC: Final = "https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html"
_TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
}


class NetSuite:
    """The API of the simulated account."""

    name = "netsuite"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._tables = tables(self.books)
        self._throttled = count()

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:  # noqa: ARG002  NetSuite does not say which
        """429 without Retry-After; some see the same with status 400."""
        detail = "Concurrent request limit exceeded. Request blocked."
        status = 400 if next(self._throttled) % 2 else 429
        return _error(status, detail, "CONCURRENCY_LIMIT_EXCEEDED")

    def broken(self) -> httpx.Response:
        """500."""
        return _error(500, "An unexpected error occurred. Error ID: simulated", "UNEXPECTED_ERROR")

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        if not self._let_in(request):
            detail = (
                "Invalid login attempt. For more details, see the Login Audit Trail in the NetSuite UI at Setup > "
                "Users/Roles > User Management > View Login Audit Trail."
            )
            return _error(401, detail, "INVALID_LOGIN")
        if path == _SUITEQL:
            return self._suiteql(request)
        if path.startswith(_RECORD) and request.method == "GET":
            return self._record(path.removeprefix(_RECORD), request)
        return _error(404, "The requested resource does not exist.", "NONEXISTENT_ID")

    def _let_in(self, request: httpx.Request) -> bool:
        if request.headers.get("authorization", "").startswith("OAuth "):
            refusal = tba_refusal(request, self.grants, self.world.now())
            self.grants.audit_trail.append(refusal or "success")
            return refusal is None
        return self.grants.check(request) == "valid"

    def _token(self, request: httpx.Request) -> httpx.Response:
        address = str(request.url.copy_with(query=None))
        refusal = assertion_refusal(read_form(request), address, self.grants, self.world.now())
        if refusal is not None:
            return json_response({"error": refusal}, 400)
        life = int(self.grants.access_seconds)
        return json_response(
            {
                "access_token": self.grants.issue_access(),
                "expires_in": str(life),
                "token_type": "Bearer",
            }
        )

    def _suiteql(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST":
            return _error(405, "Method not allowed.", "METHOD_NOT_ALLOWED")
        if "transient" not in request.headers.get("prefer", ""):
            return _error(
                400,
                "Required header 'Prefer' with the value 'transient' is missing.",
                "INVALID_HEADER",
            )
        if name := unsupported(request.url.params, "limit", "offset"):
            return _not_served(name)
        try:
            limit, offset = _page(request.url.params)
            body = json.loads(request.content)
            statement, params = str(body["q"]), list(body.get("params") or ())
        except _PageError as error:
            return _error(400, str(error), "INVALID_PARAMETER", parameter=error.parameter)
        except (ValueError, KeyError, TypeError, AttributeError):
            return _error(400, "Invalid content in the request body.", "INVALID_CONTENT")
        try:
            return json_response(self._selected(statement, params, limit, offset, str(request.url)))
        except SuiteQLError as error:
            return _error(400, str(error), "INVALID_PARAMETER", parameter="q")

    def _selected(
        self, statement: str, params: list[Any], limit: int, offset: int, url: str
    ) -> dict[str, Any]:
        query = parse(statement, self._tables, params)
        if query.count:
            rows: list[dict[str, Any]] = [{"links": [], query.columns[0][0]: str(len(query.rows))}]
            return _listing(rows, 0, 1, limit, url)
        found = query.rows[:MAX_ROWS] if query.order else query.rows
        # Rows that the statement does not order come in another order every time.
        Random(f"{self.world.seed}/{offset}/{len(found)}").shuffle(found)
        shown_rows = ordered(query.order, found)[offset : offset + limit]
        values = [{name: shown(value(row)) for name, value in query.columns} for row in shown_rows]
        rows = [
            {"links": [], **{name: text for name, text in one.items() if text is not None}}
            for one in values
        ]
        return _listing(rows, offset, len(found), limit, url)

    def _record(self, rest: str, request: httpx.Request) -> httpx.Response:
        kind, _, key = rest.partition("/")
        served = ("expandSubResources",) if key else ("limit", "offset")
        if name := unsupported(request.url.params, *served):
            return _not_served(name)
        entity = next((name for name, names in TYPES.items() if names[1] == kind), None)
        if entity is None:
            return _error(404, f"Record type '{kind}' does not exist.", "NONEXISTENT_ID")
        found = [document for document in alive(self.books) if document.entity == entity]
        if not key:
            try:
                limit, offset = _page(request.url.params)
            except _PageError as error:
                return _error(400, str(error), "INVALID_PARAMETER", parameter=error.parameter)
            rows = [{"links": [], "id": document.id} for document in found[offset : offset + limit]]
            return json_response(_listing(rows, offset, len(found), limit, str(request.url)))
        document = next((one for one in found if one.id == key), None)
        if document is None:
            return _error(
                404,
                "The record instance does not exist. Provide a valid record instance ID.",
                "NONEXISTENT_ID",
            )
        return json_response(
            record_json(document, expanded=request.url.params.get("expandSubResources") == "true")
        )


class _PageError(Exception):
    """Limit or offset are refused."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


def _page(params: httpx.QueryParams) -> tuple[int, int]:
    texts = {"limit": params.get("limit", str(MAX_LIMIT)), "offset": params.get("offset", "0")}
    for name, text in texts.items():
        if not text.isdigit():
            raise _PageError(f"The {name} must be a whole number.", name)
    limit, offset = int(texts["limit"]), int(texts["offset"])
    if not 1 <= limit <= MAX_LIMIT:
        raise _PageError(f"The limit must be between 1 and {MAX_LIMIT}.", "limit")
    if offset % limit:
        raise _PageError("The offset must be divisible by the limit.", "offset")
    if offset >= MAX_ROWS:
        raise _PageError(f"A query returns at most {MAX_ROWS} rows.", "offset")
    return limit, offset


def _not_served(name: str) -> httpx.Response:
    """A parameter that NetSuite may know and this simulator does not serve (`q`, `ids`, ...)."""
    return _error(
        400, f"The parameter {name} is not supported.", "INVALID_PARAMETER", parameter=name
    )


def _listing(
    rows: list[dict[str, Any]], offset: int, total: int, limit: int, url: str
) -> dict[str, Any]:
    more = offset + limit < total
    links = [{"rel": "self", "href": url}]
    if more:
        links.append(
            {
                "rel": "next",
                "href": str(httpx.URL(url).copy_merge_params({"offset": str(offset + limit)})),
            }
        )
    return {
        "links": links,
        "count": len(rows),
        "hasMore": more,
        "items": rows,
        "offset": offset,
        "totalResults": total,
    }


def _error(status: int, detail: str, code: str, *, parameter: str | None = None) -> httpx.Response:
    described = {"detail": detail, "o:errorCode": code}
    if parameter is not None:
        described["o:errorQueryParam"] = parameter
    body = {
        "type": f"{_RFC}#sec10.{max(4, status // 100)}",
        "title": _TITLES.get(status, "Bad Request" if status < 500 else "Internal Server Error"),
        "status": status,
        "o:errorDetails": [described],
    }
    return json_response(
        body, status, {"content-type": "application/vnd.oracle.resource+json; type=error"}
    )


#: What the registry finds.
API: Final = NetSuite
