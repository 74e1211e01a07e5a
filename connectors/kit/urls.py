"""Where a request goes: the base URL of a connection and the vendor's paths behind it."""

import httpx

from connectors.kit.errors import Misconfigured
from connectors.kit.spec import Connection, ConnectorSpec, of_account


def shown(request: httpx.Request) -> str:
    """A request as it may be shown: method, host and path."""
    return f"{request.method} {request.url.host}{request.url.path}"


def base_url(connection: Connection, spec: ConnectorSpec) -> httpx.URL:
    """The base URL in force.

    Raises:
        Misconfigured: If it is not an http(s) URL with a host.
    """
    try:
        url = httpx.URL((connection.base_url or of_account(spec.base_url, connection)).strip())
    except httpx.InvalidURL as error:
        raise Misconfigured(spec.name, "connect", "the base URL is not a URL") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured(spec.name, "connect", "the base URL is not an http(s) URL")
    return url.copy_with(query=None, fragment=None)


def join_url(base: httpx.URL, path: str) -> httpx.URL:
    """Puts a vendor's path behind the base URL, which may carry a prefix or repeat the start of the path.

    `https://quickbooks.api.intuit.com/v3/company/123` (as vendors' own guides write it) and
    `http://127.0.0.1:9400/quickbooks` both work.
    """
    before = [part for part in base.path.split("/") if part]
    after = [part for part in path.split("/") if part]
    overlap = next(n for n in range(min(len(before), len(after)), -1, -1) if n == 0 or before[-n:] == after[:n])
    return base.copy_with(path="/" + "/".join([*before, *after[overlap:]]))
