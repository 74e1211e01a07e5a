"""The loyalty app's server, as far as webhooks go: real HTTP, on this machine, in this process."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import SecretStr

from connectors.kit.webhooks.signatures import delivery, matching, standard_webhooks

#: How it answers a request: status and headers. It may also wait.
Answer = Callable[["Received"], tuple[int, dict[str, str]]]


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def message(self) -> dict[str, Any]:
        """The body."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def message_id(self) -> str:
        """The same at each attempt."""
        return self.headers["webhook-id"]

    def signed_with(self, *secrets: str) -> int | str:
        """The place of the first secret that signed it, or why none did."""
        return matching(
            standard_webhooks(),
            [SecretStr(secret) for secret in secrets],
            delivery(self.headers, self.body, None),
        )


@dataclass
class Receiver:
    """What came, and how it answers."""

    url: str
    requests: list[Received] = field(default_factory=list)
    answer: Answer = lambda _: (204, {})

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The bodies, in the order in which they came."""
        return [request.message for request in self.requests]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens on 127.0.0.1 and accepts everything, until told otherwise."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(headers, body, self.path)
            made.requests.append(received)
            status, more = made.answer(received)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hooks")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
