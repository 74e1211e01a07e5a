"""Oracle Fusion's REST resources of receivables and of parties, and the token endpoint.

A page holds 25 rows unless a `limit` asks for more, and 499 at most, whatever is asked for. Without
an `orderBy` the rows come in another order with each request.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import Document
from simulator.oauth import Denied, basic_client, read_form
from simulator.systems.oracle_fusion.query import QueryError, Row, filtered, ordered
from simulator.systems.oracle_fusion.render import (
    contact_points_json,
    lines_json,
    party_json,
    taxes_json,
    transaction_json,
)
from simulator.wire import json_response, unsupported
from simulator.world import World

TOKEN_PATH: Final = "/oauth2/v1/token"
RECEIVABLES: Final = "/fscmRestApi/resources/11.13.18.05"
PARTIES: Final = "/crmRestApi/resources/11.13.18.05"
#: Rows of a page, if nothing else is asked for, and at most.
PAGE_USUAL: Final = 25
PAGE_MAX: Final = 499
#: Whether the pod knows when a transaction was changed, and can search by it. Not every one does.
TELLS_CHANGES: bool = True
_MEDIA: Final = "application/vnd.oracle.adf"
_OPTIONS: Final = (
    "q", "fields", "expand", "limit", "offset", "orderBy", "totalResults", "onlyData", "links",
    "dependency",
)  # fmt: skip
#: Long texts, which a list of `fields` cannot have.
_LONG: Final = ("Comments", "SpecialInstructions")
_CHANGES: Final = ("LastUpdateDate", "LastUpdatedBy")


@dataclass(frozen=True)
class Resource:
    """A resource: its key, what it can be searched by, and the collections inside its items."""

    path: str
    key: str
    searchable: Mapping[str, type]
    children: tuple[str, ...]
    entity: str = ""


def _transactions(name: str, entity: str, *, state: str, balance: str) -> Resource:
    return Resource(
        f"{RECEIVABLES}/{name}",
        "CustomerTransactionId",
        {
            "CustomerTransactionId": int, "TransactionNumber": str, "TransactionDate": date,
            "DueDate": date, "TransactionType": str, "BusinessUnit": str, state: str,
            balance: float, "EnteredAmount": float, "BillToCustomerNumber": str,
            "CreationDate": datetime, "LastUpdateDate": datetime,
        },
        (f"{name.removesuffix('s')}Lines",),
        entity,
    )  # fmt: skip


_RESOURCES: Final = (
    _transactions(
        "receivablesInvoices", "Invoice", state="InvoiceStatus", balance="InvoiceBalanceAmount"
    ),
    _transactions(
        "receivablesCreditMemos",
        "CreditMemo",
        state="CreditMemoStatus",
        balance="TransactionBalanceDue",
    ),
    *(
        Resource(
            f"{PARTIES}/{name}", "PartyNumber", {"PartyId": int, "PartyNumber": str},
            ("ContactPoint",),
        )
        for name in ("hubOrganizations", "hubPersons")
    ),
)  # fmt: skip


class OracleFusion:
    """The API of the simulated pod."""

    name = "oracle_fusion"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._requests = 0

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, _limit: Throttled) -> httpx.Response:
        """429; when to come back is not said."""
        return httpx.Response(429, text="Too Many Requests")

    def broken(self) -> httpx.Response:
        """500."""
        return _error(500, "Internal Server Error", "An internal error occurred.")

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        self._requests += 1
        if self.is_token_path(path):
            return self._token(request)
        if not (basic_client(request) or self.grants.check(request) == "valid"):
            headers = {"www-authenticate": 'Basic realm="weblogic"', "content-type": "text/html"}
            return httpx.Response(401, headers=headers)
        try:
            response = self._routed(request, path)
        except QueryError as error:
            response = _error(400, "Bad Request", str(error), "27520")
        response.headers["x-oracle-dms-ecid"] = f"sim-{self._requests:08d}"
        response.headers["rest-framework-version"] = request.headers.get(
            "rest-framework-version", "1"
        )
        return response

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not basic_client(request):
            return json_response({"error": "invalid_client"}, 401)
        if not form.get("scope"):
            return json_response({"error": "invalid_scope"}, 400)
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _routed(self, request: httpx.Request, path: str) -> httpx.Response:
        resource = next(
            (one for one in _RESOURCES if path == one.path or path.startswith(f"{one.path}/")), None
        )
        if resource is None:
            return _not_found()
        if request.method != "GET":
            return _error(405, "Method Not Allowed", "The method is not allowed.")
        inner = path.removeprefix(resource.path)
        if inner == "/describe":
            return json_response(_described(resource))
        items = self._items(resource)
        if not inner:
            return self._list(request, items, resource)
        matched = re.fullmatch(r"/([^/]+)(?:/child/(\w+)(?:/(\d+)/child/(\w+))?)?", inner)
        row = matched and next((row for row in items if str(row[resource.key]) == matched[1]), None)
        if not matched or not row:
            return _not_found()
        if matched[2] is None:
            return json_response(
                self._shown(request, row, resource), headers=_media("resourceitem")
            )
        rows = self._children(row, matched[2], matched[3], matched[4])
        return _not_found() if rows is None else self._list(request, rows, None)

    def _items(self, resource: Resource) -> list[dict[str, Any]]:
        """The items of a resource; what they are made of stands under no name."""
        if not resource.entity:
            organizations = resource.path.endswith("Organizations")
            return [
                {"": customer, **party_json(customer)}
                for customer in self.books.customers.values()
                if bool(customer.person.company) is organizations
            ]
        known = [one for one in self.books.all(resource.entity) if not one.deleted]
        rows = [{"": document, **transaction_json(document)} for document in known]
        if not TELLS_CHANGES:
            for row in rows:
                for name in _CHANGES:
                    del row[name]
        return rows

    def _children(
        self, row: Row, child: str, line: str | None = None, inner: str | None = None
    ) -> list[dict[str, Any]] | None:
        """A collection inside an item; None: there is none of that name."""
        owner = row[""]
        if not isinstance(owner, Document):
            return contact_points_json(owner) if (child, line) == ("ContactPoint", None) else None
        if not child.startswith("receivables") or not child.endswith("Lines"):
            return None
        lines = lines_json(owner)
        if line is None:
            return lines
        position = next(
            (one["LineNumber"] for one in lines if one["CustomerTransactionLineId"] == int(line)), 0
        )
        known = position and inner == f"{child.removesuffix('s')}TaxLines"
        return taxes_json(owner, position) if known else None

    def _list(
        self, request: httpx.Request, rows: Sequence[Row], resource: Resource | None
    ) -> httpx.Response:
        params = request.url.params
        if strange := unsupported(params, *_OPTIONS):
            raise QueryError(f"URL request parameter {strange} cannot be used in this context.")
        if resource is not None:
            rows = filtered(rows, params.get("q", ""), _searchable(resource))
        elif "q" in params:
            raise QueryError("URL request parameter q cannot be used in this context.")
        if resource is not None and set(params.get("fields", "").split(",")) & set(_LONG):
            return self.broken()
        names = [name for name in (rows[0] if rows else ()) if name]
        if "orderBy" in params:
            rows = ordered(rows, params["orderBy"], names) if rows else rows
        elif rows:
            turned = self._requests % len(rows)
            rows = [*rows[turned:], *rows[:turned]]
        body = _collection(
            request, rows, lambda row: self._shown(request, row, resource, names), params
        )
        if params.get("totalResults") == "true":
            body["totalResults"] = len(rows)
        return json_response(body, headers=_media("resourcecollection"))

    def _shown(
        self,
        request: httpx.Request,
        row: Row,
        resource: Resource | None,
        names: Sequence[str] = (),
    ) -> dict[str, Any]:
        """An item with what `fields` leaves of it, or `expand` adds to it."""
        params = request.url.params
        shown = {name: value for name, value in row.items() if name}
        if fields := [name for name in params.get("fields", "").split(",") if name]:
            if unknown := set(fields) - set(names or shown):
                raise QueryError(f"URL request parameter fields cannot be used: {min(unknown)}.")
            shown = {name: shown[name] for name in fields}
        elif resource is not None:
            shown |= self._expanded(request, row, resource)
        if params.get("onlyData") != "true":
            shown["links"] = [{"rel": "self", "href": str(request.url.copy_with(query=None))}]
        return shown

    def _expanded(self, request: httpx.Request, row: Row, resource: Resource) -> dict[str, Any]:
        """The collections of `expand`, of which only the first rows come."""
        expanded: dict[str, Any] = {}
        for path in filter(None, request.url.params.get("expand", "").split(",")):
            child, _, inner = path.partition(".")
            rows = self._children(row, child) if child in resource.children else None
            if rows is None:
                raise QueryError(f"URL request parameter expand cannot be used: {path}.")
            for line in rows if inner else ():
                taxes = taxes_json(row[""], line["LineNumber"])
                line[inner] = _expansion(request, taxes)
            expanded[child] = _expansion(request, rows)
        return expanded


def _expansion(request: httpx.Request, rows: Sequence[Row]) -> Any:
    """An expanded collection: a list where only data is wanted, else with its own paging."""
    if request.url.params.get("onlyData") == "true":
        return list(rows[:PAGE_USUAL])
    return _collection(request, rows, dict, {})


def _collection(
    request: httpx.Request,
    rows: Sequence[Row],
    shown: Callable[[Row], dict[str, Any]],
    params: Mapping[str, str],
) -> dict[str, Any]:
    limit = min(_whole(params, "limit", PAGE_USUAL), PAGE_MAX)
    offset = _whole(params, "offset", 0)
    items = [shown(row) for row in rows[offset : offset + limit]]
    return {
        "items": items,
        "count": len(items),
        "hasMore": offset + len(items) < len(rows),
        "limit": limit,
        "offset": offset,
        "links": [{"rel": "self", "href": str(request.url.copy_with(query=None))}],
    }


def _searchable(resource: Resource) -> dict[str, type]:
    return {
        name: kind
        for name, kind in resource.searchable.items()
        if TELLS_CHANGES or name not in _CHANGES
    }


def _described(resource: Resource) -> dict[str, Any]:
    """What the resource says of itself, as far as it can be searched by it."""
    words = {int: "integer", float: "number", str: "string", date: "string", datetime: "string"}
    attributes = [
        {"name": name, "type": words[kind], "queryable": True}
        for name, kind in _searchable(resource).items()
    ]
    name = resource.path.rpartition("/")[2]
    return {"Resources": {name: {"attributes": attributes}}}


def _whole(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "")
    if text and not text.isdigit():
        raise QueryError(f"URL request parameter {name} cannot be used: {text}.")
    return int(text) if text else default


def _media(kind: str) -> dict[str, str]:
    return {"content-type": f"{_MEDIA}.{kind}+json"}


def _error(status: int, title: str, detail: str, code: str = "") -> httpx.Response:
    body = {
        "title": title,
        "status": str(status),
        "o:errorDetails": [
            {"detail": detail, "o:errorCode": code or str(status), "o:errorPath": ""}
        ],
    }
    return json_response(body, status, _media("error"))


def _not_found() -> httpx.Response:
    return _error(404, "Not Found", "The resource does not exist.")


#: What the registry finds.
API: Final = OracleFusion
