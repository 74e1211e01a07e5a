"""Currencies, full amounts, promotions that are off, and limits over all of them together."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loyalty.award import Facts, evaluate
from loyalty.explain import ExplainedSale, explained_sales
from loyalty.inputs import LINES
from loyalty.program import Program
from loyalty.promotions import Promotion
from tests.support.ledger import NOON, PROGRAM, history, sale, tiers

LONG_AGO = NOON - timedelta(days=900)
GUIDE = Path(__file__).parents[2] / "docs" / "points-rules.md"
ROWS = re.findall(
    r"^\| (2?\d+\.\d\d[^|]*) \| (\d+) \|",
    GUIDE.read_text(encoding="utf-8").split("| Full 25.00")[1].split("\n\n")[0],
    re.MULTILINE,
)


def program(**changes: Any) -> Program:
    return Program.model_validate(PROGRAM.model_dump() | changes)


def promotion(name: str, rule: dict[str, Any], **more: Any) -> Promotion:
    return Promotion.model_validate(
        {"promotion_id": name, "version": 1, "valid_from": LONG_AGO, "rule": rule} | more
    )


def bonus(name: str, points: int, **more: Any) -> Promotion:
    return promotion(name, {"kind": "purchase_bonus", "points": points}, **more)


def explained(
    sales: list[dict[str, Any]],
    rules: Program,
    promotions: list[Promotion],
    lines: pl.DataFrame | None = None,
    tier: str = "lead",
) -> list[ExplainedSale]:
    given = tiers((1, LONG_AGO, tier))
    facts = Facts() if lines is None else Facts(lines=lines)
    evaluation = evaluate(history(*sales), given, [rules], promotions, facts)
    return explained_sales(evaluation, given, [rules], promotions)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_only_full_amounts_earn(row: tuple[str, str]) -> None:
    """The table of the guide."""
    amount = int(row[0][:6].strip(" ,").replace(".", ""))
    rules = program(base_rate_bps={"AOA": 30_000}, per_full_minor={"AOA": 2_500})
    lines = pl.DataFrame(
        [(1, 0, 1, "DEP", None, 10**6, 6_000), (1, 0, 2, "AGUA", None, 10**6, amount - 6_000)],
        schema=LINES,
        orient="row",
    )
    nothing = {"kind": "product_bonus", "match": {"skus": ["DEP"]}, "multiplier_bps": 0}
    off = "do not earn" in row[0]
    (due,) = explained(
        [sale(total_minor=amount)], rules, [promotion("deposit", nothing)] if off else [],
        lines if off else None, "gold" if "Gold" in row[0] else "lead",
    )  # fmt: skip
    assert due.due == int(row[1])
    assert due.parts[0].words == "3 points per full 25.00"


def test_the_guide_has_rows() -> None:
    assert len(ROWS) == 4


def test_another_currency_is_rejected_with_the_line_to_add() -> None:
    (due,) = explained([sale(currency="EUR")], program(base_rate_bps={"AOA": 100_000}), [])
    assert due.due is None and due.problem is not None
    assert "`EUR = ...` under [program.points_per_unit]" in due.problem
    assert '`base_currency = "AOA"` under [program]' in due.problem


def test_one_that_is_switched_off_gives_nothing_and_says_so() -> None:
    (due,) = explained([sale()], PROGRAM, [bonus("on", 5), bonus("off", 7, enabled=False)])
    assert due.due == 1505
    assert [(c.promotion, c.outcome) for c in due.considered] == [
        ("off", "enabled"), ("on", "applied")
    ]  # fmt: skip
    assert "  not off@1: it is switched off" in due.to_lines()


def test_all_together_are_cut_in_the_order_of_application() -> None:
    limits = {"per_sale": 60, "per_period": {"points": 100, "period": "month"}}
    sales = [sale(external_id=name, issued_at=NOON + timedelta(days=n)) for n, name in
             enumerate("ABC")]  # fmt: skip
    first = bonus("z", 50, stacking={"priority": 1})
    due = explained(sales, program(promotion_limits=limits), [bonus("a", 40), first])
    assert [one.due for one in due] == [1560, 1540, 1500]
    gained = [{c.promotion: (c.points, c.outcome) for c in one.considered} for one in due]
    assert gained[0] == {"z": (50, "applied"), "a": (10, "together")}
    assert gained[1] == {"z": (40, "together"), "a": (0, "together")}
    assert any("over all promotions together: 10 of 40" in line for line in due[0].to_lines())


def test_what_is_excluded_is_no_room_for_others() -> None:
    """A promotion that takes points does not count against the limit."""
    lines = pl.DataFrame([(1, 0, 1, "DEP", None, 10**6, 5_000)], schema=LINES, orient="row")
    nothing = {"kind": "product_bonus", "match": {"skus": ["DEP"]}, "multiplier_bps": 0}
    (due,) = explained(
        [sale()], program(promotion_limits={"per_member": 10}),
        [promotion("deposit", nothing), bonus("b", 50)], lines,
    )  # fmt: skip
    assert due.due == 1500 - 500 + 10
