"""The worked numbers of docs/points-rules.md, row by row."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loyalty.award import Facts, award
from loyalty.expiry import MOVES, earned_before, expired
from loyalty.inputs import FX, LINES
from loyalty.program import Program
from loyalty.promotions import Promotion
from tests.support.ledger import NOON, PROGRAM, history, sale, tiers

TEXT = (Path(__file__).parents[2] / "docs" / "points-rules.md").read_text(encoding="utf-8")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AGUA, COPO = {"sku_patterns": ["AGUA-*"]}, {"skus": ["COPO"]}
FIVE = {"kind": "product_bonus", "match": {"skus": ["AGUA-5L"]}, "points_per_unit": 25}


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose header begins so."""
    after = TEXT.split(f"| {heading}", 1)[1].split("\n\n", 1)[0]
    return [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in after.splitlines()[2:]
    ]


def season(factor: int, **more: Any) -> dict[str, Any]:
    return {"rule": {"kind": "seasonal_multiplier", "multiplier_bps": factor}, **more}


def bought(**more: Any) -> dict[str, Any]:
    return {"rule": {"kind": "purchase_bonus", "points": 50, **more}}


def product(match: dict[str, Any], **reward: int) -> dict[str, Any]:
    return {"rule": {"kind": "product_bonus", "match": match, **reward}}


GROUP = {"stacking": {"group": "season"}}
PROMOTIONS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "2×": [season(20_000)],
    "2×; 50 for the purchase": [season(20_000), bought()],
    "2×; 50 for the purchase, multiplied": [season(20_000), bought(multiplied=True)],
    "2×; 3× in one group": [season(20_000, **GROUP), season(30_000, **GROUP)],
    "2×; 1.5×": [season(20_000), season(15_000)],
    "2× alone; 50 for the purchase": [season(20_000, stacking={"alone": True}), bought()],
    "25 per `AGUA-5L`": [{"rule": FIVE}],
    "10 % of `AGUA-*`": [product(AGUA, percent_bps=1_000)],
    "3× on `AGUA-*`": [product(AGUA, multiplier_bps=30_000)],
    "0× on `COPO`": [product(COPO, multiplier_bps=0)],
    "3× on `AGUA-*`; 2×": [product(AGUA, multiplier_bps=30_000), season(20_000)],
    "2× from 200.00 on": [season(20_000, when={"minimum_minor": {"AOA": 20_000}})],
    "25 per `AGUA-5L`, at most 30 a sale": [{"rule": FIVE, "limits": {"per_sale": 30}}],
    "2×, for Gold": [season(20_000, when={"tiers": ["gold"]})],
}


def promotion(number: int, given: dict[str, Any]) -> Promotion:
    return Promotion.model_validate(
        {"promotion_id": f"p{number}", "version": 1, "valid_from": LONG_AGO} | given
    )


SOLD = pl.DataFrame(
    [
        (1, 0, 1, "AGUA-5L", "Água 5 L", 2_000_000, 10_000),
        (1, 0, 2, "COPO", "Copo", 1_000_000, 2_345),
    ],
    schema=LINES,
    orient="row",
)


def test_every_row_of_the_promotions_is_known() -> None:
    assert [row[0] for row in rows("Promotions | Points")] == list(PROMOTIONS)


@pytest.mark.parametrize("row", rows("Promotions | Points"), ids=lambda row: row[0])
def test_promotions(row: list[str]) -> None:
    given = [promotion(n, one) for n, one in enumerate(PROMOTIONS[row[0]])]
    frame = award(
        history(sale(total_minor=12_345)),
        tiers((1, LONG_AGO, "silver")),
        [PROGRAM],
        given,
        Facts(lines=SOLD),
    )
    assert frame["due"].item() == int(row[1])


