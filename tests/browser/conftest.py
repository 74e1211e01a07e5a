"""One running stack, one simulated billing system, one browser; pictures of failed steps in the base temporary folder."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import simulator
from settings import Settings
from tests.support.desk import Desk, browsing, require_browser
from tests.support.prefect_login import auth_string
from tests.support.served import served
from tests.support.served_vendors import served_vendors


@pytest.fixture(scope="package", autouse=True)
def _browser() -> None:
    """Says once, and first, why these tests do not run; under continuous integration that is a failure."""
    require_browser()


@pytest.fixture(scope="package")
def stack(_browser: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """`twezah up`, as an operator starts it: nothing is connected."""
    with served(tmp_path_factory.mktemp("stack") / "home") as settings:
        yield settings


@pytest.fixture
def desk(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The operator."""
    with browsing(1400, 1100) as page:
        pictures = tmp_path_factory.getbasetemp() / "pictures"
        operator = Desk(page, stack.ui_url, pictures, auth_string(stack.home))
        operator.log_in()
        yield operator


@dataclass
class Vendor:
    """A custom billing system behind HTTP, and its world."""

    url: str
    world: simulator.World


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    """Sixty sales, thirty days long and over by now."""
    world = simulator.World(
        seed=24,
        customers=40,
        invoices=60,
        start=datetime.now(UTC) - timedelta(days=30),
        systems=["custom"],
    )
    with served_vendors(world) as url:
        yield Vendor(f"{url}/custom", world)


@dataclass
class Inbox:
    """What arrived at a web hook of ours."""

    url: str
    messages: list[dict[str, str]]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A web hook that takes everything."""
    messages: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Inbox(f"http://127.0.0.1:{server.server_address[1]}/", messages)
    server.shutdown()
    server.server_close()
