"""How a canonical column is read: the kind of value, and the source paths that may hold it.

Of several paths the first one that holds something counts. The columns are those of INVOICE and
LINE in `loyalty.schema`; the functions of `connectors.kit.mapping` read them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl

from loyalty.schema import STATUSES

#: What a value is read as. "text": as written. "money": minor units of the document's currency.
#: "decimal": exact to six places. "instant": a moment in UTC. "day": a calendar day. "currency":
#: an ISO 4217 code. "phone": E.164. "word": one of our words, by the table `Field.words`.
#: "computed": by `Field.expr`. "constant": the same for all records.
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
#: How numbers and dates are written. "plain": as in JSON. "point": 1234.50, also with groups where
#: they can be nothing else. "comma": 1.234,56. "grouped": 1,234.56 and 1,234. "minor": whole minor
#: units. "minor_price": minor units that may have decimals, as unit prices have. "time": ISO 8601, or seconds or milliseconds since 1970. "day_first" and "month_first":
#: as "time", and besides 31/01/2026 or 01/31/2026.
Notation = Literal[
    "plain", "point", "comma", "grouped", "minor", "minor_price", "time", "day_first", "month_first"
]


#: Fields that name documents of other systems, and how what they name is stored.
REFERENCES: Final = {"payment_reference": "payment:", "order_reference": "order:"}
#: The number of an order or an invoice in a text: "Acme - Order #1001", "Invoice no. INV-7".
_ORDER_IN_TEXT: Final = re.compile(
    r"\b(?:order|invoice|receipt|sale)\b[\s.:#]*(?:(?:no|nr|number|id)\b[\s.:#]*)?"
    r"((?=[\w./-]*\d)[A-Za-z0-9][\w./-]*\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Field:
    """One column's source."""

    kind: FieldKind
    #: JSON pointers in the record; the first that holds something counts.
    paths: tuple[str, ...] = ()
    #: Whether a record without it is rejected.
    required: bool = False
    #: Turns the raw JSON value at the path into a text (or None) before it is parsed.
    pick: Callable[[Any], str | None] | None = None
    #: The time zone of times without offset; None: the account's.
    zone: str | None = None
    #: False rounds money to the currency, instead of refusing more decimals than it has.
    exact: bool = True
    #: Computes the column from other columns and helpers.
    expr: pl.Expr | None = None
    #: Put before ids of documents whose numbers collide with those of another list.
    prefix: str = ""
    #: How the numbers and dates are written.
    notation: Notation = "plain"
    #: For minor units: the decimals of currencies in which the vendor does not follow ISO 4217.
    minor_digits: Mapping[str, int] | None = None
    #: For "word": our word for each of the vendor's, which are in lower case.
    words: Mapping[str, str] | None = None
    #: For "word": our word where the vendor says nothing.
    default: str | None = None
    #: The value is made of all `paths` together, as an id of series and number is.
    joined: bool = False
    #: An amount that is negative by nature, such as a discount.
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
    """An ISO 4217 code; the account's `default_currency` where the document names none."""
    return Field("currency", paths, required=True)


def phone(*paths: str, pick: Callable[[Any], str | None] | None = None) -> Field:
    """A phone number in any spelling, to E.164."""
    return Field("phone", paths, pick=pick)


def order_reference(*paths: str) -> Field:
    """The number or the id of this sale in another system, as a person or a plugin wrote it.

    A single word is taken as it is; of a longer text the numbers of orders and invoices in it. It
    is only used to recognise a sale that two systems tell, so nothing is ever rejected for it.
    """
    return Field("text", paths, pick=_named_orders)


def payment_reference(*paths: str) -> Field:
    """The id that a payment service gave the payment of this sale; used as `order_reference` is."""
    return Field("text", paths)


def _word(value: Any) -> str | None:
    """A text without blanks, or a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    words = str(value).split()
    return words[0] if len(words) == 1 else None


def _named_orders(value: Any) -> str | None:
    if word := _word(value):
        return word
    return " ".join(_ORDER_IN_TEXT.findall(value)) or None if isinstance(value, str) else None


def computed(expr: pl.Expr, *paths: str, required: bool = True) -> Field:
    """Computed from columns and helpers; null is a problem of the `paths` it depends on."""
    return Field("computed", paths, required=required, expr=expr)


def constant(value: str) -> Field:
    """The same for every record."""
    return Field("constant", expr=pl.lit(value, dtype=pl.String))


def status_map(helper: str, **statuses: tuple[str, ...]) -> pl.Expr:
    """Our status for the text in a helper column; null where the text is in no tuple.

    An example is `status_map("status", paid=("PAID",))`.

    Raises:
        ValueError: If a keyword is not one of our statuses.
    """
    if unknown := set(statuses) - set(STATUSES):
        raise ValueError(f"no such status: {sorted(unknown)}")
    table = {vendor: ours for ours, vendors in statuses.items() for vendor in vendors}
    return pl.col(helper).replace_strict(table, default=None, return_dtype=pl.String)
