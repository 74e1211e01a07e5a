"""The guard in front of Prefect's server: it checks Host header, Origin and password.

Prefect checks the password of its API and of its websockets. It does not check the name that a
browser asks for (one that was made to resolve to this machine: DNS rebinding), nor which page asks.
Its documentation pages are open.
"""

import base64
import binascii
import hmac
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from settings import Settings
from twezah.stack.prefect_interface import OneInterface
from twezah.stack.settings_watch import SettingsWatch, notifier

#: Everything below this path needs the password.
API: Final = "/api"
#: Health checks: they tell whether the server lives, and nothing else.
OPEN: Final = frozenset({"/api/health", "/api/ready"})
#: Pages of the API's documentation; Prefect leaves them open.
DOCUMENTATION: Final = ("/docs", "/redoc", "/openapi.json")
#: Names of this machine that a browser on it may use.
LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
#: Added to every answer: no other page may frame it, and nothing leaks to other sites.
HEADERS: Final = {
    "content-security-policy": "frame-ancestors 'self'",
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class PrefectGuard:
    """Refuses requests of other web pages, and requests without the password."""

    def __init__(self, app: ASGIApp, auth_string: str, origins: Collection[str]) -> None:
        """Stand before `app`.

        Args:
            app: Prefect's server.
            auth_string: `user:password`.
            origins: Pages that may ask besides those of the server itself; `*` for all.

        """
        self.app = app
        self._auth_string = auth_string.encode()
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._is_from_here(headers):
            return _problem(403, "Requests of other web sites are refused.")
        # A browser cannot give headers to a websocket: there the first message is the password.
        if scope["type"] == "websocket" or not needs_password(scope["path"], scope["method"]):
            return None
        if not self._has_password(headers.get("authorization", "")):
            return _problem(401, "Unauthorized")
        return None

    def _is_from_here(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()

    def _has_password(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            password = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(password, self._auth_string)


def needs_password(path: str, method: str) -> bool:
    """True for everything but the files of the user interface and the health checks."""
    if path in OPEN:
        return method not in ("GET", "HEAD")
    closed = (API, *DOCUMENTATION)
    if any(path == part or path.startswith(f"{part}/") for part in closed):
        return method != "OPTIONS"  # a question of a browser before a request; it has no password
    return False


def guarded(
    app: ASGIApp,
    settings: Settings,
    auth_string: str,
    origins: Collection[str],
    interface: str = "v1",
) -> ASGIApp:
    """Prefect's server behind the guard, for the names that lead to it.

    Changes of settings that the guard lets through are told of. `interface` is the one of a browser
    in which nobody chose one, `v1` or `v2`.
    """
    one = OneInterface(app, interface)
    watched = SettingsWatch(one, notifier(settings), behind_proxy=bool(settings.prefect_proxies))
    inner = PrefectGuard(watched, auth_string, [*origins, ui_origin(settings)])
    return TrustedHostMiddleware(inner, allowed_hosts=hosts(settings), www_redirect=False)


def hosts(settings: Settings) -> list[str]:
    """Names in the Host header that mean our server."""
    bound = settings.prefect_host
    names = [*LOOPBACK_NAMES, f"[{bound}]" if ":" in bound else bound]
    for url in (settings.own_api_url, settings.prefect_public_url):
        host = urlsplit(url or "").hostname
        if host:
            names.append(f"[{host}]" if ":" in host else host)
    return [name for name in dict.fromkeys(names) if name]


def ui_origin(settings: Settings) -> str:
    """Where the pages of our user interface come from, as browsers write it."""
    parts = urlsplit(settings.model_copy(update={"prefect_api_url": None}).ui_url)
    return f"{parts.scheme}://{parts.netloc}"


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"exception_message": text}, status_code=status, headers=HEADERS)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent
