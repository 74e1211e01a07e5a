"""A served API, its keys and endpoints, and requests to it over real sockets."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI
from psycopg import sql

from api.app import create_app
from api.config import Config
from api.runs import Deployment, NoDeploymentError, PrefectAwayError, Run, Runs, RunState
from api.serve import server_config
from settings import PROJECT_ROOT, Settings
from sql import keys, webhooks
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint

#: How often a delivery is sent again.
REPETITIONS_MAX = 20
SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four bytes!!").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the secret before this one....").decode()

RUN_ID = "0690b1f4-5a6e-7c3a-8000-0d6f2c1f9b11"
STARTED_AT = datetime(2026, 5, 20, 8, 30, tzinfo=UTC)


class FakeRuns(Runs):
    """A Prefect server that knows one connection; with `away`, none."""

    def __init__(self) -> None:
        self.started: list[tuple[str, dict[str, Any], str | None]] = []
        self.away = False
        #: How often somebody asked for a run, which ends at the third time.
        self.asked = 0

    async def start(
        self, deployment: str, parameters: dict[str, Any], *, idempotency_key: str | None = None
    ) -> Run:
        if self.away:
            raise PrefectAwayError("away")
        if deployment not in ("sync-xero", "webhooks", "award-waiting"):
            raise NoDeploymentError(deployment)
        same = [
            n for n, one in enumerate(self.started) if idempotency_key and one[2] == idempotency_key
        ]
        if not same:
            self.started.append((deployment, parameters, idempotency_key))
        return Run(f"run-{same[0] if same else len(self.started) - 1}", "wise-otter", "Scheduled")

    async def ensure(self, deployment: str) -> Run:
        return await self.start(deployment, {})

    async def find(self, run_id: str) -> RunState | None:
        if self.away:
            raise PrefectAwayError("away")
        self.asked += 1
        ended = self.asked >= 3
        return None if run_id != RUN_ID else RunState(
            RUN_ID, "wise-otter", "xero", "Completed" if ended else "Running",
            True if ended else None, "2 new" if ended else None, STARTED_AT,
            STARTED_AT if ended else None,
        )  # fmt: skip

    async def connections(self) -> list[Deployment]:
        if self.away:
            raise PrefectAwayError("away")
        return [Deployment("xero", connected=True, scheduled=True)]


@contextmanager
def served(app: FastAPI, settings: Settings) -> Iterator[str]:
    """The application on a port of its own, in a thread; its URL."""
    config = server_config(settings, app)
    with socket.socket() as listening:
        listening.bind((settings.api_host, 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(config)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=lambda: loop.run_until_complete(server.serve(sockets=[listening]))
        )
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"{'https' if settings.api_tls_certificate else 'http'}://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(15)
            loop.close()


@contextmanager
def own_process(
    settings: Settings, port: int, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m api`, as the stack starts it; killed at the end."""
    given = {
        **os.environ, "TWEZAH_HOME": str(settings.home), "TWEZAH_DATABASE_URL": settings.dsn(),
        "TWEZAH_API_PORT": str(port),
        "PREFECT_API_URL": "http://127.0.0.1:9/api", **environment,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "api"], cwd=PROJECT_ROOT, env=given, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_ready(url: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def settings_for(home: Path, dsn: str, **more: Any) -> Settings:
    """Of a test's API, in its own role; PREFECT_API_URL of the environment does not matter."""
    return Settings(home=home, database_url=dsn, database_role="twezah_api", **more)


@dataclass
class Office:
    """A served API, and what an administrator can do to it."""

    url: str
    dsn: str
    config: Config
    runs: FakeRuns
    http: httpx.Client = field(repr=False)
    #: What the requests of its process share.
    state: Any = field(default=None, repr=False)

    def endpoint(self, *secrets: str, system: str = "custom", **changes: Any) -> str:
        """A new endpoint; its id.

        Later secrets replace the earlier ones, which go on for an hour.
        """
        with connect(self.dsn) as connection:
            made = create_endpoint(
                connection,
                NewEndpoint(system=system, connection=changes.pop("connection", "shop"), **changes),
            )
            for secret in secrets or (SECRET,):
                webhooks.add_secret(
                    connection, made.endpoint_no, secret, self.config.key, overlap_seconds=3600
                )
            connection.commit()
        return made.endpoint_id

    def key(self, *scopes: str, **more: Any) -> dict[str, str]:
        """Headers with a new key."""
        with connect(self.dsn) as connection:
            made = keys.create(connection, "test", scopes or tuple(keys.SCOPES), **more)
            connection.commit()
        return {"Authorization": f"Bearer {made.secret}"}

    def post(self, endpoint_id: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A webhook."""
        return self.http.post(
            f"/api/webhooks/billing/{endpoint_id}", content=body, headers=dict(headers)
        )

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def events(self, endpoint_id: str) -> list[str]:
        """Deduplication keys of what is stored of an endpoint."""
        found = self.rows(
            "SELECT dedup_key FROM billing.webhook_event JOIN billing.webhook_endpoint "
            "USING (endpoint_no) "
            "WHERE endpoint_id = %s ORDER BY event_no",
            endpoint_id,
        )
        return [key for (key,) in found]

    def attempts(self, endpoint_id: str) -> list[tuple[str, int]]:
        """(outcome, how many) of the audit of an endpoint, once its writer adds nothing more."""
        before: list[tuple[str, int]] = []
        for _ in range(50):
            time.sleep(0.4)
            written = [
                (outcome, int(count))
                for outcome, count in self.rows(
                    "SELECT outcome, sum(repeats) FROM billing.http_attempt "
                    "JOIN billing.webhook_endpoint USING (endpoint_no) "
                    "WHERE endpoint_id = %s GROUP BY 1 ORDER BY 1",
                    endpoint_id,
                )
            ]
            if written and written == before:
                break
            before = written
        return before

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """The server closes all connections to the database and lets nobody in."""
        name = psycopg.conninfo.conninfo_to_dict(self.dsn)["dbname"]
        elsewhere = psycopg.conninfo.make_conninfo(self.dsn, dbname="postgres")
        with psycopg.connect(elsewhere, autocommit=True) as admin:
            # (What the administrator says next is for ordinary users: the embedded database has
            # none.)
            admin.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(
                    sql.Identifier(str(name))
                )
            )
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            try:
                yield
            finally:
                admin.execute(
                    sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(
                        sql.Identifier(str(name))
                    )
                )


def signed(
    body: bytes, message_id: str, secret: str = SECRET, *, at: float | None = None
) -> dict[str, str]:
    """Headers of Standard Webhooks, by the specification."""
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id, "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        "content-type": "application/json",
    }  # fmt: skip


def sale(number: str, kind: str = "sale.completed") -> bytes:
    """The body of an event."""
    data = {"invoice_number": number, "customer_phone": "+244 923 456 789", "total_amount": 150.00}
    return json.dumps({"type": kind, "timestamp": "2026-05-20T08:30:00Z", "data": data}).encode()


def office_on(settings: Settings, **changes: Any) -> tuple[FastAPI, Config, FakeRuns]:
    """An application that talks to the database of `settings`."""
    runs = FakeRuns()
    made = Config.of(settings)
    config = Config(
        **{**{name: getattr(made, name) for name in made.__dataclass_fields__}, **changes}
    )
    return create_app(config, runs), config, runs


async def blast(
    url: str, endpoint_id: str, deliveries: list[tuple[bytes, dict[str, str]]], connections: int
) -> list[int]:
    """Sends the requests over so many connections, as fast as they are answered.

    What is answered 503 is sent again, as vendors do: a busy machine may say that it is late.
    Returns the last statuses, in the order of the requests.
    """
    host, port = url.removeprefix("http://").split(":")
    statuses = [0] * len(deliveries)
    waiting = list(enumerate(deliveries))[::-1]
    again: Counter[int] = Counter()

    async def send() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while waiting:
            number, (body, headers) = waiting.pop()
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = (
                f"POST /api/webhooks/billing/{endpoint_id} HTTP/1.1\r\nhost: x\r\n"
                f"content-length: {len(body)}\r\n{lines}\r\n"
            )
            writer.write(head.encode() + body)
            said = (await reader.readuntil(b"\r\n\r\n")).lower()
            statuses[number] = int(said.split()[1])
            length = int(said.partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
            if statuses[number] == 503 and again[number] < REPETITIONS_MAX:
                again[number] += 1
                waiting.insert(0, (number, (body, headers)))
                await asyncio.sleep(0.1)
        writer.close()

    await asyncio.gather(*(send() for _ in range(connections)))
    return statuses
