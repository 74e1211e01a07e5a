"""A document's number that is somebody's phone or e-mail address is shown like one."""

import pytest

from loyalty.masking import identifier, message


@pytest.mark.parametrize(
    "value",
    [
        "923456789",
        "+244923456789",
        "244923456789",
        "00244923456789",
        "923 456 789",
        "(+244) 923-456-789",
    ],
)
def test_a_phone_is_masked(value: str) -> None:
    shown = identifier(value)
    assert sum(character.isdigit() for character in shown) == 2
    assert shown.endswith("89")


@pytest.mark.parametrize(
    "value", ["FT 2026/1001", "INV-001", "1001", "20260131", "9f3c-1", "A/123456", "", None]
)
def test_other_numbers_stay(value: str | None) -> None:
    assert identifier(value) == (value or "")


def test_a_phone_or_address_within_an_identifier_is_masked() -> None:
    assert identifier("vendas 923456789.csv") == "vendas •••••••89.csv"
    assert identifier("vendas_923456789.csv") == "vendas_•••••••89.csv"
    assert identifier("vendas-923456789.csv") == "vendas-•••••••89.csv"
    assert identifier("ana.silva@example.com") == "a•••@•••"
    assert "923" not in identifier("FT 923456789/2")


def test_amounts_times_and_counts_in_messages_stay() -> None:
    text = "318 937 135 points in 2.5 s, total 923456789.50, at 2026-01-31T10:00:00Z, 12 of 923 456 rows"
    assert message(text) == text
