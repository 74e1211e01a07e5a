"""When members rose and fell: kept, shown to analysts, and the same whatever arrived first."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from sql import ledger
from sql.db import DbConnection
from tasks.award.tier_review import evaluate
from tests.db.test_rules import program
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice

POLICY = {
    "metric": "points",
    "thresholds": {"silver": 1_000, "gold": 4_000},
    "period": "month",
    "window_days": 30,
}
TICK = timedelta(microseconds=1)


def history(books: Books) -> list[tuple[Any, ...]]:
    return books.rows(
        "SELECT tier, valid_from, valid_to FROM analytics.tier_history "
        "ORDER BY member_id, valid_from"
    )


def local(month: int, day: int) -> datetime:
    """Midnight in Luanda."""
    return datetime(2026, month, day, tzinfo=UTC) - HOUR


@pytest.fixture
def evaluated(books: Books) -> Books:
    program(books, tier_policy=Jsonb(POLICY))
    return books


def test_rises_at_once_and_falls_when_a_period_ends(evaluated: Books) -> None:
    first, second = NOON + timedelta(days=2), NOON + timedelta(days=3)
    evaluated.store(
        invoice(issued_at=first), invoice(external_id="B", total_minor=30_000, issued_at=second)
    )
    evaluated.award()
    # At the end of March the window of 30 days still reaches both; at the end of April neither.
    assert history(evaluated) == [
        ("silver", first + TICK, second + TICK),
        ("gold", second + TICK, local(5, 1)),
        ("lead", local(5, 1), None),
    ]
    assert evaluated.rows("SELECT tier FROM analytics.member") == [("lead",)]


def test_the_order_of_arrival_does_not_matter_and_what_was_thought_is_kept(
    evaluated: Books,
) -> None:
    documents = [
        invoice(
            external_id=f"D{n}", total_minor=total, issued_at=NOON + timedelta(days=days), kind=kind
        )
        for n, (total, days, kind) in enumerate(
            [(45_000, 0, "invoice"), (15_000, 9, "invoice"), (20_000, 12, "credit_note")]
        )
    ]
    found = set()
    for number, order in enumerate(permutations(documents)):
        phone = f"+24492300010{number}"
        for document in order:
            changed = {
                "customer_phone": phone,
                "external_id": f"{document['external_id']}-{number}",
            }
            evaluated.store(invoice(**document | changed))
            evaluated.award()
        member = evaluated.member(phone)
        rows = evaluated.rows(
            "SELECT tier, valid_from FROM loyalty.tier_step WHERE member_id = %(m)s ORDER BY 2",
            m=member,
        )
        found.add(tuple(rows))
    assert len(found) == 1
    assert evaluated.rows("SELECT count(*) > 0 FROM loyalty.tier_entry WHERE tier IS NULL") == [
        (True,)
    ]


def test_a_review_posts_what_time_alone_changed_and_nothing_twice(
    evaluated: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated.store(
        invoice(), invoice(external_id="O", customer_phone=OTHER_PHONE, total_minor=100)
    )
    with monkeypatch.context() as then:
        then.setattr("sql.expiry.now", lambda _: NOON + timedelta(days=3))
        evaluated.award()
        assert [row[0] for row in history(evaluated)] == ["silver"]
        nothing = evaluate(evaluated.dsn, "review 1")
        assert (nothing.members, nothing.steps) == (1, 0)
    rehearsed = evaluate(evaluated.dsn, "rehearsal", dry_run=True)
    assert (rehearsed.steps, [row[0] for row in history(evaluated)]) == (1, ["silver"])
    done = evaluate(evaluated.dsn, "review 2")
    assert (done.members, done.steps, done.changed, done.awarded.entries) == (1, 1, 1, 0)
    assert [row[0] for row in history(evaluated)] == ["silver", "lead"]
    assert evaluate(evaluated.dsn, "review 3").steps == 0
    assert evaluate(evaluated.dsn, "review 4", everyone=True).members == 2


def test_without_a_policy_the_history_is_what_the_app_has_set(books: Books) -> None:
    books.store(invoice())
    books.set_tier(books.member(), "gold", NOON)
    books.award()
    assert history(books) == [("gold", NOON, None)]
    assert books.rows("SELECT tier FROM analytics.member") == [("gold",)]
    assert evaluate(books.dsn, "review").members == 0
    assert books.rows("SELECT count(*) FROM loyalty.tier_entry") == [(0,)]


def test_twice_at_once_and_beside_a_run_it_posts_each_step_once(
    evaluated: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a review dies in the middle: what it has marked is posted by whoever comes next."""
    phones = [f"+24492300040{n}" for n in range(6)]
    monkeypatch.setattr("tasks.award.members.MEMBERS_AT_ONCE", 1)
    evaluated.store(*(invoice(external_id=phone, customer_phone=phone) for phone in phones))
    with monkeypatch.context() as then:
        then.setattr("sql.expiry.now", lambda _: NOON + timedelta(days=3))
        evaluated.award()
    before = evaluated.rows("SELECT count(*) FROM loyalty.tier_entry")[0][0]
    clear, cleared = ledger.clear, iter([True])

    def dies_after_one(connection: DbConnection, members: list[int]) -> None:
        if not next(cleared, False):
            raise KeyboardInterrupt
        clear(connection, members)

    with monkeypatch.context() as then:
        then.setattr(ledger, "clear", dies_after_one)
        with pytest.raises(KeyboardInterrupt):
            evaluate(evaluated.dsn, "dies")
    assert len(evaluated.dirty()) == len(phones) - 1
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(evaluate, evaluated.dsn, f"review {n}") for n in range(2)] + [
            pool.submit(evaluated.award)
        ]
    for one in running:
        one.result()
    evaluated.award()
    assert evaluated.rows("SELECT count(*) FROM loyalty.tier_entry")[0][0] == before + len(phones)
    assert evaluated.rows("SELECT tier FROM analytics.member") == [("lead",)] * len(phones)
    assert evaluate(evaluated.dsn, "again").steps == 0
