"""The life of a stored webhook.

Stored once per delivery, claimed by one run, tried again, parked, replayed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from sql import webhooks
from sql.db import DbConnection, connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.named_queries import query
from sql.tokens import TokenUnreadableError
from tests.support.database import Databases

KEY = Fernet.generate_key()
ENDPOINT = "e" * 32


@pytest.fixture
def db(dsn: str) -> Iterator[DbConnection]:
    """A connection to a database with one endpoint."""
    with connect(dsn) as connection:
        make_endpoint(connection, ENDPOINT)
        connection.commit()
        yield connection


def make_endpoint(connection: DbConnection, endpoint_id: str, **changes: Any) -> int:
    """An endpoint with an id of the test's own."""
    wanted = NewEndpoint(
        **{
            "system": "custom",
            "connection": "shop",
            "account": "main",
            "allowed_networks": ["10.0.0.0/8"],
        }
        | changes
    )
    made = create_endpoint(connection, wanted)
    connection.execute(
        "UPDATE billing.webhook_endpoint SET endpoint_id = %s WHERE endpoint_no = %s",
        [endpoint_id, made.endpoint_no],
    )
    return made.endpoint_no


def event(key: str, **changes: Any) -> webhooks.NewEvent:
    values: dict[str, Any] = {
        "endpoint_no": 1, "dedup_key": key, "kind": "sale.completed",
        "headers": {"content-type": "application/json"},
        "body": b'{"id": "' + key.encode() + b'"}', "source_ip": "10.1.2.3",
        "received_at": datetime.now(UTC),
    }  # fmt: skip
    return webhooks.NewEvent(**values | changes)


def states(db: DbConnection) -> list[tuple[Any, ...]]:
    return db.execute(
        "SELECT dedup_key, state, attempts FROM billing.webhook_event ORDER BY event_no"
    ).fetchall()


def test_a_delivery_is_stored_once_and_comes_back_byte_for_byte(db: DbConnection) -> None:
    body = bytes(range(256)) * 5
    assert webhooks.store_event(db, event("a", body=body)) == 1
    assert webhooks.store_event(db, event("a", body=b"another")) is None
    (claimed,) = webhooks.claim_events(db, 10, run_id="r1")
    assert (claimed.body, claimed.kind, claimed.connection, claimed.attempts) == (
        body,
        "sale.completed",
        "shop",
        1,
    )


def test_the_same_key_at_another_endpoint_is_another_event(db: DbConnection) -> None:
    other = make_endpoint(db, "f" * 32)
    assert webhooks.store_event(db, event("a"))
    assert webhooks.store_event(db, event("a", endpoint_no=other))


def test_two_runs_share_the_work_and_nothing_is_claimed_twice(dsn: str, db: DbConnection) -> None:
    for number in range(5):
        webhooks.store_event(db, event(str(number)))
    db.commit()
    with connect(dsn) as other:
        mine, theirs = (
            webhooks.claim_events(db, 3, run_id="r1"),
            webhooks.claim_events(other, 3, run_id="r2"),
        )
        assert [e.dedup_key for e in mine] == ["0", "1", "2"], "in order of arrival"
        assert [e.dedup_key for e in theirs] == ["3", "4"]


def test_a_lost_claim_is_claimed_again_and_the_first_run_cannot_finish_it(db: DbConnection) -> None:
    webhooks.store_event(db, event("a"))
    webhooks.claim_events(db, 1, run_id="killed", lease_seconds=0)
    (again,) = webhooks.claim_events(db, 1, run_id="r2")
    assert again.attempts == 2
    assert webhooks.finish(db, [again.event_no], run_id="killed", sync_id=None) == 0
    assert webhooks.finish(db, [again.event_no], run_id="r2", sync_id=None) == 1
    assert states(db) == [("a", "done", 2)]
    assert webhooks.next_due_seconds(db) is None


def test_a_failed_one_waits_longer_each_time_then_is_parked_and_can_be_replayed(
    db: DbConnection,
) -> None:
    webhooks.store_event(db, event("a"))
    waits = []
    for _ in range(webhooks.ATTEMPTS_MAX):
        db.execute("UPDATE billing.webhook_event SET next_attempt_at = clock_timestamp()")
        (claimed,) = webhooks.claim_events(db, 1, run_id="r")
        assert (
            webhooks.fail(db, [claimed.event_no], run_id="r", reason="the vendor did not answer")
            == 1
        )
        waits.append(webhooks.next_due_seconds(db))
    assert waits[0] is not None and 3 < waits[0] < 7
    assert waits[4] is not None and 50 < waits[4] < 110
    assert waits[-1] is None
    assert states(db) == [("a", "parked", webhooks.ATTEMPTS_MAX)]
    assert [(b.waiting, b.parked, b.oldest_at) for b in webhooks.backlog(db)] == [(0, 1, None)]
    assert webhooks.replay(db, of="other") == 0
    assert webhooks.replay(db, of="shop") == 1
    assert states(db) == [("a", "received", 0)]


