"""The caretaker never gives up: a Prefect server that fails, hangs up or takes its time."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from settings import Settings
from tests.support.database import Databases

pytestmark = pytest.mark.timeout(900)
SECONDS_MAX = 600


class Fake:
    """Stands before a real server: of the requests that it is told to spoil, each kind in turn."""

    def __init__(self, target: str) -> None:
        self.spoiled: list[str] = []
        #: What happens to the next requests that are no health checks.
        self.plan: list[str] = []
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with fake.lock:
                    spoil = (
                        "" if self.path.endswith("/health") or not fake.plan else fake.plan.pop(0)
                    )
                if spoil:
                    fake.spoiled.append(spoil)
                if spoil == "slow":
                    time.sleep(3)
                if spoil == "hang up":
                    self.close_connection = True
                    self.connection.close()
                    return
                if spoil == "500":
                    self._answer(500, b'{"exception_message": "Internal Server Error"}')
                    return
                login = self.headers.get("Authorization", "")
                self._answer(*fake.ask(target, self.command, self.path, body, login))

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _pass_on  # noqa: N815 - http.server's names

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api"

    @staticmethod
    def ask(target: str, method: str, path: str, body: bytes, login: str) -> tuple[int, bytes]:
        url = target.removesuffix("/api") + path
        headers = {"Content-Type": "application/json", "Authorization": login}
        request = urllib.request.Request(url, body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture
def fake(prefect_server: dict[str, str]) -> Iterator[Fake]:
    made = Fake(prefect_server["PREFECT_API_URL"])
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_failures_of_prefect_are_waited_out_and_said(
    fake: Fake,
    prefect_server: dict[str, str],
    provisioning: None,
    databases: Databases,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Ready in the end, and each failure was told with its reason."""
    home = tmp_path_factory.getbasetemp() / "ledger"
    own = Settings(home=home)
    environment = {**own.child_environment(prefect_server), "PREFECT_API_URL": fake.url}
    environment["TWEZAH_DATABASE_URL"] = databases.migrated()
    environment["PREFECT_CLIENT_MAX_RETRIES"] = "0"  # what the client would hide
    fake.plan = ["500", "slow", "500", "", "", "hang up", "", "", "", "slow", "500"]
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "twezah.stack.caretaker", "--report-fd", str(writing)]
    with subprocess.Popen(command, env=environment, pass_fds=[writing]) as process:
        os.close(writing)
        patience = threading.Timer(SECONDS_MAX, process.kill)  # then there are no more reports
        patience.start()
        reports = []
        with os.fdopen(reading) as lines:
            for line in lines:
                reports.append(json.loads(line))
                if "ready" in reports[-1]:
                    break
        patience.cancel()
        process.kill()
    assert "ready" in reports[-1]
    assert not fake.plan and set(fake.spoiled) == {"500", "slow", "hang up"}
    failures = [report["say"] for report in reports if "failed" in report.get("say", "")]
    assert len(failures) >= 3
    assert all(" failed: " in text and "trying again in" in text for text in failures)
    assert not [text for text in failures if " failed:  " in text or "failed: -" in text]
