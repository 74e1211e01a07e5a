"""Whether a vendor can be reached at all.

Tells apart what stands between us and its server, and whether our clocks agree.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

#: When clocks differ by more, some vendors refuse a signature or a token as too old or too new.
SKEW_SECONDS_MAX = 60.0
_PROBE_BYTES_MAX = 65_536


@dataclass(frozen=True)
class Reached:
    """A server answered."""

    status: int
    elapsed_ms: int
    #: Our clock minus the server's, exact to a second; None: the server did not say.
    skew_seconds: float | None


class Unreachable(Exception):
    """No answer at all. The message is the reason; `who` says who can do something about it."""

    def __init__(self, reason: str, who: str) -> None:
        self.who = who
        super().__init__(reason)


def why_no_answer(error: Exception) -> str:
    """Why a request had no answer, in plain words; never with the URL, which may hold a query."""
    return _reason(error)[0]


_NETWORK = "whoever runs this machine's network"
_VENDOR = "nobody: try again later, and look at the vendor's status page"
#: (kind, what happened, who can do something about it). The first kind counts that the error or one
#: of its causes is of.
_REASONS: tuple[tuple[type[BaseException], str, str], ...] = (
    (httpx.ProxyError, "the proxy (HTTPS_PROXY) refuses or does not answer", _NETWORK),
    (socket.gaierror, "the host name is not found (DNS)", _NETWORK),
    (
        ssl.SSLCertVerificationError,
        (
            "the server's certificate is not trusted (TLS): a proxy that opens connections, or a "
            "wrong URL"
        ),
        _NETWORK,
    ),
    (
        ssl.SSLError,
        "no encrypted connection (TLS): the port speaks something else, or a proxy interferes",
        _NETWORK,
    ),
    (
        ConnectionRefusedError,
        "the connection is refused: nothing listens there, or a firewall says no",
        _NETWORK,
    ),
    (
        httpx.ConnectTimeout,
        "no connection within the timeout: a firewall, or the host is down",
        _NETWORK,
    ),
    (httpx.TimeoutException, "connected, but no answer within the timeout", _VENDOR),
    (httpx.ConnectError, "no connection", _NETWORK),
    (httpx.DecodingError, "the compressed answer cannot be unpacked: damaged on the way", _VENDOR),
    (httpx.RemoteProtocolError, "the connection ended before the answer did", _VENDOR),
)


def _reason(error: Exception) -> tuple[str, str]:
    causes = list(_chain(error))
    for kind, reason, who in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return f"{type(error).__name__}, {reason}", who
    return type(error).__name__, _VENDOR


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reach(
    url: str, *, timeout_seconds: float, transport: httpx.BaseTransport | None = None
) -> Reached:
    """Asks a server for anything, without credentials; any answer will do.

    Args:
        url: The vendor's base or token URL.
        timeout_seconds: For connecting and for each read.
        transport: Replaces the network in tests.

    Raises:
        Unreachable: If there is none, or the URL is not one.
    """
    started = time.monotonic()
    try:
        with (
            httpx.Client(
                transport=transport, timeout=timeout_seconds, follow_redirects=False
            ) as http,
            http.stream("GET", url) as response,
        ):
            next(response.iter_raw(_PROBE_BYTES_MAX), b"")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise Unreachable(
            "this is not an http(s) URL", "operator: correct it in the block"
        ) from None
    except httpx.TransportError as error:
        raise Unreachable(*_reason(error)) from None
    elapsed_ms = round((time.monotonic() - started) * 1000)
    return Reached(
        response.status_code,
        elapsed_ms,
        clock_skew_seconds(response.headers.get("date", ""), datetime.now(UTC)),
    )


def clock_skew_seconds(date: str, now: datetime) -> float | None:
    """Our clock minus the server's, in seconds, by its `Date` header; None without one.

    It is exact to a second.
    """
    try:
        served_at = parsedate_to_datetime(date)
        if served_at.tzinfo is None:  # "-0000" is UTC, but the parser gives no zone
            served_at = served_at.replace(tzinfo=UTC)
        return (now - served_at.astimezone(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
