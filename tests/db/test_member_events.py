"""Points of events, registrations and birthdays follow from what is stored, whatever came when."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from loyalty.corrections import Adjustment, Decision
from loyalty.member_events import AppEvent, Birthday
from sql import consent, corrections, expiry, ledger, member_events, members, merge_preview
from sql.erasure import erase
from sql.member_events import EventEntered
from tasks.award.tier_review import evaluate
from tasks.reconcile.points_due import check_points
from tests.db.test_rules import program, recompute
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice
from tests.support.two_members import Pair

DAY = timedelta(days=1)
WHY = Decision(reason="one person", author="Ana")
REVIEW = {"points": 20, "per_day": 1, "at_most": 3}


def rules(books: Books, **events: Any) -> None:
    program(books, events=Jsonb(events), timezone="Africa/Luanda")


def tell(
    books: Books, member: int, event_id: str, at: datetime = NOON, name: str = "review"
) -> EventEntered:
    event = AppEvent(member_id=member, name=name, event_id=event_id, happened_at=at)
    with books.transaction() as connection:
        return member_events.add(connection, event, "test")


def until_somebody_waits(books: Books, work: Future[Any]) -> None:
    """Until another connection to the books waits for a lock, or the work ended without."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not work.done() and books.rows(waiting) == [(0,)]:
        time.sleep(0.05)


def worth(books: Books) -> dict[str, int]:
    """Points posted for each event that has any."""
    rows = books.rows(
        "SELECT e.event_key, v.points FROM analytics.member_event v "
        "JOIN loyalty.member_event e USING (event_no) WHERE v.points <> 0"
    )
    return {key.removeprefix("app/"): points for key, points in rows}


def is_in_step(books: Books) -> bool:
    """Whether history, balances and the check of points due say the same."""
    history = books.rows("SELECT member_id, sum(points) FROM analytics.points_history GROUP BY 1")
    balances = books.rows("SELECT member_id, balance_points FROM loyalty.member_balance")
    return sorted(history) == sorted(balances) and not check_points(books.dsn).members


def test_an_event_is_there_once_and_earns_once(pair: Pair) -> None:
    books, member, other = pair
    rules(books, review=REVIEW)
    first = tell(books, member, "r1")
    assert (first.repeated, tell(books, member, "r1").repeated) == (False, True)
    awarded = books.award()
    assert (awarded.event_entries, awarded.event_points) == ({"review": 1}, {"review": 20})
    assert not books.award().event_entries
    assert tell(books, member, "r1").points == 20
    with pytest.raises(member_events.EventReusedError):
        tell(books, other, "r1")
    with pytest.raises(member_events.EventReusedError):
        tell(books, member, "r1", NOON + HOUR)
    assert books.points() == 20 and is_in_step(books)


def test_which_events_count_follows_from_their_own_time(books: Books) -> None:
    """One a day, three in all: the later ones give way to an earlier one that comes late."""
    rules(books, review=REVIEW)
    told = [NOON, NOON + HOUR, NOON + DAY, NOON + 2 * DAY, NOON + 3 * DAY]
    orders = list(permutations(range(len(told))))
    with books.transaction() as connection:
        known = [
            members.register(connection, f"+2449231{number:05}", "test").member_id
            for number in range(len(orders))
        ]
    for step in range(len(told)):
        with books.transaction() as connection:
            for member, order in zip(known, orders, strict=True):
                event = AppEvent(
                    member_id=member, name="review", event_id=f"{member}-{order[step]}",
                    happened_at=told[order[step]],
                )  # fmt: skip
                member_events.add(connection, event, "test")
        # (Posting in between is posting something that is taken back.)
        books.award()
    expected = {f"{member}-{number}": 20 for member in known for number in (0, 2, 3)}
    assert worth(books) == expected and is_in_step(books)


def test_no_event_is_older_than_any_program(pair: Pair) -> None:
    books, member, _ = pair
    program(books, events=Jsonb({"review": REVIEW}), timezone="America/Lima")
    for at in (datetime(1, 1, 1, tzinfo=UTC), datetime(1999, 12, 31, 23, 59, tzinfo=UTC)):
        with pytest.raises(member_events.EventTooOldError):
            tell(books, member, "r1", at)
    tell(books, member, "r1", datetime(2000, 1, 1, tzinfo=UTC))
    assert books.award().event_entries == {"review": 1}


