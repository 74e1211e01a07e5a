"""Defects planted in the product: the fuzz finds each of them within a few seeds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any

import polars as pl
import pytest

import loyalty.earning
import loyalty.member_events
import loyalty.promotions.chain
import loyalty.promotions.conditions
import loyalty.promotions.segments
import sql.ledger
import sql.member_events
import sql.redemptions
import sql.store
import sql.stored_versions
import tasks.award.members
import tasks.extract.pages
import tasks.load.invoices
from sql.balance import MemberBalance
from sql.db import DbConnection
from tasks.job import Job, Policy
from tests.fuzz import road, run
from tests.fuzz.events import (
    Award,
    Change,
    Code,
    Fault,
    History,
    Listed,
    Poll,
    Push,
    Rule,
    Settle,
    Spend,
    State,
    Visit,
    history,
)
from tests.fuzz.run import failure, report

SEEDS_MAX = 80
pytestmark = pytest.mark.timeout(900)
Plant = Callable[[pytest.MonkeyPatch], None]


def rounds_up(patch: pytest.MonkeyPatch) -> None:
    def rounded(numerator: pl.Expr, denominator: pl.Expr, _mode: str) -> pl.Expr:
        return (numerator.abs() + denominator - 1) // denominator * numerator.sign()

    for module in (loyalty.earning, loyalty.promotions.chain):
        if hasattr(module, "rounded_ratio"):
            patch.setattr(module, "rounded_ratio", rounded)


def forgets_the_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql.store, "mark_dirty", lambda _connection, members: members.clear())


def forgets_who_had_it_before(patch: pytest.MonkeyPatch) -> None:
    """A document that moves is taken from nobody."""
    stored = sql.store._stored

    def without_member(*args: Any) -> pl.DataFrame:
        return stored(*args).with_columns(pl.lit(None, dtype=pl.Int64).alias("member_id"))

    patch.setattr(sql.store, "_stored", without_member)


def posts_twice(patch: pytest.MonkeyPatch) -> None:
    append = sql.ledger.append

    def doubled(connection: DbConnection, entries: pl.DataFrame, run_id: str) -> None:
        append(connection, entries, run_id)
        again = entries.with_columns(
            pl.col("entry_no") + 1,
            due_before=pl.col("due_after"),
            due_after=pl.col("due_after") + pl.col("points"),
        )
        append(connection, again, run_id)

    patch.setattr(sql.ledger, "append", doubled)


def takes_the_older_version(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql.stored_versions, "supersedes", lambda _version, _stored: True)


def clears_everybody(patch: pytest.MonkeyPatch) -> None:
    def clear(connection: DbConnection, _members: object) -> None:
        connection.execute("DELETE FROM loyalty.member_dirty")

    patch.setattr(sql.ledger, "clear", clear)
    patch.setattr(tasks.award.members, "MEMBERS_AT_ONCE", 1)


def commits_before_the_marks(patch: pytest.MonkeyPatch) -> None:
    """A crash in between leaves a sale that nobody computes."""
    mark = sql.store.mark_dirty

    def late(connection: DbConnection, members: set[int]) -> None:
        connection.commit()
        mark(connection, members)

    patch.setattr(sql.store, "mark_dirty", late)


def moves_the_cursor_too_far(patch: pytest.MonkeyPatch) -> None:
    policy = Policy(overlap=timedelta(minutes=-45), reject_percent_max=100)
    patch.setattr(road, "POLICY", policy)


def deletes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql.store, "void_deleted", lambda *_, **__: None)


def keeps_a_rehearsal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Job, "commit", lambda _self, connection: connection.commit())


def spends_what_is_held(patch: pytest.MonkeyPatch) -> None:
    read = sql.redemptions._balance

    def without_holds(connection: DbConnection, owner: int) -> MemberBalance:
        has = read(connection, owner)
        return replace(has, available_points=max(0, has.balance_points))

    patch.setattr(sql.redemptions, "_balance", without_holds)


def gives_back_twice(patch: pytest.MonkeyPatch) -> None:
    add = sql.redemptions._add_step

    def doubled(connection: DbConnection, values: Any, step: Any, reason: Any) -> None:
        add(connection, values, step, reason)
        if step == "reversed":
            connection.execute(
                "INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason,"
                " author, run_id) VALUES (%s, %s, %s, 'again', 'fuzz', 'fuzz')",
                [values["key"], values["member_id"], values["points"]],
            )

    patch.setattr(sql.redemptions, "_add_step", doubled)


def spends_what_is_pending(patch: pytest.MonkeyPatch) -> None:
    read = sql.redemptions._balance

    def at_once(connection: DbConnection, owner: int) -> MemberBalance:
        has = read(connection, owner)
        return replace(has, available_points=max(0, has.balance_points - has.held_points))

    patch.setattr(sql.redemptions, "_balance", at_once)


def counts_as_they_arrive(patch: pytest.MonkeyPatch) -> None:
    order = ("page_id", "record_no", "member_id")
    patch.setattr(loyalty.promotions.conditions, "ORDER", order)


def counts_events_as_they_arrive(patch: pytest.MonkeyPatch) -> None:
    sound = loyalty.member_events._with_consent

    def by_number(events: pl.DataFrame, withdrawn: pl.DataFrame) -> pl.DataFrame:
        return sound(events, withdrawn).sort("event_no")

    patch.setattr(loyalty.member_events, "_with_consent", by_number)


def takes_no_event_back(patch: pytest.MonkeyPatch) -> None:
    changes = sql.member_events.changes

    def given(*args: Any) -> pl.DataFrame:
        return changes(*args).filter(pl.col("due") > pl.col("posted"))

    patch.setattr(sql.member_events, "changes", given)


def opens_for_good_and_before(patch: pytest.MonkeyPatch) -> None:
    """Codes and lists count whenever the sale was."""

    def ever(frame: pl.DataFrame, spans: pl.DataFrame) -> pl.Series:
        return frame.join(spans, on="member_id", how="semi")["_row"]

    patch.setattr(loyalty.promotions.segments, "_during", ever)


#: With the seed to begin with, shortly before one that shows it: to search from 0 takes minutes.
PLANTS = {
    rounds_up: 0,
    forgets_the_mark: 0,
    posts_twice: 0,
    clears_everybody: 8,
    moves_the_cursor_too_far: 21,
    deletes_nothing: 37,
    keeps_a_rehearsal: 11,
}
SALE = State("invoice", "AOA", "paid", 15_000, 0, 0, 0)


def killed_anywhere() -> Iterator[History]:
    """One sale, and a run that is killed at each of its exchanges with the database in turn.

    First at those in the middle, where the load commits.
    """
    for at in (*range(46, 80), *range(46)):
        fault = Fault(at, "process killed")
        yield (Change("loja-a", 0, SALE, minute=1), Poll(fault, "loja-a", minute=2))


def outdated_at_the_end() -> Iterator[History]:
    """A webhook that tells the first version after a poll read the second."""
    told = Push(None, "loja-a", 0, (0,), minute=100)
    edited = replace(SALE, total=99)
    changes = [Change("loja-a", 0, one, minute=at) for at, one in enumerate((SALE, edited), 1)]
    yield (*changes, Poll(None, "loja-a", minute=50), told)


def moved_to_somebody_else() -> Iterator[History]:
    """A sale that is another customer's after its points were posted."""
    moved = replace(SALE, customer=1)
    told = (Change("loja-a", 0, SALE, minute=1), Poll(None, "loja-a", minute=2))
    yield (*told, Change("loja-a", 0, moved, minute=3), Poll(None, "loja-a", minute=4))


