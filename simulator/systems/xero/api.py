"""Xero's accounting API 2.0, the connections list and the identity server's token endpoint."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import httpx

from simulator.limits import Throttled
from simulator.model import ACCOUNTS, CURRENCY, Customer, Document, Payment, Product
from simulator.oauth import Denied, basic_client, form_client, read_form
from simulator.systems.xero import render as xero_render
from simulator.systems.xero.fields import ACCESSORS
from simulator.systems.xero.where import WhereError, filtered, ordered
from simulator.wire import (
    cached,
    encode,
    instant,
    join,
    json_response,
    raw_response,
    unsupported,
    xml_response,
)
from simulator.world import World

TOKEN_PATH: Final = "/connect/token"
_ROOT: Final = "/api.xro/2.0/"
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000
_NUMBERS: Final = {"Invoices": "InvoiceNumbers"}
_PAGED: Final = ("page", "pageSize")
#: The parameters of each list that are served, beside `where` and `order`.
_SERVED: Final[Mapping[str, tuple[str, ...]]] = {
    "Invoices": (
        *_PAGED, "IDs", "InvoiceNumbers", "ContactIDs", "Statuses", "includeArchived", "createdByMyApp", "unitdp",
        "summaryOnly", "searchTerm",
    ),
    "CreditNotes": (*_PAGED, "unitdp"),
    "Contacts": (*_PAGED, "IDs", "includeArchived", "summaryOnly", "searchTerm"),
    "Payments": _PAGED,
    "Items": ("unitdp",),
}  # fmt: skip
_STAMPED_AT: Final = "2024-01-02T09:00:00.0000000"

Row = Document | Customer | Payment | Product
_RENDER: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "Invoices": xero_render.invoice_json,
    "CreditNotes": xero_render.credit_note_json,
    "Contacts": xero_render.contact_json,
    "Payments": xero_render.payment_json,
    "Items": xero_render.item_json,
}


class Xero:
    """The API of the simulated organisation."""

    name = "xero"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._items: dict[str, bytes] = {}
        self._calls = 0

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429 with the limit's name."""
        headers = {
            "retry-after": str(limit.retry_after_seconds),
            "x-rate-limit-problem": limit.name,
            **self._remaining(),
        }
        return httpx.Response(429, headers=headers, content=b"")

    def broken(self) -> httpx.Response:
        """500."""
        body = {
            "ErrorNumber": 500,
            "Type": "InternalServerError",
            "Message": "An error occurred in Xero.",
        }
        return json_response(body, 500)

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        refused = self._authorise(request, path)
        if refused is not None:
            return refused
        if path.lower() == "/connections":
            return json_response(
                [
                    self._connection(n, tenant)
                    for n, tenant in enumerate(self.world.accounts[self.name])
                ]
            )
        resource, _, key = path.removeprefix(_ROOT).partition("/")
        if not path.startswith(_ROOT) or resource not in (*_RENDER, "Organisation"):
            return httpx.Response(404, text="The resource you're looking for cannot be found")
        if "json" not in request.headers.get("accept", ""):
            return xml_response('Response xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"')
        if resource == "Organisation":
            body = (
                self._envelope()
                + b',"Organisations":'
                + encode([self._organisation()]).encode()
                + b"}"
            )
            return raw_response(body, headers=self._remaining())
        return self._single(resource, key) if key else self._list(resource, request)

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not (basic_client(request) or form_client(form)):
            return json_response({"error": "invalid_client"}, 400)
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _authorise(self, request: httpx.Request, path: str) -> httpx.Response | None:
        state = self.grants.check(request)
        instance = self._uuid()
        if state != "valid":
            expired = f"TokenExpired: token expired at {self.world.now():%m/%d/%Y %H:%M:%S}"
            detail = expired if state == "expired" else "AuthenticationUnsuccessful"
            body = {
                "Type": None,
                "Title": "Unauthorized",
                "Status": 401,
                "Detail": detail,
                "Instance": instance,
            }
            return json_response(body | {"Extensions": {}}, 401)
        if (
            path.startswith(_ROOT)
            and request.headers.get("xero-tenant-id", "").lower()
            not in self.world.accounts[self.name]
        ):
            # Lower-case names, unlike the 401.
            body = {
                "title": "Forbidden",
                "status": 403,
                "detail": "AuthenticationUnsuccessful",
                "instance": instance,
            }
            return json_response(body, 403)
        return None

    def _uuid(self) -> str:
        self._calls += 1
        return str(
            UUID(bytes=sha256(f"{self.world.seed}/{self._calls}".encode()).digest()[:16], version=4)
        )

    def _remaining(self) -> dict[str, str]:
        left = self.world.limits[self.name].remaining()
        return {
            "x-minlimit-remaining": str(left["minute"]),
            "x-daylimit-remaining": str(left["day"]),
            "x-appminlimit-remaining": str(left["appminute"]),
        }

    def _connection(self, number: int, tenant: str) -> dict[str, str]:
        return {
            "id": f"7cb59f93-2964-421d-bb5e-a0f7a45{number:05}",
            "authEventId": "d99ecdfe-391d-43d2-b834-17636ba90e8d",
            "tenantId": tenant,
            "tenantType": "ORGANISATION",
            "tenantName": f"Água Twezah {number + 1}" if number else "Água Twezah, Lda",
            "createdDateUtc": _STAMPED_AT,
            "updatedDateUtc": _STAMPED_AT,
        }

    def _organisation(self) -> dict[str, Any]:
        return {
            "OrganisationID": ACCOUNTS[self.name],
            "Name": "Água Twezah, Lda",
            "LegalName": "Água Twezah, Lda",
            "BaseCurrency": CURRENCY,
            "CountryCode": "AO",
            "IsDemoCompany": False,
            "OrganisationStatus": "ACTIVE",
            "Timezone": "WCENTRALAFRICASTANDARDTIME",
        }

    def _envelope(self) -> bytes:
        moment = int(self.world.now().timestamp() * 1000)
        head = {
            "Id": self._uuid(),
            "Status": "OK",
            "ProviderName": "sim-client",
            "DateTimeUTC": f"/Date({moment})/",
        }
        return encode(head).encode()[:-1]

    def _rows(self, resource: str) -> Sequence[Row]:
        match resource:
            case "Invoices":
                return list(self.books.all("Invoice", "Bill"))
            case "CreditNotes":
                return list(self.books.all("CreditNote", "SupplierCredit"))
            case "Contacts":
                return list(self.books.customers.values())
            case "Payments":
                return list(self.books.payments.values())
            case _:
                return [item for item in self.books.products.values() if item.sku]

    def _json(self, resource: str, row: Row, *, lines: bool) -> bytes:
        if isinstance(row, Product):
            return cached(self._items, row.id, lambda: _RENDER[resource](row))
        if isinstance(row, Document):
            return cached(row.cache, f"lines={lines}", lambda: _RENDER[resource](row, lines=lines))
        return cached(row.cache, "full", lambda: _RENDER[resource](row))

    def _list(self, resource: str, request: httpx.Request) -> httpx.Response:
        params, accessors = request.url.params, ACCESSORS[resource]
        if refusal := _refusal(resource, request):
            return self._invalid(10, "ValidationException", refusal)
        rows = self._asked(resource, request)
        try:
            rows = filtered(rows, params.get("where", ""), accessors)
            rows = ordered(rows, params.get("order", ""), accessors)
            page = int(params["page"]) if "page" in params else None
            size = int(params.get("pageSize", DEFAULT_PAGE))
        except WhereError as error:
            return self._invalid(16, "QueryParseException", str(error))
        except ValueError as error:
            return self._invalid(10, "ValidationException", str(error))
        paging = b""
        if page is not None and resource != "Items":
            page, size, count = max(1, page), min(max(1, size), MAX_PAGE), len(rows)
            shape = {
                "page": page,
                "pageSize": size,
                "pageCount": -(-count // size),
                "itemCount": count,
            }
            paging = b',"pagination":' + encode(shape).encode()
            rows = rows[(page - 1) * size : page * size]
        lines = page is not None and params.get("summaryOnly", "").lower() != "true"
        body = join(self._json(resource, row, lines=lines) for row in rows)
        return raw_response(
            self._envelope() + paging + b',"%s":%s}' % (resource.encode(), body),
            headers=self._remaining(),
        )

    def _asked(self, resource: str, request: httpx.Request) -> Sequence[Row]:
        params, rows = request.url.params, self._rows(resource)
        if resource == "Contacts" and params.get("includeArchived", "").lower() != "true":
            rows = [row for row in rows if isinstance(row, Customer) and row.active]
        if params.get("createdByMyApp", "").lower() == "true":
            return []  # everything here was entered by people
        if term := params.get("searchTerm", "").strip().lower():
            rows = [row for row in rows if _matches(row, term)]
        since = _modified_since(request.headers.get("if-modified-since"))
        if since is not None:
            rows = [row for row in rows if isinstance(row, Product) or row.updated_at >= since]
        if (ids := _csv(params, "IDs")) and resource != "Items":
            rows = [row for row in rows if row.id in ids]
        documents = [row for row in rows if isinstance(row, Document)]
        if resource in ("Invoices", "CreditNotes"):
            for name, read in (
                ("Statuses", xero_render.status_of),
                ("ContactIDs", lambda row: row.customer.id),
                ("InvoiceNumbers", lambda row: row.number),
            ):
                if wanted := _csv(params, name, fold=name not in {"InvoiceNumbers", "Statuses"}):
                    documents = [row for row in documents if read(row) in wanted]
            return documents
        return rows

    def _single(self, resource: str, key: str) -> httpx.Response:
        key = key.split("/", maxsplit=1)[0]
        for row in self._rows(resource):
            names = (
                (row.id, row.number)
                if isinstance(row, Document)
                else (row.id, row.sku if isinstance(row, Product) else "")
            )
            if key in names or key.lower() == row.id:
                body = join([self._json(resource, row, lines=True)])
                return raw_response(
                    self._envelope() + b',"%s":%s}' % (resource.encode(), body),
                    headers=self._remaining(),
                )
        return httpx.Response(
            404, text="The resource you're looking for cannot be found", headers=self._remaining()
        )

    def _invalid(self, number: int, kind: str, message: str) -> httpx.Response:
        return json_response({"ErrorNumber": number, "Type": kind, "Message": message}, 400)


def _csv(params: httpx.QueryParams, name: str, *, fold: bool = True) -> set[str]:
    text = params.get(name, "")
    return {
        piece.strip().lower() if fold else piece.strip()
        for piece in text.split(",")
        if piece.strip()
    }


def _refusal(resource: str, request: httpx.Request) -> str | None:
    """Why a list is not served as it was asked for: what is not served is refused, and never ignored."""
    params = request.url.params
    if name := unsupported(params, "where", "order", *_SERVED[resource]):
        return f"The parameter {name} is not supported for {resource}"
    for name in ("includeArchived", "createdByMyApp", "summaryOnly"):
        if params.get(name, "false").lower() not in ("true", "false"):
            return f"The parameter {name} is true or false"
    if params.get("unitdp", "2") not in ("2", "4"):
        return "The parameter unitdp is 2 or 4"
    try:
        _modified_since(request.headers.get("if-modified-since"))
    except ValueError:
        return "The header If-Modified-Since is not a date-time"
    return None


def _matches(row: Row, term: str) -> bool:
    """Whether a document's number or customer, or a contact's name, has the text in it."""
    if isinstance(row, Document):
        return term in row.number.lower() or term in row.customer.person.display.lower()
    return isinstance(row, Customer) and term in row.person.display.lower()


def _modified_since(value: str | None) -> datetime | None:
    """The header's instant at second precision.

    Raises:
        ValueError: If it cannot be read.
    """
    if not value:
        return None
    try:
        return instant(value).replace(microsecond=0)
    except ValueError:
        return parsedate_to_datetime(value).astimezone(UTC)


#: What the registry finds.
API: Final = Xero
