"""Codes that members enter, and lists that they are on: bounded, and the same in any order."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from loyalty.corrections import Decision
from sql import corrections, member_lists, members, promotion_codes
from sql.erasure import erase
from sql.explain import explain
from tasks.bulk_import import import_text
from tests.db.test_member_events import until_somebody_waits
from tests.db.test_rules import breakdowns, promote
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice, line
from tests.support.two_members import Pair

DAY = timedelta(days=1)
WHY = Decision(reason="one person", author="Ana")
BONUS = {"kind": "purchase_bonus", "points": 50}


def offer(books: Books, name: str = "summer", **when: Any) -> None:
    promote(books, name, "purchase_bonus", BONUS, when=when)


def enter(books: Books, member: int, code: str = "VERAO", at: datetime | None = None) -> int:
    with books.transaction() as connection:
        return promotion_codes.enter(connection, member, code, "test", at=at).entry_no


def bonuses(books: Books) -> set[str]:
    """Sales that have the bonus now."""
    return {
        sale for (sale, _), parts in breakdowns(books).items() if any("@" in key for key in parts)
    }


def test_a_code_opens_the_promotion_from_then_on(pair: Pair) -> None:
    books, member, _ = pair
    offer(books, code={"code": "VERAO", "days": 2})
    books.store(
        invoice(), invoice(external_id="B", issued_at=NOON + DAY),
        invoice(external_id="C", issued_at=NOON + 3 * DAY),
    )  # fmt: skip
    books.award()
    assert bonuses(books) == set()
    enter(books, member, "verao", NOON + HOUR)
    books.award()
    assert bonuses(books) == {"B"}
    told = explain(books.dsn, "xero", "C")
    assert told is not None
    assert "its code was not entered before" in told.to_text(ZoneInfo("Africa/Luanda"))


def test_uses_are_bounded_whoever_asks_at_once(books: Books) -> None:
    offer(books, code={"code": "VERAO", "uses": 3})
    with books.transaction() as connection:
        known = [
            members.register(connection, f"+2449231{n:05}", "test").member_id for n in range(8)
        ]

    def ask(member: int) -> bool:
        try:
            enter(books, member)
        except promotion_codes.CodeUsedUpError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(ask, known)) == [False] * 5 + [True] * 3
    assert books.rows("SELECT count(*) FROM loyalty.code_entry") == [(3,)]


def test_whoever_waits_for_an_award_step_holds_no_code(pair: Pair) -> None:
    books, member, other = pair
    offer(books, code={"code": "VERAO"})
    with ThreadPoolExecutor(1) as pool:
        with books.transaction() as connection:
            connection.execute(
                "SELECT FROM loyalty.member_dirty WHERE member_id = %(member)s FOR UPDATE",
                {"member": member},
            )
            entered = pool.submit(enter, books, member)
            until_somebody_waits(books, entered)
            assert not entered.done()
            enter(books, other)
        entered.result(60)
    assert books.rows("SELECT count(*) FROM loyalty.code_entry") == [(2,)]


def test_a_member_may_enter_it_so_often_also_under_two_numbers(
    pair: Pair,
) -> None:
    books, member, other = pair
    offer(books, code={"code": "VERAO", "uses_per_member": 2})
    enter(books, member)
    with books.transaction() as connection:
        corrections.merge(connection, other, member, WHY, "test")
    enter(books, other)
    with pytest.raises(promotion_codes.CodeUsedError, match="2 times"):
        enter(books, member)


@pytest.mark.parametrize(
    ("at", "error"),
    [
        (NOON - DAY, promotion_codes.CodeNotValidError),
        (NOON, None),
        (NOON + DAY, promotion_codes.CodeNotValidError),
    ],
)
def test_a_code_has_its_time(pair: Pair, at: datetime, error: type[Exception] | None) -> None:
    books, member, _ = pair
    times = {"valid_from": NOON.isoformat(), "valid_to": (NOON + DAY).isoformat()}
    offer(books, code={"code": "VERAO", **times})
    if error is None:
        enter(books, member, at=at)
    else:
        with pytest.raises(error):
            enter(books, member, at=at)


def test_nobody_enters_what_there_is_not(pair: Pair) -> None:
    books, member, other = pair
    promote(books, "off", "purchase_bonus", BONUS, when={"code": {"code": "OLD"}}, enabled=False)
    offer(books, code={"code": "VERAO"})
    for code in ("OLD", "NONE"):
        with pytest.raises(promotion_codes.UnknownCodeError):
            enter(books, member, code)
    with pytest.raises(corrections.UnknownMemberError):
        enter(books, 999)
    with books.transaction() as connection:
        erase(connection, other, WHY, "test", dry_run=False)
    with pytest.raises(corrections.MemberErasedError):
        enter(books, other)


def test_whatever_comes_first_the_same_sales_earn(books: Books) -> None:
    """Sales, an entered code, a list and a merge in every order, for two members each."""
    offer(books, code={"code": "VERAO"}, lists=["vip"])
    orders = list(permutations(("sale", "code", "list", "merge")))
    with books.transaction() as connection:
        pairs = [
            [
                members.register(connection, f"+244923{who}{n:05}", "test").member_id
                for who in (1, 2)
            ]
            for n in range(len(orders))
        ]
    times = (NOON - DAY, None)
    for step in range(4):
        sold = [
            invoice(
                external_id=f"S{n}", customer_phone=f"+2449231{n:05}", customer_external_id=f"C{n}"
            )
            for n, order in enumerate(orders)
            if order[step] == "sale"
        ]
        books.store(*sold)
        with books.transaction() as connection:
            for order, (first, second) in zip(orders, pairs, strict=True):
                if order[step] == "code":
                    promotion_codes.enter(connection, second, "VERAO", "test", at=NOON - DAY)
                elif order[step] == "list":
                    member_lists.put(connection, first, "vip", times, WHY, "test")
                elif order[step] == "merge":
                    corrections.merge(connection, second, first, WHY, "test")
        books.award()
    assert bonuses(books) == {f"S{n}" for n in range(len(orders))}
    balances = books.rows("SELECT DISTINCT balance_points FROM loyalty.member_balance")
    assert balances == [(1550,)]


class TestLists:
    """Who is on one, from when until when."""

    def test_put_corrected_and_taken_off(self, pair: Pair) -> None:
        books, member, _ = pair
        offer(books, lists=["vip"])
        books.store(invoice(), invoice(external_id="B", issued_at=NOON + 5 * DAY))
        books.award()

        def put(*times: datetime | None) -> bool:
            with books.transaction() as connection:
                return member_lists.put(
                    connection, member, "vip", (times[0], times[1]), WHY, "test"
                )

        assert put(NOON, None) and not put(NOON, None)
        books.award()
        assert bonuses(books) == {"A", "B"}
        assert put(NOON, NOON + DAY)
        books.award()
        assert bonuses(books) == {"A"}
        with books.transaction() as connection:
            assert member_lists.take_off(connection, member, "vip", NOON - DAY, WHY, "test")
        with books.transaction() as connection:
            assert not member_lists.take_off(connection, member, "vip", NOON - DAY, WHY, "test")
        books.award()
        assert bonuses(books) == set() and books.points() == 3000
        with pytest.raises(member_lists.ListTimesError):
            put(NOON, NOON)

    def test_from_a_file_as_often_as_one_likes(self, pair: Pair) -> None:
        books, member, other = pair
        offer(books, lists=["vip"])
        books.store(invoice())
        text = (
            "member_id,phone,list,valid_from,valid_to\n"
            f"{member},,vip,2026-02-01,\n,{OTHER_PHONE},vip,2026-02-01,2026-05-01\n"
            f"{member},,press,2026-02-01,\n"
        )

        def read(text: str, **more: Any) -> tuple[int, int, int]:
            done = import_text(books.dsn, "lists", text, WHY, "test", **{"dry_run": False, **more})
            return done.added, done.corrected, done.known

        assert read(text, dry_run=True) == (3, 0, 0)
        assert books.rows("SELECT count(*) FROM loyalty.list_member") == [(0,)]
        assert [read(text), read(text)] == [(3, 0, 0), (0, 0, 3)]
        books.award()
        assert bonuses(books) == {"A"}
        ended = text.replace("vip,2026-02-01,\n", "vip,2026-02-01,2026-02-02\n")
        with pytest.raises(ValueError, match="--correct"):
            read(ended)
        assert read(ended, correct=True) == (0, 1, 2)
        books.award()
        assert bonuses(books) == set()
        spans = "SELECT list, member_id, valid_to IS NULL FROM analytics.list_member ORDER BY 1, 2"
        assert books.rows(spans) == [
            ("press", member, True), ("vip", member, False), ("vip", other, False),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("lines", "what"),
        [
            ("1,VIP!,2026-02-01,", "list: small letters"),
            ("1,vip,soon,", "valid_from: must be a date"),
            ("1,vip,2026-02-01,2026-01-01", "valid_to: is before valid_from"),
            ("99,vip,2026-02-01,", "there is no member of that number"),
        ],
    )
    def test_all_problems_of_a_file(self, pair: Pair, lines: str, what: str) -> None:
        books = pair[0]
        text = f"member_id,list,valid_from,valid_to\n{lines}\n"
        with pytest.raises(ValueError, match=what):
            import_text(books.dsn, "lists", text, WHY, "test", dry_run=False)


def test_a_product_of_long_ago_is_found(books: Books) -> None:
    """Lines of sales from before the promotion are read for it."""
    promote(
        books, "again", "purchase_bonus", BONUS, valid_from=NOON,
        when={"bought_before": {"skus": ["AGUA-5L"]}},
    )  # fmt: skip
    books.store(
        invoice(issued_at=NOON - 900 * DAY), invoice(external_id="B"), lines=[line(), line("B")]
    )
    books.award()
    assert bonuses(books) == {"B"}


def test_a_place_is_asked_for_and_may_come_to_be_known(pair: Pair) -> None:
    books, _, _ = pair
    offer(books, cities=["Lobito"])
    sold = [invoice(external_id=name, city=city) for name, city in (("A", "LOBITO"), ("B", None))]
    books.store(*sold)
    books.award()
    assert bonuses(books) == {"A"}
    told = explain(books.dsn, "xero", "B")
    assert told is not None
    assert "not in this city" in told.to_text(ZoneInfo("Africa/Luanda"))
    # A mapping that is mended, and the same pages read again.
    (again,) = [one | {"city": "Lobito", "page_id": 2} for one in sold[1:]]
    books.store(again)
    books.award()
    assert bonuses(books) == {"A", "B"}
