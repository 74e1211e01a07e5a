"""Who awards webhooks: one run at a time, and what a killed one had claimed is taken up again."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
from cryptography.fernet import Fernet

from connectors.kit.spec import Account
from sql import webhooks
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.webhooks import NewEvent
from tasks.job import Job, Policy
from tasks.webhooks.listener import Listening, Pace, listen
from tasks.webhooks.process import Connections
from tests.support import waiting

until = partial(waiting.wait_until, seconds=120)

KEY = Fernet.generate_key()
#: Claims everything for a second, says so, and does nothing more.
CLAIM_AND_HANG = """
import sys, time
import tasks  # knows the keys of stored bodies
from sql import webhooks
from sql.db import connect
with connect(sys.argv[1]) as connection:
    claimed = webhooks.claim_events(connection, 100, run_id="killed", lease_seconds=3600)
    connection.commit()
    print(len(claimed), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def endpoint_no(dsn: str) -> int:
    with connect(dsn) as connection:
        made = create_endpoint(connection, NewEndpoint("custom", "shop"))
        connection.commit()
    return made.endpoint_no


def send(dsn: str, endpoint_no: int, *keys: str) -> None:
    body = (
        '{"type":"sale.completed","data":{"id":"%s","customer":{"id":"c","phone":"+244923456789"},'
        '"total":"1.00","issued_on":"2026-01-02"}}'
    )
    with connect(dsn) as connection:
        for key in keys:
            event = NewEvent(
                endpoint_no,
                key,
                "sale.completed",
                {},
                (body % key).encode(),
                None,
                datetime.now(UTC),
            )
            webhooks.store_event(connection, event)
        connection.commit()
        webhooks.nudge(connection)
        connection.commit()


def jobs(dsn: str, run_id: str = "run") -> Connections:
    def job(name: str) -> Job:
        vendor = Account(
            "custom",
            name,
            "https://shop.invalid",
            default_currency="AOA",
            options={"authentication": "none"},
        )
        return Job(
            dsn, vendor, key=KEY, run_id=run_id, policy=Policy(reject_percent_max=100), pushed=True
        )

    return Connections(job)


def points(dsn: str) -> dict[str, int]:
    with connect(dsn) as connection:
        return dict(
            connection.execute(
                "SELECT external_id, sum(points)::int FROM loyalty.award_entry GROUP BY 1"
            ).fetchall()
        )


def test_only_one_listens_and_it_stays_for_what_comes(dsn: str, endpoint_no: int) -> None:
    """A second run ends at once; the first one wakes up by a nudge, and leaves when it is quiet."""
    ended = threading.Event()

    def first() -> None:
        listen(
            dsn,
            "first",
            jobs(dsn, "first"),
            KEY,
            Pace(linger_seconds=1.5, life_seconds=60),
            lambda *_: None,
        )
        ended.set()

    send(dsn, endpoint_no, "a")
    thread = threading.Thread(target=first)
    thread.start()
    until(lambda: points(dsn) == {"a": 10})
    assert listen(dsn, "second", jobs(dsn, "second"), KEY, Pace(0, 60), lambda *_: None).busy
    send(dsn, endpoint_no, "b", "c")
    until(lambda: len(points(dsn)) == 3)
    assert not ended.is_set()
    thread.join(20)
    with connect(dsn) as connection:
        assert not webhooks.is_claimed(connection)
        assert connection.execute(
            "SELECT DISTINCT state, run_id FROM billing.webhook_event"
        ).fetchall() == [("done", "first")]
        # One synchronisation for all that the run awarded.
        assert connection.execute(
            "SELECT source, state, summary ->> 'new' FROM billing.sync_run"
        ).fetchall() == [("webhook", "stored", "3")]


def test_one_whose_time_is_over_serves_until_its_successor_is_there(
    dsn: str, endpoint_no: int
) -> None:
    """What comes meanwhile is awarded by one of the two, and nobody is there at no time."""
    ended: dict[str, Listening] = {}
    asked: list[threading.Thread] = []

    def run(name: str, pace: Pace) -> None:
        heir = threading.Thread(target=run, args=("second", Pace(0.5, 60, wait_seconds=20)))

        def successor() -> None:
            asked.append(heir)

        ended[name] = listen(dsn, name, jobs(dsn, name), KEY, pace, lambda *_: None, successor)

    first = threading.Thread(target=run, args=("first", Pace(linger_seconds=60, life_seconds=0.2)))
    first.start()
    until(lambda: bool(asked))
    send(dsn, endpoint_no, "a")
    until(lambda: points(dsn) == {"a": 10})
    assert first.is_alive(), "its successor takes a while to start"
    asked[0].start()
    first.join(120)
    assert ended["first"].relieved
    send(dsn, endpoint_no, "b")
    until(lambda: points(dsn) == {"a": 10, "b": 10})
    asked[0].join(120)
    assert (ended["second"].busy, ended["second"].relieved, len(asked)) == (False, False, 1)
    with connect(dsn) as connection:
        by_run = dict(
            connection.execute("SELECT dedup_key, run_id FROM billing.webhook_event").fetchall()
        )
    assert by_run == {"a": "first", "b": "second"}


def test_who_waits_for_one_that_stays_gives_up(dsn: str, endpoint_no: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as other, webhooks.claiming(other):
        began = time.monotonic()
        assert listen(
            dsn, "next", jobs(dsn), KEY, Pace(0, 60, wait_seconds=0.3), lambda *_: None
        ).busy
        assert 0.2 < time.monotonic() - began < 30
        assert not webhooks.is_awaited(other)


def test_what_a_killed_run_had_claimed_is_awarded_by_the_next(dsn: str, endpoint_no: int) -> None:
    send(dsn, endpoint_no, "a", "b")
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_HANG, dsn], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "2\n"
        send(dsn, endpoint_no, "c")
        listen(dsn, "next", jobs(dsn), KEY, Pace(0, 60), lambda *_: None)
        assert list(points(dsn)) == ["c"]  # the others are its own until its lease ends
        os.kill(killed.pid, signal.SIGKILL)
    # Its lease ends now: a short lease could end before the machine came to the lines above.
    with connect(dsn) as connection:
        connection.execute(
            "UPDATE billing.webhook_event SET next_attempt_at = clock_timestamp() WHERE run_id = 'killed'"
        )
        connection.commit()
    until(lambda: listen(dsn, "next", jobs(dsn), KEY, Pace(0, 60), lambda *_: None).deliveries == 2)
    assert points(dsn) == {"a": 10, "b": 10, "c": 10}


def test_two_that_work_on_the_same_events_post_once(dsn: str, endpoint_no: int) -> None:
    """Two runs have the same events, because a lease ended too early.

    The second run finds nothing to post.
    """
    keys = [f"k{n}" for n in range(40)]
    send(dsn, endpoint_no, *keys)
    from tasks.webhooks.process import process

    with connect(dsn) as connection:
        claimed = webhooks.claim_events(connection, 100, run_id="run", lease_seconds=0)
        again = webhooks.claim_events(connection, 100, run_id="run", lease_seconds=60)
        connection.commit()
    assert len(claimed) == len(again) == 40
    threads = [
        threading.Thread(target=process, args=(jobs(dsn), dsn, "run", batch, KEY))
        for batch in (claimed, again)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert points(dsn) == dict.fromkeys(keys, 10)
    with connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM loyalty.award_entry").fetchone() == (40,)
        assert connection.execute(
            "SELECT DISTINCT state FROM billing.webhook_event"
        ).fetchall() == [("done",)]
