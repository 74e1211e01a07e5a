"""Which purchase is the n-th, and whether a streak holds, follows from what is stored."""

from datetime import timedelta
from itertools import permutations
from typing import Any

from psycopg.types.json import Jsonb

from loyalty.corrections import Decision
from sql import corrections
from tests.db.test_rules import breakdowns, program, promote
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice

DAY = timedelta(days=1)
WEEK = 7 * DAY
WHY = Decision(reason="one person", author="Ana")


def counted(books: Books, **when: Any) -> None:
    bonus = {"kind": "purchase_bonus", "points": 50}
    promote(books, "counted", "purchase_bonus", bonus, when=when)


def sold(name: str, weeks: int, **changes: Any) -> dict[str, Any]:
    """A paid sale of 100.00, so many weeks after the first ones."""
    return (
        invoice(external_id=name, total_minor=10_000, status="paid", issued_at=NOON + weeks * WEEK)
        | changes
    )


def bonuses(books: Books) -> set[str]:
    """The sales that have the bonus now."""
    return {sale for (sale, _), parts in breakdowns(books).items() if parts.get("counted@1") == 50}


def balanced(books: Books) -> bool:
    """Whether the balances are the points due: nothing stays of a bonus that moved on."""
    parts = sum(sum(breakdown.values()) for breakdown in breakdowns(books).values())
    owed = books.rows("SELECT sum(balance_points)::int FROM loyalty.member_balance")
    return bool(owed == [(parts,)])


def every_order(books: Books, expected: set[str], *versions: dict[str, Any]) -> None:
    """The versions arrive in every order, one by one, for a member each; points in between."""
    orders = list(enumerate(permutations(versions)))
    for step in range(len(versions)):
        books.store(
            *(
                arrival[step]
                | {
                    "external_id": f"{arrival[step]['external_id']}-{number}",
                    "customer_phone": f"+2449231{number:05}",
                    "customer_external_id": f"C{number}",
                }
                for number, arrival in orders
            )
        )
        books.award()
    assert bonuses(books) == {f"{name}-{number}" for name in expected for number, _ in orders}
    assert balanced(books)


def test_whatever_the_order_of_arrival_the_same_sale_is_the_n_th(books: Books) -> None:
    counted(books, nth_purchase=2)
    void = sold("B", 0, issued_at=NOON + HOUR, status="void", updated_at=NOON + DAY)
    every_order(
        books, {"C"},
        sold("A", 0), sold("B", 0, issued_at=NOON + HOUR), void,
        sold("C", 0, issued_at=NOON + 2 * HOUR),
    )  # fmt: skip


def test_whatever_the_order_of_arrival_the_same_sale_completes_the_streak(books: Books) -> None:
    """The second sale of the third week does not; an edit moves one sale to the week between."""
    counted(books, streak={"weeks": 3})
    every_order(
        books, {"C"},
        sold("A", 0), sold("B", 5), sold("B", 1, updated_at=NOON + DAY),
        sold("C", 2), sold("D", 2, issued_at=NOON + 2 * WEEK + HOUR),
    )  # fmt: skip


class TestChanges:
    """Each change of a sale gives the turn to another one, and posts the difference."""

    def test_a_late_sale_a_return_and_its_end(self, books: Books) -> None:
        program(books, unlinked_credits="returned_sales")
        counted(books, nth_purchase=2)
        books.store(sold("B", 1), sold("C", 2))
        assert books.award().points == 2050
        assert bonuses(books) == {"C"}
        books.store(sold("A", 0))
        assert books.award().points == 1000
        assert bonuses(books) == {"B"}
        back = sold("R", 3, kind="credit_note", original_external_id="A")
        books.store(back)
        assert books.award().points == -1000
        assert bonuses(books) == {"C"}
        books.store(back | {"status": "void", "updated_at": NOON + DAY})
        assert books.award().points == 1000
        assert bonuses(books) == {"B"} and balanced(books)

    def test_a_streak_breaks_and_holds_again(self, books: Books) -> None:
        counted(books, streak={"weeks": 3})
        books.store(*(sold(name, week) for week, name in enumerate("ABC")))
        assert books.award().points == 3050
        refunded = {"amount_refunded_minor": 10_000, "updated_at": NOON + DAY}
        books.store(sold("B", 1, **refunded))
        assert books.award().points == -1050
        assert bonuses(books) == set()
        books.store(sold("D", 1, issued_at=NOON + WEEK + HOUR))
        assert books.award().points == 1050
        assert bonuses(books) == {"C"} and balanced(books)

    def test_a_merge_counts_the_sales_of_both(self, books: Books) -> None:
        counted(books, nth_purchase=2)
        books.store(sold("A", 0), sold("B", 1, customer_phone=OTHER_PHONE))
        books.award()
        assert bonuses(books) == set()
        with books.transaction() as connection:
            corrections.merge(connection, books.member(), books.member(OTHER_PHONE), WHY, "by hand")
        books.award()
        assert books.points(OTHER_PHONE) == 2050
        with books.transaction() as connection:
            corrections.unmerge(connection, books.member(PHONE), WHY, "by hand")
        books.award()
        assert (books.points(PHONE), books.points(OTHER_PHONE)) == (1000, 1000)

    def test_a_bonus_that_moves_on_waits_with_its_sale(self, books: Books) -> None:
        """Pending points follow the sale that has the bonus now."""
        program(books, pending=Jsonb({"until_paid": True}))
        counted(books, nth_purchase=2)
        books.store(sold("A", 0), sold("B", 1), sold("C", 2, status="open"))
        books.award()
        books.store(sold("A", 0, status="void", updated_at=NOON + DAY))
        books.award()
        assert bonuses(books) == {"C"}
        assert books.rows("SELECT balance_points, pending_points FROM loyalty.member_balance") == [
            (2050, 1050)
        ]
