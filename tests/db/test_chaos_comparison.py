"""The comparison of `python -m benchmarks.chaos`, against a real ledger."""

from benchmarks.chaos.comparison import compare_with_database
from benchmarks.chaos.oracle import Expected
from tests.db.test_ledger import post
from tests.support.books import PHONE, Books, invoice

EXPECTED = {("xero", "A"): Expected(1500, frozenset({PHONE}))}


def problems(books: Books, expected: dict[tuple[str, str], Expected]) -> list[str]:
    return compare_with_database(expected, books.dsn).problems()


def test_a_right_ledger_is_right_and_what_is_planted_is_found(books: Books) -> None:
    books.store(invoice())
    assert problems(books, EXPECTED) == ["1 documents lost", "1 members wait for their points"]
    books.award()
    assert problems(books, EXPECTED) == []
    lost = {**EXPECTED, ("xero", "B"): Expected(700, frozenset({PHONE}))}
    assert problems(books, lost) == ["1 documents lost"]
    assert problems(books, {}) == ["1 documents unknown"]
    post(books, due_after=3000, points=1500)
    assert problems(books, EXPECTED) == ["1 documents doubled"]


def test_an_entry_that_does_not_continue_its_chain_is_found(books: Books) -> None:
    """The database refuses one; a comparison takes nobody's word for it."""
    books.store(invoice())
    books.award()
    again = (
        "INSERT INTO loyalty.award_entry SELECT (jsonb_populate_record(e, "
        """'{"entry_no": 3, "due_before": 1600, "due_after": 1700, "points": 100}')).* """
        "FROM loyalty.award_entry e"
    )
    with books.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(again.encode())
    compared = compare_with_database(EXPECTED, books.dsn)
    assert compared.broken_chains == 1
    assert [one.kind for one in compared.differences] == ["wrong"]
