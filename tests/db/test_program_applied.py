"""Changing the rules: applied as new versions, and the past only if that is meant."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from loyalty.authoring import BadRulesError
from settings import settings
from sql import budgets, ledger
from sql.db import DbConnection, connect
from sql.program import RulesChangedError
from tasks.award import members as award_step
from tasks.program import change as step
from tasks.program.change import ChangePreview, ChangeRefusedError
from tasks.run_database import RunDatabase
from tests.support.books import NOON, OTHER_PHONE, Books, invoice
from tests.support.rules_file import LATER, WHY, applied, bonus, facts_of, looked, post, rules

pytestmark = pytest.mark.usefixtures("no_limit")


class TestApplying:
    def test_a_change_to_come_leaves_the_past_alone(self, two: Books) -> None:
        done = applied(two, rules(gold=2, begins=LATER) + bonus(begins="2999-01-01"))
        assert (done.recomputed, two.dirty()) == (False, [])
        assert two.rows("SELECT version, created_by FROM loyalty.program ORDER BY 1") == [
            (1, "installation"),
            (2, "Ana, marketing"),
        ]
        assert two.rows("SELECT promotion_id, version, kind FROM loyalty.promotion") == [
            ("p", 1, "purchase_bonus")
        ]
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
        assert caught.value.preview.trial.points == 750
        assert two.rows("SELECT count(*) FROM loyalty.program") == [(1,)]
        done = applied(two, rules(gold=2), recompute=True)
        assert done.recomputed and two.dirty() == [two.member()]
        post(two)
        assert two.points() == 3000
        assert [row[2:] for row in two.entries() if row[0] == "A"] == [
            (1, "award", 2250),
            (2, "edit", 750),
        ]

    def test_a_rule_fixed_retroactively_and_back_again(self, two: Books) -> None:
        for text, points in (
            (bonus(50), 2300),
            (bonus(60), 2310),
            (bonus(60, more="valid_to = 2026-02-01"), 2250),
        ):
            look_first = looked(two, text)
            applied(two, text, recompute=True)
            assert look_first.trial.members == two.dirty()
            before = two.points()
            post(two)
            assert (two.points(), two.points() - before) == (
                points,
                look_first.trial.largest[0].points,
            )

    def test_a_change_into_the_past_that_concerns_no_sale_needs_no_recomputation(
        self, two: Books
    ) -> None:
        today = (NOON + timedelta(days=1)).date().isoformat()
        assert not applied(two, rules(gold=2, begins=f"valid_from = {today}\n")).recomputed

    def test_a_large_one_must_be_confirmed(
        self, two: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWEZAH_CHANGE_POINTS_MAX", "700")
        settings.cache_clear()
        with pytest.raises(
            ChangeRefusedError, match=r"moves 750 points \(14.3 % of all\).*confirm 750"
        ):
            applied(two, rules(gold=2), recompute=True)
        with pytest.raises(ChangeRefusedError):
            applied(two, rules(gold=2), recompute=True, confirm=749)
        assert applied(two, rules(gold=2), recompute=True, confirm=750).change_id

    def test_a_large_share_must_be_confirmed(
        self, two: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWEZAH_CHANGE_PERCENT_MAX", "14")
        settings.cache_clear()
        with pytest.raises(ChangeRefusedError, match="the limit of 1000000 points or 14 %"):
            applied(two, rules(gold=2), recompute=True)
        monkeypatch.setenv("TWEZAH_CHANGE_PERCENT_MAX", "15")
        settings.cache_clear()
        assert applied(two, rules(gold=2), recompute=True).change_id

    def test_every_key_is_stored_as_written(self, two: Books) -> None:
        """Nothing that the file can say is lost on the way to the tables and back."""
        text = (
            rules(begins=LATER).replace(
                "{ AOA = 10 }", "{ AOA = 10, EUR = { points = 1, per_full = 2.5 } }"
            )
            + (
                'rounding = "half_up"\nbasis = "subtotal"\naward_when = "paid"\n'
                'timezone = "Europe/Lisbon"\nbase_currency = "EUR"\n'
                'unlinked_credits = "latest_sales"\ndiscount_lines = "ignored"\n'
                'categories = { large = ["A*"] }\n'
                'expiry = { months = 12, end_of = "year" }\npending = { days = 14 }\n'
                "promotion_limits = { per_sale = 9, per_member = 99 }\n"
                "tier_policy = { thresholds = { gold = 5 }, grace_days = 3 }\n"
            )
            + bonus(
                begins="2999-01-01",
                more=(
                    "limits = { budget = 9 }\nenabled = false\n"
                    'when = { weekdays = ["sat"], hours = [{ start = 18:00:00, end = 19:00:00 }],'
                    " nth_purchase = 5, streak = { weeks = 4 } }"
                ),
            )
        )
        done = applied(two, text)
        planned = done.preview.plan.new_program
        assert planned is not None
        unchanged = {
            name for name, value in planned if value == type(planned).model_fields[name].default
        }
        assert unchanged == set()
        with connect(two.dsn) as connection:
            assert ledger.programs(connection)[-1] == planned
            assert ledger.promotions(connection) == list(done.preview.plan.new_promotions)

    def test_twice_is_once(self, two: Books) -> None:
        assert applied(two, bonus(), recompute=True).change_id
        assert applied(two, bonus(), recompute=True).change_id is None
        assert two.rows("SELECT count(*) FROM loyalty.promotion") == [(1,)]

    def test_somebody_else_was_quicker(self, two: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        judge = step._judge

        def meanwhile(found: ChangePreview, **options: Any) -> None:
            judge(found, **options)
            monkeypatch.setattr(step, "_judge", judge)
            applied(two, bonus(7, begins="2999-01-01"))

        monkeypatch.setattr(step, "_judge", meanwhile)
        with pytest.raises(RulesChangedError):
            applied(two, bonus(8, begins="2999-01-01"))
        assert two.rows("SELECT count(*) FROM loyalty.promotion") == [(1,)]

    def test_an_award_under_way_does_not_lose_the_change(
        self, two: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that read the old rules awards by the new ones.

        The rules change after it read them, and before it claims the members that the change
        marked.
        """
        claim = ledger.claim

        def changed_before(connection: DbConnection, limit: int) -> list[int]:
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
        """A budget that was added after a run read the rules.

        Another run claims it, and only then does the first run divide it.
        """
        applied(
            two, bonus(1, begins="2025-01-01", more="limits = { budget = 1000 }"), recompute=True
        )
        post(two)
        settle, text = (
            budgets.settle,
            bonus(50, begins="2025-01-01", more="limits = { budget = 70 }"),
        )

        def claimed_before(connection: DbConnection, known: Any) -> set[int]:
            monkeypatch.setattr(budgets, "settle", settle)
            applied(two, text, recompute=True)
            award_step._claim_budgets(RunDatabase(two.dsn, "another"), facts_of(two))
            return settle(connection, known)

        monkeypatch.setattr(budgets, "settle", claimed_before)
        post(two)
        post(two)
        assert two.points() + two.points(OTHER_PHONE) == 5250 + 70

    def test_a_bad_file_is_refused_with_all_it_is(self, two: Books) -> None:
        with pytest.raises(BadRulesError) as caught:
            applied(two, rules(gold="'x'") + bonus(points=0))
        assert len(caught.value.problems) == 2