def test_a_day_is_that_of_the_program(pair: Pair) -> None:
    books, member, _ = pair
    rules(books, review={"points": 5, "per_day": 1})
    midnight = datetime(2026, 3, 1, 23, tzinfo=UTC)  # of Luanda
    tell(books, member, "before", midnight - timedelta(minutes=1))
    tell(books, member, "after", midnight)
    books.award()
    assert worth(books) == {"before": 5, "after": 5}


def test_what_no_rule_names_is_kept_and_earns_once_one_does(pair: Pair) -> None:
    books, member, _ = pair
    tell(books, member, "r1")
    assert not books.award().event_entries
    rules(books, review={"points": 20})
    recompute(books)
    assert books.points() == 20
    rules(books, review={"points": 35})
    recompute(books)
    assert books.points() == 35 and is_in_step(books)
    rules(books)
    recompute(books)
    assert books.points() == 0 and is_in_step(books)
    kinds = "SELECT kind, reason, points FROM analytics.points_history ORDER BY posted_at, kind"
    assert books.rows(kinds) == [
        ("event", "review", 20), ("event", "review", 35), ("event void", "review", -20),
        ("event void", "review", -35),
    ]  # fmt: skip


def test_a_merge_counts_both_and_its_end_each(pair: Pair) -> None:
    books, member, other = pair
    rules(books, review={"points": 20, "at_most": 1}, sign_up={"points": 100})
    tell(books, member, "r1", NOON + HOUR)
    tell(books, other, "r2", NOON)
    books.award()
    assert (books.points(), books.points(OTHER_PHONE)) == (120, 120)
    with books.transaction() as connection:
        shown = merge_preview.preview(connection, other, member, WHY, "test")
        corrections.merge(connection, other, member, WHY, "test")
    books.award()
    assert {c.member_id: c.balance_points_after for c in shown.changes} == {member: 120, other: 0}
    assert worth(books) == {f"sign_up/{member}": 100, "r2": 20}
    assert books.points() == 120 and is_in_step(books)
    with books.transaction() as connection:
        corrections.unmerge(connection, other, WHY, "test")
    books.award()
    assert (books.points(), books.points(OTHER_PHONE)) == (120, 120) and is_in_step(books)


def test_points_of_events_expire_by_the_day_of_the_event(pair: Pair) -> None:
    books, member, _ = pair
    program(books, events=Jsonb({"review": {"points": 20}}), expiry=Jsonb({"months": 1}))
    tell(books, member, "old", datetime(2025, 1, 1, tzinfo=UTC))
    tell(books, member, "new", datetime.now(UTC) - HOUR)
    books.award()
    assert books.points() == 20
    program(books, events=Jsonb({"review": {"points": 50}}), expiry=Jsonb({"months": 1}))
    recompute(books)
    assert books.points() == 50 and is_in_step(books)


def test_what_is_taken_back_of_an_event_does_not_keep_other_points(pair: Pair) -> None:
    """An event that gave way to an earlier one took nothing: a month's points all expire."""
    books, member, _ = pair
    program(books, events=Jsonb({"review": REVIEW}), expiry=Jsonb({"months": 12}))
    now = datetime.now(UTC)
    first, later = now - timedelta(days=400), now - timedelta(days=200)
    earned = Adjustment(
        member_id=member, points=100, reason="moved", author="Ana", event_at=first, key="k"
    )
    with books.transaction() as connection:
        corrections.adjust(connection, earned, "test")
    noon = later.replace(hour=12, minute=0, second=0, microsecond=0)
    tell(books, member, "late", noon)
    books.award()
    tell(books, member, "early", noon - 3 * HOUR)
    books.award()
    assert worth(books) == {"early": 20}
    assert books.rows("SELECT sum(points) FROM loyalty.expiry_entry") == [(-100,)]
    assert books.points() == 20 and is_in_step(books)
    with books.transaction() as connection:
        outlook = expiry.outlook(connection, member)
    assert (outlook.overdue_points, outlook.next_points) == (0, 20)


def test_nothing_is_earned_without_consent(pair: Pair) -> None:
    books, member, _ = pair
    rules(books, review={"points": 20})
    with books.transaction() as connection:
        consent.decide(connection, member, WHY, "test", given=False)
    tell(books, member, "r1", datetime.now(UTC))
    tell(books, member, "before", NOON)
    books.award()
    assert worth(books) == {"before": 20}