def test_a_vendors_own_wait_is_respected(db: DbConnection) -> None:
    webhooks.store_event(db, event("a"))
    (claimed,) = webhooks.claim_events(db, 1, run_id="r")
    webhooks.fail(db, [claimed.event_no], run_id="r", reason="throttled", wait_seconds=900)
    assert webhooks.claim_events(db, 1, run_id="r") == []
    assert 890 < (webhooks.next_due_seconds(db) or 0) <= 900


def test_one_claims_at_a_time_and_whoever_stores_can_see_it(dsn: str, db: DbConnection) -> None:
    with (
        psycopg.connect(dsn, autocommit=True) as first,
        psycopg.connect(dsn, autocommit=True) as second,
    ):
        assert not webhooks.is_claimed(db)
        with webhooks.claiming(first) as held:
            assert held
            assert webhooks.is_claimed(db)
            with webhooks.claiming(second) as held_too:
                assert not held_too
            second.execute("LISTEN billing_webhook")
            webhooks.nudge(db)
            db.commit()
            assert [n.channel for n in second.notifies(timeout=5, stop_after=1)] == [
                webhooks.CHANNEL
            ]
        assert not webhooks.is_claimed(db)


def test_secrets_are_encrypted_and_end(db: DbConnection) -> None:
    webhooks.add_secret(db, 1, "old", KEY, overlap_seconds=0)
    new = webhooks.add_secret(db, 1, "new", KEY, overlap_seconds=3600)
    found = webhooks.endpoint(db, ENDPOINT, KEY)
    assert found is not None and list(found.secrets) == ["new", "old"]
    assert "old" not in repr(found)
    assert found.allowed_networks == ["10.0.0.0/8"]
    db.execute(
        query("webhooks", "expire_secrets"), {"endpoint_no": 1, "but": new, "overlap_seconds": 0}
    )
    found = webhooks.endpoint(db, ENDPOINT, KEY)
    assert found is not None and list(found.secrets) == ["new"]
    with pytest.raises(TokenUnreadableError):
        webhooks.endpoint(db, ENDPOINT, Fernet.generate_key())


def test_the_default_endpoint_is_one(db: DbConnection) -> None:
    assert webhooks.endpoint(db, None, KEY) is None
    make_endpoint(db, "d" * 32, is_default=True)
    found = webhooks.endpoint(db, None, KEY)
    assert found is not None and found.endpoint_id == "d" * 32
    with pytest.raises(psycopg.errors.UniqueViolation):
        make_endpoint(db, "g" * 32, is_default=True)


def test_attempts_are_kept_by_month_and_never_changed(db: DbConnection) -> None:
    db.execute("SELECT billing.add_attempt_month('2020-02-29')")
    db.execute(
        "INSERT INTO billing.http_attempt (attempt_at, method, route, status, outcome, "
        "elapsed_ms) "
        "VALUES ('2020-02-01 00:00+00', 'GET', '/health', 200, 'ok', 1), (now(), "
        "'GET', '/health', 200, 'ok', 1)"
    )
    for statement in (
        "UPDATE billing.http_attempt SET status = 500",
        "DELETE FROM billing.http_attempt_202002",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation), db.transaction():
            db.execute(statement.encode())
    assert db.execute("SELECT billing.keep_attempt_months(12)").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM billing.http_attempt").fetchone() == (1,)


def test_the_page_reads_the_ledger_by_its_key(databases: Databases) -> None:
    """Of members and documents that the events brought, and not all of it for each event."""
    asked = {"after": 0, "state": None, "endpoint_no": None, "kind": None, "limit": 100}
    # A database of its own: the plan depends on what a table has ever held.
    with connect(databases.migrated()) as db:
        db.execute("SET LOCAL enable_seqscan = off")
        plan = db.execute(b"EXPLAIN " + query("webhooks", "latest"), asked).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "(member_id = d.member_id)" in text and "(external_id = d.external_id)" in text
