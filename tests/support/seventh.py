"""A seventh billing system, made up: what docs/adding-a-system.md asks of an engineer's one declarative file, and no more."""

from datetime import datetime
from functools import partial
from typing import Any

import httpx

from connectors.kit.read.pagination import by_page
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    Lines,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    Window,
    utc_seconds,
)
from connectors.kit.spec.fields import (
    computed,
    currency,
    day,
    decimal,
    instant,
    money,
    phone,
    status_map,
    text,
)

PAGE_SIZE = 50


def _sign(connection: Account, request: httpx.Request, _now: datetime) -> None:
    request.headers["authorization"] = f"Bearer {connection.secret('api_key')}"


def _first(connection: Account, window: Window, _now: datetime) -> PageRequest:
    params = {"page": "1", "per_page": str(SPEC.size(connection)), "order": "id"}
    if window.since:
        params["changed_since"] = f"{utc_seconds(window.since)}Z"
    return PageRequest("GET", f"/v1/shops/{connection.account}/receipts", params)


def _fault(body: Any) -> str | None:
    return body["error"]["code"]


SPEC = ConnectorSpec(
    name="garrafa",
    title="Garrafa POS",
    docs_url="https://docs.garrafa.example/api",
    base_url="https://api.garrafa.example",
    token_url="",
    auth=lambda _: RequestAuth(_sign),
    streams=(
        Stream(
            "receipts",
            "sale",
            _first,
            partial(by_page, size_param="per_page", vendor_size=PAGE_SIZE),
            records="/receipts",
            info={"pages": "/pages"},
            fields={
                "external_id": text("/id", required=True),
                "invoice_number": text("/number"),
                "customer_external_id": text("/buyer/id"),
                "customer_phone": phone("/buyer/mobile"),
                "currency": currency("/currency"),
                "total_minor": money("/total", required=True),
                "subtotal_minor": money("/net"),
                "tax_minor": money("/vat"),
                "amount_paid_minor": money("/total"),
                "amount_refunded_minor": money("/returned"),
                "status": computed(
                    status_map("state", paid=("DONE",), void=("CANCELLED",)), "/state"
                ),
                "issued_at": day("/date", required=True),
                "updated_at": instant("/changed", required=True, zone="UTC"),
            },
            helpers={"state": text("/state")},
            lines=Lines(
                "/items",
                {
                    "item_external_id": text("/product/id"),
                    "sku": text("/product/sku"),
                    "name": text("/product/name"),
                    "quantity": decimal("/count"),
                    "unit_price": decimal("/price"),
                    "amount_minor": money("/sum"),
                },
            ),
        ),
    ),
    lookups=(),
    rate=RateLimit(((100, 60.0),), concurrency=2),
    page_size=PAGE_SIZE,
    fault=_fault,
)


def receipts(count: int) -> list[dict[str, Any]]:
    """Records as that system would send them."""
    return [
        {
            "id": number, "number": f"R-{number:05d}", "state": "DONE", "date": "2026-05-01", "changed": "2026-05-01T10:00:00Z",
            "currency": "AOA", "total": f"{number}.50", "net": f"{number}.00", "vat": "0.50", "returned": None,
            "buyer": {"id": f"B{number}", "mobile": "923 456 789"},
            "items": [{"product": {"id": "1", "sku": "AGUA-5L", "name": "Água 5 L"}, "count": 1, "price": f"{number}.00", "sum": f"{number}.00"}],
        }
        for number in range(1, count + 1)
    ]  # fmt: skip


def api(count: int) -> httpx.MockTransport:
    """Its server, with so many receipts."""
    held = receipts(count)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != "Bearer k3y":
            return httpx.Response(401, json={"error": {"code": "bad_key"}})
        page, size = int(request.url.params["page"]), int(request.url.params["per_page"])
        pages = -(-count // size)
        return httpx.Response(
            200, json={"receipts": held[(page - 1) * size : page * size], "pages": pages}
        )

    return httpx.MockTransport(answer)
