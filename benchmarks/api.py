"""`python -m benchmarks.api`: how fast a webhook is acknowledged, and how many a second can be.

The API is a process of its own on the embedded database, which waits for the disk at each commit;
the sender is this process, on the same machine and the same cores. Acknowledged means verified,
stored and committed.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from cryptography.fernet import Fernet

from benchmarks.ledger import fresh_database
from settings import PROJECT_ROOT, Settings
from sql import webhooks
from sql.endpoints import NewEndpoint, create_endpoint
from twezah.stack.postgres import running

_SECRET = base64.b64encode(b"k" * 32).decode()
_START_SECONDS_MAX = 60


@dataclass(frozen=True)
class Result:
    """One way of sending; times in milliseconds."""

    name: str
    events: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    #: When each was sent, seconds since 1970, in the order of the requests.
    sent_at: Sequence[float] = ()

    def line(self) -> str:
        """A row of the table."""
        rate = self.events / self.seconds
        return f"| {self.name} | {self.events} | {rate:,.0f} | {self.p50_ms:.1f} | {self.p99_ms:.1f} | {self.refused} |"


def sign_with() -> str:
    """The secret of an endpoint that `request` signs for."""
    return f"whsec_{_SECRET}"


def request(endpoint_id: str, name: str, *, member: int = 0) -> bytes:
    """A signed delivery with a sale, as bytes on the wire."""
    line = {"name": "Água Twezah 5L", "quantity": 3, "unit_price": 50.0, "sku": "ATW-5L"}
    data = {
        "invoice_number": name, "customer_phone": f"+2449{23_000_000 + member}", "total_amount": 150.0, "products": [line],
        "sale_date": "2026-05-20T08:30:00Z",
    }  # fmt: skip
    body = json.dumps(
        {"type": "sale.completed", "timestamp": "2026-05-20T08:30:00Z", "data": data}
    ).encode()
    stamp = str(int(time.time()))
    signature = hmac.digest(
        base64.b64decode(_SECRET), f"{name}.{stamp}.".encode() + body, hashlib.sha256
    )
    head = (
        f"POST /api/webhooks/billing/{endpoint_id} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nwebhook-id: {name}\r\nwebhook-timestamp: {stamp}\r\n"
        f"webhook-signature: v1,{base64.b64encode(signature).decode()}\r\n\r\n"
    )
    return head.encode() + body


async def send(
    name: str,
    requests: list[bytes],
    *,
    port: int,
    connections: int,
    per_second: float | None = None,
) -> Result:
    """Sends all over so many connections, as fast as they are answered, or at a pace."""
    waiting = list(enumerate(requests))[::-1]
    took_ms: list[float] = []
    sent_at = [0.0] * len(requests)
    refused = 0
    started = time.perf_counter()

    async def one() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            number, said = waiting.pop()
            if per_second is not None:
                await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
            began, sent_at[number] = time.perf_counter(), time.time()
            writer.write(said)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            took_ms.append((time.perf_counter() - began) * 1000)
            await reader.readexactly(int(answer.partition(b"content-length: ")[2].split()[0]))
            refused += not answer.startswith(b"http/1.1 200")
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    seconds = time.perf_counter() - started
    ordered = sorted(took_ms)
    at = {
        percent: ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
        for percent in (50, 99)
    }
    return Result(name, len(requests), seconds, at[50], at[99], refused, sent_at)


@contextmanager
def served(dsn: str, home: Path, key: bytes, port: int) -> Iterator[None]:
    """The API in a process of its own."""
    environment = {
        **os.environ, "TWEZAH_HOME": str(home), "TWEZAH_DATABASE_URL": dsn, "TWEZAH_API_PORT": str(port),
        "TWEZAH_SECRET_KEY": key.decode(), "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "TWEZAH_API_SOURCE_PER_MINUTE": "10000000",
    }  # fmt: skip
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], cwd=PROJECT_ROOT, env=environment, stderr=log
        )
    try:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the API did not start: see {home / 'api.log'}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Sends at 20 a second, in a burst of 1000, and as fast as it goes; prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".twezah/bench"), help="state folder")
    parser.add_argument("--port", type=int, default=18_080, help="one that is free")
    parser.add_argument("--seconds", type=int, default=20, help="of the paced part")
    parser.add_argument("--events", type=int, default=20_000, help="of the sustained part")
    arguments = parser.parse_args()
    key = Fernet.generate_key()
    with running(Settings(home=arguments.home)) as server:
        dsn = fresh_database(server)
        with psycopg.connect(dsn) as db:
            made = create_endpoint(db, NewEndpoint("custom", "custom", events_per_minute=1_000_000))
            webhooks.add_secret(db, made.endpoint_no, sign_with(), key, overlap_seconds=0)
        with served(dsn, arguments.home, key, arguments.port):
            print(
                "| sent | events | events/s | p50 ms | p99 ms | refused |\n|---|---:|---:|---:|---:|---:|"
            )
            sent = 0
            for name, count, connections, pace in (
                ("warm-up", 500, 10, None),
                ("20 a second", 20 * arguments.seconds, 20, 20.0),
                ("burst of 1000, 100 connections", 1_000, 100, None),
                ("sustained, 64 connections", arguments.events, 64, None),
            ):
                requests = [
                    request(made.endpoint_id, f"{name[:4].strip()}-{number}")
                    for number in range(count)
                ]
                result = asyncio.run(
                    send(
                        name,
                        requests,
                        port=arguments.port,
                        connections=connections,
                        per_second=pace,
                    )
                )
                sent += count - result.refused
                if name != "warm-up":
                    print(result.line(), flush=True)
        _check(dsn, sent)


def _check(dsn: str, acknowledged: int) -> None:
    """Every acknowledged event is stored, once, and in the audit."""
    with psycopg.connect(dsn) as db:
        row = db.execute(
            "SELECT (SELECT count(*) FROM billing.webhook_event), "
            "(SELECT sum(repeats) FROM billing.http_attempt WHERE outcome = 'stored')"
        ).fetchone()
    if row != (acknowledged, acknowledged):
        raise RuntimeError(f"{acknowledged} acknowledged, {row} stored and in the audit")


if __name__ == "__main__":
    main()
