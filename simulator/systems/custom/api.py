"""A custom REST system: our own contract, with cursor paging, tombstones, problem+json and four ways to prove oneself."""

import base64
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import CLIENT_SECRET, CURRENCY, Document
from simulator.oauth import Denied, basic_client, form_client, read_form
from simulator.truth import text
from simulator.wire import cached, instant, join, json_response, raw_response, unsupported
from simulator.world import World

TOKEN_PATH: Final = "/oauth/token"
DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 100
#: Accepted as Bearer and in X-API-Key; as a password with the client id as user name.
API_KEY: Final = CLIENT_SECRET


class Custom:
    """The API of the simulated company."""

    name = "custom"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429 with Retry-After in seconds."""
        headers = {"retry-after": str(limit.retry_after_seconds)}
        return _problem(429, "too-many-requests", "Too many requests", headers)

    def broken(self) -> httpx.Response:
        """500."""
        return _problem(500, "internal-error", "Internal error")

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        if not self._known(request):
            return _problem(
                401,
                "unauthorized",
                "Unauthorized",
                {"www-authenticate": 'Bearer error="invalid_token"'},
            )
        if path.startswith("/invoices/"):
            return self._single(path.removeprefix("/invoices/"))
        if path != "/invoices":
            return _problem(404, "not-found", "Not found")
        return self._list(request.url.params)

    def _single(self, key: str) -> httpx.Response:
        row = next((row for row in self.books.all("Invoice") if row.id == key), None)
        if row is None:
            return _problem(404, "not-found", "Not found")
        return raw_response(_body(row))

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not (basic_client(request) or form_client(form)):
            return json_response({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "client_credentials":
            return json_response({"error": "unsupported_grant_type"}, 400)
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _known(self, request: httpx.Request) -> bool:
        keys = (
            request.headers.get("x-api-key"),
            request.headers.get("authorization", "").removeprefix("Bearer "),
        )
        return API_KEY in keys or basic_client(request) or self.grants.check(request) == "valid"

    def _list(self, params: httpx.QueryParams) -> httpx.Response:
        if unsupported(params, "limit", "cursor", "updated_since", "include_deleted"):
            return _problem(422, "invalid-parameter", "A parameter is not known")
        try:
            size = int(params.get("limit", DEFAULT_PAGE))
            since = instant(params["updated_since"]) if "updated_since" in params else None
            after = _position(params["cursor"]) if "cursor" in params else None
        except ValueError:
            return _problem(422, "invalid-parameter", "A parameter is not valid")
        if not 1 <= size <= MAX_PAGE:
            return _problem(422, "invalid-parameter", "limit is between 1 and 100")
        deleted = params.get("include_deleted") == "true"
        rows = sorted(
            (row.updated_at, row.id, row)
            for row in self.books.all("Invoice")
            if deleted or not row.deleted
        )
        found = [
            row
            for at, key, row in rows
            if (since is None or at >= since) and (after is None or (at, key) > after)
        ]
        shown = list(islice(found, size))
        more = len(found) > size
        following = f'"{_cursor(shown[-1])}"' if more else "null"
        body = b'{"data":%s,"next_cursor":%s,"has_more":%s}'
        parts = (join(map(_body, shown)), following.encode())
        return raw_response(body % (*parts, b"true" if more else b"false"))


def _cursor(document: Document) -> str:
    return base64.urlsafe_b64encode(
        f"{document.updated_at.isoformat()}|{document.id}".encode()
    ).decode()


def _position(cursor: str) -> tuple[datetime, str]:
    at, bar, key = base64.urlsafe_b64decode(cursor).decode().partition("|")
    if not bar:
        raise ValueError("not a cursor of ours")
    return datetime.fromisoformat(at), key


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _body(document: Document) -> bytes:
    return cached(document.cache, "full", lambda: document_json(document))


def document_json(document: Document) -> dict[str, Any]:
    """A document as the list and webhooks tell it; a deleted one leaves its id."""
    if document.deleted:
        stamp = _stamp(document.updated_at)
        return {"id": document.id, "deleted_at": stamp, "updated_at": stamp}
    person = document.customer.person
    return {
        "id": document.id,
        "number": document.number,
        "status": _status(document),
        "currency": CURRENCY,
        "issued_on": document.day.isoformat(),
        "due_on": document.due.isoformat(),
        "customer": {
            "id": document.customer.id,
            "name": person.display,
            "phone": document.customer.phone,
            "email": None,
        },
        "lines": [
            {
                "id": line.id,
                "sku": line.product.sku,
                "description": line.product.name,
                "quantity": str(line.quantity),
                "unit_price": text(line.unit_minor),
                "tax": text(document.line_tax_minor(line)),
                "amount": text(line.gross_minor),
            }
            for line in document.lines
        ],
        "subtotal": text(document.net_minor),
        "tax_total": text(document.tax_minor),
        "total": text(document.total_minor),
        "amount_due": text(document.balance_minor),
        "created_at": _stamp(document.created_at),
        "updated_at": _stamp(document.updated_at),
        "deleted_at": None,
    }


def _status(document: Document) -> str:
    if document.status in ("void", "draft"):
        return document.status
    return "paid" if document.settled else "open"


def _problem(
    status: int, kind: str, title: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    """problem+json (RFC 9457)."""
    body = {
        "type": f"https://errors.example.com/{kind}",
        "title": title,
        "status": status,
        "detail": title,
    }
    return json_response(
        body, status, {"content-type": "application/problem+json", **(headers or {})}
    )


#: What the registry finds.
API: Final = Custom
