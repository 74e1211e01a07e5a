"""HTTP as uvicorn speaks it, for senders that take their time: a head that does not end is cut off."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: From the connection (or the end of the last request's idle time) to the end of the head.
HEAD_SECONDS_MAX: Final = 10.0
HEAD_BYTES_MAX: Final = 65_536


class TimedProtocol(HttpToolsProtocol):
    """Closes connections whose request line and headers take too long or too much; bodies are the application's to limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A sender; its head is awaited from now on."""
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._cut_off(431, "Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._await_head()

    def on_headers_complete(self) -> None:
        """The application takes over."""
        self._in_head = False
        self._forget_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The sender has gone."""
        self._forget_timer()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._on_late)

    def _on_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._cut_off(408, "Request Timeout")

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut_off(self, status: int, phrase: str) -> None:
        self._forget_timer()
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()
