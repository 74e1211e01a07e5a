"""HTTP as uvicorn speaks it, for senders that take their time or our memory.

uvicorn's one timer is for idle connections and ends with the first byte that comes. What a sender
could hold a connection or memory with is limited here: a head that does not end, the rest of a
request that is already answered, empty lines between requests, trailers and chunk extensions,
answers that are not read. Bodies are the application's to limit. How many connections one sender
may have is `api.senders`' to say.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.senders import Senders

#: From the connection (or the end of the last request's idle time) to the end of the head.
HEAD_SECONDS_MAX: Final = 10.0
HEAD_BYTES_MAX: Final = 65_536
#: What may still come of a request that was answered before its end.
AFTER_BYTES_MAX: Final = 1_048_576
#: An answer that is not read for so long will not be.
UNREAD_SECONDS_MAX: Final = 20.0
#: A body in chunks of one byte has five bytes around each; more are no chunks.
_AROUND_A_BYTE: Final = 5
_NO_ROOM: Final = 503


class TimedProtocol(HttpToolsProtocol):
    """Closes connections that take too long or too much, or are too many."""

    def __init__(self, *arguments: Any, senders: Senders, **options: Any) -> None:
        """As uvicorn makes it; `senders` are those of the whole server."""
        super().__init__(*arguments, **options)
        self._senders = senders

    @property
    def client_address(self) -> str | None:
        """The other end of the connection."""
        return self.client[0] if self.client else None

    @property
    def waits_for_sender(self) -> bool:
        """Whether the sender has to send: no request yet, or not all of its head or body."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete or cycle.more_body

    def give_up(self) -> None:
        """Closes the connection, so that another sender is answered."""
        if self.transport.is_closing():
            return
        self._cut_off(_NO_ROOM, "Service Unavailable")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A sender connected: from now on it has a time limit for its head."""
        self._head_bytes = 0
        self._body_bytes = 0
        self._around_bytes = 0
        self._after_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if self._senders.admit(self):
            self._await_head()
        else:
            self.give_up()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived: of a head, of a body, or of neither."""
        in_head, body_bytes, answered = self._in_head, self._body_bytes, self._is_answered
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        elif not in_head:  # otherwise it also holds the rest of a head, which was counted
            self._around_bytes += len(data) - (self._body_bytes - body_bytes)
        if answered:
            self._after_bytes += len(data)
        if (
            self._head_bytes > HEAD_BYTES_MAX
            or self._around_bytes > HEAD_BYTES_MAX + _AROUND_A_BYTE * self._body_bytes
        ):
            self._cut_off(431, "Request Header Fields Too Large")
        elif self._is_answered:
            # The timer of idle connections has just ended: this one takes over, and more bytes do
            # not buy more time.
            self._await_head()
            if self._after_bytes > AFTER_BYTES_MAX:
                self._close()

    def on_message_begin(self) -> None:
        """The first byte of a request arrived."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._body_bytes = self._around_bytes = self._after_bytes = 0
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header arrived.

        Trailers are left out: nothing here wants them, and what is signed is not theirs to change.
        """
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: the application takes over."""
        self._in_head = False
        self._forget_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body arrived."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The answer is written, if the sender reads it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reader()

    def pause_writing(self) -> None:
        """The sender does not read our answer: from now on it has a time limit."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """The sender reads our answer again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._forget_reader()

    def timeout_keep_alive_handler(self) -> None:
        """The connection was idle for long."""
        super().timeout_keep_alive_handler()
        self._await_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        """The sender has gone."""
        self._senders.forget(self)
        self._forget_timer()
        super().connection_lost(exc)
        self._forget_reader()

    @property
    def _is_answered(self) -> bool:
        return bool(
            getattr(self.cycle, "response_complete", False)
        )  # there is no cycle before the first request

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

    def _await_reader(self) -> None:
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS_MAX, self.transport.abort)

    def _forget_reader(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _cut_off(self, status: int, phrase: str) -> None:
        if self._in_head:  # otherwise it has its answer, or gets one from the application
            again = "retry-after: 1\r\n" if status == _NO_ROOM else ""
            head = (
                f"HTTP/1.1 {status} {phrase}\r\n{again}"
                "content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode())
        self._close()

    def _close(self) -> None:
        self._forget_timer()
        self.transport.close()
        self._await_reader()
