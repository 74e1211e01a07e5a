"""A page on this machine that receives the vendor's answer to a consent.

The browser brings the answer by itself to http://localhost, or the operator pastes it into a form.
Of all that is sent here, only what the consent gave is kept; nothing is logged.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from connectors.kit.errors import ConnectorError, ConsentFailed, Misconfigured
from connectors.kit.http.consent import ConsentLink, Granted, NotThisLink

#: Of http://localhost:8912/callback, which is registered with the vendors' applications.
PORT = 8912
#: Names by which a browser on this machine reaches the page.
_LOCAL = ("localhost", "127.0.0.1")
#: A pasted address is never longer.
_FORM_BYTES_MAX = 16_384
#: A longer body is not read to its end.
_BODY_BYTES_MAX = 1_048_576
#: A browser that sends nothing for this long is cut off.
_READ_SECONDS = 10
#: The page holds the link of a consent: it is not stored, not framed, and loads nothing.
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Address:
    """Where the page listens."""

    #: On 127.0.0.1; 0: any free one.
    port: int
    #: Of the redirect URI, e.g. `/callback`.
    path: str


def address_of(redirect_uri: str) -> Address | None:
    """Where to listen for this redirect URI, or None.

    None: the browser cannot bring the answer to this machine by itself.
    """
    try:
        parts = urlsplit(redirect_uri)
        port = parts.port or 80
    except ValueError:  # it is no URL
        return None
    return (
        Address(port, parts.path or "/")
        if parts.scheme == "http" and parts.hostname in _LOCAL
        else None
    )


class ConsentReceiver:
    """Receives the answer of one consent."""

    def __init__(self, started: ConsentLink, title: str) -> None:
        self.started = started
        self.title = title
        self.url = ""
        self.port = 0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._granted: Granted | None = None
        self._error: ConnectorError | None = None
        self._strayed = 0

    def take(self, answered: str) -> tuple[int, str]:
        """Redeems an answer; returns the HTTP status and a sentence for the person there."""
        with self._lock:  # a browser may ask twice
            if self._done.is_set():
                return 200, "This consent was answered already. You can close this window."
            try:
                self._granted = self.started.redeem(answered)
            except NotThisLink as error:  # anyone on this machine can ask; the link stays good
                self._strayed += 1
                return 400, error.detail
            except ConnectorError as error:
                self._error = error
                self._done.set()
                return 400, f"{self.title} was not connected: {error.detail}."
            self._done.set()
            return (
                200,
                (
                    f"{self.title} gave its consent. You can close this window: the rest happens "
                    "by itself."
                ),
            )

    def wait(self, seconds: float) -> Granted:
        """What the consent gave.

        Raises:
            ConsentFailed: None came in time, or it was refused.
            ConnectorError: As `Started.redeem`.
        """
        if not self._done.wait(seconds):
            stray = f"; {self._strayed} answers belonged to other links" if self._strayed else ""
            detail = (
                f"no answer came within {max(1, round(seconds / 60))} minutes{stray}; open the "
                "link and allow access"
            )
            raise ConsentFailed(self.started.system, "connect", detail)
        if self._error is not None:
            raise self._error
        assert self._granted is not None
        return self._granted


@contextmanager
def serving(receiver: ConsentReceiver, address: Address) -> Iterator[ConsentReceiver]:
    """Listens on 127.0.0.1 for the duration of the block.

    `receiver.url` is then the page with the link and the form. Raises Misconfigured if the port is
    taken.
    """
    handler = type("Handler", (_Handler,), {"receiver": receiver, "address": address})
    try:
        server = _Server(("127.0.0.1", address.port), handler)
    except OSError as error:
        detail = (
            f"port {address.port} of this machine cannot be used ({error.strerror}): end what uses "
            "it, or choose another"
        )
        raise Misconfigured(receiver.started.system, "connect", detail) from None
    receiver.port = server.server_port
    receiver.url = f"http://localhost:{server.server_port}/"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="consent", daemon=True
    )
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Does nothing: a broken request concerns nobody, and its traceback may hold a code."""


class _Handler(BaseHTTPRequestHandler):
    receiver: ClassVar[ConsentReceiver]
    address: ClassVar[Address]
    timeout = _READ_SECONDS
    server_version = "twezah"
    sys_version = ""

    def do_GET(self) -> None:
        """The answer, or the page with link and form."""
        parts = urlsplit(self.path)
        if not self._is_local():
            self._page(421, "This page is for the browser on this machine.")
        elif parts.path == self.address.path and parts.query:
            self._page(*self.receiver.take(self.path))
        elif parts.path == "/":
            self._page(200, self._invitation(), markup=True)
        else:
            self._page(404, "There is nothing here.")

    def do_POST(self) -> None:
        """A pasted answer."""
        size = self.headers.get("Content-Length", "")
        # Read in any case: closing a connection with unread data resets it, and the browser would
        # not see the answer.
        body = self.rfile.read(min(int(size), _BODY_BYTES_MAX)) if size.isdigit() else b""
        if not self._is_local() or self.path != "/":
            self._page(404, "There is nothing here.")
        elif not size.isdigit() or int(size) > _FORM_BYTES_MAX:
            self._page(413, "That is no address.")
        else:
            form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=5)
            self._page(*self.receiver.take(form.get("address", [""])[0]))

    def _is_local(self) -> bool:
        """False for a request to another name than this machine's.

        Such a name can be made to point here (DNS rebinding); its pages must not read what is here.
        """
        return self.headers.get("Host", "").partition(":")[0].lower() in _LOCAL

    def _invitation(self) -> str:
        link = escape(self.receiver.started.url, quote=True)
        return (
            f'<p><a href="{link}">Open the consent page of {escape(self.receiver.title)}</a>, '
            "sign in and allow access.</p>"
            "<p>If the browser then ends on a page that does not load, copy that page's address "
            "into this field:</p>"
            '<form method="post" action="/"><input name="address" size="80" autocomplete="off"> '
            "<button>Go on</button></form>"
        )

    def _page(self, status: int, text: str, *, markup: bool = False) -> None:
        inside = text if markup else f"<p>{escape(text)}</p>"
        title = escape(self.receiver.title)
        body = f"<!doctype html><title>Twezah</title><h1>{title}</h1>{inside}".encode()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it
        """Nothing: a request line holds the code."""
