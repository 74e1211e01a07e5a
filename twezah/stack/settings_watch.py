"""Tells of each change of a setting in Prefect, and who made it, as it happens.

Prefect keeps no history of blocks and schedules. So its server, behind our guard, notices every
request that changed one, and whoever waits here looks at once: for the audit log, for the page
"Billing systems", and for connections that are ready to be switched on.
"""

import asyncio
import base64
import binascii
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg
from psycopg import sql
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from settings import DatabaseNotRunning, Settings
from sql.actor import LENGTH_MAX
from tasks.actor import OPERATOR
from twezah.stack.acting import ACTOR_HEADER

#: PostgreSQL's channel of the notices; what they carry is the actor.
CHANNEL: Final = "twezah_settings"
#: The user's name, from a login in a proxy before Prefect.
_PROXY_USER: Final = "x-forwarded-user"
#: A program with Prefect's password that is none of ours.
_PROGRAM: Final = "program"
#: The user of the password that the program makes; nobody's name.
_NOBODY: Final = "admin"
_ID: Final = "[0-9a-fA-F-]{36}"
#: Requests that change a block, a deployment, or its schedules.
_CHANGES: Final = re.compile(
    rf"/api/block_documents(/{_ID})?/?"
    rf"|/api/deployments(/{_ID}(/schedules(/{_ID})?|/(pause|resume)_deployment)?|/bulk_delete)?/?"
)
_METHODS: Final = ("POST", "PUT", "PATCH", "DELETE")
#: How long it is waited for the database before a notice is given up; a later look finds the change.
_CONNECT_SECONDS: Final = 5
#: Before the database is tried again.
_AWAY_SECONDS: Final = 5.0
#: Notices that come within so long are looked at together.
_TOGETHER_SECONDS: Final = 0.02


def is_change(method: str, path: str) -> bool:
    """Whether such a request changes a setting."""
    return method in _METHODS and _CHANGES.fullmatch(path) is not None


def actor_of(headers: Headers, *, behind_proxy: bool) -> str:
    """Who sent a request, as far as the login knows.

    `behind_proxy`: a proxy before Prefect is believed, which says who has logged in there.
    """
    if own := headers.get(ACTOR_HEADER, "").strip():
        return own[:LENGTH_MAX]
    if "sec-fetch-mode" not in headers and "origin" not in headers:
        return _PROGRAM
    name = headers.get(_PROXY_USER, "").strip() if behind_proxy else ""
    name = name or _user(headers.get("authorization", ""))
    return f"{OPERATOR} {name}"[:LENGTH_MAX] if name not in ("", _NOBODY) else OPERATOR


def _user(authorization: str) -> str:
    _, _, encoded = authorization.partition(" ")
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


class SettingsWatch:
    """Stands between the guard and Prefect's server."""

    def __init__(self, app: ASGIApp, tell: Callable[[str], None], *, behind_proxy: bool) -> None:
        """`tell` is called with the actor of each change, in a thread."""
        self.app = app
        self._tell = tell
        self._behind_proxy = behind_proxy
        self._telling: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and tell of it if it changed a setting."""
        if scope["type"] != "http" or not is_change(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self.app(scope, receive, sent)
        if 200 <= status < 300:
            actor = actor_of(Headers(scope=scope), behind_proxy=self._behind_proxy)
            telling = asyncio.create_task(asyncio.to_thread(self._tell, actor))
            self._telling.add(telling)  # or it could be collected before it is done
            telling.add_done_callback(self._telling.discard)


def notifier(installation: Settings) -> Callable[[str], None]:
    """Tells of a change by PostgreSQL. A database that is away is no failure of the change."""

    def tell(actor: str) -> None:
        try:
            with psycopg.connect(
                installation.dsn(), autocommit=True, connect_timeout=_CONNECT_SECONDS
            ) as connection:
                connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, actor])
        except (psycopg.Error, DatabaseNotRunning) as error:
            sys.stderr.write(f"a changed setting was not told: {type(error).__name__}\n")

    return tell


class Notices:
    """Waits for changes of settings."""

    def __init__(self, installation: Settings) -> None:
        """Name the database."""
        self._installation = installation
        self._connection: psycopg.Connection | None = None

    def listen(self) -> None:
        """Begins to listen: what is told from now on is not missed. Raises psycopg.Error."""
        if self._connection is None:
            connection = psycopg.connect(self._installation.dsn(), autocommit=True)
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            self._connection = connection

    def wait(self, seconds: float) -> list[str]:
        """Who changed something, each once; [] after `seconds`."""
        try:
            self.listen()
            assert self._connection is not None
            actors = [
                notice.payload
                for timeout in (seconds, _TOGETHER_SECONDS)
                for notice in self._connection.notifies(timeout=timeout, stop_after=1)
            ]
        except (psycopg.Error, DatabaseNotRunning):
            self.close()
            time.sleep(min(seconds, _AWAY_SECONDS))
            return []
        return list(dict.fromkeys(actors))

    def close(self) -> None:
        """Listens no more."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
