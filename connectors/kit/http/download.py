"""Downloads one file from a URL, bounded in size, time and attempts.

Messages name nothing of the URL but its host.
"""

import time
from urllib.parse import urlsplit

import httpx
import stamina

from connectors.kit.http.body import ACCEPT_ENCODING, UnaskedEncodingError, pieces
from connectors.kit.http.probe import why_no_answer

ATTEMPTS = 3
SECONDS_MAX = 60.0


class DownloadError(RuntimeError):
    """A file could not be downloaded. `passing`: trying again later may help."""

    def __init__(self, host: str, reason: str, *, passing: bool) -> None:
        self.passing = passing
        todo = "Try again later" if passing else "Correct the address"
        super().__init__(f"GET {host}: {reason}. {todo}")


def download(
    url: str,
    *,
    bytes_max: int,
    timeout_seconds: float = 20.0,
    transport: httpx.BaseTransport | None = None,
    attempts: int = ATTEMPTS,
    redirects: int = 3,
) -> bytes:
    """The body behind `url`, which may hold a key in its query.

    Args:
        url: http or https.
        bytes_max: A larger body is refused.
        timeout_seconds: For connecting and for each read.
        transport: Replaces the network in tests.
        attempts: How often it is asked for, where a failure may pass.
        redirects: How many are followed; 0: the address itself must answer.

    Raises:
        DownloadError: The address is wrong or refuses, or the body is too large; no answer, or a
            failing server, after all attempts within a minute.
    """
    host = urlsplit(url).hostname or "(no host)"
    with httpx.Client(
        transport=transport,
        timeout=timeout_seconds,
        follow_redirects=redirects > 0,
        max_redirects=redirects,
    ) as http:
        for attempt in stamina.retry_context(on=_passing, attempts=attempts, timeout=SECONDS_MAX):
            with attempt:
                return _once(http, url, host, bytes_max)
    raise AssertionError("stamina re-raises the last error")  # pragma: no cover


def _passing(error: Exception) -> bool:
    return isinstance(error, DownloadError) and error.passing


def _once(http: httpx.Client, url: str, host: str, bytes_max: int) -> bytes:
    try:
        with http.stream("GET", url, headers={"accept-encoding": ACCEPT_ENCODING}) as response:
            status = response.status_code
            if status != 200:
                raise DownloadError(
                    host, f"answered {status}", passing=status == 429 or status >= 500
                )
            return _body(response, host, bytes_max)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects):
        raise DownloadError(host, "no usable http(s) URL", passing=False) from None
    except UnaskedEncodingError as error:
        raise DownloadError(
            host, f"the file is packed as {error}, which nobody asked for", passing=False
        ) from None
    except httpx.HTTPError as error:
        raise DownloadError(host, why_no_answer(error), passing=True) from None


def _body(response: httpx.Response, host: str, bytes_max: int) -> bytes:
    """The whole body: httpx itself would take a packed one that is cut off for whole.

    An endless trickle of bytes never trips a read timeout, so the time is looked at here.
    """
    body, latest = bytearray(), time.monotonic() + SECONDS_MAX
    for chunk in pieces(response):
        body += chunk
        if len(body) > bytes_max:
            raise DownloadError(host, f"the file is larger than {bytes_max} bytes", passing=False)
        if time.monotonic() > latest:
            raise DownloadError(host, "the file takes too long", passing=True)
    return bytes(body)
