"""Where a sale was made, in the form in which it is stored."""

import re
from typing import Final

import polars as pl

from connectors.kit.mapping.ids import SPACES, UNSEEN
from connectors.kit.mapping.of_lines import agreed
from loyalty.masking import identifier
from loyalty.places import NAME_MAX, PLACES

#: A name of a place has few digits ("11 de Novembro"): more are a phone, or a number of a person.
_DIGITS_MAX: Final = 5
#: Names that are ids in some systems, and have as many digits as they like.
_MAY_BE_IDS: Final = ("store", "channel")


def places(invoices: pl.DataFrame, region: str) -> list[pl.Series]:
    """The columns of INVOICE that say where a sale was made; null where nobody says.

    Left out is what can be no name of a place: a phone in the account's `region`, an address of
    e-mail, a text that is too long.
    """
    return [_named(invoices, name, region) for name in PLACES]


def _named(invoices: pl.DataFrame, name: str, region: str) -> pl.Series:
    if name not in invoices.columns or invoices[name].null_count() == invoices.height:
        return pl.Series(name, [None] * invoices.height, dtype=pl.String)
    said = invoices[name].cast(pl.String)
    # Few places are named by many sales.
    known = {text: _place(text, region, name) for text in said.drop_nulls().unique()}
    return said.replace_strict(known, default=None, return_dtype=pl.String).alias(name)


def _place(text: str, region: str, name: str) -> str | None:
    text = SPACES.sub(" ", UNSEEN.sub("", text)).strip()
    if not text or len(text) > NAME_MAX or "@" in text or identifier(text, region) != text:
        return None
    too_many = len(re.findall(r"\d", text)) > _DIGITS_MAX and name not in _MAY_BE_IDS
    return None if too_many else text


def with_store_of_lines(invoices: pl.DataFrame, lines: pl.DataFrame, name: str) -> pl.DataFrame:
    """Gives documents that name no store themselves the one that their lines name.

    Args:
        invoices: With `store`, in the order of the lines' `row`.
        lines: With `row`, and who sold it.
        name: The column with that. Where the lines of a document name several, it has none.
    """
    return invoices.with_columns(
        pl.coalesce("store", agreed(invoices, lines, name)).alias("store"),
    )