def test_a_registration_is_noted_once_also_after_a_first_sale(books: Books) -> None:
    rules(books, sign_up={"points": 100, "at_most": 5})
    books.store(invoice())
    books.award()
    assert books.points() == 1500
    for _ in range(2):
        with books.transaction() as connection:
            assert members.register(connection, PHONE, "test").repeated
        books.award()
    assert books.points() == 1600 and is_in_step(books)


class TestBirthdays:
    """Once a year, whenever somebody looks."""

    def enter(self, books: Books, member: int, month: int, day: int, next_on: date) -> None:
        """As if it had been entered some time before `next_on`."""
        with books.transaction() as connection:
            asked = Birthday(month=month, day=day)
            member_events.set_birthday(connection, member, asked, "test")
        books.run(
            "UPDATE loyalty.member_birthday SET next_on = %(on)s WHERE member_id = %(member)s",
            on=next_on, member=member,
        )  # fmt: skip

    def in_march(self, pair: Pair) -> tuple[Books, int]:
        """A member whose birthday of the first of March 2024 is noted."""
        books, member, _ = pair
        rules(books, birthday={"points": 200})
        self.enter(books, member, 3, 1, date(2024, 3, 1))
        self.look(books, datetime(2024, 3, 5, tzinfo=UTC))
        return books, member

    def days(self, books: Books) -> list[str]:
        rows = books.rows(
            "SELECT to_char(happened_at AT TIME ZONE 'Africa/Luanda', 'YYYY-MM-DD HH24:MI') "
            "FROM loyalty.member_event WHERE name = 'birthday' ORDER BY happened_at"
        )
        return [row[0] for row in rows]

    def look(self, books: Books, now: datetime) -> int:
        with books.transaction() as connection:
            programs = ledger.programs(connection)
            return member_events.note_birthdays(connection, programs, now, "test")

    def test_each_year_once_however_long_nobody_looked(self, pair: Pair) -> None:
        books, member, _ = pair
        rules(books, birthday={"points": 200})
        self.enter(books, member, 2, 29, date(2023, 2, 28))
        assert self.look(books, datetime(2023, 2, 27, 22, 59, tzinfo=UTC)) == 0
        assert self.look(books, datetime(2023, 2, 27, 23, 1, tzinfo=UTC)) == 1
        assert self.look(books, datetime(2023, 2, 28, 12, tzinfo=UTC)) == 0
        assert self.look(books, datetime(2025, 3, 9, tzinfo=UTC)) == 1
        expected = ["2023-02-28 00:00", "2024-02-29 00:00", "2025-02-28 00:00"]
        assert self.days(books) == expected
        books.award()
        assert self.days(books)[:3] == expected
        assert books.points() == 200 * len(self.days(books)) and is_in_step(books)

    def test_the_daily_look_at_tiers_notices_it_without_a_sale(self, pair: Pair) -> None:
        books, member, _ = pair
        rules(books, birthday={"points": 200})
        yesterday = (datetime.now(UTC) - DAY).date()
        self.enter(books, member, yesterday.month, yesterday.day, yesterday)
        reviewed = evaluate(books.dsn, "review")
        assert reviewed.awarded.event_points == {"birthday": 200}
        assert reviewed.to_text().endswith("; events: birthday +200")
        assert not evaluate(books.dsn, "review").awarded.event_entries
        assert books.points() == 200

    def test_another_day_in_the_same_year_earns_nothing_more(self, pair: Pair) -> None:
        books, member = self.in_march(pair)
        self.enter(books, member, 6, 1, date(2024, 6, 1))
        self.look(books, datetime(2024, 6, 5, tzinfo=UTC))
        assert self.days(books) == ["2024-03-01 00:00"]

    def test_it_goes_with_the_person_and_its_points_stay(self, pair: Pair) -> None:
        books, member = self.in_march(pair)
        with books.transaction() as connection:
            assert erase(connection, member, WHY, "test", dry_run=True).birthdays == 1
            erased = erase(connection, member, WHY, "test", dry_run=False)
        assert "1 birthdays" in erased.to_text()
        assert books.rows("SELECT count(*) FROM loyalty.member_birthday") == [(0,)]
        recompute(books)
        balance = "SELECT balance_points FROM loyalty.member_balance WHERE member_id = %(m)s"
        assert books.rows(balance, m=member) == [(200,)]
        with pytest.raises(corrections.MemberErasedError), books.transaction() as connection:
            member_events.set_birthday(connection, member, Birthday(month=1, day=1), "test")

    def test_one_that_is_entered_during_an_erasure_is_refused(self, pair: Pair) -> None:
        books, member, _ = pair

        def enter() -> None:
            with books.transaction() as connection:
                asked = Birthday(month=1, day=1)
                member_events.set_birthday(connection, member, asked, "test")

        with ThreadPoolExecutor(1) as pool:
            with books.transaction() as connection:
                erase(connection, member, WHY, "test", dry_run=False)
                entered = pool.submit(enter)
                until_somebody_waits(books, entered)
            with pytest.raises(corrections.MemberErasedError):
                entered.result(60)
        assert books.rows("SELECT count(*) FROM loyalty.member_birthday") == [(0,)]

    def test_who_may_not_read_of_persons_sees_its_year_only(self, pair: Pair) -> None:
        books, _ = self.in_march(pair)
        books.award()
        year = "date '2024-01-01'"
        read = """
            SELECT happened_at = {0}, recorded_at = date_trunc('year', recorded_at)
            FROM analytics.member_event WHERE name = 'birthday' AND happened_at < '2025-01-01'
            UNION ALL SELECT event_at = {0}, true FROM analytics.adjustment
            WHERE event_at < '2025-01-01'
            UNION ALL SELECT event_at = {0}, true FROM analytics.points_history
            WHERE event_at < '2025-01-01'""".format(f"{year} AT TIME ZONE 'UTC'")
        assert books.rows(read)[1:] == [(False, True)] * 2
        with psycopg.connect(books.dsn) as analyst:
            analyst.execute("SET ROLE analyst")
            assert analyst.execute(read.encode()).fetchall() == [(True, True)] * 3
        with psycopg.connect(books.dsn) as panel:
            panel.execute("SET ROLE twezah_panel")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                panel.execute("SELECT happened_at FROM loyalty.member_event")

    def test_they_are_noted_before_others_are_marked(self, pair: Pair) -> None:
        """In a transaction of their own: marks of one transaction are in order."""
        books, member, _ = pair
        program(
            books, events=Jsonb({"birthday": {"points": 200}}), expiry=Jsonb({"months": 12})
        )  # fmt: skip
        books.award()
        self.enter(books, member, 3, 1, date(2024, 3, 1))
        books.run("UPDATE loyalty.expiry_watch SET watched_until = '2024-01-01'")
        with ThreadPoolExecutor(1) as pool:
            with books.transaction() as connection:
                connection.execute("SELECT FROM loyalty.expiry_watch FOR UPDATE")
                awarded = pool.submit(books.award)
                until_somebody_waits(books, awarded)
                noted = self.days(books)
            awarded.result(60)
        assert "2024-03-01 00:00" in noted

    def test_there_must_be_such_a_day(self, pair: Pair) -> None:
        books, member, _ = pair
        with pytest.raises(member_events.NoBirthdayError), books.transaction() as connection:
            member_events.set_birthday(connection, member, Birthday(month=4, day=31), "test")


def test_an_entry_of_an_event_is_not_taken_back_by_hand(pair: Pair) -> None:
    books, member, _ = pair
    rules(books, review={"points": 20})
    tell(books, member, "r1")
    books.award()
    number = books.rows("SELECT adjustment_id FROM loyalty.adjustment")[0][0]
    refused = pytest.raises(corrections.CorrectionRefusedError, match="event")
    with refused, books.transaction() as connection:
        corrections.void_adjustment(connection, number, WHY, "k", "test")


def test_the_feed_tells_of_them(pair: Pair) -> None:
    books, member, _ = pair
    rules(books, review={"points": 20})
    tell(books, member, "r1")
    books.award()
    with books.transaction() as connection:
        connection.execute(b"SELECT loyalty.publish_changes()")
    told = "SELECT data -> 'reasons', balance_points FROM loyalty.change WHERE kind = %(kind)s"
    assert books.rows(told, kind="points.changed") == [(["event"], 20)]
