"""PayPal's transaction search, its invoices, its token endpoint, and how webhooks are verified."""

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.model import Document
from simulator.oauth import Denied, basic_client, read_form
from simulator.subscriptions import Entry, SubscriptionBook
from simulator.systems.paypal import certificate
from simulator.systems.paypal.books import PayPalBooks
from simulator.systems.paypal.render import (
    beside_json,
    invoice_json,
    invoice_state,
    listed_json,
    stamp,
    transaction_json,
)
from simulator.wire import instant, json_response, unsupported
from simulator.world import World

TOKEN_PATH: Final = "/v1/oauth2/token"
TRANSACTIONS: Final = "/v1/reporting/transactions"
INVOICES: Final = "/v2/invoicing/invoices"
SEARCH: Final = "/v2/invoicing/search-invoices"
VERIFY: Final = "/v1/notifications/verify-webhook-signature"
WEBHOOKS: Final = "/v1/notifications/webhooks"
#: Webhooks that an application may have.
WEBHOOKS_MAX: Final = 10
CERTIFICATES: Final = "/v1/notifications/certs/"
#: The longest time that a question may be about, and how long transactions are kept.
WINDOW_MAX: Final = timedelta(days=31)
KEPT: Final = timedelta(days=3 * 365)
ROWS_MAX: Final = 10_000
_SERVED: Final = (
    *("start_date", "end_date", "transaction_id", "transaction_status", "fields"),
    *("balance_affecting_records_only", "page_size", "page"),
)
_SEARCHES: Final = {
    *("recipient_email", "invoice_number", "status", "currency_code", "fields"),
    *("invoice_date_range", "due_date_range", "payment_date_range", "creation_date_range"),
}


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: int, name: str, description: str, *, field: str = "") -> None:
        super().__init__(name)
        self.status, self.name, self.description, self.field = status, name, description, field


