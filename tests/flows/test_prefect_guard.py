"""Prefect's server answers those who know the password, and pages of its own; each route of it."""

import asyncio
import base64
import contextvars
import json
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.clients import PrefectEventsClient
from prefect.server.api.server import UI_VERSION_COOKIE_NAME
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_UI_STATIC_DIRECTORY,
    temporary_settings,
)
from starlette.routing import BaseRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from settings import Settings
from twezah.stack import commands as services
from twezah.stack.prefect_guard import guarded, hosts, needs_password, ui_origin
from twezah.stack.prefect_interface import COOKIE

PASSWORD = "admin:s3cret-of-this-test"
#: What anybody may ask: whether the server lives, and the files of the user interface.
OPEN = {"/api/health", "/api/ready", "/ui-settings"}
FOREIGN = ("http://evil.test", "https://127.0.0.1:1", "null", "http://127.0.0.1.evil.test:4200")
ROUTES_MIN = 150


def basic(auth_string: str) -> str:
    """The header of a login."""
    return f"Basic {base64.b64encode(auth_string.encode()).decode()}"


def walk(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
    """Every route of the server with its path, also those of its included routers and mounts."""
    for route in routes:
        router = getattr(route, "original_router", None) or getattr(route, "app", None)
        path = prefix + getattr(route, "path", "")
        inner = getattr(router, "routes", None)
        if inner:
            yield from walk(inner, path)
        else:
            yield re.sub(r"\{[^}]*\}", "x", path), route


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Prefect's server with its user interface, as it is installed."""
    from prefect.server.api.server import create_app

    folder = tmp_path_factory.mktemp("ui")
    values = {PREFECT_SERVER_API_AUTH_STRING: PASSWORD, PREFECT_UI_STATIC_DIRECTORY: str(folder)}
    with temporary_settings(values):
        yield create_app(ignore_cache=True)


@pytest.fixture(scope="module")
def browser(app: Any) -> Iterator[httpx.Client]:
    """Asks the guarded server, by a name that is its own. Its services do not run."""
    guard = guarded(app, Settings(prefect_port=4200), PASSWORD, [])
    config = uvicorn.Config(guard, port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    context = contextvars.copy_context()  # Prefect's settings of this test are in it
    thread = threading.Thread(target=context.run, args=(server.run,), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join(timeout=10)


def websocket_answer(
    browser: httpx.Client, path: str, message: Any, *, host: str = "127.0.0.1", **options: Any
) -> str:
    """How a websocket ends that gets this message first; what it sent is part of it."""
    address = (browser.base_url.host, browser.base_url.port)
    try:
        with (
            socket.create_connection(address) as connection,
            connect(f"ws://{host}{path}", sock=connection, proxy=None, **options) as opened,
        ):
            opened.send(json.dumps(message))
            return f"sent {opened.recv(timeout=60)!r}"
    except InvalidStatus as refused:
        return f"status {refused.response.status_code}"
    except ConnectionClosed as closed:
        return f"closed {closed.rcvd.code if closed.rcvd else 0}"


def test_every_route_asks_for_the_password(app: Any, browser: httpx.Client) -> None:
    """A route that an update of Prefect adds is closed as well, or named in OPEN."""
    asked = 0
    answered: dict[tuple[str, str], int] = {}
    for path, route in walk(app.routes):
        for method in sorted(getattr(route, "methods", None) or ()):
            if path in OPEN and method in ("GET", "HEAD"):
                continue
            asked += 1
            for headers in ({}, {"authorization": basic("admin:wrong")}):
                status = browser.request(method, path, headers=headers, json={}).status_code
                if status != 401:
                    answered[method, path] = status
    assert answered == {}
    assert asked > ROUTES_MIN
    known = browser.get("/api/admin/version", headers={"authorization": basic(PASSWORD)})
    assert known.status_code == 200


def test_every_websocket_asks_for_the_password(app: Any, browser: httpx.Client) -> None:
    """Without it, with a wrong one, or in the old protocol: closed, and nothing was sent."""
    paths = [path for path, route in walk(app.routes) if "WebSocket" in type(route).__name__]
    assert len(paths) >= 5
    prefect = [Subprotocol("prefect")]
    for path in paths:
        for message in ({"type": "auth"}, {"type": "auth", "token": "wrong"}, {"type": "ping"}, {}):
            for protocols in (prefect, None):
                ended = websocket_answer(browser, path, message, subprotocols=protocols)
                assert ended in ("status 403", "closed 1002", "closed 1008"), path
    login = {"type": "auth", "token": PASSWORD}
    known = websocket_answer(browser, "/api/events/out", login, subprotocols=prefect)
    assert "auth_success" in known


def test_links_of_ours_lead_to_the_interface_that_the_browser_is_in(
    browser: httpx.Client, tmp_path: Path
) -> None:
    """The installed Prefect still has both, and the old one, which `twezah up` opens, at `/`."""
    page = {"accept": "text/html", "sec-fetch-mode": "navigate"}
    old = browser.get("/runs", headers=page)
    assert old.status_code == 200 and 'id="app"' in old.text
    new = browser.get("/runs?a=b", headers=page | {"cookie": f"{COOKIE}=v2"})
    assert (new.status_code, new.headers["location"]) == (307, "/v2/runs?a=b")
    assert browser.get("/v2/runs", headers=page).status_code == 200
    assert UI_VERSION_COOKIE_NAME == COOKIE
    (tmp_path / "postgres.json").write_text('{"socket_dir": "/x", "port": 1, "user": "u"}')
    environment = services.server_environment(Settings(home=tmp_path))
    assert environment["PREFECT_SERVER_UI_V2_ENABLED"] == "false"
    assert environment["PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT"] == "false"


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_others_are_refused_even_with_the_password(
    app: Any, browser: httpx.Client, origin: str
) -> None:
    """A password that a browser sends by itself would be no protection."""
    headers = {"origin": origin, "authorization": basic(PASSWORD)}
    for method, path in (("GET", "/"), ("POST", "/api/block_documents/filter"), ("GET", "/docs")):
        answer = browser.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    login, protocols = {"type": "auth", "token": PASSWORD}, [Subprotocol("prefect")]
    ended = websocket_answer(
        browser, "/api/events/out", login, origin=origin, subprotocols=protocols
    )
    assert ended == "status 403"


def test_a_name_that_is_not_ours_is_refused(app: Any, browser: httpx.Client) -> None:
    """DNS rebinding: another page's name leads here, so its origin is the server's own."""
    for host in ("evil.test:4200", "evil.test", "127.0.0.1.evil.test", "", "localhost.evil.test"):
        headers = {"host": host, "origin": f"http://{host}", "authorization": basic(PASSWORD)}
        for path in ("/", "/ui-settings", "/api/admin/version", "/api/health"):
            assert browser.get(path, headers=headers).status_code == 400, (host, path)
    login, protocols = {"type": "auth", "token": PASSWORD}, [Subprotocol("prefect")]
    ended = websocket_answer(
        browser, "/api/events/out", login, host="evil.test", subprotocols=protocols
    )
    assert ended == "status 400"
    for host in ("localhost:4200", "127.0.0.1:9999", "[::1]:4200"):
        headers = {"host": host, "origin": f"http://{host}", "authorization": basic(PASSWORD)}
        assert browser.get("/api/admin/version", headers=headers).status_code == 200, host


def test_answers_may_not_be_framed_by_others(browser: httpx.Client) -> None:
    """A page that shows ours in a frame could have its buttons pressed."""
    headers = browser.get("/ui-settings").headers
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/x", "/docs", "/docs/x", "/openapi.json"])
def test_what_is_closed(path: str) -> None:
    """By prefix of whole path segments, so that no page of the interface is closed by accident."""
    assert needs_password(path, "GET")
    assert not needs_password(f"/{path[1:2]}-other", "GET")
    assert needs_password("/api/health", "POST")


def test_names_and_origin_follow_the_settings(tmp_path: Path) -> None:
    """A public address is ours as well; an IPv6 address is written in brackets."""
    own = Settings(home=tmp_path, prefect_host="fd00::1", prefect_public_url="https://p.example")
    assert {"[fd00::1]", "p.example", "127.0.0.1", "localhost"} <= set(hosts(own))
    assert ui_origin(own) == own.ui_url == "https://p.example"
    assert Settings(home=tmp_path, prefect_host="0.0.0.0").api_url == "http://127.0.0.1:4200/api"


def test_the_server_reads_no_origin_but_its_own(tmp_path: Path) -> None:
    """Prefect's default is every origin; what an operator set stays."""
    own = Settings(home=tmp_path, prefect_port=4321)
    (tmp_path / "postgres.json").write_text('{"socket_dir": "/x", "port": 1, "user": "u"}')
    name = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
    assert services.server_environment(own)[name] == "http://127.0.0.1:4321"


def test_the_running_server_lets_our_clients_in(prefect_server: dict[str, str]) -> None:
    """REST and events; and nobody else, over real HTTP."""
    url, auth_string = prefect_server["PREFECT_API_URL"], prefect_server["PREFECT_API_AUTH_STRING"]
    with SyncPrefectClient(api=url, auth_string=auth_string) as client:
        assert client.hello().status_code == 200
    command = services.server_command(Settings(prefect_port=4200))
    assert auth_string not in " ".join(command)
    request = urllib.request.Request(f"{url}/block_documents/filter", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 401
    assert refused.value.headers.get("access-control-allow-origin") is None
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: auth_string}):
        asyncio.run(_send_no_event())
    assert os.environ.get("PREFECT_API_AUTH_STRING") != auth_string


async def _send_no_event() -> None:
    async with PrefectEventsClient(reconnection_attempts=0):
        pass
