"""Zoho Books' API v3 and the token endpoint of its accounts server."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import LUANDA, Customer, Document, Payment, Product
from simulator.oauth import Denied, form_client, read_form
from simulator.systems.zoho_books import render
from simulator.wire import json_response
from simulator.world import World

TOKEN_PATH: Final = "/oauth/v2/token"
_ROOT: Final = "/books/v3/"
MAX_PAGE: Final = 200
_LAST_MODIFIED: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")

Row = Document | Customer | Payment | Product


@dataclass(frozen=True)
class _List:
    """One list: the words for many and for one, and how its rows are written."""

    single: str
    label: str
    rows: Callable[["ZohoBooks"], Sequence[Row]]
    #: Is given a row, today's date, and whether the row is asked for alone (`whole`).
    write: Callable[..., dict[str, Any]]
    sorts: tuple[str, ...] = ("created_time",)


class ZohoBooks:
    """The API of the simulated organization."""

    name = "zoho_books"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429 that does not say when to come back; the header about the day does, when that is used up."""
        left = 0 if limit.name == "day" else None
        body = {"code": 45, "message": "You have exceeded the maximum number of requests."}
        return json_response(body, 429, self._quota(left))

    def broken(self) -> httpx.Response:
        """500."""
        return json_response({"code": 1000, "message": "Internal error"}, 500, self._quota())

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        refused = self._authorise(request)
        if refused is not None:
            return refused
        resource, _, key = path.removeprefix(_ROOT).partition("/")
        if not path.startswith(_ROOT) or resource not in (*_LISTS, "organizations"):
            return self._error(5, "Invalid URL Passed", 404)
        if request.method != "GET":
            return self._error(37, "The HTTP method is not allowed for the requested resource", 405)
        if resource == "organizations":
            return self._success({"organizations": self._organizations()})
        if request.url.params.get("organization_id") not in self.world.accounts[self.name]:
            return self._error(6, "This user is not associated with the organization.", 400)
        listed = _LISTS[resource]
        return self._single(listed, key) if key else self._list(resource, listed, request)

    def _token(self, request: httpx.Request) -> httpx.Response:
        """The token endpoint, which refuses with status 200."""
        form = read_form(request) | dict(request.url.params)
        if not form_client(form):
            return json_response({"error": "invalid_client"})
        try:
            granted = self.grants.grant(form)
        except Denied as denied:
            error = "invalid_code" if denied.error == "invalid_grant" else denied.error
            return json_response({"error": error})
        if form["grant_type"] == "refresh_token":
            del granted["refresh_token"]
        return json_response(granted)

    def _authorise(self, request: httpx.Request) -> httpx.Response | None:
        if "authorization" not in request.headers:
            return self._error(14, "Invalid value passed for authtoken.", 401)
        if self.grants.check(request) != "valid":
            return self._error(57, "You are not authorized to perform this operation", 401)
        return None

    def _quota(self, left: int | None = None) -> dict[str, str]:
        remaining = self.world.limits[self.name].remaining()["day"] if left is None else left
        now = self.world.now().astimezone(LUANDA)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return {
            "X-Rate-Limit-Limit": "10000",
            "X-Rate-Limit-Remaining": str(remaining),
            "X-Rate-Limit-Reset": str(int((midnight - now).total_seconds())),
        }

    def _error(self, code: int, message: str, status: int) -> httpx.Response:
        return json_response({"code": code, "message": message}, status, self._quota())

    def _success(self, body: dict[str, Any]) -> httpx.Response:
        return json_response({"code": 0, "message": "success", **body}, headers=self._quota())

    def _organizations(self) -> list[dict[str, Any]]:
        return [
            {
                "organization_id": account,
                "name": f"Água Twezah {number}" if number else "Água Twezah, Lda",
                "currency_code": "AOA",
                "time_zone": "Africa/Luanda",
                "is_default_org": not number,
            }
            for number, account in enumerate(self.world.accounts[self.name])
        ]

    def _list(self, resource: str, listed: _List, request: httpx.Request) -> httpx.Response:
        params = request.url.params
        rows = listed.rows(self)
        try:
            page, size = int(params.get("page", 1)), int(params.get("per_page", MAX_PAGE))
        except ValueError:
            return self._error(4, "Invalid value passed for page", 400)
        page, size = max(1, page), min(max(1, size), MAX_PAGE)
        sort, order = params.get("sort_column", "created_time"), params.get("sort_order", "D")
        if sort not in listed.sorts or order not in ("A", "D"):
            return self._error(4, "Invalid value passed for sort_column", 400)
        # Only invoices can be filtered by time of change; unknown parameters are ignored.
        since = params.get("last_modified_time", "") if resource == "invoices" else ""
        if since and not _LAST_MODIFIED.fullmatch(since):
            return self._error(4, "Invalid value passed for last_modified_time", 400)
        if since:
            after = datetime.strptime(since, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
            rows = [row for row in rows if isinstance(row, Document) and _second(row) > after]
        rows = sorted(rows, key=_created, reverse=order == "D")
        shown = rows[(page - 1) * size : page * size]
        context = {
            "page": page,
            "per_page": size,
            "has_more_page": page * size < len(rows),
            "report_name": resource.title(),
            "applied_filter": "Status.All",
            "sort_column": sort,
            "sort_order": order,
        }
        written = [listed.write(row, self._today(), whole=False) for row in shown]
        return self._success({resource: written, "page_context": context})

    def _single(self, listed: _List, key: str) -> httpx.Response:
        for row in listed.rows(self):
            if row.id == key:
                record = listed.write(row, self._today(), whole=True)
                return self._success({listed.single: record})
        return self._error(1002, f"{listed.label} does not exist.", 404)

    def documents(self, entity: str) -> list[Document]:
        """Documents that exist: deleted ones are gone."""
        return [document for document in self.books.all(entity) if not document.deleted]

    def _today(self) -> date:
        return self.world.now().astimezone(LUANDA).date()


def _second(row: Document) -> datetime:
    return row.updated_at.replace(microsecond=0)


def _created(row: Row) -> tuple[datetime, int]:
    at = datetime.min.replace(tzinfo=UTC) if isinstance(row, Product) else row.created_at
    return at, int(row.id)


_LISTS: Final = {
    "invoices": _List(
        "invoice",
        "Invoice",
        lambda api: api.documents("Invoice"),
        render.invoice_json,
        ("customer_name", "invoice_number", "date", "due_date", "total", "balance", "created_time"),
    ),
    "creditnotes": _List(
        "creditnote",
        "Credit Note",
        lambda api: api.documents("CreditMemo"),
        render.credit_json,
    ),
    "contacts": _List(
        "contact",
        "Contact",
        lambda api: list(api.books.customers.values()),
        render.contact_json,
        ("contact_name", "created_time", "last_modified_time"),
    ),
    "customerpayments": _List(
        "payment",
        "Payment",
        lambda api: [row for row in api.books.payments.values() if not row.deleted],
        render.payment_json,
    ),
    "items": _List(
        "item",
        "Item",
        lambda api: list(api.books.products.values()),
        render.item_json,
        ("name", "created_time"),
    ),
}

#: What the registry finds.
API: Final = ZohoBooks
