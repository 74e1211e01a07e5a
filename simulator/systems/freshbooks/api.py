"""FreshBooks' accounting API and its auth endpoints."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx

from simulator import callbacks
from simulator.limits import Throttled
from simulator.model import Customer, Document, Payment, Product
from simulator.oauth import Denied, form_client, read_form
from simulator.systems.freshbooks import render as freshbooks_render
from simulator.systems.freshbooks.render import EASTERN, vis_state
from simulator.wire import cached, join, json_response, raw_response, unsupported
from simulator.world import World

TOKEN_PATH: Final = "/auth/oauth/token"
_ROOT: Final = "/accounting/account/"
DEFAULT_PAGE: Final = 15
MAX_PAGE: Final = 100
NEW_STYLE: Final = "2023-02-20"

Row = Document | Customer | Payment | Product
_RENDER: Final[Mapping[str, tuple[str, str, Callable[..., dict[str, Any]]]]] = {
    "invoices/invoices": ("invoices", "invoice", freshbooks_render.invoice_json),
    "credit_notes/credit_notes": (
        "credit_notes",
        "credit_note",
        freshbooks_render.credit_note_json,
    ),
    "users/clients": ("clients", "client", freshbooks_render.client_json),
    "payments/payments": ("payments", "payment", freshbooks_render.payment_json),
    "items/items": ("items", "item", freshbooks_render.item_json),
}
_SERVED: Final = (
    "page",
    "per_page",
    "sort",
    "include[]",
    "search[updated_min]",
    "search[updated_max]",
)
_SERVED_DATES: Final = ("search[date_min]", "search[date_max]")
_OF_CUSTOMER: Final = ("search[customerid]", "search[userid]", "search[clientid]")
#: The searches that a list serves beside those of all; it refuses what it does not serve.
_SEARCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "invoices/invoices": (*_SERVED_DATES, *_OF_CUSTOMER, "search[vis_state]", "search[ids][]"),
    "credit_notes/credit_notes": (
        *_SERVED_DATES,
        *_OF_CUSTOMER,
        "search[vis_state]",
        "search[ids][]",
    ),
    "payments/payments": (*_SERVED_DATES, *_OF_CUSTOMER, "search[vis_state]", "search[ids][]"),
    "users/clients": ("search[vis_state]", "search[ids][]"),
    "items/items": ("search[ids][]",),
}
_INCLUDES: Final = ("lines",)
_ID_FIELDS: Final = {
    "invoice": "invoiceid",
    "credit_note": "creditid",
    "client": "userid",
    "payment": "id",
    "item": "itemid",
}


class FreshBooks:
    """The API of the simulated account."""

    name = "freshbooks"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._items: dict[str, bytes] = {}
        self.callbacks = world.freshbooks_callbacks

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429; FreshBooks publishes neither the limit nor the body."""
        body = {
            "response": {
                "errors": [{"errno": 1009, "message": "Rate limit exceeded.", "object": "system"}]
            }
        }
        return json_response(body, 429, {"retry-after": str(limit.retry_after_seconds)})

    def broken(self) -> httpx.Response:
        """500."""
        body = {
            "response": {
                "errors": [{"errno": 1000, "message": "Internal server error.", "object": "system"}]
            }
        }
        return json_response(body, 500)

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        valid = self.grants.check(request) == "valid"
        if path == "/auth/api/v1/users/me":
            if valid:
                return json_response(
                    {
                        "response": freshbooks_render.identity_json(
                            self.world.anchor, self.world.accounts[self.name]
                        )
                    }
                )
            described = "This action requires authentication to continue."
            return json_response({"error": "unauthenticated", "error_description": described}, 401)
        if not valid:
            message = (
                "The server could not verify that you are authorized to access the URL requested."
            )
            return _error(request, 401, 16, 1003, message)
        account, _, rest = path.removeprefix(_ROOT).partition("/")
        if not path.startswith(_ROOT):
            found = path.startswith(callbacks.PATH)
            return (
                self.callbacks.answer(request, path)
                if found
                else json_response({"message": "Not Found"}, 404)
            )
        if account not in self.world.accounts[self.name]:
            return _error(request, 403, 7, 1003, "User does not have access to this account.")
        for resource in _RENDER:
            if rest == resource:
                return self._list(resource, request)
            if rest.startswith(f"{resource}/"):
                return self._single(resource, rest.removeprefix(f"{resource}/"), request)
        return _error(request, 404, 5, 1012, "The requested resource was not found.")

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not form_client(form):
            return _denied("invalid_client", "Client authentication failed.", 401)
        if not form.get("redirect_uri"):
            return _denied(
                "invalid_request", "The request is missing a required parameter: redirect_uri.", 400
            )
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return _denied(
                denied.error,
                "The provided authorization grant is invalid, expired or revoked.",
                400,
            )

    def _rows(self, resource: str) -> Sequence[Row]:
        match resource:
            case "invoices/invoices":
                return list(self.books.all("Invoice"))
            case "credit_notes/credit_notes":
                return list(self.books.all("CreditNote"))
            case "users/clients":
                return list(self.books.customers.values())
            case "payments/payments":
                return list(self.books.payments.values())
            case _:
                return list(self.books.products.values())

    def _json(self, resource: str, row: Row, *, lines: bool) -> bytes:
        render = _RENDER[resource][2]
        if isinstance(row, Product):
            return cached(self._items, row.id, lambda: render(row))
        if isinstance(row, Document):
            return cached(row.cache, f"lines={lines}", lambda: render(row, lines=lines))
        return cached(row.cache, "full", lambda: render(row))

    def _list(self, resource: str, request: httpx.Request) -> httpx.Response:
        params = request.url.params
        if refused := unsupported(params, *_SERVED, *_SEARCHES[resource]):
            return _error(
                request, 400, 3, 1001, f"The parameter {refused} is not supported.", field=refused
            )
        if other := [one for one in params.get_list("include[]") if one not in _INCLUDES]:
            return _error(
                request, 400, 3, 1001, f"{other[0]} cannot be included.", field="include[]"
            )
        try:
            page = max(1, int(params.get("page", 1)))
            size = min(
                MAX_PAGE, max(1, int(params.get("per_page", DEFAULT_PAGE)))
            )  # capped without a word
        except ValueError:
            return _error(request, 400, 3, 1013, "Page must be an integer.", field="page")
        rows = self._found(self._rows(resource), params)
        # Whatever the key, the order is by id: ascending when asked for any ascending order, else
        # descending.
        descending = not params.get("sort", "desc").endswith("asc")
        rows.sort(key=lambda row: int(row.id), reverse=descending)
        shown = rows[(page - 1) * size : page * size]
        lines = "lines" in params.get_list("include[]")
        name, body = (
            _RENDER[resource][0],
            join(self._json(resource, row, lines=lines) for row in shown),
        )
        parts = (name.encode(), body, page, -(-len(rows) // size), size, len(rows))
        form = b'{"response":{"result":{"%s":%s,"page":%d,"pages":%d,"per_page":%d,"total":%d}}}'
        return raw_response(form % parts, headers={"x-api-version": NEW_STYLE})

    def _found(self, rows: Sequence[Row], params: httpx.QueryParams) -> list[Row]:
        """The documented searches; others are refused before.

        Deleted rows only show when asked for.
        """
        wanted = params.get("search[vis_state]")
        found = [
            row for row in rows if isinstance(row, Product) or _visible(vis_state(row), wanted)
        ]
        if ids := {key for key in params.get_list("search[ids][]") if key}:
            found = [row for row in found if row.id in ids]
        for name in ("customerid", "userid", "clientid"):
            if key := params.get(f"search[{name}]"):
                found = [
                    row
                    for row in found
                    if isinstance(row, Document | Payment) and row.customer.id == key
                ]
        first, last = (
            params.get("search[updated_min]", ""),
            params.get("search[updated_max]", "9999"),
        )
        if first or last != "9999":  # whole days, both inclusive
            found = [row for row in found if first[:10] <= _eastern_day(row) <= last[:10]]
        first, last = params.get("search[date_min]", ""), params.get("search[date_max]", "9999")
        return [row for row in found if first[:10] <= _day(row) <= last[:10]]

    def _single(self, resource: str, key: str, request: httpx.Request) -> httpx.Response:
        name = _RENDER[resource][1]
        row = next((row for row in self._rows(resource) if row.id == key), None)
        if row is None:
            message = f"{name.replace('_', ' ').capitalize()} not found."
            return _error(
                request, 404, 5, 1012, message, field=_ID_FIELDS[name], item=name, value=key
            )
        params = request.url.params
        other = [one for one in params.get_list("include[]") if one not in _INCLUDES]
        if refused := unsupported(params, "include[]") or next(iter(other), None):
            return _error(
                request, 400, 3, 1001, f"The parameter {refused} is not supported.", field=refused
            )
        lines = "lines" in params.get_list("include[]")
        body = b'{"response":{"result":{"%s":%s}}}' % (
            name.encode(),
            self._json(resource, row, lines=lines),
        )
        return raw_response(body, headers={"x-api-version": NEW_STYLE})


def _visible(state: int, wanted: str | None) -> bool:
    return str(state) == wanted if wanted is not None else state != 1


def _day(row: Row) -> str:
    """The date on a document or payment; what has none is of every day."""
    if isinstance(row, Document):
        return row.day.isoformat()
    return row.day.isoformat() if isinstance(row, Payment) else "5"


def _eastern_day(row: Row) -> str:
    if isinstance(row, Product):
        return freshbooks_render.ITEMS_UPDATED[:10]
    return row.updated_at.astimezone(EASTERN).date().isoformat()


def _denied(error: str, description: str, status: int) -> httpx.Response:
    return json_response({"error": error, "error_description": description}, status)


def _error(
    request: httpx.Request,
    status: int,
    code: int,
    errno: int,
    message: str,
    *,
    field: str = "",
    item: str = "",
    value: str = "",
) -> httpx.Response:
    """An error in the asked API version's style: google.rpc from 2023-02-20 on, else the old list."""
    if request.headers.get("x-api-version", "") >= NEW_STYLE:
        metadata = {"object": item, "message": message, "value": value, "field": field}
        detail = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": str(errno),
            "domain": "accounting.api.freshbooks.com",
            "metadata": {name: text for name, text in metadata.items() if text},
        }
        body = {
            "code": code,
            "message": f"Request failed with status_code: {status}",
            "details": [detail],
        }
        return json_response(body, status, {"x-api-version": NEW_STYLE})
    error = {"errno": errno, "field": field, "message": message, "object": item, "value": value}
    return json_response({"response": {"errors": [error]}}, status)


#: What the registry finds.
API: Final = FreshBooks
