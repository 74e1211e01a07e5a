"""The feed of changes: complete, in order, and told of everything that moves a member."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from loyalty.corrections import Decision
from loyalty.redemptions import RedemptionRequest
from sql import changes, erasure, redemptions
from sql.db import connect
from tests.db.test_corrections import adjust, merge, unmerge, void
from tests.db.test_rules import program
from tests.support.books import NOON, OTHER_PHONE, PHONE, Books, invoice

DAY = timedelta(days=1)


def publish(books: Books) -> int:
    with connect(books.dsn) as connection:
        count = 0
        while published := changes.publish(connection, 3):
            count += published
        return count


def feed(books: Books, after: int = 0) -> list[tuple[str, int, dict[str, Any], int]]:
    """(kind, member, data, balance) in the feed's order."""
    publish(books)
    return books.rows(
        "SELECT kind, member_id, data, balance_points FROM loyalty.change "
        "WHERE change_no > %(after)s ORDER BY change_no",
        after=after,
    )


def redemption(books: Books, member: int, points: int, **more: Any) -> int:
    """Spends or holds points; returns the number."""
    asked = RedemptionRequest(
        member_id=member, points=points, reference="reward 7", reason="A bottle",
        key=f"key-{points}", **more,
    )  # fmt: skip
    with books.transaction() as connection:
        return redemptions.redeem(connection, asked, "run").redemption.redemption_id


