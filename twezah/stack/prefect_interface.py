"""Keeps a browser in one of Prefect's two interfaces.

Prefect serves both: the new one (V2) below `/v2`, the old one (V1) at `/`. It leads to the one that
the browser prefers from `/` alone. The links that we write (pages, reports, alerts, guides) are
addresses without `/v2`, which are right in both; followed from V2 they would end in V1. So a
browser that asks for such a page is led on to the interface that it is in.
"""

from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: Where V2 is. Its pages have the same paths below as those of V1.
V2: Final = "/v2"
#: Prefect's cookie with the interface that somebody chose in the browser, `v1` or `v2`.
COOKIE: Final = "prefect_ui_version"
#: First parts of the paths of pages that both interfaces have.
PAGES: Final = frozenset({
    "artifacts", "automations", "blocks", "concurrency-limits", "dashboard", "deployments", "events",
    "flows", "login", "runs", "settings", "variables", "work-pools",
})  # fmt: skip


class OneInterface:
    """Stands before Prefect's server."""

    def __init__(self, app: ASGIApp, default: str) -> None:
        """`default`: the interface of a browser in which nobody chose one, `v1` or `v2`."""
        self.app = app
        self._default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request on, or leads the browser to V2."""
        if scope["type"] == "http" and self._is_for_v2(scope):
            query = scope["query_string"].decode("latin-1")
            # The path as it was sent, so that nothing in it can become another header or host.
            path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
            url = f"{V2}{path}{'?' if query else ''}{query}"
            await RedirectResponse(url, 307, {"cache-control": "no-store"})(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_for_v2(self, scope: Scope) -> bool:
        if scope["method"] not in ("GET", "HEAD") or not is_page(scope["path"]):
            return False
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-mode", "navigate") != "navigate":
            return False
        if "text/html" not in headers.get("accept", ""):
            return False
        return (_chosen(headers) or self._default) == "v2"


def is_page(path: str, pages: Collection[str] = PAGES) -> bool:
    """Whether a path is that of a page which both interfaces have."""
    return path.split("/", 2)[1] in pages if path.startswith("/") else False


def _chosen(headers: Headers) -> str | None:
    """The interface that somebody chose in this browser, None if nobody did."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None and morsel.value in ("v1", "v2") else None
