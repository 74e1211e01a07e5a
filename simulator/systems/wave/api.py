"""Wave's public GraphQL API and its token endpoint."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import CURRENCY, Customer, Document, Line
from simulator.oauth import Denied, form_client, read_form
from simulator.systems.wave.graphql import Enum, Refused, Selection, parsed, selected
from simulator.truth import text
from simulator.wire import instant, json_response
from simulator.world import World

PATH: Final = "/graphql/public"
TOKEN_PATH: Final = "/oauth2/token/"
#: A token of the application's page, which opens every business.
FULL_ACCESS_TOKEN: Final = "sim-full-access"
_SIZE_MAX: Final = 200
_ARGUMENTS: Final = {
    "page", "pageSize", "sort", "status", "customerId", "currency", "invoiceDateStart",
    "invoiceDateEnd", "invoiceNumber", "modifiedAtAfter", "modifiedAtBefore",
}  # fmt: skip
_SORTS: Final = {
    "CREATED_AT": lambda row: row.created_at,
    "MODIFIED_AT": lambda row: row.updated_at,
    "INVOICE_DATE": lambda row: row.day,
    "INVOICE_NUMBER": lambda row: int(row.number),
    "TOTAL": lambda row: row.total_minor,
}
#: What an invoice is that was sent and is not paid: Wave has several words for it.
_SENT: Final = ("SAVED", "SENT", "VIEWED", "UNPAID", "OVERDUE")


class Wave:
    """The API of the simulated business."""

    name = "wave"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429; its form is not published."""
        headers = {"retry-after": str(limit.retry_after_seconds)}
        return json_response({"message": "Too Many Requests"}, 429, headers)

    def broken(self) -> httpx.Response:
        """500."""
        return json_response({"message": "Internal Server Error"}, 500)

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request; errors of GraphQL come with status 200."""
        if self.is_token_path(path):
            return self._token(request)
        if path != PATH or request.method != "POST":
            return json_response({"message": "Not Found"}, 404)
        try:
            return json_response({"data": self._asked(request)})
        except Refused as refused:
            error = {"message": str(refused), "extensions": {"code": refused.code}}
            return json_response({"data": None, "errors": [error]})

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not form_client(form):
            return json_response({"error": "invalid_client"}, 401)
        if not form.get("redirect_uri"):
            return json_response({"error": "invalid_request"}, 400)
        try:
            granted = self.grants.grant(form)
        except Denied as denied:
            return json_response({"error": denied.error}, 400)
        return json_response(granted | {"businessId": self.books.account})

    def _asked(self, request: httpx.Request) -> dict[str, Any]:
        own = request.headers.get("authorization") == f"Bearer {FULL_ACCESS_TOKEN}"
        if not own and self.grants.check(request) != "valid":
            raise Refused("UNAUTHENTICATED", "Authentication is required.")
        try:
            body = json.loads(request.content)
            query, variables = str(body["query"]), body.get("variables") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refused("GRAPHQL_VALIDATION_FAILED", "There is no query.") from None
        return {field.name: self._root(field) for field in parsed(query, variables)}

    def _root(self, asked: Selection) -> Any:
        if asked.name == "businesses":
            nodes = [
                {"node": {"id": account, "name": f"Água Twezah {number}", "isArchived": False}}
                for number, account in enumerate(self.world.accounts[self.name], 1)
            ]
            info = {"currentPage": 1, "totalPages": 1, "totalCount": len(nodes)}
            return selected({"pageInfo": info, "edges": nodes}, asked.fields, "businesses")
        if asked.name != "business":
            message = f'Cannot query field "{asked.name}" on type "Query".'
            raise Refused("GRAPHQL_VALIDATION_FAILED", message)
        account = asked.arguments.get("id")
        if account not in self.world.accounts[self.name]:
            raise Refused("NOT_FOUND", "Business could not be found.")
        return {field.name: self._of_business(field, account) for field in asked.fields}

    def _of_business(self, asked: Selection, account: str) -> Any:
        plain = {"id": account, "name": "Água Twezah, Lda", "currency": {"code": CURRENCY}}
        if asked.name in plain:
            return selected(plain[asked.name], asked.fields, asked.name)
        if asked.name != "invoices":
            message = f'Cannot query field "{asked.name}" on type "Business".'
            raise Refused("GRAPHQL_VALIDATION_FAILED", message)
        return self._invoices(asked)

    def _invoices(self, asked: Selection) -> Any:
        arguments = asked.arguments
        if unknown := set(arguments) - _ARGUMENTS:
            raise Refused("GRAPHQL_VALIDATION_FAILED", f'Unknown argument "{min(unknown)}".')
        if "sort" not in arguments:
            raise Refused("GRAPHQL_VALIDATION_FAILED", 'Argument "sort" is required.')
        rows = [row for row in self.books.all("Invoice") if _fits(row, arguments)]
        for sort in reversed(arguments["sort"]):
            rows = _sorted(rows, sort)
        page, size = _number(arguments, "page", 1), _number(arguments, "pageSize", 10)
        if size > _SIZE_MAX:
            raise Refused("VARIABLE_VALUE", "pageSize is too large.")
        shown = rows[(page - 1) * size : page * size]
        info = {"currentPage": page, "totalPages": -(-len(rows) // size), "totalCount": len(rows)}
        edges = [{"node": invoice_json(row)} for row in shown]
        return selected({"pageInfo": info, "edges": edges}, asked.fields, "invoices")


def _number(arguments: Mapping[str, Any], name: str, usual: int) -> int:
    value = arguments.get(name, usual)
    if not isinstance(value, int) or value < 1:
        raise Refused("VARIABLE_VALUE", f"{name} must be a positive number.")
    return value


def _sorted(rows: list[Document], sort: Any) -> list[Document]:
    name, _, direction = str(sort).rpartition("_")
    if not isinstance(sort, Enum) or name not in _SORTS or direction not in ("ASC", "DESC"):
        raise Refused("GRAPHQL_VALIDATION_FAILED", f'Value "{sort}" does not exist in "sort".')
    return sorted(rows, key=_SORTS[name], reverse=direction == "DESC")


def _fits(row: Document, arguments: Mapping[str, Any]) -> bool:
    """Whether an invoice is asked for; the bounds of times are no part of the answer."""
    try:
        after, before = (
            instant(arguments[name]) if name in arguments else None
            for name in ("modifiedAtAfter", "modifiedAtBefore")
        )
    except ValueError:
        raise Refused("VARIABLE_VALUE", "modifiedAt is no DateTime.") from None
    wanted = {
        "status": _status(row),
        "customerId": row.customer.id,
        "currency": CURRENCY,
        "invoiceNumber": row.number,
    }
    day = row.day.isoformat()
    return (
        not row.deleted
        and (after is None or row.updated_at > after)
        and (before is None or row.updated_at < before)
        and str(arguments.get("invoiceDateStart", "")) <= day
        and day <= str(arguments.get("invoiceDateEnd", "9999"))
        and all(
            str(arguments[name]) == value for name, value in wanted.items() if name in arguments
        )
    )


def _status(row: Document) -> str:
    if row.status == "draft":
        return "DRAFT"
    if row.settled:
        return "PAID"
    return "PARTIAL" if row.paid_minor else _SENT[int(row.number) % len(_SENT)]


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _money(minor: int) -> dict[str, Any]:
    return {
        "value": text(minor),
        "raw": minor,
        "currency": {"code": CURRENCY, "symbol": "Kz", "exponent": 2},
    }


def _customer(customer: Customer) -> dict[str, Any]:
    mobile = customer.phone if customer.phone_slot != 1 else None
    return {
        "id": customer.id,
        "name": customer.name,
        "email": None,
        "phone": customer.phone if customer.phone_slot == 1 else None,
        "mobile": mobile,
        "isArchived": not customer.active,
    }


def _item(row: Document, line: Line) -> dict[str, Any]:
    return {
        "product": {"id": line.product.id, "name": line.product.name},
        "description": "",
        "quantity": str(line.quantity),
        "unitPrice": text(line.unit_minor),
        "subtotal": _money(line.gross_minor),
        "total": _money(line.gross_minor + row.line_tax_minor(line)),
    }


def invoice_json(row: Document) -> dict[str, Any]:
    """An invoice with everything that can be asked of it."""
    return {
        "id": row.id,
        "status": _status(row),
        "title": "Invoice",
        "subhead": None,
        "invoiceNumber": row.number,
        "poNumber": None,
        "invoiceDate": row.day.isoformat(),
        "dueDate": row.due.isoformat(),
        "createdAt": _stamp(row.created_at),
        "modifiedAt": _stamp(row.updated_at),
        "lastSentAt": None,
        "lastViewedAt": None,
        "exchangeRate": "1",
        "currency": {"code": CURRENCY},
        "customer": _customer(row.customer),
        "subtotal": _money(row.gross_minor),
        "discountTotal": _money(row.gross_minor - row.net_minor),
        "taxTotal": _money(row.tax_minor),
        "total": _money(row.total_minor),
        "amountPaid": _money(row.paid_minor),
        "amountDue": _money(row.balance_minor),
        "items": [_item(row, line) for line in row.lines],
    }


#: What the registry finds.
API: Final = Wave
