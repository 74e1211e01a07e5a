"""Magento's REST API: orders, invoices, credit memos, and the two places that give tokens."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import httpx

from simulator.limits import Throttled
from simulator.oauth import Denied, form_client, read_form
from simulator.systems.magento import auth, render, search
from simulator.wire import json_response
from simulator.world import World

_ADMIN_TOKEN: Final = "integration/admin/token"
#: One document of each list.
_SINGLE: Final = {"orders": "orders", "invoices": "invoices", "creditmemo": "creditmemos"}


class Magento:
    """The API of the simulated shop, on a server of its own and as one at Adobe."""

    name = "magento"

    def __init__(self, world: World) -> None:
        self.world, self.books, self.grants = world, world.books[self.name], world.grants[self.name]
        self._reports = 0
        #: By document: its version, and what it looks like.
        self._rendered: dict[tuple[str, str], tuple[tuple[int, ...], dict[str, Any]]] = {}

    def is_token_path(self, path: str) -> bool:
        """See `wire.Vendor`."""
        return path == auth.IMS_PATH

    def throttled(self, limit: Throttled) -> httpx.Response:
        """429, as the content network before a shop sends it."""
        return _error(429, "Too Many Requests", {"retry-after": str(limit.retry_after_seconds)})

    def broken(self) -> httpx.Response:
        """500."""
        self._reports += 1
        report = f"webapi-{self._reports:012x}"
        return _error(
            500,
            f"Internal Error. Details are available in Magento log file. Report ID: {report}",
        )

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """Routes a request."""
        if self.is_token_path(path):
            return self._ims_token(request)
        if "json" not in request.headers.get("accept", "json").replace("*/*", "json"):
            return httpx.Response(
                406, content=b"<response/>", headers={"content-type": "application/xml"}
            )
        before, version, rest = path.partition("/V1/")
        at_adobe = before == f"/{auth.TENANT}"
        store = before.removeprefix("/rest").strip("/")
        if not version or not (at_adobe or before.startswith("/rest")):
            return _error(404, "Request does not match any route.")
        if not at_adobe and rest == _ADMIN_TOKEN:
            return self._admin_token(request)
        if store not in ("", "default", "all", auth.TENANT):
            return _error(404, "The store that was requested wasn't found. Verify the store.")
        if refused := auth.refusal(request, self.grants, at_adobe=at_adobe):
            resources = {"resources": "Magento_Sales::actions_view"}
            return _error(401, refused, parameters=resources if "%" in refused else None)
        if store == "all" and request.method == "GET":
            return _error(400, "Cannot perform GET operation with store code 'all'")
        return self._served(request, rest)

    def _served(self, request: httpx.Request, rest: str) -> httpx.Response:
        kind, _, key = rest.partition("/")
        if request.method != "GET":
            return _error(405, "This simulator only answers GET.")
        if kind in _SINGLE and key:
            return self._single(_SINGLE[kind], key)
        if kind in _SINGLE.values() and not key:
            return self._list(kind, request.url.params)
        return _error(404, "Request does not match any route.")

    def _list(self, kind: str, params: httpx.QueryParams) -> httpx.Response:
        try:
            criteria = search.parse(params)
            rows, total = search.page(criteria, self._rows(kind))
        except search.SearchError as error:
            return _error(400, error.message, parameters=error.parameters)
        echo = {"page_size": criteria.page_size, "current_page": criteria.current_page}
        return json_response({"items": rows, "search_criteria": echo, "total_count": total})

    def _single(self, kind: str, key: str) -> httpx.Response:
        row = next((row for row in self._rows(kind) if str(row["entity_id"]) == key), None)
        if row is None:
            return _error(
                404,
                "The entity that was requested doesn't exist. Verify the entity and try again.",
            )
        return json_response(row)

    def _rows(self, kind: str) -> Sequence[dict[str, Any]]:
        orders = list(self.books.all("Invoice"))
        if kind == "orders":
            return [self._drawn(kind, order, (order,), render.order_json) for order in orders]
        if kind == "invoices":
            return [
                self._drawn(kind, order, (order,), render.invoice_json)
                for order in orders
                if render.is_invoiced(order)
            ]
        return [
            self._drawn(kind, memo, (memo,), partial(render.credit_memo_json, order=memo.source))
            for memo in self.books.all("CreditMemo")
            if memo.source is not None
        ]

    def _drawn(
        self,
        kind: str,
        document: Any,
        of: Sequence[Any],
        draw: Callable[..., dict[str, Any]],
    ) -> dict[str, Any]:
        versions = tuple(part.version for part in of)
        kept = self._rendered.get((kind, document.id))
        if kept is None or kept[0] != versions:
            kept = self._rendered[kind, document.id] = (versions, draw(document))
        return kept[1]

    def _ims_token(self, request: httpx.Request) -> httpx.Response:
        form = read_form(request)
        if not form_client(form):
            return json_response({"error": "invalid_client"}, 400)
        if not set(form.get("scope", "").split(",")) >= auth.IMS_SCOPES:
            return json_response({"error": "invalid_scope"}, 400)
        try:
            return json_response(self.grants.grant(form))
        except Denied as denied:
            return json_response({"error": denied.error}, 400)

    def _admin_token(self, request: httpx.Request) -> httpx.Response:
        """The token of an admin: a JSON text."""
        try:
            account = json.loads(request.content)
        except ValueError:
            account = None
        if request.method != "POST" or account != auth.ADMIN:
            message = (
                "The account sign-in was incorrect or your account is disabled temporarily. "
                "Please wait and try again later."
            )
            return _error(401, message)
        return json_response(self.grants.issue_access())


def _error(
    status: int,
    message: str,
    headers: dict[str, str] | None = None,
    *,
    parameters: dict[str, str] | None = None,
) -> httpx.Response:
    """An error: a message with places, which a client fills in by itself."""
    body: dict[str, Any] = {"message": message}
    if parameters:
        body["parameters"] = parameters
    return json_response(body, status, headers)


#: What the registry finds.
API: Final = Magento
