"""What is older than its retention goes; what is still needed, or held, stays."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

from loyalty.corrections import Decision
from sql import audit, holds, sync
from sql.db import connect
from sql.erasure import erase
from sql.retention import KINDS, Removed, reach, remove_old
from tasks.maintain import old_logs
from tests.support.books import NOON, OTHER_PHONE, Books, invoice

WHY = Decision(reason="Case 3", author="Ana, support")
YEAR = dict.fromkeys(KINDS, 365)
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=400)


def removed(books: Books, days: dict[str, int | None], *, dry_run: bool = False) -> Removed:
    with connect(books.dsn) as connection:
        return remove_old(connection, days, "run", dry_run=dry_run)


def aged(books: Books) -> None:
    """Old and new pages and webhooks; one of each is old and still needed."""
    other = {"customer_phone": OTHER_PHONE, "customer_external_id": "C2"}
    books.store(invoice())
    books.store(invoice(external_id="B", **other))
    books.store(invoice(external_id="D", **other))
    books.award()
    books.run("UPDATE billing.raw_page SET fetched_at = %(old)s WHERE page_id <= 2", old=OLD)
    books.run("UPDATE billing.raw_page SET fetched_at = %(new)s WHERE page_id > 2", new=NOW)
    books.run(
        "INSERT INTO billing.reject (system, account, stream, record_key, reason, problems,"
        " page_id, record_no, first_sync_id, last_sync_id)"
        " VALUES ('xero', 'books', 'invoices', 'X', 'no phone', '[]', 2, 0, 1, 1)"
    )
    books.run(
        "INSERT INTO billing.webhook_endpoint (endpoint_id, system, connection)"
        " VALUES (repeat('a', 30), 'xero', 'xero')"
    )
    for key, state, at in (("1", "done", OLD), ("2", "parked", OLD), ("3", "done", NOW)):
        books.run(
            "INSERT INTO billing.webhook_event (endpoint_no, dedup_key, kind, headers, body_bytes,"
            " body_zstd, source_ip, received_at, state, finished_at)"
            " VALUES (1, %(key)s, 'k', '{\"a\": 1}', 2, %(body)s, '10.0.0.1', %(at)s, %(state)s,"
            " now())",
            key=key, state=state, at=at, body=zstandard.compress(b"{}"),
        )  # fmt: skip
    books.run("SELECT billing.add_attempt_month(%(old)s::date)", old=OLD)


def kept(books: Books) -> tuple[list[int], list[str]]:
    """Pages and webhooks that still have their bodies."""
    pages = books.rows(
        "SELECT page_id FROM billing.raw_page WHERE body_zstd IS NOT NULL ORDER BY 1"
    )
    events = books.rows(
        "SELECT dedup_key FROM billing.webhook_event"
        " WHERE body_zstd IS NOT NULL AND source_ip IS NOT NULL ORDER BY 1"
    )
    return [row[0] for row in pages], [row[0] for row in events]


def test_what_is_too_old_goes_and_what_is_needed_stays(books: Books) -> None:
    aged(books)
    everything = kept(books)
    assert removed(books, dict.fromkeys(KINDS)).counts == {}
    dry = removed(books, YEAR, dry_run=True)
    assert kept(books) == everything
    done = removed(books, YEAR)
    assert done.counts == dry.counts == {
        "raw_pages": 1, "webhooks": 1, "attempts": 1, "erased_members": 0,
    }  # fmt: skip
    assert done.needed == {"raw_pages": 1, "webhooks": 1}
    assert kept(books) == ([2, 3, 4], ["2", "3"])
    assert "a replay reaches back to" in done.to_text() and "still needed" in done.to_text()
    assert removed(books, YEAR).counts["raw_pages"] == 0
    with connect(books.dsn) as connection:
        entries = audit.entries(connection, audit.Filter(operation="retention"), limit=9)
        assert sorted((one.subject, one.records) for one in entries) == [
            ("attempts", 1), ("raw_pages", 1), ("webhooks", 1),
        ]  # fmt: skip
        assert (
            reach(connection)
            == books.rows("SELECT fetched_at FROM billing.raw_page WHERE page_id = 2")[0][0]
        )
        stored = sync.stored_pages(connection, books.account, "invoices", None, None, batch=10)
        assert [page.page_id for page in stored] == [2, 3, 4]


def test_points_are_the_same_without_the_pages(books: Books) -> None:
    aged(books)
    before = books.rows(
        "SELECT member_id, sum(points) FROM loyalty.award_entry GROUP BY 1 ORDER BY 1"
    )
    removed(books, YEAR)
    later = NOON + timedelta(days=1)
    books.store(invoice(external_id="A", updated_at=later, total_minor=30_000))
    older = invoice(external_id="A", updated_at=NOON - timedelta(days=1), total_minor=1)
    books.store(older)
    books.award()
    after = books.rows(
        "SELECT member_id, sum(points) FROM loyalty.award_entry GROUP BY 1 ORDER BY 1"
    )
    assert [row[1] for row in before] == [1_500, 3_000]
    assert [row[1] for row in after] == [3_000, 3_000], "a newer version counts, an older does not"


def test_a_legal_hold_keeps_everything_of_people(books: Books) -> None:
    aged(books)
    with connect(books.dsn) as connection:
        holds.place(connection, books.member(), WHY, "run")
        connection.commit()
    everything = kept(books)
    done = removed(books, YEAR)
    assert done.counts == {"attempts": 1} and kept(books) == everything
    assert "legal holds keep the rest: 1" in done.to_text()


def test_customer_numbers_of_erased_members_go_last(books: Books) -> None:
    aged(books)
    numbers = (
        "SELECT external_id FROM billing.invoice WHERE customer_external_id IS NOT NULL ORDER BY 1"
    )
    with connect(books.dsn) as connection:
        erase(connection, 1, WHY, "run", dry_run=False)
        connection.commit()
    removed(books, YEAR)
    assert books.rows(numbers) == [("A",), ("B",), ("D",)]
    done = removed(books, {"erased_members": 0})
    assert done.counts == {"erased_members": 1}
    assert books.rows(numbers) == [("B",), ("D",)]


def test_log_files_are_set_aside_and_deleted(tmp_path: Path) -> None:
    log, aside = tmp_path / "worker.log", tmp_path / "worker.log.1"
    for path in (log, aside):
        path.write_text("a line\n")
    os.utime(aside, (0, time.time() - 8 * 86_400))
    with log.open("a") as writer:
        assert old_logs(tmp_path, 7, dry_run=True) == 1 and aside.exists()
        assert old_logs(tmp_path, 7, dry_run=False) == 1 and not aside.exists()
        writer.write("another\n")
    assert log.read_text() == "another\n"
    (moved,) = (path for path in tmp_path.iterdir() if path != log)
    assert (moved.read_text(), moved.stat().st_mode & 0o777) == ("a line\n", 0o600)
