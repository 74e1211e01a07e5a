"""Names of places, as they are stored and as they are compared."""

import polars as pl
import pytest

from connectors.kit.mapping.places import places
from loyalty.places import folded_names


def stored(name: str, text: str | None) -> str | None:
    (column,) = [each for each in places(pl.DataFrame({name: [text]}), "AO") if each.name == name]
    value: str | None = column[0]
    return value


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("city", "  Luanda ", "Luanda"),
        ("city", "Vila\u00a0 Nova\u200b", "Vila Nova"),
        ("city", "11 de Novembro", "11 de Novembro"),
        ("city", "Luanda 923 456 789", None),
        ("city", "923456789", None),
        ("region", "maria@example.com", None),
        ("region", "AO-LUA", "AO-LUA"),
        ("city", "x" * 101, None),
        ("city", " \u200b ", None),
        ("store", "LH2XR5PM8V1ZQ", "LH2XR5PM8V1ZQ"),
        ("store", "655441491", "655441491"),
        ("store", "+244 923 456 789", None),
        ("channel", "580111", "580111"),
    ],
)
def test_what_is_no_name_of_a_place_is_left_out(name: str, text: str, kept: str | None) -> None:
    assert stored(name, text) == kept


def test_nobody_says_where() -> None:
    columns = places(pl.DataFrame({"total_minor": [1, 2], "city": [None, None]}), "AO")
    assert [(each.name, each.to_list()) for each in columns] == [
        (name, [None, None]) for name in ("store", "channel", "city", "region")
    ]


def test_names_are_compared_without_accents_and_capitals() -> None:
    assert folded_names(["São  Paulo ", "SAO PAULO", "Huíla"]) == {"sao paulo", "huila"}