@pytest.mark.parametrize("row", rows("Silver from 1000"), ids=lambda row: row[0])
def test_tiers(row: list[str]) -> None:
    days = [
        datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
        for day in re.findall(r"\d{4}-\d\d-\d\d", row[0])
    ]
    policy = {"thresholds": {"silver": 1_000}, "grace_days": 30 if "grace" in row[0] else 0}
    program = Program.model_validate(PROGRAM.model_dump() | {"tier_policy": policy})
    sales = [sale(external_id=str(n), issued_at=at) for n, at in enumerate(days)]
    assert award(history(*sales), tiers(), [program])["tier"].to_list() == [
        "lead",
        row[1].split(":")[0],
    ]


@pytest.mark.parametrize("row", rows("Silver buys 100.00"), ids=lambda row: row[0])
def test_credits_without_a_link(row: list[str]) -> None:
    program = PROGRAM.model_copy(update={"unlinked_credits": row[0]})
    later = NOON + timedelta(days=9)
    known = tiers((1, LONG_AGO, "silver"), (1, later, "platinum"))
    documents = [
        sale(total_minor=10_000),
        sale(external_id="B", kind="credit_note", total_minor=10_000, issued_at=later),
    ]
    due = award(history(*documents), known, [program])["due"].sum()
    assert due == int(row[1].split("=")[-1].replace("−", "-"))


@pytest.mark.parametrize("row", rows("Earned and taken"), ids=lambda row: row[0])
def test_expiry(row: list[str]) -> None:
    program = Program.model_validate(PROGRAM.model_dump() | {"expiry": {"months": 12}})

    def dated(text: str) -> list[tuple[int, datetime]]:
        found = re.findall(r"([−\d]+) on (\d{4}-\d\d-\d\d)", text)
        return [
            (int(points.replace("−", "-")), datetime.fromisoformat(day).replace(tzinfo=UTC))
            for points, day in found
        ]

    moves = pl.DataFrame(
        [(1, at, points) for points, at in dated(row[0])], schema=MOVES, orient="row"
    )
    frame = expired(moves, [program], datetime(2030, 1, 1, tzinfo=UTC)).sort("expires_at")
    # Midnight in Luanda, where it is an hour later than in UTC.
    expected = [(points, at - timedelta(hours=1)) for points, at in dated(row[1])]
    assert frame.select("due", "expires_at").rows() == expected
    assert moves["points"].sum() - frame["due"].sum() == int(row[2])


@pytest.mark.parametrize(
    ("expiry", "day", "end"),
    [
        ({"months": 1}, "2026-01-31", "2026-03-01"),
        ({"months": 0, "end_of": "month"}, "2019-01-22", "2019-02-01"),
        ({"months": 12, "end_of": "year"}, "2025-06-30", "2027-01-01"),
        ({"months": 12, "end_of": "day"}, "2024-02-29", "2025-03-01"),
    ],
)
def test_the_instant_of_expiry(expiry: dict[str, Any], day: str, end: str) -> None:
    program = Program.model_validate(PROGRAM.model_dump() | {"expiry": expiry})
    noon, instant = (datetime.fromisoformat(d).replace(tzinfo=UTC) for d in (day, end))
    moves = pl.DataFrame([(1, noon + timedelta(hours=12), 50)], schema=MOVES, orient="row")
    instant -= timedelta(hours=1)
    assert expired(moves, [program], instant)["expires_at"].to_list() == [instant]
    assert expired(moves, [program], instant - timedelta(microseconds=1)).is_empty()
    bound = earned_before([program], instant)
    assert bound is not None and noon + timedelta(hours=12) < bound


def test_a_sale_in_a_foreign_currency_is_converted_at_its_date() -> None:
    program = Program.model_validate(
        PROGRAM.model_dump() | {"base_rate_bps": {"AOA": 100_000}, "base_currency": "AOA"}
    )
    rates = pl.DataFrame([("USD", "AOA", LONG_AGO, NOON, 900_500_000_000)], schema=FX, orient="row")
    sales = [
        sale(currency="USD", total_minor=1_001, issued_at=at)
        for at in (NOON - timedelta(days=1), NOON)
    ]
    frame = award(history(*sales, sale(total_minor=100)), tiers(), [program], (), Facts(fx=rates))
    # 10.01 USD are 9014.01 AOA (9014.005, half up); a day without a rate is refused.
    assert frame["due"].to_list() == [90_140, None, 10]


