"""How a canonical column is read: the kind of value, and the source paths that may hold it.

Of several paths the first one that holds something counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from connectors.kit.mapping.notation import Notation
from loyalty.schema import STATUSES

FieldKind = Literal[
    "text",
    "money",
    "decimal",
    "instant",
    "day",
    "currency",
    "phone",
    "word",
    "computed",
    "constant",
]


@dataclass(frozen=True, eq=False)
class Field:
    """One column's source.

    `pick` turns the raw JSON value at the path into a text (or None) before it is parsed; `zone` is
    the time zone of times without offset (None: the connection's); `exact` False rounds money to
    the currency instead of refusing more decimals than it has; `expr` computes the column from
    other columns and helpers; `prefix` is put before ids of documents whose numbers collide with
    another list's. `notation` is how the numbers and dates are written; `words` are the vendor's
    words, in lower case, for ours, and `default` is ours where the vendor says nothing.
    `joined`: the value is made of all `paths` together, as an id of series and number is.
    `signed`: an amount that is negative by nature, as a discount.
    """

    kind: FieldKind
    paths: tuple[str, ...] = ()
    required: bool = False
    pick: Callable[[Any], str | None] | None = None
    zone: str | None = None
    exact: bool = True
    expr: pl.Expr | None = None
    prefix: str = ""
    notation: Notation = "plain"
    words: Mapping[str, str] | None = None
    default: str | None = None
    joined: bool = False
    signed: bool = False

    @property
    def source(self) -> str:
        """The source paths as shown to people."""
        return self.shown()

    def shown(self, under: str = "") -> str:
        """As `source`, with the pointer `under` before each path."""
        return (" + " if self.joined else " or ").join(under + path for path in self.paths)


def text(*paths: str, required: bool = False, prefix: str = "") -> Field:
    """A text; numbers are taken as written."""
    return Field("text", paths, required=required, prefix=prefix)


def money(
    *paths: str,
    required: bool = False,
    exact: bool = True,
    pick: Callable[[Any], str | None] | None = None,
    signed: bool = False,
) -> Field:
    """An amount in major units, to minor units of the document's currency."""
    return Field("money", paths, required=required, exact=exact, pick=pick, signed=signed)


def decimal(*paths: str) -> Field:
    """A quantity or unit price, exact to six decimals."""
    return Field("decimal", paths)


def instant(*paths: str, required: bool = False, zone: str | None = None) -> Field:
    """A moment: ISO with offset, `/Date(ms)/`, or without offset in `zone`."""
    return Field("instant", paths, required=required, zone=zone)


def day(*paths: str, required: bool = False) -> Field:
    """A calendar day, taken as midnight in the account's time zone.

    A real time of day is kept.
    """
    return Field("day", paths, required=required)


def currency(*paths: str) -> Field:
    """An ISO 4217 code; the connection's `default_currency` where the document names none."""
    return Field("currency", paths, required=True)


def phone(*paths: str, pick: Callable[[Any], str | None] | None = None) -> Field:
    """A phone number in any spelling, to E.164."""
    return Field("phone", paths, pick=pick)


def computed(expr: pl.Expr, *paths: str, required: bool = True) -> Field:
    """Computed from columns and helpers; null is a problem of the `paths` it depends on."""
    return Field("computed", paths, required=required, expr=expr)


def constant(value: str) -> Field:
    """The same for every record."""
    return Field("constant", expr=pl.lit(value, dtype=pl.String))


def status_map(helper: str, **statuses: tuple[str, ...]) -> pl.Expr:
    """Canonical status of a helper's text, e.g.

    `status_map("status", paid=("PAID",))`; null if unknown.
    """
    if unknown := set(statuses) - set(STATUSES):
        raise ValueError(f"no such status: {sorted(unknown)}")
    table = {vendor: ours for ours, vendors in statuses.items() for vendor in vendors}
    return pl.col(helper).replace_strict(table, default=None, return_dtype=pl.String)
