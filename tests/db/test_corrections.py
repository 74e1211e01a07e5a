"""What people decide: adjustments, merges and phones.

Every decision stays, counts once, and can be taken back.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from loyalty.corrections import Adjustment, Decision
from sql import corrections
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from tasks.award.members import award_members
from tasks.run_database import RunDatabase
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice

THIRD_PHONE = "+244923000003"
WHY = Decision(reason="goodwill", author="Ana, support")


def adjust(
    books: Books, points: int, *, key: str = "k1", member: int | None = None
) -> corrections.Adjusted:
    """An adjustment of the first member."""
    wanted = Adjustment(
        member_id=books.member() if member is None else member,
        points=points,
        key=key,
        reason="goodwill",
        author="Ana",
    )
    with books.transaction() as connection:
        return corrections.adjust(connection, wanted, "by hand")


def void(books: Books, number: int, *, key: str = "v1") -> corrections.Adjusted:
    with books.transaction() as connection:
        return corrections.void_adjustment(connection, number, WHY, key, "by hand")


def merge(
    books: Books, member: int, into: int, tiers: corrections.MergedTiers = "better"
) -> corrections.Merged:
    with books.transaction() as connection:
        return corrections.merge(connection, member, into, WHY, "by hand", tiers=tiers)


def unmerge(books: Books, member: int) -> corrections.Merged:
    with books.transaction() as connection:
        return corrections.unmerge(connection, member, WHY, "by hand")


def change_phone(
    books: Books, member: int, phone: str, *, keep: bool = True
) -> corrections.PhoneChanged:
    with books.transaction() as connection:
        return corrections.change_phone(connection, member, phone, WHY, "by hand", keep_former=keep)


def post(books: Books) -> Any:
    """The award step without a synchronisation."""
    return award_members(RunDatabase(books.dsn, "by hand"), None)


def balances(books: Books) -> dict[int, int]:
    return dict(
        books.rows(
            "SELECT member_id, balance_points FROM loyalty.member_balance WHERE balance_points <> 0"
        )
    )


@pytest.fixture
def two(books: Books) -> Books:
    """Two members: 1500 points for one sale, 3000 for another."""
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE, total_minor=30_000))
    books.award()
    return books


class TestAdjustments:
    def test_one_counts_in_the_balance_and_shows_in_the_history(self, two: Books) -> None:
        done = adjust(two, -2000)
        assert (done.points, done.balance_points, done.repeated) == (-2000, -500, False)
        assert two.points() == -500
        assert two.rows(
            "SELECT balance_points, taken_back_points, entries FROM analytics.member "
            "WHERE member_id = 1"
        ) == [(-500, 2000, 2)]
        history = (
            "SELECT kind, points, balance_points, reason FROM analytics.points_history "
            "WHERE member_id = %(m)s ORDER BY posted_at"
        )
        assert two.rows(history, m=two.member()) == [
            ("award", 1500, 1500, None), ("adjustment", -2000, -500, "goodwill"),
        ]  # fmt: skip

    def test_the_same_key_counts_once(self, two: Books) -> None:
        first, again = adjust(two, 100), adjust(two, 100)
        assert (again.adjustment_id, again.repeated, again.balance_points) == (
            first.adjustment_id,
            True,
            1600,
        )
        assert two.points() == 1600

    def test_the_same_key_for_something_else_is_refused(self, two: Books) -> None:
        adjust(two, 100)
        with pytest.raises(CorrectionRefusedError, match="'k1' was used for another"):
            adjust(two, 200)
        with pytest.raises(CorrectionRefusedError, match="'k1' was used for another"):
            adjust(two, 100, member=two.member(OTHER_PHONE))
        assert two.points() == 1600

    def test_the_same_key_at_once_counts_once(self, two: Books) -> None:
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda _: adjust(two, 100), range(2)))
        assert sorted(one.repeated for one in done) == [False, True]
        assert two.points() == 1600

    def test_a_void_is_another_one_and_exact(self, two: Books) -> None:
        number = adjust(two, 700).adjustment_id
        done = void(two, number)
        assert (done.points, done.balance_points) == (-700, 1500)
        assert void(two, number).repeated
        with pytest.raises(
            CorrectionRefusedError, match=f"taken back already, by adjustment {done.adjustment_id}"
        ):
            void(two, number, key="v2")
        with pytest.raises(CorrectionRefusedError, match="enter the points anew"):
            void(two, done.adjustment_id, key="v3")
        statement = (
            "SELECT points, voids_id, voided FROM analytics.adjustment ORDER BY adjustment_id"
        )
        assert two.rows(statement) == [
            (700, None, True), (-700, number, False),
        ]  # fmt: skip

    @pytest.mark.parametrize("change", [{"points": -699}, {"member_id": 2}, {"voids_id": 2}])
    def test_the_database_refuses_an_inexact_void(self, two: Books, change: dict[str, int]) -> None:
        adjust(two, 700)
        void(two, 1)
        row = {"key": "x", "member_id": 1, "points": -700, "voids_id": 1} | change
        statement = (
            "INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, voids_id, "
            "reason, author, run_id) "
            "VALUES (%(key)s, %(member_id)s, %(points)s, %(voids_id)s, 'r', 'a', 'x')"
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            two.run(statement, **row)

    def test_nobody_and_nothing(self, two: Books) -> None:
        with pytest.raises(CorrectionRefusedError, match="no member 99"):
            adjust(two, 1, member=99)
        with pytest.raises(CorrectionRefusedError, match="no adjustment 99"):
            void(two, 99)

    @pytest.mark.parametrize(
        "values", [{"points": 0}, {"reason": " "}, {"author": ""}, {"key": ""}, {"points": 10**13}]
    )
    def test_what_makes_no_sense_is_refused(self, values: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Adjustment(
                **{"member_id": 1, "points": 1, "key": "k", "reason": "r", "author": "a"} | values
            )

    def test_a_reason_holds_no_phone(self) -> None:
        with pytest.raises(ValidationError, match="phone number") as caught:
            Decision(reason="asked from +244 923 000 001", author="a")
        assert "923" not in str(caught.value.errors()[0]["msg"])
        assert Decision(reason="invoice 20260001234 counted twice", author="a").reason

    @pytest.mark.parametrize("table", ["adjustment", "member_merge", "phone_change"])
    def test_decisions_are_kept(self, two: Books, table: str) -> None:
        adjust(two, 1)
        change_phone(two, 1, THIRD_PHONE)
        for statement in (
            f"UPDATE loyalty.{table} SET reason = ''",
            f"DELETE FROM loyalty.{table}",
            f"TRUNCATE loyalty.{table} CASCADE",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation, match="keeps its history"):
                two.run(statement)
        assert len(two.rows(f"SELECT FROM loyalty.{table}")) == 1


class TestMerges:
    def test_the_history_moves_by_entries_and_comes_back(self, two: Books) -> None:
        merge(two, 1, 2)
        assert two.dirty() == [1, 2]
        post(two)
        assert balances(two) == {2: 4500}
        assert [row for row in two.entries() if row[0] == "A"] == [
            ("A", 1, 1, "award", 1500), ("A", 1, 2, "moved", -1500), ("A", 2, 1, "award", 1500),
        ]  # fmt: skip
        unmerge(two, 1)
        post(two)
        assert balances(two) == {1: 1500, 2: 3000}
        assert two.rows("SELECT member_id, points FROM analytics.sale WHERE external_id = 'A'") == [
            (1, 1500)
        ]

    def test_the_tier_is_that_of_who_earns_where_asked_for(self, two: Books) -> None:
        two.set_tier(2, "gold", NOON - HOUR)
        two.set_tier(1, "platinum", NOON - HOUR)
        merge(two, 1, 2, tiers="into")
        post(two)
        assert balances(two) == {2: 2250 + 4500}

    def test_later_sales_of_both_count_for_one(self, two: Books) -> None:
        merge(two, 1, 2)
        post(two)
        two.store(invoice(external_id="N", total_minor=1_000))
        assert two.dirty() == [1, 2]
        two.award()
        assert balances(two) == {2: 4600}
        assert two.rows("SELECT DISTINCT member_id FROM analytics.sale") == [(2,)]

    def test_an_edit_and_a_void_after_a_merge(self, two: Books) -> None:
        merge(two, 1, 2)
        two.store(invoice(status="void", updated_at=NOON + HOUR))
        two.award()
        assert balances(two) == {2: 3000}

    def test_only_one_of_them_claimed_reads_all_the_same(self, two: Books) -> None:
        merge(two, 1, 2)
        two.run("DELETE FROM loyalty.member_dirty WHERE member_id = 1")
        post(two)
        assert two.rows("SELECT points FROM analytics.sale WHERE external_id = 'A'") == [(1500,)]
        assert two.points(OTHER_PHONE) == 4500

    def test_adjustments_go_along_and_come_back(self, two: Books) -> None:
        number = adjust(two, 50).adjustment_id
        merge(two, 1, 2)
        assert two.points(OTHER_PHONE) == 3050
        assert adjust(two, 5, key="k2").owner_id == 2
        void(two, number)
        assert (two.points(OTHER_PHONE), balances(two).get(1)) == (
            3005,
            1500,
        )  # the sale waits for the award step
        unmerge(two, 1)
        post(two)
        assert balances(two) == {1: 1505, 2: 3000}

    def test_through_a_third_one(self, two: Books) -> None:
        two.store(invoice(external_id="C", customer_phone=THIRD_PHONE, total_minor=100))
        two.award()
        merge(two, 1, 2)
        merge(two, 2, 3)
        post(two)
        assert balances(two) == {3: 4510}
        unmerge(two, 2)
        post(two)
        assert balances(two) == {2: 4500, 3: 10}

    def test_again_changes_nothing(self, two: Books) -> None:
        first = merge(two, 1, 2)
        assert merge(two, 1, 2) == corrections.Merged(first.merge_id, 1, 2, repeated=True)
        assert two.rows("SELECT count(*) FROM loyalty.member_merge") == [(1,)]

    def test_what_cannot_be(self, two: Books) -> None:
        two.store(invoice(external_id="C", customer_phone=THIRD_PHONE))
        with pytest.raises(CorrectionRefusedError, match="with itself"):
            merge(two, 1, 1)
        with pytest.raises(CorrectionRefusedError, match="no member 9"):
            merge(two, 1, 9)
        with pytest.raises(CorrectionRefusedError, match="not merged"):
            unmerge(two, 1)
        merge(two, 1, 2)
        with pytest.raises(CorrectionRefusedError, match="unmerge 1"):
            merge(two, 2, 1)
        with pytest.raises(CorrectionRefusedError, match="unmerge 1"):
            merge(two, 1, 3)
        merge(two, 2, 3)
        with pytest.raises(CorrectionRefusedError, match="unmerge 1"):
            merge(two, 1, 3)

    def test_two_at_once_make_no_circle(self, two: Books) -> None:
        def attempt(pair: tuple[int, int]) -> bool:
            try:
                merge(two, *pair)
            except CorrectionRefusedError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(attempt, [(1, 2), (2, 1)]))
        assert sorted(done) == [False, True]
        assert len(two.rows("SELECT FROM loyalty.merged_member")) == 1


class TestPhones:
    def test_sales_under_both_numbers_count(self, two: Books) -> None:
        done = change_phone(two, 1, THIRD_PHONE)
        assert done == corrections.PhoneChanged(1, 3)
        two.store(
            invoice(external_id="N", customer_phone=THIRD_PHONE),
            invoice(external_id="O", customer_phone=PHONE),
        )
        two.store(
            invoice(invoice_number="INV-9", updated_at=NOON + HOUR)
        )  # the first sale is read again, under the old number
        two.award()
        assert balances(two) == {1: 4500, 2: 3000}
        assert [row[3] for row in two.entries()] == ["award"] * 4
        assert two.rows("SELECT former_member_id, reason FROM loyalty.phone_change") == [
            (3, "goodwill")
        ]

    def test_a_number_that_was_given_up_is_a_new_customers(self, two: Books) -> None:
        assert change_phone(two, 1, THIRD_PHONE, keep=False).former_member_id is None
        two.store(invoice(external_id="O", customer_phone=PHONE))
        two.award()
        assert sorted(balances(two).values()) == [1500, 1500, 3000]

    def test_back_to_the_former_number(self, two: Books) -> None:
        change_phone(two, 1, THIRD_PHONE)
        assert change_phone(two, 1, PHONE) == corrections.PhoneChanged(1, 3)
        assert (two.member(PHONE), two.member(THIRD_PHONE)) == (1, 3)
        two.store(invoice(external_id="N", customer_phone=THIRD_PHONE))
        two.award()
        assert balances(two) == {1: 3000, 2: 3000}

    def test_an_erased_phone_can_be_entered_again(self, two: Books) -> None:
        two.run("UPDATE loyalty.member SET phone = NULL WHERE member_id = 1")
        assert change_phone(two, 1, THIRD_PHONE).former_member_id is None
        assert two.member(THIRD_PHONE) == 1

    def test_somebody_elses_is_refused_without_telling_it(self, two: Books) -> None:
        with pytest.raises(CorrectionRefusedError, match="member merge 2 1") as caught:
            change_phone(two, 1, OTHER_PHONE)
        assert OTHER_PHONE not in str(caught.value)
        with pytest.raises(CorrectionRefusedError, match="already"):
            change_phone(two, 1, PHONE)
        merge(two, 1, 2)
        with pytest.raises(CorrectionRefusedError, match="change that one's"):
            change_phone(two, 1, THIRD_PHONE)

    def test_is_found_by_phone(self, two: Books) -> None:
        with connect(two.dsn) as connection:
            assert corrections.member_of_phone(connection, OTHER_PHONE) == corrections.Member(2, 2)
            assert corrections.member_of_phone(connection, THIRD_PHONE) is None
