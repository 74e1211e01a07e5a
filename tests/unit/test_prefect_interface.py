"""A browser stays in the interface of Prefect that it is in, wherever a link of ours leads."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from twezah.stack.prefect_interface import OneInterface

PAGE = {"accept": "text/html,*/*;q=0.8", "sec-fetch-mode": "navigate"}


async def prefect(scope: Scope, receive: Receive, send: Send) -> None:
    """Says what it was asked for."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def asked(
    path: str, *, default: str = "v2", method: str = "GET", **headers: str
) -> tuple[int, str]:
    """Status, and where the answer leads or what Prefect was asked for."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(OneInterface(prefect, default))
        async with httpx.AsyncClient(transport=transport, base_url="http://p.example") as browser:
            return await browser.request(method, path, headers=PAGE | headers)

    answer = asyncio.run(ask())
    return answer.status_code, answer.headers.get("location", answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/deployments/deployment/0690b1f4/run?parameters=%7B%22connection%22%3A%20%22xero%22%7D",
        "/artifacts/key/sync-xero",
        "/blocks/catalog/xero-connection/create",
        "/runs",
        "/login",
    ],
)
def test_a_link_of_ours_leads_to_v2_with_all_that_it_says(path: str) -> None:
    assert asked(path) == (307, f"/v2{path}")


def test_who_chose_v1_stays_there() -> None:
    assert asked("/runs", cookie="prefect_ui_version=v1") == (200, "/runs")
    assert asked("/runs", default="v1") == (200, "/runs")
    assert asked("/runs", default="v1", cookie="a=b; prefect_ui_version=v2") == (307, "/v2/runs")
    assert asked("/runs", cookie="prefect_ui_version=v3") == (307, "/v2/runs")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v2/runs", {}),
        ("/", {}),  # Prefect itself leads on from there
        ("/api/runs", {}),
        ("/docs", {}),
        ("/assets/index.js", {}),
        ("/runs", {"sec-fetch-mode": "cors"}),
        ("/runs", {"accept": "application/json"}),
        ("/runs", {"method": "POST"}),
        ("/runsome", {}),
    ],
)
def test_what_is_no_page_of_both_is_left_alone(path: str, headers: dict[str, Any]) -> None:
    assert asked(path, **headers) == (200, path)


@pytest.mark.parametrize(
    "path", ["//evil.example/runs", "/runs//evil.example", "/runs/%0d%0aX-A:b"]
)
def test_no_link_leads_to_another_site(path: str) -> None:
    status, where = asked(f"http://p.example{path}")
    assert status == 200 or (where.startswith("/v2/runs/") and "\r" not in where)


def test_without_a_raw_path_the_path_is_taken() -> None:
    """Some servers leave it out."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/runs", "query_string": b"",
        "headers": [(b"accept", b"text/html")],
    }  # fmt: skip
    asyncio.run(OneInterface(prefect, "v2")(scope, None, send))  # type: ignore[arg-type]
    assert (b"location", b"/v2/runs") in sent[0]["headers"]
