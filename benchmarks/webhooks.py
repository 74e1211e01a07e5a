"""`python -m benchmarks.webhooks`: from the arrival of a webhook to its points in the ledger, at 20 a second and in a burst.

The run that awards is a process of its own, as a flow run is (without Prefect, whose part is one
start in ten minutes). Webhooks are stored as the HTTP interface stores them, in transactions of
their own with a nudge after each. Whole documents of a custom system; every event is a new sale.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet

from benchmarks.ledger import fresh_database
from connectors.kit.spec import Account
from expectations import preload
from settings import Settings
from sql import webhooks as stored
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.webhooks import NewEvent
from tasks.job import Job, Policy
from tasks.webhooks.listener import Pace, listen
from tasks.webhooks.process import Connections
from twezah.stack.postgres import running

#: What the product promises: seconds at 20 a second (half of them, 99 % of them), and for a burst.
TARGETS: Final = {"half": 1.0, "p99": 3.0, "burst": 30.0}
MEMBERS: Final = 300
SENDERS: Final = 8
_LATENCIES = b"""
SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY s), percentile_disc(0.99) WITHIN GROUP (ORDER BY s), max(s),
       extract(epoch FROM max(finished_at) - min(received_at))::float8
FROM (SELECT extract(epoch FROM finished_at - received_at)::float8 AS s, finished_at, received_at FROM billing.webhook_event
      WHERE kind = %s AND state = 'done') e
"""


@dataclass(frozen=True)
class Latency:
    """Seconds from arrival to the ledger, and of the whole."""

    name: str
    events: int
    half: float
    p99: float
    longest: float
    whole: float


def body(number: int) -> bytes:
    """A sale of its own."""
    sale = {
        "id": f"sale_{number}", "number": f"FT {number}", "customer": {"id": f"c{number % MEMBERS}", "phone": f"+2449{23_000_000 + number % MEMBERS}"},
        "total": "150.00", "currency": "AOA", "issued_on": "2026-05-01", "updated_at": "2026-05-01T10:00:00Z",
        "lines": [{"sku": "ATW-5L", "description": "Água Twezah 5L", "quantity": "3", "unit_price": "50.00", "amount": "150.00"}],
    }  # fmt: skip
    return json.dumps(
        {"type": "sale.completed", "timestamp": "2026-05-01T10:00:00Z", "data": sale}
    ).encode()


def award(dsn: str, key: bytes) -> None:
    """The run: stays until it has been quiet for a while."""
    preload()
    vendor = Account("custom", "shop", "https://shop.invalid", options={"authentication": "none"})
    policy = Policy(reject_percent_max=100)
    connections = Connections(
        lambda _: Job(dsn, vendor, key=key, run_id="bench", policy=policy, pushed=True)
    )
    listen(dsn, "bench", connections, key, Pace(5, 3600), lambda *_: None)


@contextmanager
def awarding(dsn: str) -> Iterator[None]:
    """A run in a process of its own, ready."""
    process = multiprocessing.get_context("spawn").Process(
        target=award, args=(dsn, Fernet.generate_key()), daemon=True
    )
    process.start()
    try:
        with connect(dsn) as connection:
            while not stored.is_claimed(connection):
                time.sleep(0.1)
                connection.rollback()
        yield
        process.join(30)
    finally:
        process.kill()
        process.join()


def store(dsn: str, endpoint_no: int, kind: str, number: int) -> None:
    """One webhook arrives."""
    with connect(dsn) as connection:
        event = NewEvent(
            endpoint_no,
            f"id:msg_{number}",
            kind,
            {"webhook-id": f"msg_{number}"},
            body(number),
            None,
            datetime.now(UTC),
        )
        stored.store_event(connection, event)
        connection.commit()
        stored.nudge(connection)
        connection.commit()


def send(dsn: str, endpoint_no: int, kind: str, numbers: range, per_second: float | None) -> None:
    """Webhooks at a rate, or all at once."""
    started = time.monotonic()
    with ThreadPoolExecutor(SENDERS) as pool:
        sent = []
        for at, number in enumerate(numbers):
            if per_second is not None:
                time.sleep(max(0.0, started + at / per_second - time.monotonic()))
            sent.append(pool.submit(store, dsn, endpoint_no, kind, number))
        for one in sent:
            one.result()


def measured(dsn: str, name: str, events: int) -> Latency:
    """Waits until all are in the ledger.

    Raises TimeoutError after two minutes, AssertionError if one was lost or doubled.
    """
    deadline = time.monotonic() + 120
    with connect(dsn) as connection:
        while True:
            row = connection.execute(_LATENCIES, [name]).fetchone()
            connection.rollback()
            if row and row[0] == events:
                return Latency(name, *row)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name}: {row and row[0]} of {events} webhooks are done")
            time.sleep(0.1)


def main() -> None:
    """Measures both, prints a table, and exits with 1 where a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhooks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="length of the steady part")
    parser.add_argument("--per-second", type=float, default=20)
    parser.add_argument("--burst", type=int, default=1_000)
    parser.add_argument("--home", type=Path, default=Path(".twezah/bench"), help="state folder")
    arguments = parser.parse_args()
    with running(Settings(home=arguments.home)) as server:
        dsn = fresh_database(server)
        endpoint_no = _endpoint(dsn)
        steady = int(arguments.seconds * arguments.per_second)
        with awarding(dsn):
            send(dsn, endpoint_no, "warm up", range(5), None)
            measured(dsn, "warm up", 5)
            send(dsn, endpoint_no, "steady", range(5, 5 + steady), arguments.per_second)
            found = [measured(dsn, "steady", steady)]
            send(dsn, endpoint_no, "burst", range(5 + steady, 5 + steady + arguments.burst), None)
            found.append(measured(dsn, "burst", arguments.burst))
        _check(dsn, 5 + steady + arguments.burst)
    print(
        "| | webhooks | half within | 99 % within | longest | whole |\n|---|---:|---:|---:|---:|---:|"
    )
    for one in found:
        print(
            f"| {one.name} | {one.events} | {one.half:.2f} s | {one.p99:.2f} s | {one.longest:.2f} s | {one.whole:.1f} s |"
        )
    slow, burst = found
    if slow.half > TARGETS["half"] or slow.p99 > TARGETS["p99"] or burst.whole > TARGETS["burst"]:
        raise SystemExit(1)


def _endpoint(dsn: str) -> int:
    with connect(dsn) as connection:
        made = create_endpoint(connection, NewEndpoint("custom", "shop", is_default=True))
        connection.commit()
    return made.endpoint_no


def _check(dsn: str, sales: int) -> None:
    """None lost, none doubled."""
    with connect(dsn) as connection:
        row = connection.execute(
            b"SELECT count(*), count(DISTINCT external_id), sum(points)::bigint FROM loyalty.award_entry"
        ).fetchone()
    assert row == (sales, sales, 1_500 * sales), row


if __name__ == "__main__":
    main()