def spent_beside_a_hold() -> Iterator[History]:
    """1,500 points, a thousand of them held, and a thousand to be spent."""
    bought = (Change("loja-a", 0, SALE, minute=1), Poll(None, "loja-a", minute=2))
    held = Spend(None, 0, 1_000, "spend 1", held=True, minute=3)
    yield (*bought, held, Spend(None, 0, 1_000, "spend 2", minute=4))


def given_back() -> Iterator[History]:
    """Points are spent and given back, twice under the same key."""
    bought = (Change("loja-a", 0, SALE, minute=1), Poll(None, "loja-a", minute=2))
    back = Settle(None, "spend 1", "reverse", minute=4)
    yield (*bought, Spend(None, 0, 1_000, "spend 1", minute=3), back, replace(back, minute=5))


def spent_before_the_payment() -> Iterator[History]:
    """1,500 points that wait for the payment, and a thousand to be spent."""
    rule = Rule(-1, 100_000, "down", "lead", until_paid=True, minute=0)
    bought = Change("loja-a", 0, replace(SALE, status="open"), minute=1)
    yield (rule, bought, Poll(None, "loja-a", minute=2), Spend(None, 0, 1_000, "early", minute=3))


def an_earlier_purchase_arrives_late() -> Iterator[History]:
    """Every second purchase brings points; the first one is read after the second."""
    rule = Rule(-1, 100_000, "down", "lead", nth=2, minute=0)
    second = (Change("loja-a", 0, replace(SALE, hour=3), minute=1), Poll(None, "loja-a", minute=2))
    first = (Change("loja-a", 1, SALE, minute=30), Poll(None, "loja-a", minute=31))
    yield (rule, *second, *first)


