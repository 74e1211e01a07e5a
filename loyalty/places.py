"""Where a sale was made: in which store, by which way, in which city and region.

Billing systems write these as people typed them, so they are compared in one form.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import polars as pl

Place = Literal["store", "channel", "city", "region"]
#: The columns of a sale that say it, in the order in which an explanation asks for them.
PLACES: Final[tuple[Place, ...]] = ("store", "channel", "city", "region")
COLUMNS: Final[Mapping[str, pl.DataType]] = {place: pl.String() for place in PLACES}
#: What conditions call them.
PLURALS: Final[Mapping[Place, str]] = {
    "store": "stores", "channel": "channels", "city": "cities", "region": "regions",
}  # fmt: skip
#: The longest name of a place that is kept.
NAME_MAX: Final = 100


def folded(name: pl.Expr) -> pl.Expr:
    """Names as they are compared: small letters, no accents, single blanks (`sao paulo`)."""
    plain = name.str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    return plain.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def folded_names(names: Iterable[str]) -> frozenset[str]:
    """The same of some names."""
    said = pl.DataFrame({"name": list(names)}, schema={"name": pl.String})
    return frozenset(said.select(folded(pl.col("name"))).to_series())
