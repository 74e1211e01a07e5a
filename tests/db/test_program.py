"""Changing the rules: seen beforehand for everybody, applied as new versions, and the past only if that is meant."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from loyalty.authored import write_rules
from loyalty.authoring import BadRulesError
from loyalty.corrections import Decision
from sql import budgets, facts, ledger
from sql.db import Connection, connect
from sql.program import RulesChangedError
from tasks import award as award_step
from tasks import program as step
from tasks.award import award_members
from tasks.program import Applied, ChangeRefusedError, Look, apply_rules, look
from tasks.work import Work
from tests.support.books import HOUR, NOON, OTHER_PHONE, Books, invoice
from twezah.settings import settings

WHY = Decision(reason="Black November", author="Ana, marketing")
HEAD = '[program]\nentry_tier = "lead"\n'
RATES = "points_per_unit = {{ default = {0} }}\ntiers = {{ lead = 1, silver = 1.2, gold = {1}, platinum = 2 }}\n"
LATER = "valid_from = 2999-01-01\n"


def rules(default: object = 10, gold: object = 1.5, begins: str = "") -> str:
    return HEAD + begins + RATES.format(default, gold)


def bonus(points: int = 50, begins: str = "2026-01-01", more: str = "") -> str:
    return f'[[promotion]]\nid = "p"\nvalid_from = {begins}\nkind = "purchase_bonus"\npoints = {points}\n{more}\n'


def looked(books: Books, text: str, since: datetime | None = None) -> Look:
    with connect(books.dsn) as connection:
        return look(connection, text, since=since)


def applied(books: Books, text: str, *, recompute: bool = False, confirm: int = 0) -> Applied:
    return apply_rules(books.dsn, text, WHY, "by hand", recompute=recompute, confirm=confirm)


def post(books: Books) -> Any:
    return award_members(Work(books.dsn, "by hand"), None)


def facts_of(books: Books) -> facts.Rules:
    with connect(books.dsn) as connection:
        return facts.rules(connection)


@pytest.fixture
def two(books: Books) -> Books:
    """A Gold with 2250 points and a Lead with 3000."""
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE, total_minor=30_000))
    books.set_tier(books.member(), "gold", NOON - HOUR)
    books.award()
    return books


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWEZAH_CHANGE_PERCENT_MAX", "100")
    settings.cache_clear()


def test_the_stored_program_as_a_file_changes_nothing(two: Books) -> None:
    with connect(two.dsn) as connection:
        text = write_rules(ledger.programs(connection)[0], [])
    assert applied(two, text).change_id is None
    assert two.rows("SELECT count(*) FROM loyalty.program_change") == [(0,)]


class TestLooking:
    def test_who_would_gain_what(self, two: Books) -> None:
        trial = looked(two, rules(gold=2)).trial
        assert (trial.looked_at, trial.sales, trial.before, trial.points, trial.added, trial.taken) == (
            2,
            1,
            5250,
            750,
            750,
            0,
        )
        assert [(m.member_id, m.before, m.after) for m in trial.largest] == [(two.member(), 2250, 3000)]
        assert trial.members == [two.member()]

    def test_gains_and_losses_do_not_hide_each_other(self, two: Books) -> None:
        trial = looked(two, rules(default=9, gold=2)).trial
        assert (trial.points, trial.added, trial.taken, trial.moved) == (150, 450, -300, 750)

    def test_many_members_in_parts(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = looked(two, rules(default=20)).trial
        monkeypatch.setattr("tasks.trial.MEMBERS_AT_ONCE", 1)
        assert looked(two, rules(default=20)).trial == whole
        assert whole.points == 5250

    def test_what_waits_for_the_award_step_is_no_change_of_the_rules(self, two: Books) -> None:
        two.store(invoice(external_id="C"))
        assert looked(two, rules(gold=1.5)).plan.is_empty
        assert looked(two, rules(gold=2)).trial.before == 5250 + 2250

    def test_a_change_to_come_means_nothing_for_stored_sales_unless_asked_as_if(self, two: Books) -> None:
        text = rules(gold=2, begins=LATER)
        assert (looked(two, text).trial.points, looked(two, text).trial.looked_at) == (0, 0)
        assert looked(two, text, NOON - HOUR).trial.points == 750
        assert looked(two, text, NOON + HOUR).trial.points == 0

    def test_sales_that_could_not_be_computed_keep_what_they_have(self, two: Books) -> None:
        text = HEAD + "points_per_unit = { EUR = 10 }\ntiers = { lead = 1, silver = 1.2, gold = 1.5, platinum = 2 }\n"
        trial = looked(two, text).trial
        assert (trial.uncomputed, trial.points, trial.members) == (2, 0, [])

    def test_points_that_would_have_expired_are_part_of_it(self, two: Books) -> None:
        """And what is then posted is what was foreseen, of sales and of adjustments without any sale."""
        old = datetime.now(UTC) - timedelta(days=500)
        two.store(invoice(external_id="old", issued_at=old))
        two.run("INSERT INTO loyalty.member (phone) VALUES ('+244923000009')")
        given = "INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, event_at, run_id) VALUES ('k', %(m)s, 70, 'gift', 'test', %(at)s, 'r')"
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
        assert (looked(two, longer).trial.expired, looked(two, longer).trial.points) == (-1570, 1570)

    def test_keeps_nothing(self, two: Books) -> None:
        looked(two, rules(gold=2) + bonus())
        assert two.rows("SELECT count(*) FROM loyalty.program") == [(1,)]
        assert two.dirty() == []

    def test_a_budget_is_divided_among_all(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        two.store(invoice(external_id="C", issued_at=NOON - HOUR, customer_phone=OTHER_PHONE))
        two.award()
        text = bonus(50, more="limits = { budget = 120 }")
        monkeypatch.setattr("tasks.trial.MEMBERS_AT_ONCE", 1)
        found = looked(two, text)
        assert found.trial.points == 120
        assert {m.member_id: m.points for m in found.trial.largest} == {two.member(): 50, two.member(OTHER_PHONE): 70}
        applied(two, text, recompute=True)
        before = two.points(), two.points(OTHER_PHONE)
        post(two)
        assert (two.points() - before[0], two.points(OTHER_PHONE) - before[1]) == (50, 70)

    def test_who_claimed_a_budget_in_vain_gets_it_when_it_is_free(self, two: Books) -> None:
        text = bonus(50, more="limits = { budget = 50 }")
        found = looked(two, text)
        assert found.trial.members == [two.member()] and list(found.marks) == [two.member(), two.member(OTHER_PHONE)]
        applied(two, text, recompute=True)
        post(two)
        two.store(invoice(status="void", updated_at=NOON + HOUR))
        two.award()
        assert (two.points(), two.points(OTHER_PHONE)) == (0, 3050)

    def test_is_told_in_words_and_json(self, two: Books) -> None:
        from zoneinfo import ZoneInfo

        found = looked(two, rules(gold=2))
        text = "\n".join(step.shown(found, ZoneInfo("UTC")))
        assert "tiers.gold: 1.5 -> 2" in text and "1 of 2 members: +750 points (+750, +0; 14.3 % of 5250)" in text
        assert f"member {two.member()}: 2250 -> 3000 (+750)" in text
        assert found.to_json()["points"] == 750


class TestApplying:
    def test_a_change_to_come_leaves_the_past_alone(self, two: Books) -> None:
        done = applied(two, rules(gold=2, begins=LATER) + bonus(begins="2999-01-01"))
        assert (done.recomputed, two.dirty()) == (False, [])
        assert two.rows("SELECT version, created_by FROM loyalty.program ORDER BY 1") == [
            (1, "installation"),
            (2, "Ana, marketing"),
        ]
        assert two.rows("SELECT promotion_id, version, kind FROM loyalty.promotion") == [("p", 1, "purchase_bonus")]
        two.store(invoice(external_id="N"))
        two.award()
        assert two.points() == 4500

    def test_who_when_why_and_the_file_are_kept(self, two: Books) -> None:
        text = "# my own words\n" + rules(gold=2, begins=LATER)
        change = applied(two, text).change_id
        columns = "change_id, author, reason, run_id, file_text, versions, recomputed, members"
        assert two.rows(f"SELECT {columns} FROM loyalty.program_change") == [
            (change, WHY.author, WHY.reason, "by hand", text, {"program": 2}, False, 0)
        ]
        for how in (
            "UPDATE loyalty.program_change SET author = 'x'",
            "DELETE FROM loyalty.program_change",
            "TRUNCATE loyalty.program_change",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation):
                two.run(how)

    def test_the_past_is_changed_only_on_purpose(self, two: Books) -> None:
        with pytest.raises(ChangeRefusedError, match="reaches into the past") as caught:
            applied(two, rules(gold=2))
        assert caught.value.look.trial.points == 750
        assert two.rows("SELECT count(*) FROM loyalty.program") == [(1,)]
        done = applied(two, rules(gold=2), recompute=True)
        assert done.recomputed and two.dirty() == [two.member()]
        post(two)
        assert two.points() == 3000
        assert [row[2:] for row in two.entries() if row[0] == "A"] == [(1, "award", 2250), (2, "edit", 750)]

    def test_a_rule_fixed_retroactively_and_back_again(self, two: Books) -> None:
        for text, points in ((bonus(50), 2300), (bonus(60), 2310), (bonus(60, more="valid_to = 2026-02-01"), 2250)):
            look_first = looked(two, text)
            applied(two, text, recompute=True)
            assert look_first.trial.members == two.dirty()
            before = two.points()
            post(two)
            assert (two.points(), two.points() - before) == (points, look_first.trial.largest[0].points)

    def test_a_change_into_the_past_that_concerns_no_sale_needs_no_recomputation(self, two: Books) -> None:
        today = (NOON + timedelta(days=1)).date().isoformat()
        assert not applied(two, rules(gold=2, begins=f"valid_from = {today}\n")).recomputed

    def test_a_large_one_must_be_confirmed(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TWEZAH_CHANGE_POINTS_MAX", "700")
        settings.cache_clear()
        with pytest.raises(ChangeRefusedError, match=r"moves 750 points \(14.3 % of all\).*confirm 750"):
            applied(two, rules(gold=2), recompute=True)
        with pytest.raises(ChangeRefusedError):
            applied(two, rules(gold=2), recompute=True, confirm=749)
        assert applied(two, rules(gold=2), recompute=True, confirm=750).change_id

    def test_a_large_share_must_be_confirmed(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TWEZAH_CHANGE_PERCENT_MAX", "14")
        settings.cache_clear()
        with pytest.raises(ChangeRefusedError, match="the limit of 1000000 points or 14 %"):
            applied(two, rules(gold=2), recompute=True)
        monkeypatch.setenv("TWEZAH_CHANGE_PERCENT_MAX", "15")
        settings.cache_clear()
        assert applied(two, rules(gold=2), recompute=True).change_id

    def test_every_key_is_stored_as_written(self, two: Books) -> None:
        """Nothing that the file can say is lost on the way to the tables and back."""
        text = rules(begins=LATER) + (
            'rounding = "half_up"\nbasis = "subtotal"\naward_when = "paid"\ntimezone = "Europe/Lisbon"\nbase_currency = "EUR"\n'
            'unlinked_credits = "latest_sales"\ncategories = { large = ["A*"] }\nexpiry = { months = 12, end_of = "year" }\n'
            'tier_policy = { thresholds = { gold = 5 }, grace_days = 3 }\n'
        ) + bonus(begins="2999-01-01", more='limits = { budget = 9 }\nwhen = { weekdays = ["sat"], hours = [{ start = 18:00:00, end = 19:00:00 }] }')  # fmt: skip
        done = applied(two, text)
        planned = done.look.plan.new_program
        assert planned is not None
        unchanged = {name for name, value in planned if value == type(planned).model_fields[name].default}
        assert unchanged == set()
        with connect(two.dsn) as connection:
            assert ledger.programs(connection)[-1] == planned
            assert ledger.promotions(connection) == list(done.look.plan.new_promotions)

    def test_twice_is_once(self, two: Books) -> None:
        assert applied(two, bonus(), recompute=True).change_id
        assert applied(two, bonus(), recompute=True).change_id is None
        assert two.rows("SELECT count(*) FROM loyalty.promotion") == [(1,)]

    def test_somebody_else_was_quicker(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        judge = step._judge

        def meanwhile(found: Look, **options: Any) -> None:
            judge(found, **options)
            monkeypatch.setattr(step, "_judge", judge)
            applied(two, bonus(7, begins="2999-01-01"))

        monkeypatch.setattr(step, "_judge", meanwhile)
        with pytest.raises(RulesChangedError):
            applied(two, bonus(8, begins="2999-01-01"))
        assert two.rows("SELECT count(*) FROM loyalty.promotion") == [(1,)]

    def test_an_award_under_way_does_not_lose_the_change(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has read the rules, then they change, and then it claims the members that the change marked."""
        claim = ledger.claim

        def changed_before(connection: Connection, limit: int) -> list[int]:
            monkeypatch.setattr(ledger, "claim", claim)
            applied(two, rules(default=20), recompute=True)
            return claim(connection, limit)

        two.store(invoice(external_id="C", total_minor=100, customer_phone=OTHER_PHONE))
        monkeypatch.setattr(ledger, "claim", changed_before)
        done = post(two)
        assert (two.points(), two.points(OTHER_PHONE)) == (4500, 6020)
        assert (two.dirty(), done.waiting) == ([], 0)

    def test_a_budget_that_is_new_is_not_divided_by_the_old_rules(
        self, two: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run has read the rules; a budget is added, claimed by another run, and only then divided by the first."""
        applied(two, bonus(1, begins="2025-01-01", more="limits = { budget = 1000 }"), recompute=True)
        post(two)
        settle, text = budgets.settle, bonus(50, begins="2025-01-01", more="limits = { budget = 70 }")

        def claimed_before(connection: Connection, known: Any) -> set[int]:
            monkeypatch.setattr(budgets, "settle", settle)
            applied(two, text, recompute=True)
            award_step._claim_budgets(Work(two.dsn, "another"), facts_of(two))
            return settle(connection, known)

        monkeypatch.setattr(budgets, "settle", claimed_before)
        post(two)
        post(two)
        assert two.points() + two.points(OTHER_PHONE) == 5250 + 70

    def test_a_bad_file_is_refused_with_all_it_is(self, two: Books) -> None:
        with pytest.raises(BadRulesError) as caught:
            applied(two, rules(gold="'x'") + bonus(points=0))
        assert len(caught.value.problems) == 2
