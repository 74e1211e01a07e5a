"""Raw text columns to typed columns, and the reasons why a value could not be used."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from connectors.kit.mapping.advice import amount_advice, date_advice
from connectors.kit.mapping.ids import EXPONENT as EXPONENT_ID
from connectors.kit.mapping.ids import ODD, is_exponent, normal_id
from connectors.kit.mapping.notation import rewritten, unmarked
from connectors.kit.mapping.parse import (
    NOT_TEXT,
    e164,
    exact_decimals,
    in_micros,
    instants,
    is_text,
    known_currency,
    masked,
    minor_units,
    plain_number,
    plain_numbers,
    simple_minor_units,
    simple_numbers,
    texts,
    trimmed,
)
from connectors.kit.mapping.pointers import Shape
from connectors.kit.mapping.reader import Picked, has_marks, values
from connectors.kit.spec import Account
from connectors.kit.spec.fields import Field

#: The column with the number of decimals of each row's currency; null where that is not known.
EXPONENT = "_exponent"
_NO_TEXT: Final = pl.Series((), dtype=pl.String)
#: Why a value of a kind could not be used, where nothing more is known.
_REASONS = {
    "text": "is not a text",
    "money": "is not a number",
    "decimal": "is not a number",
    "instant": "is not a time",
    "day": "is not a date",
    "currency": "is not an ISO 4217 currency",
    "phone": "is not a phone number that can be dialled",
    "word": "is a value not known here",
}


#: The longest id that is accepted. Ids of documents, customers and products are kept in database
#: indexes, whose entries are limited in size.
ID_BYTES_MAX = 500


#: Ids that are refused in exponent notation. Barcodes of products come in it as well, but points do
#: not depend on them.
_OWNERS: Final = ("external_id", "customer_external_id")


def is_id(name: str) -> bool:
    """Whether a column identifies something at the vendor."""
    return name.endswith("external_id")


def with_normal_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """All ids and numbers of documents in one form: see `normal_id`."""
    names = [name for name in frame.columns if is_id(name) or name == "invoice_number"]
    if not names:
        return frame
    odd = frame.select(pl.col(name).str.contains(ODD).any() for name in names).row(0, named=True)
    for name in names:
        if odd[name]:
            odd_ids = frame.filter(pl.col(name).str.contains(ODD) & is_text(name))[name].unique()
            normal = {text: normal_id(text) or None for text in odd_ids}
            frame = frame.with_columns(pl.col(name).replace(list(normal), list(normal.values())))
    return frame


class Columns:
    """Collects a column of text per field, as the vendor wrote it, from several pages."""

    def __init__(self, record: Shape | None, fields: Mapping[str, Field]) -> None:
        self.height = 0
        self._record, self._fields = record, fields
        self._parts: dict[str, list[pl.Series]] = {name: [] for name in fields}
        self._picked: Picked = {}

    def add(self, items: Sequence[Any]) -> None:
        """Reads the fields of some more records."""
        self.height += len(items)
        if self._record is not None:
            for name, field in self._fields.items():
                self._parts[name].append(texts(values(self._record, field, items, self._picked)))

    def frame(self) -> pl.DataFrame:
        """Everything read so far, without blanks around texts and with ids in normal form."""
        schema = dict.fromkeys(self._fields, pl.String)
        columns = {name: pl.concat([_NO_TEXT, *parts]) for name, parts in self._parts.items()}
        frame = pl.DataFrame(columns, schema=schema, height=self.height)
        if has_marks(self._fields.values()):
            frame = unmarked(frame, {name: field.notation for name, field in self._fields.items()})
        return with_normal_ids(trimmed(frame)) if columns else frame


def raw_columns(record: Shape, fields: Mapping[str, Field], items: Sequence[Any]) -> pl.DataFrame:
    """One text column per field, as the vendor wrote it."""
    columns = Columns(record, fields)
    columns.add(items)
    return columns.frame()


def typed(fields: Mapping[str, Field], raw: pl.DataFrame, account: Account) -> pl.DataFrame:
    """Parses every column but the computed ones; null where a value is unusable.

    Args:
        fields: What the columns are read as.
        raw: Columns of text, and `EXPONENT` if there is money among them.
        account: For the time zone and the country of phone numbers.
    """
    raw = rewritten(
        raw,
        {name: field.notation for name, field in fields.items()},
        EXPONENT,
        {name: field.minor_digits for name, field in fields.items()},
    )
    numeric = [name for name, field in fields.items() if field.kind in ("money", "decimal")]
    simple = simple_numbers(raw, numeric)
    raw = plain_numbers(raw, [name for name in numeric if name not in simple])
    raw = in_micros(raw, [name for name in simple if fields[name].kind == "money"], EXPONENT)
    columns: list[pl.Expr | pl.Series] = []
    for name, field in fields.items():
        match field.kind:
            case "text":
                shown = pl.lit(field.prefix) + pl.col(name) if field.prefix else pl.col(name)
                usable = (
                    is_text(name) & (pl.col(name).str.len_bytes() <= ID_BYTES_MAX)
                    if is_id(name)
                    else is_text(name)
                )
                if name in _OWNERS and (lost := _exponents(raw[name])):
                    usable = usable & ~pl.col(name).is_in(lost)
                columns.append(pl.when(usable).then(shown).alias(name))
            case "currency":
                columns.append(known_currency(pl.col(name)).alias(name))
            case "money":
                slow, quick = (
                    minor_units(name, EXPONENT, exact=field.exact),
                    simple_minor_units(name, exact=field.exact),
                )
                columns.append((quick if name in simple else slow).alias(name))
            case "decimal":
                columns.append(exact_decimals(name, simple=name in simple).alias(name))
            case "instant" | "day":
                zone = field.zone or account.timezone
                columns.append(instants(raw[name], zone, whole_days=field.kind == "day"))
            case "word":
                ours = (
                    pl.col(name)
                    .str.to_lowercase()
                    .replace_strict(dict(field.words or {}), default=None, return_dtype=pl.String)
                )
                columns.append(
                    pl.when(pl.col(name).is_null())
                    .then(pl.lit(field.default))
                    .otherwise(ours)
                    .alias(name)
                )
            case "phone":
                columns.append(e164(raw[name], account.region).alias(name))
            case _:
                pass
    return raw.select(columns)


def _exponents(ids: pl.Series) -> list[str]:
    """The ids that are numbers in exponent notation."""
    return [
        text for text in ids.filter(ids.str.contains(r"\d[eE]\+?\d")).unique() if is_exponent(text)
    ]


def computed(fields: Mapping[str, Field], frame: pl.DataFrame) -> pl.DataFrame:
    """Adds the columns that are computed from others."""
    return frame.with_columns(
        field.expr.alias(name) for name, field in fields.items() if field.expr is not None
    )


def problems(
    fields: Mapping[str, Field],
    raw: pl.DataFrame,
    frame: pl.DataFrame,
    *,
    label: str = "{}",
    under: str = "",
) -> pl.DataFrame:
    """What is missing or unusable, one row each.

    Columns: row (position in the frames), field, path, reason, example (masked).

    Args:
        fields: The fields checked.
        raw: Their values as text. For a computed field it is the text of a helper with the same
            path, if there is one.
        frame: Their parsed values, and `EXPONENT`.
        label: How a field is named, e.g. "lines.{}".
        under: Pointer put before the paths.
    """
    of_path = {
        path: name for name, field in fields.items() if field.expr is None for path in field.paths
    }
    rows: list[dict[str, Any]] = []
    for name, field in fields.items():
        source = name if name in raw.columns else of_path.get(next(iter(field.paths), ""))
        raw_values = raw[source] if source else pl.Series([None] * raw.height, dtype=pl.String)
        rows += [
            {
                "row": row,
                "field": label.format(name),
                "path": field.shown(under),
                "reason": _reason(name, field, raw_values[row], frame[EXPONENT][row]),
                "example": masked(raw_values[row], personal=field.kind == "phone"),
            }
            for row in _bad_rows(name, field, raw_values, frame[name], frame[EXPONENT])
        ]
    schema = {"row": pl.UInt32, **dict.fromkeys(("field", "path", "reason", "example"), pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _bad_rows(
    name: str, field: Field, raw: pl.Series, value: pl.Series, exponent: pl.Series
) -> list[int]:
    if field.kind == "constant" or not value.null_count():
        return []
    empty = value.is_null()
    wrong = empty if field.required else empty & raw.is_not_null()
    # Without a currency no amount can be read: that is the currency's problem, not the amount's.
    has_digits = field.kind == "money" or field.notation in ("minor", "minor_price")
    if has_digits or name.endswith("_minor"):
        wrong = wrong & (exponent.is_not_null() | raw.is_null())
    return wrong.arg_true().to_list()


def _reason(name: str, field: Field, raw: str | None, exponent: int | None) -> str:
    if raw is None:
        return "missing"
    if field.kind == "computed":
        return "is a value not known here"
    if name in _OWNERS and is_exponent(raw):
        return EXPONENT_ID
    specific = _reason_of_text(field, raw, exponent) if raw != NOT_TEXT else None
    return specific or _REASONS[field.kind]


def _reason_of_text(field: Field, raw: str, exponent: int | None) -> str | None:
    match field.kind:
        case "text":
            return (
                f"is longer than {ID_BYTES_MAX} bytes" if len(raw.encode()) > ID_BYTES_MAX else None
            )
        case "instant" | "day":
            return date_advice(raw, field.notation)
        case "decimal":
            return amount_advice(raw, field.notation, None)
        case "money":
            advice = amount_advice(raw, field.notation, exponent if field.exact else None)
            return advice or _reason_of_money(field, raw, exponent)
        case _:
            return None


def _reason_of_money(field: Field, raw: str, exponent: int | None) -> str | None:
    if field.notation == "minor":
        return "is not a whole number of minor units"
    if plain_number(raw) is None:
        return "is too large" if raw.lstrip("+-").replace(".", "", 1).isdigit() else None
    return f"has more decimals than the currency ({exponent})"