def a_visit_is_told_late() -> Iterator[History]:
    """One visit counts; the earlier one is told after the later one, by the rules of its hour."""
    rule = Rule(-1, 100_000, "down", "lead", visits=(40, 1), minute=0)
    raised = Rule(3, 100_000, "down", "lead", visits=(25, 1), minute=1)
    late = (Award(minute=3), Visit(0, 1, "visit-2", minute=4), Award(minute=5))
    yield (rule, raised, Visit(0, 4, "visit-1", minute=2), *late)


def a_code_comes_after_the_sale() -> Iterator[History]:
    """A sale before the code was entered, and one once the list has ended."""
    rule = Rule(-1, 100_000, "down", "lead", coded=True, listed=True, minute=0)
    sold = (
        Change("loja-a", 0, SALE, minute=1), Change("loja-a", 1, replace(SALE, hour=5), minute=1),
    )  # fmt: skip
    told = (Code(0, 3, minute=2), Listed(0, 1, 3, minute=3))
    yield (rule, *sold, *told, Poll(None, "loja-a", minute=4))


#: Defects that show in one moment only, each with the histories that reach it.
RARE = (
    (commits_before_the_marks, killed_anywhere),
    (takes_the_older_version, outdated_at_the_end),
    (forgets_who_had_it_before, moved_to_somebody_else),
    (spends_what_is_held, spent_beside_a_hold),
    (gives_back_twice, given_back),
    (spends_what_is_pending, spent_before_the_payment),
    (counts_events_as_they_arrive, a_visit_is_told_late),
    (takes_no_event_back, a_visit_is_told_late),
    (opens_for_good_and_before, a_code_comes_after_the_sale),
    (counts_as_they_arrive, an_earlier_purchase_arrives_late),
)


def is_the_ledgers(reason: str) -> bool:
    """Whether an invariant was broken; a plant that only breaks the code shows nothing."""
    return not reason.startswith(("TypeError", "AttributeError", "NameError", "StuckError"))


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_defect_is_found(dsn: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    seeds = range(PLANTS[plant], PLANTS[plant] + SEEDS_MAX)
    reasons = (failure(dsn, history(seed), whole=False) for seed in seeds)
    reason = next(islice(filter(None, reasons), 1), None)
    assert reason is not None, f"{SEEDS_MAX} seeds and nothing was seen"
    assert is_the_ledgers(reason), reason


@pytest.mark.parametrize(("plant", "histories"), RARE, ids=lambda one: one.__name__)
def test_a_rare_one_is_found_where_it_shows(
    dsn: str,
    plant: Plant,
    histories: Callable[[], Iterator[History]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = next(histories())
    assert failure(dsn, sound, whole=False) is None
    plant(monkeypatch)
    reasons = (failure(dsn, one, whole=False) for one in histories())
    reason = next(islice(filter(None, reasons), 1), None)
    assert reason is not None
    assert is_the_ledgers(reason), reason


def test_what_is_made_small_still_fails_for_its_reason(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sale without its correction fails of itself; it would hide the defect."""
    phoneless = Change("loja-b", 0, replace(SALE, customer=None), minute=1)
    needed = next(moved_to_somebody_else())
    corrected = replace(phoneless, state=replace(SALE, customer=2), minute=5)
    whole = (phoneless, *needed, corrected)
    assert "I20" in (failure(dsn, (phoneless,), whole=False) or "")
    forgets_who_had_it_before(monkeypatch)
    monkeypatch.setattr(run, "history", lambda _seed: whole)
    reason = failure(dsn, whole, whole=False)
    assert reason is not None
    told = report(dsn, 1, reason)
    assert reason.splitlines()[0] in told
    assert "loja-a" in told
    assert "loja-b" not in told