class TestWhatIsTold:
    def test_every_entry_of_the_ledger_and_the_balance_with_it(self, books: Books) -> None:
        books.store(invoice(), invoice(external_id="B"))
        books.award()
        member = books.member()
        assert feed(books) == [
            ("points.changed", member, {"points": 3000, "entries": 2, "reasons": ["award"]}, 3000)
        ]
        books.store(invoice(amount_refunded_minor=5_000, updated_at=NOON + DAY))
        books.award()
        adjust(books, 70)
        void(books, 1)
        told = [(data["points"], data["reasons"], sum_) for _, _, data, sum_ in feed(books, 1)]
        # What was published together has the balance after all of it.
        assert [row[:2] for row in told] == [
            (-500, ["refund"]), (70, ["adjustment"]), (-70, ["adjustment void"]),
        ]  # fmt: skip
        assert told[-1][2] == 2500 == books.points()

    def test_a_dry_run_and_a_run_without_change_tell_nothing(self, books: Books) -> None:
        books.store(invoice())
        books.award(dry_run=True)
        assert feed(books) == []
        books.award()
        assert len(feed(books)) == 1
        books.run("SELECT loyalty.mark_dirty(ARRAY(SELECT member_id FROM loyalty.member))")
        books.award()
        assert len(feed(books)) == 1

    def test_a_tier_when_it_begins_and_only_if_it_is_another_one(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        member, now = books.member(), datetime.now(UTC)
        books.set_tier(member, "lead", NOON)  # what everybody has
        books.set_tier(member, "gold", now - DAY)
        books.set_tier(member, "silver", now - 2 * DAY)  # was over before
        books.set_tier(member, "platinum", now + DAY)
        books.award()
        told = [(kind, data) for kind, _, data, _ in feed(books) if kind == "tier.changed"]
        assert [(data["tier_before"], data["tier"]) for _, data in told] == [("lead", "gold")]
        # The tier of tomorrow is noted, and told then.
        books.run("UPDATE loyalty.change_pending SET due_at = now() WHERE kind = 'tier.changed'")
        assert [kind for kind, *_ in feed(books)].count("tier.changed") == 1
        assert books.rows("SELECT count(*) FROM loyalty.change_pending") == [(0,)]

    def test_a_tier_that_is_taken_back_is_told_too(self, books: Books) -> None:
        books.store(invoice())
        member, since = books.member(), datetime.now(UTC) - DAY
        for tier in ("gold", "lead", "gold"):
            books.set_tier(member, tier, since)
            publish(books)
        steps = [(d["tier_before"], d["tier"]) for kind, _, d, _ in feed(books) if "tier" in kind]
        assert steps == [("lead", "gold"), ("gold", "lead"), ("lead", "gold")]

    def test_points_that_are_spent_held_and_given_back(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        member = books.member()
        last = len(feed(books))
        spent = redemption(books, member, 400)
        held = redemption(books, member, 300, hold_seconds=600)
        with books.transaction() as connection:
            redemptions.reverse(connection, member, spent, "back", "not delivered", "run")
            redemptions.cancel(connection, member, held, "free", None, "run")
        assert [(kind, who, data) for kind, who, data, _ in feed(books, last)] == [
            (
                kind,
                member,
                {"points": points, "entries": 1, "reasons": [step], "redemption_id": number},
            )
            for kind, points, step, number in (
                ("points.changed", -400, "redeemed", spent),
                ("redemption.reversed", 400, "reversed", spent),
                ("points.changed", 0, "cancelled", held),
            )
        ]
        assert feed(books)[-1][3] == 1500 == books.points()

    def test_what_a_merged_member_spent_is_told_of_whose_points_they_are(
        self, books: Books
    ) -> None:
        books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
        books.award()
        member, into = books.member(), books.member(OTHER_PHONE)
        spent = redemption(books, member, 400)
        merge(books, member, into)
        books.award()
        publish(books)
        ((last,),) = books.rows("SELECT max(change_no) FROM loyalty.change")
        with books.transaction() as connection:
            redemptions.reverse(connection, into, spent, "back", "not delivered", "run")
        ((kind, who, data, balance),) = feed(books, last)
        assert (kind, who, data["redemption_id"]) == ("redemption.reversed", into, spent)
        assert balance == 3000

    def test_points_about_to_expire_once_for_each_date(self, books: Books) -> None:
        program(books, expiry=Jsonb({"months": 12, "notice_days": 10}))
        now = datetime.now(UTC)
        soon, later = now - timedelta(days=360), now - timedelta(days=340)
        books.store(
            invoice(issued_at=soon, updated_at=soon),
            invoice(external_id="B", issued_at=later, updated_at=later),
        )
        books.award()
        books.award()
        (told,) = [row for row in feed(books) if row[0] == "points.expiring"]
        assert (told[1], told[2]["points"]) == (books.member(), 1500)
        expires_at = datetime.fromisoformat(told[2]["expires_at"])
        assert now < expires_at < now + timedelta(days=10)

    def test_points_that_begin_to_be_about_to_expire_without_a_sale(self, books: Books) -> None:
        program(books, expiry=Jsonb({"months": 12, "notice_days": 0}))
        soon = datetime.now(UTC) - timedelta(days=360)
        books.store(invoice(issued_at=soon, updated_at=soon))
        books.award()
        assert "points.expiring" not in [kind for kind, *_ in feed(books)]
        program(books, expiry=Jsonb({"months": 12, "notice_days": 10}))
        books.award()
        assert [kind for kind, *_ in feed(books)][-1] == "points.expiring"
        books.award()
        assert [kind for kind, *_ in feed(books)].count("points.expiring") == 1

    def test_a_merge_can_change_the_tier_and_its_undoing_too(self, books: Books) -> None:
        books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
        member, into = books.member(), books.member(OTHER_PHONE)
        books.set_tier(member, "silver", NOON)
        books.set_tier(member, "gold", datetime.now(UTC) + DAY)
        feed(books)
        merge(books, member, into)
        told = [row for row in feed(books) if row[:2] == ("tier.changed", into)]
        assert [(row[2]["tier_before"], row[2]["tier"]) for row in told] == [("lead", "silver")]
        waiting = books.rows(
            "SELECT due_at > now() FROM loyalty.change_pending"
            f" WHERE kind = 'tier.changed' AND member_id = {into}"
        )
        assert waiting == [(True,)]
        unmerge(books, member)
        told = [row for row in feed(books) if row[:2] == ("tier.changed", into)]
        assert [row[2]["tier"] for row in told] == ["silver", "lead"]

    def test_merges_move_balances_of_all_concerned(self, books: Books) -> None:
        books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
        books.award()
        member, other = books.member(), books.member(OTHER_PHONE)
        adjust(books, 40, member=member)
        merge(books, member, other)
        books.award()
        balances = {row[1]: row[3] for row in feed(books)}
        assert balances == {member: 0, other: 3040}
        unmerge(books, member)
        books.award()
        balances = {row[1]: row[3] for row in feed(books)}
        assert balances == {member: 1540, other: 1500}

    def test_an_erasure_without_anything_personal(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        with books.transaction() as connection:
            why = Decision(reason="asked", author="Ana")
            erasure.erase(connection, books.member(), why, "by hand", dry_run=False)
        assert feed(books)[-1][0] == "member.erased"
        text = str(books.rows("SELECT * FROM loyalty.change"))
        assert PHONE.removeprefix("+") not in text

    def test_any_ledger_can_note_a_kind_of_its_own(self, books: Books) -> None:
        books.store(invoice())
        member = books.member()
        books.run(
            "SELECT loyalty.note_change('redemption.reversed', %(m)s, %(data)s)",
            m=member, data=Jsonb({"points": 50}),
        )  # fmt: skip
        assert feed(books) == [("redemption.reversed", member, {"points": 50}, 0)]

    def test_the_feed_is_append_only(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        publish(books)
        with pytest.raises(psycopg.errors.RestrictViolation):
            books.run("DELETE FROM loyalty.change")


class TestOrder:
    def test_what_commits_late_is_not_passed_over(self, books: Books) -> None:
        """A reader goes on after the last number; a transaction that began first ends last."""
        books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
        first, second = books.member(), books.member(OTHER_PHONE)
        note = b"SELECT loyalty.note_change('points.changed', %s)"
        with connect(books.dsn) as slow, connect(books.dsn) as quick:
            slow.execute(note, [first])
            quick.execute(note, [second])
            quick.commit()
            assert [row[1] for row in feed(books)] == [second]
            slow.commit()
        assert [row[1] for row in feed(books)] == [second, first]

    def test_a_publisher_that_dies_has_published_nothing(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        with connect(books.dsn) as dying:
            dying.execute(b"SELECT loyalty.publish_changes()")
            assert feed(books) == []  # it is at it
            dying.rollback()
        assert len(feed(books)) == 1

    def test_readers_see_every_change_once_while_many_write_and_publish(self, books: Books) -> None:
        books.store(*(invoice(external_id=f"S{n}", customer_phone=f"+24492300010{n}")
                      for n in range(5)))  # fmt: skip
        members = [row[0] for row in books.rows("SELECT member_id FROM loyalty.member")]
        writers, notes = 6, 25
        stop = threading.Event()

        def write(writer: int) -> None:
            with connect(books.dsn) as connection:
                for number in range(notes):
                    data = Jsonb({"writer": writer, "number": number})
                    member = members[writer % len(members)]
                    connection.execute(
                        b"SELECT loyalty.note_change('points.changed', %s, %s), pg_sleep(%s)",
                        [member, data, (writer + number) % 3 / 500],
                    )
                    if number % 7 == 3:
                        connection.rollback()
                    connection.commit()

        def read() -> list[tuple[int, int]]:
            seen, after = [], 0
            with connect(books.dsn) as connection:
                while True:
                    last = stop.is_set()
                    changes.publish(connection, 4)
                    left = connection.execute(
                        b"SELECT EXISTS (SELECT FROM loyalty.change_pending)"
                    ).fetchone()
                    rows = connection.execute(
                        b"SELECT change_no, data FROM loyalty.change WHERE change_no > %s "
                        b"ORDER BY change_no LIMIT 5", [after],
                    ).fetchall()  # fmt: skip
                    connection.commit()
                    seen += [(data["writer"], data["number"]) for _, data in rows]
                    after = rows[-1][0] if rows else after
                    if last and not rows and left == (False,):
                        return seen

        with ThreadPoolExecutor() as pool:
            reading = [pool.submit(read) for _ in range(3)]
            for writing in [pool.submit(write, writer) for writer in range(writers)]:
                writing.result()
            stop.set()
            seen = [reader.result() for reader in reading]
        kept = [(w, n) for w in range(writers) for n in range(notes) if n % 7 != 3]
        for each in seen:
            assert sorted(each) == kept
            for writer in range(writers):  # in the order in which they were written
                assert [pair for pair in each if pair[0] == writer] == [
                    pair for pair in kept if pair[0] == writer
                ]

    def test_the_last_change_has_the_balance_of_today(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        member = books.member()

        def give(number: int) -> None:
            adjust(books, 1, key=f"k{number}", member=member)
            publish(books)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(give, range(30)))
        told = feed(books)
        assert told[-1][3] == books.points() == 1530
        balances = [row[3] for row in told]
        assert balances == sorted(balances)
