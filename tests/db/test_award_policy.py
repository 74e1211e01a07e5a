"""Award when issued, or when paid.

The choice is the account's and versioned. It never changes the past unasked, and the order of
arrival changes nothing.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sql import policy, store
from sql.policy import Wanted
from tests.db.test_rules import program
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice

PAID, ISSUED = Wanted("paid"), Wanted("issued")
NOW = datetime.now(UTC)
YESTERDAY, TOMORROW = NOW - timedelta(days=1), NOW + timedelta(days=1)


def follow(books: Books, wanted: Wanted, *versions: dict[str, Any]) -> int:
    """One run of the account whose block says `wanted`; returns the points posted."""
    with books.transaction() as connection:
        members = books.put(connection, versions).members
        sync_id = books.rows("SELECT coalesce(max(sync_id), 0) FROM billing.sync_run")[0][0] + 1
        members |= policy.follow(connection, books.account, sync_id, "run", wanted)
        store.mark_dirty(connection, members)
    return books.award().points


def versions(books: Books) -> list[tuple[Any, ...]]:
    return books.rows(
        "SELECT award_when, CASE WHEN isfinite(valid_from) THEN valid_from END "
        "FROM billing.award_policy ORDER BY policy_no"
    )


def first_run(books: Books, wanted: Wanted, *found: dict[str, Any]) -> int:
    """The first run of the account: nothing was stored of it before."""
    with books.transaction() as connection:
        members = policy.follow(connection, books.account, 1, "run", wanted)
        members |= books.put(connection, found).members
        store.mark_dirty(connection, members)
    return books.award().points


def test_paid_from_the_first_run_on_is_for_all_sales(books: Books) -> None:
    assert first_run(books, PAID, invoice()) == 0
    assert versions(books) == [("paid", None)]
    assert follow(books, PAID, invoice(status="paid", updated_at=NOON + HOUR)) == 1500
    assert (
        follow(
            books,
            PAID,
            invoice(status="paid", amount_refunded_minor=5_000, updated_at=NOON + 2 * HOUR),
        )
        == -500
    )
    assert (
        follow(
            books,
            PAID,
            invoice(status="open", amount_refunded_minor=5_000, updated_at=NOON + 3 * HOUR),
        )
        == -1000
    )
    assert (
        follow(
            books,
            PAID,
            invoice(status="paid", amount_refunded_minor=5_000, updated_at=NOON + 4 * HOUR),
        )
        == 1000
    )
    assert follow(books, PAID, invoice(status="void", updated_at=NOON + 5 * HOUR)) == -1000
    assert books.points() == 0
    assert versions(books) == [("paid", None)]  # the same again is no new version


def test_issued_needs_no_version(books: Books) -> None:
    assert first_run(books, ISSUED, invoice()) == 1500
    assert versions(books) == []


def test_a_change_is_for_sales_from_now_on(books: Books) -> None:
    first_run(books, ISSUED, invoice())
    late, future = invoice(external_id="late"), invoice(external_id="future", issued_at=TOMORROW)
    assert (
        follow(books, PAID, late, future) == 1500
    )  # dated before the change, though it arrives with it
    assert versions(books)[0][0] == "paid"
    assert versions(books)[0][1] > NOW
    assert follow(books, PAID, invoice(external_id="later still")) == 1500
    assert follow(books, PAID, future | {"status": "paid", "updated_at": TOMORROW}) == 1500
    # And back again: what was dated in between stays as it was decided then.
    open_one = invoice(external_id="between", issued_at=TOMORROW)
    assert follow(books, PAID, open_one) == 0
    assert follow(books, ISSUED) == 1500  # tomorrow is after this change too
    assert [one for one, _ in versions(books)] == ["paid", "issued"]


def test_the_past_is_recomputed_when_asked(books: Books) -> None:
    old = invoice(external_id="old", issued_at=NOON - timedelta(days=90))
    first_run(books, ISSUED, old, invoice(), invoice(external_id="P", status="paid"))
    assert follow(books, Wanted("paid", NOON)) == -1500
    assert books.rows(
        "SELECT external_id, reason, points FROM loyalty.award_entry WHERE entry_no = 2"
    ) == [("A", "edit", -1500)]
    assert follow(books, Wanted("paid", NOON)) == 0  # once
    assert follow(books, Wanted("paid", NOON - timedelta(days=100))) == -1500
    assert follow(books, Wanted("issued", NOON - timedelta(days=100))) == 3000
    assert books.points() == 4500


def test_another_account_of_the_member_is_not_touched(books: Books) -> None:
    other = Books(books.dsn, type(books.account)("xero", "shop"))
    other.store(invoice())
    assert first_run(books, PAID, invoice()) == 1500  # the other one's
    assert books.points() == 1500


def test_the_order_of_arrival_does_not_matter(books: Books) -> None:
    """The same documents and versions of the policy, in any order of runs, give the same points."""
    program(books, unlinked_credits="own_date")
    chance = random.Random(7)
    documents = [
        invoice(
            external_id=f"{n}", issued_at=NOON + n * HOUR, status=chance.choice(["open", "paid"]),
            customer_phone=chance.choice([books_phone, OTHER_PHONE]),
            kind=chance.choice(["invoice", "credit_note"]),
        )
        for n in range(30)
    ]  # fmt: skip
    policies = [
        Wanted("paid", NOON + 5 * HOUR),
        Wanted("issued", NOON + 20 * HOUR),
        Wanted("paid", NOON + 25 * HOUR),
    ]
    found = []
    for round_no in range(3):
        own = Books(books.dsn, type(books.account)("xero", f"round {round_no}"))
        steps: list[Any] = [*documents]
        chance.shuffle(steps)
        for _ in policies:
            steps.insert(chance.randrange(len(steps)), None)
        waiting = iter(policies)
        for step in steps:
            with own.transaction() as connection:
                members = own.put(connection, [step] if step else []).members
                if step is None:
                    members |= policy.follow(connection, own.account, 10**9, "run", next(waiting))
                store.mark_dirty(connection, members)
        own.award()
        found.append(
            own.rows(
                "SELECT external_id, member_id, sum(points) FROM loyalty.award_entry "
                    "WHERE account = %(a)s "
                "GROUP BY 1, 2 HAVING sum(points) <> 0 ORDER BY 1, 2", a=own.account.account,
            )
        )  # fmt: skip
    assert found[0] == found[1] == found[2]
    by_hour = {int(external_id) for external_id, _, _ in found[0]}
    awaited = {n for n in range(30) if 5 <= n < 20 or n >= 25}
    unpaid = {
        n for n in awaited if documents[n]["status"] == "open" and documents[n]["kind"] == "invoice"
    }
    assert by_hour == set(range(30)) - unpaid
    assert unpaid


books_phone = invoice()["customer_phone"]


@pytest.mark.parametrize("how", ["UPDATE {} SET run_id = ''", "DELETE FROM {}", "TRUNCATE {}"])
def test_versions_are_kept(books: Books, how: str) -> None:
    first_run(books, PAID)
    with pytest.raises(psycopg.errors.RestrictViolation), books.transaction() as connection:
        connection.execute(sql.SQL(how).format(sql.Identifier("billing", "award_policy")))
    assert versions(books) == [("paid", None)]