class PayPal:
    """The API of the simulated account."""

    name = "paypal"

    def __init__(self, world: World) -> None:
        books = world.books[self.name]
        assert isinstance(books, PayPalBooks)
        self.world, self.books, self.grants = world, books, world.grants[self.name]
        self._debug_no = 0

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:  # noqa: ARG002  the protocol's
        """429; it does not say when to come back."""
        return self._refused(Refused(429, "RATE_LIMIT_REACHED", "Too many requests."))

    def broken(self) -> httpx.Response:
        """500."""
        return self._refused(Refused(500, "INTERNAL_SERVER_ERROR", "An internal error occurred."))

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        if path == CERTIFICATES + certificate.NAME:
            headers = {"content-type": "text/plain", "cache-control": "max-age=86400"}
            return httpx.Response(200, content=certificate.pem(), headers=headers)
        state = self.grants.check(request)
        if state == "expired":
            body = {"error": "invalid_token", "error_description": "Token signature has expired"}
            return json_response(body, 401, self._debug())
        if state != "valid":
            refused = Refused(401, "AUTHENTICATION_FAILURE", "The credentials are not valid.")
            return self._refused(refused)
        try:
            if path.startswith(WEBHOOKS):
                return self._webhooks(request, path.removeprefix(WEBHOOKS).strip("/"))
            return json_response(self._routed(request, path), headers=self._debug())
        except Refused as error:
            return self._refused(error)

    def _debug(self) -> dict[str, str]:
        self._debug_no += 1
        return {"paypal-debug-id": sha256(str(self._debug_no).encode()).hexdigest()[:13]}

    def _refused(self, refused: Refused) -> httpx.Response:
        headers = self._debug()
        detail = {
            "issue": refused.name,
            "description": refused.description,
            **({"field": refused.field, "location": "query"} if refused.field else {}),
        }
        body = {
            "name": refused.name,
            "message": refused.description,
            "debug_id": headers["paypal-debug-id"],
            "details": [detail],
            "links": [],
        }
        return json_response(body, refused.status, headers)

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not basic_client(request):
            described = "Client Authentication failed"
            body = {"error": "invalid_client", "error_description": described}
            return json_response(body, 401, self._debug())
        try:
            return json_response(self.grants.grant(form), headers=self._debug())
        except Denied as denied:
            body = {"error": denied.error, "error_description": "Grant Type is NULL or unknown"}
            return json_response(body, 400, self._debug())

    def _routed(self, request: httpx.Request, path: str) -> dict[str, Any]:
        served: Mapping[tuple[str, str], Callable[[httpx.Request], dict[str, Any]]] = {
            ("GET", TRANSACTIONS): self._transactions,
            ("GET", INVOICES): self._listed,
            ("POST", SEARCH): self._search,
            ("POST", VERIFY): self._verified,
        }
        if (request.method, path) in served:
            return served[request.method, path](request)
        key = path.removeprefix(f"{INVOICES}/")
        invoice = self.books.documents.get("Invoice", {}).get(key)
        if request.method == "GET" and invoice is not None and not invoice.deleted:
            return invoice_json(invoice, self.books)
        raise Refused(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.")

    def _webhooks(self, request: httpx.Request, key: str) -> httpx.Response:
        book = self.world.subscriptions[self.name]
        if not book.allowed:
            description = "Authorization failed due to insufficient permissions."
            raise Refused(403, "NOT_AUTHORIZED", description)
        if request.method == "GET" and not key:
            return self._shown({"webhooks": [webhook_json(entry) for entry in book.all()]})
        if request.method == "POST" and not key:
            return self._shown(webhook_json(_subscribed(book, _json(request))), 201)
        entry = book.get(key)
        if entry is None:
            raise Refused(404, "INVALID_RESOURCE_ID", "Resource id is invalid or was not found.")
        if request.method == "DELETE":
            book.remove(key)
            return httpx.Response(204, headers=self._debug())
        if request.method != "PATCH":
            raise Refused(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.")
        for operation in json.loads(request.content):
            if operation["path"] == "/event_types":
                entry.topics = tuple(event["name"] for event in operation["value"])
            elif operation["path"] == "/url":
                entry.url = operation["value"]
        return self._shown(webhook_json(entry))

    def _shown(self, body: dict[str, Any], status: int = 200) -> httpx.Response:
        return json_response(body, status, self._debug())

    def _transactions(self, request: httpx.Request) -> dict[str, Any]:
        params = request.url.params
        if unknown := unsupported(params, *_SERVED):
            raise _invalid(unknown, "It is not known.")
        start, end = _moment(params, "start_date"), _moment(params, "end_date")
        known_until = self.world.now().replace(microsecond=0) - self.books.delay
        _check_window(start, end, known_until)
        page, size = _whole(params, "page", 1, 2**31), _whole(params, "page_size", 100, 500)
        rows = self._rows(start, min(end, known_until), whole=params.get("fields") == "all")
        rows = [row for row in rows if _is_asked(row, params)]
        if len(rows) > ROWS_MAX:
            raise Refused(400, "RESULTSET_TOO_LARGE", "Result set size is greater than the limit.")
        shown = rows[(page - 1) * size : page * size]
        return {
            # What is empty is left out.
            **({"transaction_details": shown} if shown else {}),
            "account_number": self.books.account,
            "start_date": stamp(start),
            "end_date": stamp(min(end, known_until)),
            "last_refreshed_datetime": stamp(known_until),
            "page": page,
            "total_items": len(rows),
            "total_pages": -(-len(rows) // size),
            "links": [{"href": str(request.url), "rel": "self", "method": "GET"}],
        }

    def _rows(self, start: datetime, end: datetime, *, whole: bool) -> list[dict[str, Any]]:
        """The transactions that were begun within a time, both ends inclusive, oldest first."""
        documents = [
            document
            for document in self.books.all("SalesReceipt", "Payment", "RefundReceipt")
            if start <= document.created_at.replace(microsecond=0) <= end
        ]
        documents.sort(key=lambda document: (document.created_at, document.id))
        return [
            row if whole else {"transaction_info": row["transaction_info"]}
            for document in documents
            for row in (transaction_json(document, self.books), *beside_json(document))
        ]

    def _listed(self, request: httpx.Request) -> dict[str, Any]:
        return self._invoice_page(request, {})

    def _search(self, request: httpx.Request) -> dict[str, Any]:
        asked = _json(request)
        if unknown := set(asked) - _SEARCHES:
            raise _invalid(min(unknown), "It is not known.")
        return self._invoice_page(request, asked)

    def _invoice_page(self, request: httpx.Request, asked: dict[str, Any]) -> dict[str, Any]:
        params = request.url.params
        if unknown := unsupported(params, "page", "page_size", "total_required", "fields"):
            raise _invalid(unknown, "It is not known.")
        page, size = _whole(params, "page", 1, 1000), _whole(params, "page_size", 20, 100)
        rows = [
            invoice
            for invoice in self.books.all("Invoice")
            if not invoice.deleted and _is_found(invoice, asked)
        ]
        rows.sort(key=lambda invoice: (invoice.created_at, invoice.id), reverse=True)
        shown = [listed_json(invoice) for invoice in rows[(page - 1) * size : page * size]]
        totals = {"total_items": len(rows), "total_pages": -(-len(rows) // size)}
        following = [{"rel": "next", "href": INVOICES, "method": "GET"}]
        return {
            **(totals if params.get("total_required") == "true" else {}),
            "items": shown,
            "links": [
                {"href": str(request.url), "rel": "self", "method": "GET"},
                *(following if len(rows) > page * size else []),
            ],
        }

    def _verified(self, request: httpx.Request) -> dict[str, Any]:
        asked = _json(request)
        names = ("transmission_id", "transmission_time", "webhook_id")
        if "webhook_event" not in asked or not all(
            isinstance(asked.get(name), str) for name in names
        ):
            raise _invalid("transmission_id", "It is missing.")
        # The event is verified as it was sent, byte for byte.
        raw = request.content.decode()
        event = raw[raw.index('"webhook_event"') :].partition(":")[2].strip()
        _, end = json.JSONDecoder().raw_decode(event)
        sent_id, sent_at, webhook_id = (asked[name] for name in names)
        text = certificate.signed_text(sent_id, sent_at, webhook_id, event[:end].encode())
        fits = certificate.is_signed(text, str(asked.get("transmission_sig")))
        return {"verification_status": "SUCCESS" if fits else "FAILURE"}


def _subscribed(book: SubscriptionBook, fields: dict[str, Any]) -> Entry:
    url, events = str(fields.get("url", "")), fields.get("event_types") or []
    if not url.startswith("https://"):
        raise Refused(400, "VALIDATION_ERROR", "Not a valid webhook URL", field="url")
    if any(entry.url == url for entry in book.all()):
        raise Refused(400, "WEBHOOK_URL_ALREADY_EXISTS", "Webhook URL already exists")
    if len(book.all()) >= WEBHOOKS_MAX:
        raise Refused(400, "WEBHOOK_NUMBER_LIMIT_EXCEEDED", "The limit has been reached")
    key = book.next_digest()[:17].upper()
    return book.add(url, tuple(event["name"] for event in events), secret=key, key=key)


def webhook_json(entry: Entry) -> dict[str, Any]:
    """A webhook of the application; its id is what deliveries are verified with."""
    return {
        "id": entry.id,
        "url": entry.url,
        "event_types": [
            {"name": name, "description": "Something happened.", "status": "ENABLED"}
            for name in entry.topics
        ],
        "links": [],
    }


def _invalid(field: str, description: str) -> Refused:
    return Refused(400, "INVALID_REQUEST", description, field=field)


def _check_window(start: datetime, end: datetime, known_until: datetime) -> None:
    if end < start or end - start > WINDOW_MAX:
        raise _invalid("end_date", "Date range is greater than 31 days.")
    if start > known_until or start < known_until - KEPT:
        raise _invalid("start_date", "Data for the given start date is not available.")


def _moment(params: httpx.QueryParams, name: str) -> datetime:
    text = params.get(name, "")
    try:
        # (A day alone would be read as midnight.)
        moment = instant(text if "T" in text and text.count(":") > 1 else "")
    except ValueError:
        raise _invalid(name, "It is no time with seconds.") from None
    return moment


def _whole(params: httpx.QueryParams, name: str, usual: int, most: int) -> int:
    text = params.get(name, str(usual))
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise _invalid(name, f"It is not between 1 and {most}.")
    return int(text)


def _is_asked(row: dict[str, Any], params: httpx.QueryParams) -> bool:
    info = row["transaction_info"]
    return all(
        info[name] == params[name]
        for name in ("transaction_id", "transaction_status")
        if name in params
    )


def _json(request: httpx.Request) -> dict[str, Any]:
    try:
        body = json.loads(request.content)
    except ValueError:
        body = None
    if not isinstance(body, dict) or "json" not in request.headers.get("content-type", ""):
        raise Refused(400, "INVALID_REQUEST", "The body is no JSON object.")
    return body


def _is_found(invoice: Document, asked: dict[str, Any]) -> bool:
    if asked.get("status") and invoice_state(invoice) not in asked["status"]:
        return False
    if asked.get("invoice_number") not in (None, invoice.number):
        return False
    days: Mapping[str, date] = {"invoice_date_range": invoice.day, "due_date_range": invoice.due}
    moments = {
        "creation_date_range": [invoice.created_at],
        "payment_date_range": [payment.created_at for payment in invoice.payments],
    }
    try:
        return all(
            date.fromisoformat(asked[name]["start"])
            <= day
            <= date.fromisoformat(asked[name]["end"])
            for name, day in days.items()
            if name in asked
        ) and all(
            any(instant(asked[name]["start"]) <= at <= instant(asked[name]["end"]) for at in times)
            for name, times in moments.items()
            if name in asked
        )
    except (KeyError, TypeError, ValueError):
        raise _invalid("payment_date_range", "It is no range of times.") from None


#: What the registry finds.
API: Final = PayPal
