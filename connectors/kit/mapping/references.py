"""What a document names of other systems' documents, in the form in which it is stored."""

import re
from typing import Final

import polars as pl

from connectors.kit.spec.fields import REFERENCES
from loyalty.masking import identifier

#: An id or a number: it has a digit, and nothing that a list of them is written with.
_ID: Final = re.compile(r"(?=[^\s]*\d)[A-Za-z0-9][A-Za-z0-9_./:-]{2,99}")
#: Names that one document may hold.
_NAMES_MAX: Final = 10


def reference_ids(invoices: pl.DataFrame, region: str) -> pl.Series:
    """The column `reference_ids` of INVOICE, from the fields of `REFERENCES` that are there.

    Left out is what can be no id, and what is somebody's phone in the account's `region`.
    """
    there = [name for name in REFERENCES if name in invoices.columns]
    if not there or invoices.select(pl.col(there).is_null().all()).row(0) == (True,) * len(there):
        return pl.Series("reference_ids", [None] * invoices.height, dtype=pl.String)
    tokens = [
        _tokens(dict(zip(there, values, strict=True)), region)
        for values in invoices.select(there).iter_rows()
    ]
    return pl.Series("reference_ids", tokens, dtype=pl.String)


def _tokens(texts: dict[str, str | None], region: str) -> str | None:
    names = [
        REFERENCES[field] + name
        for field, text in texts.items()
        for word in (text or "").split()
        if _ID.fullmatch(name := word.lstrip("#")) and identifier(name, region) == name
    ]
    return " ".join(sorted(set(names))[:_NAMES_MAX]) or None
