"""The audit log: written with what it records, chained, and no single tampering stays unseen."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sql import audit, keys, sync
from sql.actor import acting_as
from sql.audit import Entry, Filter, Head, Verdict
from sql.db import connect
from tests.support.books import Books, invoice
from tests.support.database import Databases

UNGUARDED = "SET session_replication_role = replica"


def entries(dsn: str, **wanted: Any) -> list[Entry]:
    with connect(dsn) as connection:
        return audit.entries(connection, Filter(**wanted), limit=100)


def verify(dsn: str, *anchors: Head) -> Verdict:
    with connect(dsn) as connection:
        return audit.verify(connection, anchors)


def write(dsn: str, count: int, operation: str = "test.entry") -> None:
    for number in range(count):
        with connect(dsn) as connection:
            audit.record(
                connection,
                operation,
                f"thing {number}",
                details={"number": number, "text": "ç"},
                points=-number,
            )
            connection.commit()


def test_an_entry_is_there_with_its_transaction_and_not_without(dsn: str) -> None:
    with connect(dsn) as connection:
        audit.record(connection, "test.kept", "thing")
        connection.commit()
        audit.record(connection, "test.lost", "thing")
        connection.rollback()
    assert [one.operation for one in entries(dsn)] == ["test.kept", "audit.begin"]
    assert verify(dsn).ok


def test_a_sale_leaves_its_synchronisations_and_names_who_acts(books: Books) -> None:
    with acting_as("schedule"):
        books.store(invoice())
        books.award()
        assert entries(books.dsn, operation="sync") == []  # an entry is written once it has ended
        with books.transaction() as connection:
            sync_id = sync.latest(connection, books.account)
            sync.set_summary(connection, sync_id, {"fetched": 1})
    found = entries(books.dsn, operation="sync")
    assert [(one.status, one.records) for one in found] == [("success", 1)]
    assert {one.actor for one in found} == {"schedule"}
    assert {(one.system, one.account) for one in found} == {("xero", "books")}


def test_keys_are_recorded_without_the_key(dsn: str) -> None:
    with acting_as("user ana"), connect(dsn) as connection:
        made = keys.create(connection, "app", ["members:read"])
        keys.revoke(connection, made.prefix)
        connection.commit()
    found = entries(dsn, operation="key")
    assert [(one.operation, one.subject, one.actor) for one in found] == [
        ("key.revoke", f"key {made.prefix}", "user ana"),
        ("key.create", f"key {made.prefix}", "user ana"),
    ]
    assert made.secret not in repr(found)
    with connect(dsn) as connection:
        connection.execute("UPDATE billing.api_key SET last_used_at = now()")
        connection.commit()
    assert len(entries(dsn, operation="key")) == 2


def test_phone_numbers_are_masked_whoever_forgot_to(dsn: str) -> None:
    with connect(dsn) as connection:
        audit.record(
            connection,
            "test.entry",
            "x",
            error="of +244 923 456 789",
            details={"said": ["+244923456789"]},
        )
        connection.commit()
    (found,) = entries(dsn, operation="test.entry")
    # (Its time and hash may hold any digits.)
    assert "923" not in repr((found.error, found.details))


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit.entry SET points = 1", "DELETE FROM audit.entry", "TRUNCATE audit.entry"],
)
def test_history_is_refused_to_change(dsn: str, statement: str) -> None:
    with connect(dsn) as connection, pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute(statement.encode())


def test_a_forged_row_gets_the_number_and_hash_that_are_due(dsn: str) -> None:
    with connect(dsn) as connection:
        connection.execute(
            "INSERT INTO audit.entry (entry_no, at, actor, operation, status, subject, "
            "previous_hash, hash)"
            " VALUES (99, '2001-01-01', 'x', 'test.forged', 'success', 'x', sha256('a'), "
            "sha256('b'))"
        )
        connection.commit()
    (found,) = entries(dsn, operation="test.forged")
    assert (found.entry_no, found.at.year > 2001, verify(dsn).ok) == (2, True, True)


def test_writers_at_once_make_one_chain(dsn: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write(dsn, 20, f"test.writer{n}"), range(8)))
    found = verify(dsn)
    assert (found.ok, found.entries) == (True, 161)


def test_a_long_transaction_holds_up_nobody(dsn: str) -> None:
    with connect(dsn) as slow:
        audit.record(slow, "test.slow", "x")
        started = time.monotonic()
        write(dsn, 1, "test.quick")
        assert time.monotonic() - started < 30
        slow.commit()
    assert [one.operation for one in entries(dsn)][:2] == ["test.slow", "test.quick"]


KILLED = """
import sys, time
from sql import audit
from sql.db import connect
with connect(sys.argv[1]) as connection:
    audit.record(connection, "test.killed", "x")
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_writer_killed_with_the_chain_in_its_hand_leaves_nothing(dsn: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, dsn], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        process.kill()
    write(dsn, 1)
    assert [one.operation for one in entries(dsn)] == ["test.entry", "audit.begin"]
    assert verify(dsn).ok


