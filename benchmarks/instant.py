"""`python -m benchmarks.instant`: from the POST of a webhook to its points in the ledger, on the whole stack.

What runs is what `twezah up` runs: PostgreSQL that waits for the disk at each commit, Prefect's
server, the warm worker, the API; the sender is this process, on the same machine and the same
cores. Events come over HTTP, signed, each a new sale of its own. Time runs from just before the
first byte is sent to the instant at which the event is done, which is after its points are
committed; both by the machine's clock.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.api import Result, request, send, sign_with
from settings import Settings
from sql import webhooks
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from twezah.stack.up import Stack

#: What the product promises, in seconds: half and 99 % of a steady stream, all of a burst.
TARGETS: Final = {"half": 1.0, "p99": 3.0, "burst": 30.0}
MEMBERS: Final = 300
WAIT_SECONDS_MAX: Final = 40
POINTS: Final = 1_500
_DONE = b"""
SELECT substr(dedup_key, 4), extract(epoch FROM finished_at)::float8 FROM billing.webhook_event
WHERE state = 'done' AND dedup_key LIKE 'id:' || %s || '-%%'
"""
_LEDGER = b"SELECT count(*), count(DISTINCT external_id), coalesce(sum(points), 0)::bigint FROM loyalty.award_entry"


@dataclass(frozen=True)
class Latency:
    """Seconds from the POST to the ledger; `whole` from the first POST to the last sale's points."""

    sent: Result
    half: float
    p99: float
    longest: float
    whole: float

    def line(self) -> str:
        """A row of the table."""
        of = self.sent
        return (
            f"| {of.name} | {of.events} | {of.p50_ms:.0f} ms | {of.p99_ms:.0f} ms | {self.half:.2f} s | {self.p99:.2f} s "
            f"| {self.longest:.2f} s | {self.whole:.1f} s |"
        )


def measure(
    dsn: str,
    port: int,
    endpoint_id: str,
    name: str,
    events: int,
    *,
    connections: int,
    per_second: float | None = None,
) -> Latency:
    """Sends and waits until all are in the ledger.

    Raises TimeoutError, RuntimeError if one was refused.
    """
    word = name.split(maxsplit=1)[0]
    requests = [
        request(endpoint_id, f"{word}-{number}", member=number % MEMBERS)
        for number in range(events)
    ]
    result = asyncio.run(
        send(name, requests, port=port, connections=connections, per_second=per_second)
    )
    if result.refused:
        raise RuntimeError(f"{name}: {result.refused} of {events} webhooks were refused")
    done = _done(dsn, word, events)
    took = sorted(done[f"{word}-{number}"] - at for number, at in enumerate(result.sent_at))
    return Latency(
        result, _at(took, 50), _at(took, 99), took[-1], max(done.values()) - min(result.sent_at),
    )  # fmt: skip


def _done(dsn: str, word: str, events: int) -> dict[str, float]:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        with psycopg.connect(dsn) as db:
            found: dict[str, float] = dict(db.execute(_DONE, [word]).fetchall())
        if len(found) == events:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{word}: {len(found)} of {events} webhooks are done")
        time.sleep(0.25)


def _at(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def connected(dsn: str, key: bytes) -> str:
    """A custom system that is connected and not polled, and an address for its webhooks."""
    from panel.blocks import BLOCKS

    BLOCKS["custom"](base_url="http://127.0.0.1:9", authentication="none").save(
        "custom", overwrite=True
    )
    with connect(dsn) as db:
        made = create_endpoint(db, NewEndpoint("custom", "custom", is_default=True))
        secret = sign_with()
        webhooks.add_secret(db, made.endpoint_no, secret, key, overlap_seconds=0)
        db.commit()
    return made.endpoint_id


def main() -> None:
    """Measures all, prints a table, and exits with 1 where a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instant", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of the steady part")
    parser.add_argument("--per-second", type=float, default=20)
    parser.add_argument("--burst", type=int, default=1_000)
    parser.add_argument("--first-port", type=int, default=18_090, help="of three that are free")
    parser.add_argument(
        "--home", type=Path, help="state folder; by default a new one that is removed"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        port = arguments.first_port
        settings = Settings(
            home=arguments.home or Path(scratch),
            prefect_port=port,
            simulator_port=port + 1,
            api_port=port + 2,
        )
        os.environ.update(
            settings.child_environment(),
            TWEZAH_PREFECT_PORT=str(port),
            TWEZAH_SIMULATOR_PORT=str(port + 1),
            TWEZAH_API_PORT=str(port + 2),
        )
        with Stack(settings, api=True) as stack:
            endpoint_id = connected(stack.dsn, settings.fernet_key())

            def one(
                name: str, events: int, connections: int, per_second: float | None = None
            ) -> Latency:
                found = measure(
                    stack.dsn, settings.api_port, endpoint_id, name, events, connections=connections, per_second=per_second
                )  # fmt: skip
                print(found.line(), flush=True)
                return found

            print("| | events | ack p50 | ack p99 | ledger p50 | ledger p99 | longest | whole |")
            print("|---|---:|---:|---:|---:|---:|---:|---:|")
            _await_listener(stack.dsn)
            one("one after quiet", 1, 1)
            steady = int(arguments.seconds * arguments.per_second)
            slow = one("steady", steady, 20, arguments.per_second)
            burst = one("burst", arguments.burst, 100)
            _check(stack.dsn, 1 + steady + arguments.burst)
    if slow.half > TARGETS["half"] or slow.p99 > TARGETS["p99"] or burst.whole > TARGETS["burst"]:
        raise SystemExit(1)


def _await_listener(dsn: str) -> None:
    """Until a run listens, which the API starts once there is an endpoint; then some quiet."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    with connect(dsn) as db:
        while not webhooks.is_claimed(db):
            db.rollback()
            if time.monotonic() > deadline:
                raise TimeoutError("no run listens")
            time.sleep(0.1)
    time.sleep(5)


def _check(dsn: str, sales: int) -> None:
    """None lost, none doubled."""
    with psycopg.connect(dsn) as db:
        row = db.execute(_LEDGER).fetchone()
    if row != (sales, sales, POINTS * sales):
        raise RuntimeError(
            f"{sales} sales were acknowledged; the ledger has (entries, sales, points) {row}"
        )


if __name__ == "__main__":
    main()
