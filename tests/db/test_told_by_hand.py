"""What the loyalty app could not tell, people at the desk do: once, with reason and author."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from loyalty.corrections import Decision
from loyalty.member_events import AppEvent, Birthday
from settings import settings
from sql import member_events, promotion_codes
from sql.corrections import CorrectionRefusedError
from tests.db.test_rules import program, promote
from tests.support.books import HOUR, NOON, Books, invoice
from tests.support.two_members import Pair
from twezah.cli import app

WHY = Decision(reason="called us", author="Ana, support")
BY = ("--reason", "called us", "--author", "Ana, support")


def audited(books: Books, operation: str) -> list[dict[str, Any]]:
    """Details of the entries of the audit log."""
    rows = books.rows(
        "SELECT details FROM audit.entry WHERE operation = %(operation)s ORDER BY entry_no",
        operation=operation,
    )
    return [details for (details,) in rows]


def offer(books: Books, **code: Any) -> None:
    rule = {"kind": "purchase_bonus", "points": 50}
    promote(books, "summer", "purchase_bonus", rule, when={"code": {"code": "VERAO", **code}})


def test_an_event_counts_once_whoever_tells_it_and_says_who_entered_it(pair: Pair) -> None:
    books, member, _ = pair
    program(books, events=Jsonb({"review": {"points": 20}}))
    event = AppEvent(member_id=member, name="review", event_id="r1", happened_at=NOON)
    with books.transaction() as connection:
        first = member_events.add_by_hand(connection, event, WHY, "desk")
        again = member_events.add_by_hand(connection, event, WHY, "desk again")
        told = member_events.add(connection, event, "app")
    assert (first.repeated, again.repeated, told.repeated) == (False, True, True)
    assert first.to_text() == f"Event review of member {member} is entered (number {told.event_no})"
    assert books.award().event_points == {"review": 20}
    assert audited(books, "member.event") == [
        {"event_no": told.event_no, "name": "review", "reason": "called us",
         "author": "Ana, support"},
    ]  # fmt: skip
    by = "SELECT recorded_by FROM loyalty.member_event WHERE name = 'review'"
    assert books.rows(by) == [("Ana, support",)]


def test_an_event_that_no_rule_knows_is_entered_and_says_so(pair: Pair) -> None:
    books, member, _ = pair
    program(books, events=Jsonb({"review": {"points": 20}, "birthday": {"points": 5}}))
    event = AppEvent(member_id=member, name="reveiw", event_id="r1")
    with books.transaction() as connection:
        entered = member_events.add_by_hand(connection, event, WHY, "desk")
    assert entered.to_text().endswith("give no points for it: they name birthday, review")


def test_a_birthday_says_who_entered_it_and_never_which(pair: Pair) -> None:
    books, member, _ = pair
    asked = Birthday(month=2, day=29)
    with books.transaction() as connection:
        texts = [
            member_events.set_birthday_by_hand(connection, member, each, WHY, "desk").to_text()
            for each in (asked, asked, None)
        ]
    assert texts == [
        f"The birthday of member {member} is entered",
        f"The birthday of member {member} is entered; it was so before",
        f"The birthday of member {member} is removed",
    ]
    who = {"reason": "called us", "author": "Ana, support"}
    assert audited(books, "member.birthday") == [who]
    assert audited(books, "member.birthday.forget") == [who]


def test_a_code_counts_from_when_the_member_entered_it_and_once_for_a_run(pair: Pair) -> None:
    books, member, _ = pair
    offer(books, uses_per_member=5, days=2)
    books.store(invoice())
    with books.transaction() as connection:
        entered = promotion_codes.enter_by_hand(
            connection, member, " verao", NOON - HOUR, WHY, "desk"
        )
        again = promotion_codes.enter_by_hand(connection, member, "VERAO", None, WHY, "desk")
    assert (entered.repeated, again.repeated, again.entry_no) == (False, True, entered.entry_no)
    assert entered.to_text() == (
        f"Member {member} has entered code VERAO (number {entered.entry_no}): "
        "sales from 2026-03-01 11:00 UTC on may earn by summer (until 2026-03-03 11:00 UTC)"
    )
    books.award()
    assert books.points() == 1550
    assert books.rows("SELECT recorded_by FROM loyalty.code_entry") == [("Ana, support",)]
    (details,) = audited(books, "code.enter")
    assert (details["reason"], details["author"]) == ("called us", "Ana, support")


@pytest.mark.parametrize(
    ("code", "ahead", "said"),
    [
        ("VERAO", timedelta(0), "already, and may not again: the last time was 2026-03-01 11:00"),
        ("NONE", timedelta(0), "no promotion has this code; `twezah program show`"),
        ("no code\x00", timedelta(0), "that is no code"),
        ("VERAO", timedelta(days=1), "in the future"),
    ],
)
def test_a_code_is_refused_with_what_to_do(
    pair: Pair, code: str, ahead: timedelta, said: str
) -> None:
    books, member, _ = pair
    offer(books)
    with books.transaction() as connection:
        promotion_codes.enter_by_hand(connection, member, "VERAO", NOON - HOUR, WHY, "first")
    at = datetime.now(UTC) + ahead if ahead else None
    with pytest.raises(CorrectionRefusedError, match=said), books.transaction() as connection:
        promotion_codes.enter_by_hand(connection, member, code, at, WHY, "second")


def test_the_commands(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's own road; a birthday is read from stdin and not shown again."""
    books, member, _ = pair
    monkeypatch.setenv("TWEZAH_DATABASE_URL", books.dsn)
    settings.cache_clear()
    program(books, events=Jsonb({"review": {"points": 20}}))
    offer(books)

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        named = ["member", arguments[0], str(member), *arguments[1:], *BY]
        result = CliRunner().invoke(app, named, input=typed)
        return result.exit_code, result.output

    code, text = run("event", "review", "--id", "r1", "--at", "2026-03-01")
    assert code == 0 and "events: review +20" in text
    code, text = run("event", "review", "--id", "r1", "--at", "2026-03-01")
    assert code == 0 and "it was so before" in text
    assert run("event", "birthday")[0] == 1
    assert run("event", "No Name")[0] == 2
    code, text = run("code", "verao")
    assert code == 0 and "may earn by summer" in text
    assert run("code", "verao")[0] == 1
    code, text = run("birthday", "--json", typed="2\n29\n")
    assert code == 0 and json.loads(text) == {
        "member_id": member, "kept": True, "repeated": False
    }  # fmt: skip
    with books.transaction() as connection:
        kept = member_events.birthday(connection, member).birthday
    assert kept == Birthday(month=2, day=29)
    assert run("birthday", typed="2\n30\n") == (1, "Refused: that month has no such day.\n")
    assert run("birthday", typed="29/2\n\n")[0] == 2
    assert run("birthday", "--remove")[0] == 0
    assert books.rows("SELECT count(*) FROM loyalty.member_birthday") == [(0,)]