COLUMNS = {
    "at": "at + interval '1 microsecond'", "actor": "actor || 'x'", "operation": "operation || 'x'",
    "status": "CASE status WHEN 'error' THEN 'success' ELSE 'error' END",
    "subject": "subject || ' '",
    "system": "coalesce(system, '') || 'x'", "account": "coalesce(account, '') || 'x'",
    "records": "coalesce(records, 0) + 1",
    "points": "coalesce(points, 0) + 1", "error": "coalesce(error, '') || 'x'",
    "run_id": "coalesce(run_id, '') || 'x'",
    "details": "details || '{\"x\": null}'", "previous_hash": "sha256(previous_hash)",
    "hash": "sha256(hash)",
}  # fmt: skip


@pytest.fixture(scope="module")
def written(databases: Databases) -> str:
    made = databases.migrated()
    write(made, 7)
    return made


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 8), st.sampled_from([*COLUMNS, "deleted", "moved"]), st.booleans())
def test_any_single_tampering_is_found(written: str, number: int, how: str, rehashed: bool) -> None:
    """A forged entry is found, also one with the right hash of its new content.

    Then the next entry does not follow, or the anchor differs.
    """
    with psycopg.connect(written) as connection:
        head = audit.head(connection)
        assert head is not None
        assert audit.verify(connection, [head]).ok
        connection.execute(UNGUARDED)
        if how == "deleted":
            connection.execute("DELETE FROM audit.entry WHERE entry_no = %s", [number])
        elif how == "moved":
            connection.execute(
                "UPDATE audit.entry SET entry_no = 100 WHERE entry_no = %s", [number]
            )
        else:
            change = sql.SQL("UPDATE audit.entry SET {} = {} WHERE entry_no = %s")
            connection.execute(change.format(sql.Identifier(how), sql.SQL(COLUMNS[how])), [number])
            if rehashed and how != "hash":
                rehash = (
                    "UPDATE audit.entry e SET hash = sha256(previous_hash || audit.content(e)) "
                    "WHERE entry_no = %s"
                )
                connection.execute(rehash, [number])
        found = audit.verify(connection, [head])
        connection.rollback()
    assert not found.ok
    assert found.broken_no is not None
    assert number <= found.broken_no <= number + 1


def test_a_cut_tail_is_found_by_whoever_noted_the_head(written: str) -> None:
    with psycopg.connect(written) as connection:
        head = audit.head(connection)
        assert head is not None
        connection.execute(UNGUARDED)
        connection.execute("DELETE FROM audit.entry WHERE entry_no >= 6")
        assert audit.verify(connection).ok
        found = audit.verify(connection, [Head.of(head.to_text())])
        assert (found.broken_no, "end is missing" in found.problem) == (6, True)
        connection.execute("DELETE FROM audit.entry")
        assert audit.verify(connection).broken_no == 1
        connection.rollback()


@pytest.mark.parametrize("text", ["", "5", "5:abc", "x:" + "0" * 64, "5:" + "g" * 64])
def test_what_is_no_head(text: str) -> None:
    with pytest.raises(ValueError, match="NUMBER:HASH"):
        Head.of(text)


def test_filters(dsn: str) -> None:
    with acting_as("user ana"):
        write(dsn, 2, "one.thing")
    write(dsn, 1, "one")
    assert len(entries(dsn, operation="one")) == 3
    assert len(entries(dsn, operation="one.thing")) == 2
    assert len(entries(dsn, actor="user ana")) == 2
    assert entries(dsn, status="error") == []
    (first,) = entries(dsn, operation="audit.begin")
    assert [one.operation for one in entries(dsn, until=first.at)] == []
