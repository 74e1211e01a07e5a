"""Every n-th purchase, and purchases in weeks or months in a row."""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from loyalty.authored import write_rules
from loyalty.authoring import read_rules
from loyalty.award import award
from loyalty.promotions import Promotion
from tests.support.ledger import PROGRAM, history, sale, tiers
from tests.unit.test_limits_and_full_amounts import bonus, explained, promotion
from tests.unit.test_points_rules import rows

HOUR = timedelta(hours=1)
POINTS = 50


def told(counted: str) -> dict[str, Any]:
    """A condition as the guide writes it."""
    return tomllib.loads(counted.strip("`"))


def bought(days: str) -> list[dict[str, Any]]:
    """A sale of 100.00 on each of the days, at noon and later; some are void."""
    return [
        sale(
            external_id=f"D{number}",
            issued_at=datetime(2026, int(month), int(day), 12, number, tzinfo=UTC),
            total_minor=10_000,
            status="void" if void else "paid",
        )
        for number, (month, day, void) in enumerate(
            re.findall(r"(\d\d)-(\d\d)( \(void\))?", days), 1
        )
    ]


def applied(sales: list[dict[str, Any]], rule: Promotion) -> list[str]:
    """The sales that get the bonus, in the order of their dates."""
    due = award(history(*sales), tiers(), [PROGRAM], [rule])
    assert set(due["due"]) <= {0, 1000, 1000 + POINTS}
    got = due.sort("issued_at").filter(due.sort("issued_at")["due"] > 1000)
    return got["external_id"].to_list()


@pytest.mark.parametrize("row", rows("Condition | Bought"), ids=lambda row: f"{row[0]} {row[1]}")
def test_the_table_of_the_guide(row: list[str]) -> None:
    counted, days, expected = row
    sales = bought(days)
    for order in (sales, sales[::-1]):
        got = applied(order, bonus("counted", POINTS, when=told(counted)))
        at = {one["external_id"]: f"{one['issued_at']:%m-%d}" for one in sales}
        assert ", ".join(at[name] for name in got) == expected.replace("none", "")


def test_only_what_meets_the_other_conditions_counts() -> None:
    sales = bought("03-01, 03-02, 03-03, 03-04")
    sales[1]["total_minor"] = 4_000
    when = {"nth_purchase": 2, "minimum_minor": {"AOA": 5_000}}
    got = [
        row.external_id
        for row in explained(sales, PROGRAM, [bonus("counted", POINTS, when=when)])
        if any(part.rule == "counted@1" for part in row.parts)
    ]
    assert got == ["D3"]


def test_each_version_and_each_member_counts_from_one() -> None:
    sales = bought("03-01, 03-02, 03-03, 03-04, 03-05")
    sales[1]["member_id"] = 2
    when = {"nth_purchase": 2}
    begin = datetime(2026, 3, 3, tzinfo=UTC)
    versions = [
        bonus("counted", POINTS, when=when),
        bonus("counted", POINTS, when=when, version=2, valid_from=begin),
    ]
    due = award(history(*sales), tiers(), [PROGRAM], versions)
    assert [name for name, points in due.select("external_id", "due").rows() if points > 1000] == [
        "D4"
    ]


def test_it_goes_with_a_multiplier_and_with_products() -> None:
    sales = bought("03-01, 03-02")
    twice = promotion(
        "twice", {"kind": "seasonal_multiplier", "multiplier_bps": 20_000},
        when={"streak": {"weeks": 2}},
    )  # fmt: skip
    assert award(history(*sales), tiers(), [PROGRAM], [twice])["due"].to_list() == [1000, 2000]


@pytest.mark.parametrize(
    ("zone", "expected"), [("Africa/Luanda", ["D2"]), ("America/Los_Angeles", [])]
)
def test_weeks_are_those_of_the_promotions_clock(zone: str, expected: list[str]) -> None:
    """03:00 UTC of a Monday is Sunday evening in California."""
    sales = bought("03-08, 03-09")
    for one in sales:
        one["issued_at"] -= 9 * HOUR
    rule = bonus("counted", POINTS, when={"streak": {"weeks": 2}}, timezone=zone)
    assert applied(sales, rule) == expected


def test_days_without_a_time_are_counted_by_their_number() -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    sales = [
        sale(
            external_id=f"X{10 - number}", invoice_number=f"FT {number}", issued_at=day,
            time_known=False, total_minor=10_000,
        )
        for number in (10, 9, 8)
    ]  # fmt: skip
    due = award(history(*sales), tiers(), [PROGRAM], [bonus("n", 50, when={"nth_purchase": 3})])
    assert due.filter(due["due"] > 1000)["invoice_number"].to_list() == ["FT 10"]


def test_explanations_say_whose_turn_it_is_not() -> None:
    rules = [
        bonus("nth", 5, when={"nth_purchase": 2}),
        bonus("weekly", 5, when={"streak": {"weeks": 2}}),
    ]
    (first, *_) = explained(bought("03-01, 03-02"), PROGRAM, rules)
    assert [line.outcome for line in first.considered] == ["nth_purchase", "streak"]
    assert all("purchase" in line.words for line in first.considered)


@pytest.mark.parametrize(
    "when",
    [
        {"nth_purchase": 1},
        {"streak": {}},
        {"streak": {"weeks": 1}},
        {"streak": {"weeks": 2, "months": 2}},
        {"nth_purchase": 2, "first_purchase": True},
        {"streak": {"months": 2}, "first_purchase": True},
    ],
)
def test_what_can_never_be_is_refused(when: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        bonus("counted", 5, when=when)


def test_a_referral_counts_no_purchases() -> None:
    with pytest.raises(ValidationError, match="which purchase of the friend"):
        promotion(
            "bring", {"kind": "referral_reward", "referrer_points": 1}, when={"nth_purchase": 3}
        )


def test_they_are_written_as_they_are_read() -> None:
    rules = [
        bonus("nth", 5, when={"nth_purchase": 5}),
        bonus("weekly", 5, when={"streak": {"weeks": 4}}),
    ]
    assert read_rules(write_rules(None, rules)).promotions == tuple(rules)
