"""Changing the rules: seen beforehand for everybody."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from loyalty.authored import write_rules
from loyalty.member_events import AppEvent
from sql import ledger, member_events
from sql.db import connect
from tasks.program import change as step
from tasks.program.change import shown
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice
from tests.support.rules_file import HEAD, LATER, applied, bonus, looked, post, rules

pytestmark = pytest.mark.usefixtures("no_limit")
LUANDA = ZoneInfo("Africa/Luanda")


def test_the_stored_program_as_a_file_changes_nothing(two: Books) -> None:
    with connect(two.dsn) as connection:
        text = write_rules(ledger.programs(connection)[0], [])
    assert applied(two, text).change_id is None
    assert two.rows("SELECT count(*) FROM loyalty.program_change") == [(0,)]


class TestLooking:
    def test_who_would_gain_what(self, two: Books) -> None:
        trial = looked(two, rules(gold=2)).trial
        assert (
            trial.looked_at,
            trial.sales,
            trial.before,
            trial.points,
            trial.added,
            trial.taken,
        ) == (
            2,
            1,
            5250,
            750,
            750,
            0,
        )
        assert [(m.member_id, m.before, m.after) for m in trial.largest] == [
            (two.member(), 2250, 3000)
        ]
        assert trial.members == [two.member()]

    def test_gains_and_losses_do_not_hide_each_other(self, two: Books) -> None:
        trial = looked(two, rules(default=9, gold=2)).trial
        assert (trial.points, trial.added, trial.taken, trial.moved) == (150, 450, -300, 750)

    def test_many_members_in_parts(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = looked(two, rules(default=20)).trial
        monkeypatch.setattr("tasks.program.preview.MEMBERS_AT_ONCE", 1)
        assert looked(two, rules(default=20)).trial == whole
        assert whole.points == 5250

    def test_what_waits_for_the_award_step_is_no_change_of_the_rules(self, two: Books) -> None:
        two.store(invoice(external_id="C"))
        assert looked(two, rules(gold=1.5)).plan.is_empty
        assert looked(two, rules(gold=2)).trial.before == 5250 + 2250

    def test_a_change_to_come_means_nothing_for_stored_sales_unless_asked_as_if(
        self, two: Books
    ) -> None:
        text = rules(gold=2, begins=LATER)
        assert (looked(two, text).trial.points, looked(two, text).trial.looked_at) == (0, 0)
        assert looked(two, text, NOON - HOUR).trial.points == 750
        assert looked(two, text, NOON + HOUR).trial.points == 0

    def test_sales_that_could_not_be_computed_keep_what_they_have(self, two: Books) -> None:
        text = HEAD + (
            "points_per_unit = { EUR = 10 }\n"
            "tiers = { lead = 1, silver = 1.2, gold = 1.5, platinum = 2 }\n"
        )
        trial = looked(two, text).trial
        assert (trial.uncomputed, trial.points, trial.members) == (2, 0, [])

    def test_points_that_would_have_expired_are_part_of_it(self, two: Books) -> None:
        """What is posted is what the preview said.

        Of sales, and of adjustments without any sale.
        """
        old = datetime.now(UTC) - timedelta(days=500)
        two.store(invoice(external_id="old", issued_at=old))
        two.run("INSERT INTO loyalty.member (phone) VALUES ('+244923000009')")
        given = (
            "INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, "
            "event_at, run_id) VALUES ('k', %(m)s, 70, 'gift', 'test', %(at)s, 'r')"
        )
        two.run(given, m=two.member("+244923000009"), at=old)
        two.award()
        before = two.points() + two.points(OTHER_PHONE) + two.points("+244923000009")
        text = rules() + "expiry = { months = 12 }\n"
        found = looked(two, text)
        assert (found.trial.expired, found.trial.points, found.trial.sales) == (1570, -1570, 0)
        assert {m.member_id: m.points for m in found.trial.largest} == {
            two.member(): -1500,
            two.member("+244923000009"): -70,
        }
        applied(two, text, recompute=True)
        post(two)
        assert two.points() + two.points(OTHER_PHONE) + two.points("+244923000009") == before - 1570
        longer = rules() + "expiry = { months = 36 }\n"
        assert (looked(two, longer).trial.expired, looked(two, longer).trial.points) == (
            -1570,
            1570,
        )

    def test_events_are_part_of_it_and_no_sales(self, two: Books) -> None:
        event = AppEvent(member_id=two.member(), name="review", event_id="r", happened_at=NOON)
        with two.transaction() as connection:
            member_events.add(connection, event, "test")
        text = rules() + "events = { review = { points = 70 } }\n"
        preview = looked(two, text)
        trial = preview.trial
        assert (trial.points, trial.sales, trial.members) == (70, 0, [two.member()])
        assert any("events.review.points: 70" in told for told in shown(preview, LUANDA))
        assert applied(two, text, recompute=True).recomputed
        post(two)
        assert two.points() == 2320
        assert looked(two, text).plan.is_empty
        assert looked(two, rules()).trial.points == -70

    def test_points_that_could_not_be_spent_yet_are_told_and_change_no_balance(
        self, two: Books
    ) -> None:
        """Of the two sales one is not paid; a refund has taken a third of it."""
        refunded = {"amount_refunded_minor": 5_000, "updated_at": NOON + HOUR}
        paid = {"external_id": "B", "status": "paid", "updated_at": NOON + HOUR}
        two.store(
            invoice(**refunded), invoice(customer_phone=OTHER_PHONE, total_minor=30_000, **paid)
        )
        two.award()
        waits = rules() + "pending = { until_paid = true }\n"
        found = looked(two, waits)
        assert (found.trial.pending, found.trial.points, found.trial.members) == (1500, 0, [])
        told = "1500 points more cannot be spent yet; that changes no balance."
        assert told in shown(found, LUANDA) and found.to_json()["pending"] == 1500
        assert applied(two, waits).recomputed is False
        assert two.rows(
            "SELECT member_id, pending_points FROM loyalty.member_balance WHERE pending_points > 0"
        ) == [(two.member(), 1500)]
        back = looked(two, rules())
        assert back.trial.pending == -1500
        assert any(line.startswith("1500 points more can be spent") for line in shown(back, LUANDA))

    def test_keeps_nothing(self, two: Books) -> None:
        looked(two, rules(gold=2) + bonus())
        assert two.rows("SELECT count(*) FROM loyalty.program") == [(1,)]
        assert two.dirty() == []

    def test_a_budget_is_divided_among_all(
        self, two: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two.store(invoice(external_id="C", issued_at=NOON - HOUR, customer_phone=OTHER_PHONE))
        two.award()
        text = bonus(50, more="limits = { budget = 120 }")
        monkeypatch.setattr("tasks.program.preview.MEMBERS_AT_ONCE", 1)
        found = looked(two, text)
        assert found.trial.points == 120
        assert {m.member_id: m.points for m in found.trial.largest} == {
            two.member(): 50,
            two.member(OTHER_PHONE): 70,
        }
        applied(two, text, recompute=True)
        before = two.points(), two.points(OTHER_PHONE)
        post(two)
        assert (two.points() - before[0], two.points(OTHER_PHONE) - before[1]) == (50, 70)

    def test_who_claimed_a_budget_in_vain_gets_it_when_it_is_free(self, two: Books) -> None:
        text = bonus(50, more="limits = { budget = 50 }")
        found = looked(two, text)
        assert found.trial.members == [two.member()] and list(found.marks) == [
            two.member(),
            two.member(OTHER_PHONE),
        ]
        applied(two, text, recompute=True)
        post(two)
        two.store(invoice(status="void", updated_at=NOON + HOUR))
        two.award()
        assert (two.points(), two.points(OTHER_PHONE)) == (0, 3050)

    def test_is_told_in_words_and_json(self, two: Books) -> None:
        from zoneinfo import ZoneInfo

        found = looked(two, rules(gold=2))
        text = "\n".join(step.shown(found, ZoneInfo("UTC")))
        assert (
            "tiers.gold: 1.5 -> 2" in text
            and "1 of 2 members: +750 points (+750, +0; 14.3 % of 5250)" in text
        )
        assert f"member {two.member()}: 2250 -> 3000 (+750)" in text
        assert found.to_json()["points"] == 750
