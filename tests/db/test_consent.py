"""Consent withdrawn means no more points; what was earned stays."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from loyalty.corrections import Decision
from sql import consent
from sql.corrections import CorrectionRefusedError, merge, unmerge
from sql.db import connect
from tests.support.books import OTHER_PHONE, Books, invoice

WHY = Decision(reason="Request 12", author="Ana, support")


def decide(books: Books, member: int, *, given: bool) -> consent.Consent:
    with connect(books.dsn) as connection:
        decided = consent.decide(connection, member, WHY, "run", given=given)
        connection.commit()
    return decided


def sale(number: str, **changes: object) -> dict[str, object]:
    """A sale that happens now."""
    now = datetime.now(UTC)
    return invoice(external_id=number, issued_at=now, updated_at=now, **changes)


def points(books: Books) -> int:
    books.award()
    return int(books.rows("SELECT coalesce(sum(points), 0) FROM loyalty.award_entry")[0][0])


def test_no_more_points_and_what_was_earned_stays(books: Books) -> None:
    books.store(sale("before"))
    assert points(books) == 1_500
    decide(books, books.member(), given=False)
    assert points(books) == 1_500
    books.store(sale("after"), sale("credit", kind="credit_note", total_minor=5_000))
    assert points(books) == 1_500, "neither a sale nor a credit of that time moves points"
    now = datetime.now(UTC) + timedelta(seconds=1)
    books.store(sale("before", amount_refunded_minor=15_000) | {"updated_at": now} | when(books))
    assert points(books) == 0, "a refund of an earlier sale still takes its points"
    decide(books, books.member(), given=True)
    books.store(sale("again"))
    assert points(books) == 1_500
    operations = books.rows("SELECT operation FROM audit.entry WHERE operation ~ '^consent'")
    assert sorted(operations) == [("consent.give",), ("consent.withdraw",)]


def when(books: Books) -> dict[str, object]:
    """The date of the first sale, as it is stored."""
    rows = books.rows("SELECT issued_at FROM billing.invoice WHERE external_id = 'before'")
    return {"issued_at": rows[0][0]}


def test_it_counts_for_everybody_who_is_the_same_customer(books: Books) -> None:
    books.store(sale("A"), sale("B", customer_phone=OTHER_PHONE))
    first, second = (
        row[0] for row in books.rows("SELECT member_id FROM loyalty.member ORDER BY 1")
    )
    assert points(books) == 3_000
    decide(books, first, given=False)
    with connect(books.dsn) as connection:
        merge(connection, first, second, WHY, "run")
        connection.commit()
    books.store(sale("C", customer_phone=OTHER_PHONE))
    assert points(books) == 3_000
    assert not decide(books, second, given=False).given
    with connect(books.dsn) as connection:
        unmerge(connection, first, WHY, "run")
        connection.commit()
    assert points(books) == 4_500, "the other one never withdrew"


def test_it_can_be_repeated_and_nobody_changes_it(books: Books) -> None:
    books.store(sale("A"))
    member = books.member()
    assert decide(books, member, given=True).repeated, "without a row a member takes part"
    assert not decide(books, member, given=False).repeated
    assert decide(books, member, given=False).repeated
    assert books.rows("SELECT count(*) FROM loyalty.consent") == [(1,)]
    with pytest.raises(psycopg.errors.RestrictViolation):
        books.run("UPDATE loyalty.consent SET given = true")
    with pytest.raises(CorrectionRefusedError, match="no member 99"):
        decide(books, 99, given=False)
