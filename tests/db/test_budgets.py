"""Dividing a budget in one pass over its claims.

Also where the database has no statistics of the table yet.
"""

import pytest

from sql import budgets
from tests.db.test_rules import promote
from tests.support.books import Books

CLAIMS = 3_000
MANY = f"""
WITH bought AS (
    INSERT INTO loyalty.member (phone) SELECT '+2449' || lpad(g::text, 8, '0')
    FROM generate_series(1, {CLAIMS}) g RETURNING member_id
)
INSERT INTO loyalty.promotion_claim (promotion_id, version, member_id, system, account, external_id,
    issued_at, wanted, unsettled_from)
SELECT 'p', 1, member_id, 'xero', 'books', 'S' || member_id, at, 50, at
FROM bought,
    LATERAL (SELECT '2026-01-01'::timestamptz + member_id * interval '1 second') AS sold (at)
"""


@pytest.fixture
def claimed(books: Books) -> Books:
    promote(books, "p", "purchase_bonus", {"points": 50}, limits={"budget": 1_020})
    books.run(MANY)
    return books


def test_many_claims_are_divided_in_one_pass(claimed: Books) -> None:
    """Every claim beside every other would take minutes; this takes a fraction of a second."""
    with claimed.transaction() as connection:
        connection.execute("SET LOCAL statement_timeout = '20s'")
        assert len(budgets.settle(connection, {("p", 1): 1_020})) == 21
    granted = "SELECT granted FROM loyalty.promotion_claim ORDER BY issued_at LIMIT 22"
    assert [row[0] for row in claimed.rows(granted)] == [50] * 20 + [20, 0]
    assert claimed.rows(
        "SELECT count(*), sum(granted) FROM loyalty.promotion_claim WHERE unsettled_from IS NULL"
    ) == [(CLAIMS, 1_020)]


def test_an_earlier_claim_takes_from_the_last_ones(claimed: Books) -> None:
    with claimed.transaction() as connection:
        budgets.settle(connection, {("p", 1): 1_020})
    early = (
        "INSERT INTO loyalty.promotion_claim (promotion_id, version, member_id, system, account, "
        "external_id, issued_at, wanted, unsettled_from) "
        "SELECT 'p', 1, min(member_id), 'xero', 'books', 'early', '2025-01-01', 30, '2025-01-01' "
        "FROM loyalty.member"
    )
    claimed.run(early)
    with claimed.transaction() as connection:
        assert len(budgets.settle(connection, {("p", 1): 1_020})) == 3
        assert budgets.settle(connection, {("p", 1): 1_020}) == set()
    granted = "SELECT granted FROM loyalty.promotion_claim ORDER BY issued_at LIMIT 22"
    assert [row[0] for row in claimed.rows(granted)] == [30, *[50] * 19, 40, 0]


def test_a_version_that_speaks_no_more_gives_nothing(claimed: Books) -> None:
    with claimed.transaction() as connection:
        budgets.settle(connection, {("p", 1): 1_020})
    claimed.run(
        "UPDATE loyalty.promotion_claim SET unsettled_from = issued_at WHERE external_id = 'S1'"
    )
    with claimed.transaction() as connection:
        assert len(budgets.settle(connection, {})) == 21
    assert claimed.rows("SELECT sum(granted) FROM loyalty.promotion_claim") == [(0,)]