def test_what_cannot_be_exact_is_refused_and_what_can_be_is_exact() -> None:
    sales = history(sale(total_minor=10**9), sale(external_id="B", total_minor=10**15))
    for count in range(1, 10):
        many = [promotion(n, season(13_337)) for n in range(count)]
        for total, due in zip(
            (10**9, 10**15), award(sales, tiers(), [PROGRAM], many)["due"], strict=True
        ):
            assert due in (None, total * 13_337**count // 10_000**count // 10)
            assert due is not None or count > 3


def test_a_product_bonus_where_credits_lower_the_latest_sales() -> None:
    """Both count what matched, of different things."""
    program = PROGRAM.model_copy(update={"unlinked_credits": "latest_sales"})
    rule = {"kind": "product_bonus", "match": {"skus": ["AGUA-5L"]}, "percent_bps": 10_000}
    ten = Promotion.model_validate(
        {"promotion_id": "p", "version": 1, "valid_from": NOON, "rule": rule}
    )
    lines = pl.DataFrame([(1, 0, 1, "AGUA-5L", None, None, 15_000)], schema=LINES, orient="row")
    credit = sale(
        external_id="C",
        kind="credit_note",
        total_minor=5_000,
        issued_at=NOON + timedelta(hours=1),
        record_no=1,
    )
    for sales, points in (([sale()], 1_500 + 150), ([sale(), credit], 1_000 + 100)):
        due = award(history(*sales), tiers(), [program], [ten], Facts(lines=lines))
        assert due["due"].sum() == points


@pytest.mark.parametrize(
    ("reward", "points"), [({"points_per_unit": 50}, 100), ({"percent_bps": 10_000}, 10)]
)
def test_half_of_a_sale_is_half_of_its_units_also_without_tax(
    reward: dict[str, int], points: int
) -> None:
    """43.85 without tax: what is left of it, 21.925, is no amount of money, but two of four units are two units."""
    program = PROGRAM.model_copy(update={"basis": "subtotal"})
    five = {
        "promotion_id": "p",
        "version": 1,
        "valid_from": LONG_AGO,
        **product({"skus": ["AGUA-5L"]}, **reward),
    }
    lines = pl.DataFrame([(1, 0, 1, "AGUA-5L", None, 4_000_000, 2_000)], schema=LINES, orient="row")
    half = history(sale(total_minor=5_000, subtotal_minor=4_385, amount_refunded_minor=2_500))
    frame = award(half, tiers(), [program], [Promotion.model_validate(five)], Facts(lines=lines))
    assert frame["due"].to_list() == [219 + points]


def test_a_credit_lowers_a_sale_that_awaits_its_payment() -> None:
    """It has given nothing yet, so nothing is taken; once it is paid, it gives what is left."""
    program = PROGRAM.model_copy(update={"unlinked_credits": "latest_sales", "award_when": "paid"})
    credit = sale(
        external_id="C", kind="credit_note", total_minor=5_000, issued_at=NOON + timedelta(hours=1)
    )
    for status, points in (("open", 0), ("paid", 1_000)):
        frame = award(history(sale(status=status), credit), tiers(), [program])
        assert frame.sort("external_id")["due"].to_list() == [points, 0]


def test_a_program_that_changes_its_time_zone_does_not_begin_the_month_anew() -> None:
    moved = PROGRAM.model_copy(
        update={"version": 2, "valid_from": NOON, "timezone": "America/New_York"}
    )
    more = {"limits": {"per_period": {"points": 70, "period": "month"}}}
    fifty = {"promotion_id": "p", "version": 1, "valid_from": LONG_AGO, **bought(), **more}
    times = {"A": NOON - timedelta(hours=1), "B": NOON + timedelta(days=9)}
    sales = history(
        *(sale(external_id=name, total_minor=100, issued_at=at) for name, at in times.items())
    )
    frame = award(sales, tiers(), [PROGRAM, moved], [Promotion.model_validate(fifty)])
    assert frame.sort("external_id")["due"].to_list() == [10 + 50, 10 + 20]
