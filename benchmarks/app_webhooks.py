"""`python -m benchmarks.app_webhooks`: from the POST of a sale to the loyalty app's receiver.

The same stack and the same sales as `benchmarks.instant`; the app's receiver is a server in this
process. Time runs from just before the first byte of the sale's webhook is sent to the moment at
which the app has the whole message about its points; both by the machine's clock.
"""

import argparse
import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from benchmarks.api import request, send
from benchmarks.instant import WAIT_SECONDS_MAX, connected
from connectors.kit.webhooks.destination import networks
from settings import Settings
from sql import webhooks
from sql.db import connect
from tasks.webhooks.receivers import enter_receiver, new_secret
from twezah.stack.up import Stack

#: What the product promises: half of the sales, in seconds.
HALF_SECONDS: Final = 1.5


_POSTED: Final = b"""
SELECT external_id, member_id, extract(epoch FROM posted_at)::float8 FROM loyalty.award_entry
"""


class App(ThreadingHTTPServer):
    """Keeps when the message about each member's points came."""

    def __init__(self) -> None:
        """Listens on a free port of this machine."""
        self.heard_at: dict[int, float] = {}
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: App

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        heard_at = time.time()
        data = json.loads(body)["data"]
        self.server.heard_at.setdefault(data["member_id"], heard_at)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def _listening() -> Iterator[App]:
    app = App()
    threading.Thread(target=app.serve_forever, daemon=True).start()
    try:
        yield app
    finally:
        app.shutdown()
        app.server_close()


def measure(stack: Stack, app: App, endpoint_id: str, port: int, sales: range, rate: float) -> None:
    """Sends sales, each of a member of its own, and prints how long each took to the app.

    Raises SystemExit if the promise was missed, TimeoutError if one never came.
    """
    requests = [request(endpoint_id, f"app-{number}", member=number) for number in sales]
    # (Idle connections are closed by the API.)
    senders = min(20, max(1, round(4 * rate)))
    sent = asyncio.run(send("app", requests, port=port, connections=senders, per_second=rate))
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while len(app.heard_at) < sales.stop:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the app heard of {len(app.heard_at)} of {sales.stop} sales")
        time.sleep(0.1)
    with connect(stack.dsn) as db:
        posted = {name: row for name, *row in db.execute(_POSTED).fetchall()}
    took: list[float] = []
    to_ledger: list[float] = []
    for number, at in zip(sales, sent.sent_at, strict=True):
        member_id, posted_at = posted[f"app-{number}"]
        took.append(app.heard_at[member_id] - at)
        to_ledger.append(posted_at - at)
    took.sort()
    half, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    ledger_half = sorted(to_ledger)[len(to_ledger) // 2]
    print(
        f"{len(took)} sales, {rate:g} a second: half within {half:.2f} s, 99 % within {p99:.2f} s, "
        f"the longest {took[-1]:.2f} s; of it to the ledger, half within {ledger_half:.2f} s"
    )
    if len(took) > 1 and half > HALF_SECONDS:
        raise SystemExit(1)


def main() -> None:
    """Measures, prints, and exits with 1 where the promise was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.app_webhooks", description=__doc__)
    parser.add_argument("--sales", type=int, default=200)
    parser.add_argument("--per-second", type=float, default=5)
    parser.add_argument("--first-port", type=int, default=18_190, help="of three that are free")
    arguments = parser.parse_args()
    port = arguments.first_port
    with tempfile.TemporaryDirectory() as scratch, _listening() as app:
        settings = Settings(
            home=Path(scratch), prefect_port=port, simulator_port=port + 1, api_port=port + 2
        )
        os.environ.update(
            settings.child_environment(),
            TWEZAH_PREFECT_PORT=str(port),
            TWEZAH_SIMULATOR_PORT=str(port + 1),
            TWEZAH_API_PORT=str(port + 2),
            TWEZAH_WEBHOOK_RECEIVER_NETWORKS="127.0.0.0/8",
        )
        with Stack(settings, api=True) as stack:
            key = settings.fernet_key()
            own_prefect = {
                PREFECT_API_URL: settings.api_url,
                PREFECT_API_AUTH_STRING: settings.prefect_auth_string() or "",
            }
            with temporary_settings(own_prefect):
                endpoint_id = connected(stack.dsn, key)
            _enter(stack.dsn, f"http://127.0.0.1:{app.server_address[1]}/", key)
            _await_listener(stack.dsn)
            measure(stack, app, endpoint_id, port + 2, range(1), arguments.per_second)
            measure(
                stack, app, endpoint_id, port + 2, range(1, 1 + arguments.sales),
                arguments.per_second,
            )  # fmt: skip


def _enter(dsn: str, url: str, key: bytes) -> None:
    with connect(dsn) as db:
        enter_receiver(db, "app", url, (), new_secret(), key, networks("127.0.0.0/8"))
        db.commit()


def _await_listener(dsn: str) -> None:
    """Until a run listens, which the API starts; then some quiet."""
    deadline = time.monotonic() + 3 * WAIT_SECONDS_MAX
    with connect(dsn) as db:
        while not webhooks.is_claimed(db):
            db.rollback()
            if time.monotonic() > deadline:
                raise TimeoutError("no run listens")
            time.sleep(0.1)
    time.sleep(3)


if __name__ == "__main__":
    main()
