"""SAP S/4HANA's OData 2 services of billing documents and business partners."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import httpx

from simulator.limits import Throttled
from simulator.model import Customer, Document
from simulator.oauth import Denied, basic_client, form_client, read_form
from simulator.odata import QueryError, filtered, ordered
from simulator.systems.sap_s4hana.metadata import metadata
from simulator.systems.sap_s4hana.render import (
    BILLING,
    PARTNERS,
    SALES_ORGANIZATION,
    addresses_json,
    document_json,
    items_json,
    partner_json,
    partner_of,
)
from simulator.wire import json_response, unsupported, xml_response
from simulator.world import World

TOKEN_PATH: Final = "/sap/bc/sec/oauth2/token"
#: Rows of an answer to a request for more of them, or for no number of them.
SERVER_PAGE: Final = 1000
_OPTIONS: Final = (
    "$format", "$filter", "$orderby", "$select", "$expand", "$top", "$skip", "$inlinecount",
    "$skiptoken", "sap-client",
)  # fmt: skip
_PHONES: Final = ("to_PhoneNumber", "to_MobilePhoneNumber")
_TYPED: Final = re.compile(r"(datetimeoffset|datetime|guid)?'(.*)'", re.DOTALL)
_LOGIN_PAGE: Final = "<html><head><title>Logon</title></head><body>Anmeldung</body></html>"


#: What documents and business partners can be filtered by and ordered; the first is their key.
_DOCUMENT_NAMES: Final = (
    "BillingDocument", "BillingDocumentType", "SalesOrganization", "SoldToParty",
    "LastChangeDateTime", "CreationDate",
)  # fmt: skip
_PARTNER_NAMES: Final = ("BusinessPartner", "Customer")


class S4Hana:
    """The services of the simulated system."""

    name = "sap_s4hana"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._errors = 0

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == TOKEN_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429, and a minute to wait."""
        answer = self._error(429, "SY/530", f"Too many requests: {limit.name}")
        answer.headers["retry-after"] = "60"
        return answer

    def broken(self) -> httpx.Response:
        """500."""
        return self._error(500, "SY/530", "An exception was raised")

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._token(request)
        if not self._let_in(request):  # no OData, but a page for people
            return httpx.Response(401, text=_LOGIN_PAGE, headers={"content-type": "text/html"})
        if not path.startswith((BILLING, PARTNERS)):
            return self._error(403, "/IWFND/MED/170", "No service found for the namespace")
        if request.method != "GET":
            return self._error(403, "CX_XSRF", "CSRF token validation failed")
        if path.endswith("/$metadata"):
            return self._metadata(path)
        if request.url.params.get("$format") != "json" and "json" not in request.headers.get(
            "accept", ""
        ):
            return xml_response('feed xmlns="http://www.w3.org/2005/Atom"')
        try:
            return self._routed(request, path)
        except QueryError as error:
            return self._error(400, "/IWBEP/CM_MGW_RT/021", str(error))

    def _let_in(self, request: httpx.Request) -> bool:
        return basic_client(request) or self.grants.check(request) == "valid"

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not (basic_client(request) or form_client(form)):
            return json_response({"error": "invalid_client"}, 401)
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _error(self, status: int, code: str, message: str) -> httpx.Response:
        self._errors += 1
        inner = {"transactionid": f"{self._errors:032X}", "errordetails": []}
        error = {
            "code": code,
            "message": {"lang": "en", "value": message},
            "innererror": inner,
        }
        return json_response({"error": error}, status)

    def _metadata(self, path: str) -> httpx.Response:
        """The description of a service; it can be made once there is a record of each kind."""
        records: dict[str, dict[str, Any]]
        if path.startswith(BILLING):
            document = next(iter(self.books.all("Invoice")))
            records = {
                "A_BillingDocument": document_json(document),
                "A_BillingDocumentItem": items_json(document)[0],
            }
            links = {"A_BillingDocument/to_Item": "A_BillingDocumentItem"}
            service = "API_BILLING_DOCUMENT_SRV"
        else:
            customer = next(one for one in self.books.customers.values() if one.phone)
            (address,) = addresses_json(customer, frozenset(_PHONES))
            phones = [phone for name in _PHONES for phone in address[name]["results"]]
            records = {
                "A_BusinessPartner": partner_json(customer),
                "A_BusinessPartnerAddress": address,
                "A_AddressPhoneNumber": phones[0],
            }
            links = {"A_BusinessPartner/to_BusinessPartnerAddress": "A_BusinessPartnerAddress"}
            links |= {
                f"A_BusinessPartnerAddress/{name}": "A_AddressPhoneNumber" for name in _PHONES
            }
            service = "API_BUSINESS_PARTNER"
        plain = {
            name: {
                field: value
                for field, value in record.items()
                if field != "__metadata" and not field.startswith("to_")
            }
            for name, record in records.items()
        }
        text = metadata(service, plain, links)
        return httpx.Response(200, text=text, headers={"content-type": "application/xml"})

    def _routed(self, request: httpx.Request, path: str) -> httpx.Response:
        matched = re.fullmatch(r".*/(A_\w+)(?:\('([^']*)'\))?(?:/(to_\w+))?", path)
        name = (
            f"{path[: path.rindex('/A_')] if '/A_' in path else path}/{matched[1]}"
            if matched
            else ""
        )
        if matched is None or name not in (
            f"{BILLING}/A_BillingDocument",
            f"{PARTNERS}/A_BusinessPartner",
        ):
            return self._error(404, "/IWBEP/CM_MGW_RT/020", "Resource not found for the segment")
        rows = self._documents() if name.startswith(BILLING) else self._partners()
        if matched[2] is None:
            names = _DOCUMENT_NAMES if name.startswith(BILLING) else _PARTNER_NAMES
            return self._list(request, rows, names)
        key = "BillingDocument" if name.startswith(BILLING) else "BusinessPartner"
        row = next((row for row in rows if row[key] == matched[2].lstrip("0")), None)
        if row is None:
            return self._error(404, "/IWBEP/CM_MGW_RT/020", "Resource not found for the segment")
        if matched[3] == "to_Item":
            return json_response({"d": {"results": items_json(row[""])}})
        return json_response({"d": _shown(request, row)})

    def _documents(self) -> list[dict[str, Any]]:
        """What can be filtered by, and the document itself under no name."""
        return [
            {
                "": document,
                "BillingDocument": document.id,
                "BillingDocumentType": "",
                "SalesOrganization": SALES_ORGANIZATION,
                "SoldToParty": document.customer.id,
                "LastChangeDateTime": document.updated_at,
                "CreationDate": datetime.combine(
                    document.created_at.date(), datetime.min.time(), UTC
                ),
            }
            for document in self.books.all("Invoice", "CreditMemo")
        ]

    def _partners(self) -> list[dict[str, Any]]:
        return [
            {"": customer, "BusinessPartner": partner_of(customer), "Customer": customer.id}
            for customer in self.books.customers.values()
        ]

    def _list(
        self, request: httpx.Request, rows: Sequence[dict[str, Any]], names: tuple[str, ...]
    ) -> httpx.Response:
        params = request.url.params
        if strange := unsupported(params, *_OPTIONS):
            raise QueryError(f"The option {strange} is not supported")
        found = filtered(rows, params.get("$filter", ""), names, _literal)
        first = names[0]
        asked = params.get("$orderby", first)
        found = ordered([{**row, "id": row[first]} for row in found], asked, names)
        body: dict[str, Any] = {}
        if params.get("$inlinecount") == "allpages":
            body["__count"] = str(len(found))
        start = _whole(params, "$skiptoken", 0) or _whole(params, "$skip", 0)
        top = _whole(params, "$top", len(found))
        end = min(start + top, len(found))
        page = found[start : min(end, start + SERVER_PAGE)]
        body["results"] = [_shown(request, row) for row in page]
        if start + len(page) < end:
            body["__next"] = _next(request, start + len(page))
        return json_response({"d": body})


