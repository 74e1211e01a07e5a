"""Rules by hour, for systems whose documents tell a day and no time."""

import pytest

from loyalty.promotions import Promotion
from tasks.program.reach import never_applies


def by_hour(**when: list[str]) -> Promotion:
    hours = [{"start": "18:00", "end": "20:00"}]
    return Promotion.model_validate(
        {
            "promotion_id": "p", "version": 1, "valid_from": "2026-12-01T00:00:00Z",
            "rule": {"kind": "purchase_bonus", "points": 5}, "when": {"hours": hours, **when},
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("when", "mistakes", "notes"),
    [
        ({"systems": ["xero"]}, ["Xero"], []),
        ({"accounts": ["xero/books"]}, ["Xero"], []),
        ({"systems": ["xero", "shopify"]}, [], ["Xero"]),
        ({"systems": ["shopify"]}, [], []),
        ({}, [], ["Xero"]),
    ],
)
def test_what_it_names_alone_is_a_mistake(
    when: dict[str, list[str]], mistakes: list[str], notes: list[str]
) -> None:
    found = never_applies([by_hour(**when)], ["xero", "shopify"])
    for lines, named in ((found.mistakes, mistakes), (found.notes, notes)):
        assert len(lines) == len(named)
        assert all(
            f"never applies to {name}," in line for name, line in zip(named, lines, strict=True)
        )
