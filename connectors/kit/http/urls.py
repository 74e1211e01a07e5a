"""Where a request goes: the base URL of an account and the vendor's paths behind it."""

import re
from typing import Final

import httpx

from connectors.kit.errors import Misconfigured
from connectors.kit.spec import Account, ConnectorSpec, of_account

#: A user, or a user and a password, before the host of an address. Browsers read "\\" as "/", so
#: both are looked for.
_CREDENTIALS: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*:|^\s*)[/\\]{2}[^/\\?#\s]*@", re.IGNORECASE)
_NO_SCHEME: Final = re.compile(r"^[^/\\?#]*@")


def refuse_credentials(text: str, *, is_address: bool = False) -> str:
    """The text, unless it is an address with a user or a password in it, which would be shown.

    Args:
        text: The value of a setting.
        is_address: It can be nothing but an address, so that the scheme may be missing.

    Raises:
        ValueError: If it is. The message does not hold the text.
    """
    if _CREDENTIALS.search(text) or (is_address and _NO_SCHEME.search(text)):
        raise ValueError(
            "there is a user or a password in the address, where it would be shown and logged: "
            "leave it out, and use the fields for credentials"
        )
    return text


def shown(request: httpx.Request) -> str:
    """A request as messages may show it: method, host and path, without the query."""
    return f"{request.method} {request.url.host}{request.url.path}"


def base_url(account: Account, spec: ConnectorSpec) -> httpx.URL:
    """The base URL of an account: its own, or else the vendor's.

    Raises:
        Misconfigured: If it is not an http(s) URL with a host.
    """
    try:
        refuse_credentials(account.base_url, is_address=True)
    except ValueError as error:
        raise Misconfigured(spec.name, "connect", f"the base URL: {error}") from None
    try:
        url = httpx.URL((account.base_url or of_account(spec.base_url, account)).strip())
    except httpx.InvalidURL as error:
        raise Misconfigured(spec.name, "connect", "the base URL is not a URL") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured(spec.name, "connect", "the base URL is not an http(s) URL")
    return url.copy_with(query=None, fragment=None)


def join_url(base: httpx.URL, path: str) -> httpx.URL:
    """Puts a vendor's path behind the base URL.

    The base URL may carry a prefix, or repeat the start of the path.

    `https://quickbooks.api.intuit.com/v3/company/123` (as vendors' own guides write it) and
    `http://127.0.0.1:9400/quickbooks` both work.
    """
    before = [part for part in base.path.split("/") if part]
    after = [part for part in path.split("/") if part]
    overlap = next(
        n for n in range(min(len(before), len(after)), -1, -1) if n == 0 or before[-n:] == after[:n]
    )
    return base.copy_with(path="/" + "/".join([*before, *after[overlap:]]))