def _shown(request: httpx.Request, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what `$expand` adds and what `$select` leaves."""
    params, entity = request.url.params, row[""]
    asked = frozenset(part for part in params.get("$expand", "").split(",") if part)
    shown = _expanded(entity, asked)
    selected = [part.partition("/")[0] for part in params.get("$select", "").split(",") if part]
    if unknown := set(selected) - set(shown):
        raise QueryError(f"Property {min(unknown)} not found")
    return {
        name: shown[name] for name in shown if not selected or name in ("__metadata", *selected)
    }


def _expanded(entity: Document | Customer, asked: frozenset[str]) -> dict[str, Any]:
    if isinstance(entity, Document):
        if strange := asked - {"to_Item"}:
            raise QueryError(f"Property {min(strange)} not found")
        items = {"to_Item": {"results": items_json(entity)}} if asked else {}
        return document_json(entity) | items
    inner = frozenset(part.partition("/")[2] for part in asked)
    if not asked:
        return partner_json(entity)
    addresses = addresses_json(entity, inner)
    return partner_json(entity) | {"to_BusinessPartnerAddress": {"results": addresses}}


def _literal(text: str, like: Any, name: str) -> Any:
    """A literal of OData 2: texts in quotes, times in quotes behind the word for their type."""
    matched = _TYPED.fullmatch(text)
    wanted = {"LastChangeDateTime": "datetimeoffset", "CreationDate": "datetime"}.get(name)
    if matched is None or matched[1] != wanted:
        raise QueryError(f"The types of {name} and of {text} do not fit")
    if not isinstance(like, datetime):
        value = matched[2].replace("''", "'")
        return value.lstrip("0") if value.isdigit() and name != "SalesOrganization" else value
    try:
        value_at = datetime.fromisoformat(matched[2])
    except ValueError:
        raise QueryError(f"Invalid literal {text}") from None
    return value_at if value_at.tzinfo else value_at.replace(tzinfo=UTC)


def _whole(params: httpx.QueryParams, name: str, default: int) -> int:
    text = params.get(name, "")
    if text and not text.isdigit():
        raise QueryError(f"Invalid value for {name}")
    return int(text) if text else default


def _next(request: httpx.Request, start: int) -> str:
    params = request.url.params
    kept = [(name, params[name]) for name in params if name not in ("$skip", "$skiptoken")]
    top = _whole(params, "$top", 0)
    if top:  # what is left of the rows that were asked for
        kept = [(name, value) for name, value in kept if name != "$top"]
        begin = _whole(params, "$skiptoken", 0) or _whole(params, "$skip", 0)
        kept.append(("$top", str(top - (start - begin))))
    options = [*kept, ("$skiptoken", str(start))]
    query = "&".join(f"{name}={quote(value, safe='(),=;$')}" for name, value in options)
    return f"{request.url.copy_with(query=None)}?{query}"


#: What the registry finds.
API: Final = S4Hana
