"""The documents of systems that an operator describes in a block.

Here are the usual paths of their fields, and the settings that fit other layouts, without code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, TypeVar

import polars as pl
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from connectors.kit.errors import Misconfigured
from connectors.kit.mapping.notation import AMOUNTS, DATES
from connectors.kit.mapping.pointers import joined_paths
from connectors.kit.spec import Account, Lines
from connectors.kit.spec import fields as kinds
from connectors.kit.spec.fields import Field as Source
from connectors.kit.spec.fields import Notation
from loyalty.schema import KINDS, STATUSES

#: The currency of documents that name none, unless the block says another or none.
DEFAULT_CURRENCY: Final = "AOA"
#: The statuses and kinds of `loyalty.schema`, as an operator may choose them.
Status = Literal["draft", "open", "paid", "void"]
Kind = Literal["invoice", "sale", "credit_note", "refund"]

#: Words that are understood without a setting.
_STATUS_WORDS: Final[Mapping[str, str]] = {
    **{name: name for name in STATUSES},
    **dict.fromkeys(("sent", "issued", "unpaid", "overdue", "partial", "partially_paid"), "open"),
    **dict.fromkeys(("completed", "settled"), "paid"),
    **dict.fromkeys(("voided", "cancelled", "canceled", "deleted"), "void"),
}
M = TypeVar("M", bound=BaseModel)


def pointer(value: str) -> str:
    """A JSON pointer, or nothing."""
    if value and not value.startswith("/"):
        raise ValueError('a path starts with a slash, e.g. "/data"; empty: none')
    return value


Pointer = Annotated[str, AfterValidator(pointer)]


class DocumentSettings(BaseModel):
    """How an operator says what the documents look like, besides the paths of their fields."""

    lines: Pointer = Field(
        default="",
        title="Product lines",
        description=(
            "Where a document holds its product lines, e.g. /items. Empty: /lines or /products."
        ),
    )
    deleted_path: Pointer = Field(
        default="/deleted_at",
        title="Deletion mark",
        description=(
            "Field that is set on deleted documents (a time, true, any text). Empty: documents are "
            "never marked as deleted."
        ),
    )
    statuses: dict[str, Status] = Field(
        default_factory=dict,
        title="Statuses",
        description=(
            'Your system\'s words for draft, open, paid and void, e.g. {"EMITIDA": "open", '
            '"ANULADA": "void"}. '
            "The English words are known; a document without a status counts as open, one with an "
            "unknown word is rejected."
        ),
    )
    document_types: dict[str, Kind] = Field(
        default_factory=dict,
        title="Document types",
        description=(
            "Only if one list holds several types: words for invoice, sale, credit_note and "
            'refund, e.g. {"FT": "invoice", "NC": "credit_note"}. Say in the field mapping where '
            "the word is, as kind."
        ),
    )
    amounts: Literal["decimal", "decimal comma", "comma between thousands", "minor units"] = Field(
        default="decimal",
        title="Amounts are written as",
        description=(
            "decimal: 150.00. decimal comma: 1.234,56. comma between thousands: 1,234.56 and "
            "1,234. minor units: 15000 for 150.00. Spaces between thousands and the money's sign "
            "are left out of it."
        ),
    )
    dates: Literal["year first", "day first", "month first"] = Field(
        default="year first",
        title="Dates are written with the",
        description=(
            "year first: 2026-01-31, also 20260131, 31 Jan 2026, seconds since 1970 and "
            "/Date(ms)/. day first: 31/01/2026 or 31.01.26. month first: 01/31/2026 2:30 PM."
        ),
    )
    totals: Literal["as written", "sum of the lines"] = Field(
        default="as written",
        title="Totals",
        description="sum of the lines: where documents have no total of their own.",
    )


def settings_of(model: type[M], account: Account) -> M:
    """The account's options as this model.

    Raises:
        Misconfigured: Naming the fields of the block that cannot be as they are; never their
            values.
    """
    try:
        return model.model_validate(dict(account.options))
    except ValidationError as error:
        raise Misconfigured(account.system, "settings", problems(model, error)) from None


def problems(model: type[BaseModel], error: ValidationError) -> str:
    """What is wrong with which field, by the titles that the operator sees."""
    return "; ".join(
        f"{_label(model, problem['loc'])}: {_reason(problem)}" for problem in error.errors()[:3]
    )


def _label(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    name = str(place[0]) if place else ""
    setting = model.model_fields.get(name)
    title = f'field "{setting.title}" ({name})' if setting and setting.title else f'field "{name}"'
    return title if name else "the fields together"


def _reason(problem: Any) -> str:
    return (
        "there is no such field"
        if problem["type"] == "extra_forbidden"
        else str(problem["msg"]).removeprefix("Value error, ")
    )


@dataclass(frozen=True, eq=False)
class Documents:
    """The parts of a `Stream` that say how its documents are mapped; see there."""

    fields: Mapping[str, Source]
    helpers: Mapping[str, Source]
    lines: Lines
    gone: str | None
    finish: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]


def documents(settings: DocumentSettings, account: Account, stream: str) -> Documents:
    """Fields at their usual paths, or at those of the account, written as the settings say.

    The account's paths are put in here, so that their fields keep the notation. Unknown names are
    left for the mapping to refuse.

    Args:
        settings: What the operator says about the documents.
        account: The account; only its paths are used.
        stream: The name of the list, which paths may begin with.
    """
    amounts, dates = AMOUNTS[settings.amounts], DATES[settings.dates]
    chosen = {name.removeprefix(f"{stream}."): path for name, path in account.paths.items()}

    def placed(fields: dict[str, Source], prefix: str = "") -> dict[str, Source]:
        return {
            name: replace(
                field,
                paths=joined_paths(chosen[prefix + name])
                if prefix + name in chosen
                else field.paths,
                joined=len(joined_paths(chosen.get(prefix + name, ""))) > 1,
                notation=_notation(field, amounts, dates),
            )
            for name, field in fields.items()
        }

    gone = {"deleted_mark": kinds.text(settings.deleted_path)} if settings.deleted_path else {}
    helpers = placed({"amount_due_minor": kinds.money("/amount_due", exact=False)}) | {
        name: replace(field, pick=_mark) for name, field in placed(gone).items()
    }
    usual = ("/lines", "/products")
    path, *also = (settings.lines,) if settings.lines else usual
    helpers |= _lines_complete(path)
    return Documents(
        placed(_fields(settings)),
        helpers,
        Lines(path, placed(_line_fields(), "lines."), also=tuple(also)),
        next(iter(gone), None),
        _finish(sums=settings.totals == "sum of the lines"),
    )


def _lines_complete(path: str) -> dict[str, Source]:
    """A helper that rejects a document whose product lines are only the first page of them.

    Some APIs say so beside the list, as `has_more`.
    """
    beside = path.rpartition("/")[0]
    if not beside:
        return {}
    words = dict.fromkeys(("false", "no", "0"), "yes")
    return {
        "all_lines": Source(
            "word", (f"{beside}/has_more", f"{beside}/hasMore"), words=words, pick=_word
        )
    }


def _notation(field: Source, amounts: Notation, dates: Notation) -> Notation:
    if field.kind in ("money", "decimal"):
        # A count of pieces has no minor units.
        return "plain" if amounts == "minor" and field.paths[:1] == ("/quantity",) else amounts
    return dates if field.kind in ("instant", "day") else "plain"


def _fields(settings: DocumentSettings) -> dict[str, Source]:
    statuses = {
        **_STATUS_WORDS,
        **{word.lower(): status for word, status in settings.statuses.items()},
    }
    types = {
        **{name: name for name in KINDS},
        **{word.lower(): kind for word, kind in settings.document_types.items()},
    }
    return {
        "external_id": kinds.text("/id", "/invoice_number", "/number", required=True),
        "invoice_number": kinds.text("/number", "/invoice_number"),
        "kind": Source("word", (), required=True, words=types, default="invoice", pick=_word),
        "customer_external_id": kinds.text("/customer/id", "/customer_id", required=True),
        "customer_phone": kinds.phone("/customer/phone", "/customer_phone"),
        "currency": kinds.currency("/currency"),
        "total_minor": kinds.money("/total", "/total_amount", required=True),
        "subtotal_minor": kinds.money("/subtotal", exact=False),
        "tax_minor": kinds.money("/tax_total", exact=False),
        "amount_paid_minor": kinds.money("/amount_paid", exact=False),
        "amount_refunded_minor": kinds.money("/amount_refunded", exact=False),
        "status": Source(
            "word", ("/status",), required=True, words=statuses, default="open", pick=_word
        ),
        "issued_at": kinds.day(
            "/issued_on", "/issued_at", "/sale_date", "/created_at", required=True
        ),
        "original_external_id": kinds.text("/original_invoice", "/original_invoice_id"),
        "store": kinds.text("/store", "/branch"),
        "channel": kinds.text("/channel"),
        "city": kinds.text("/city", "/shipping_address/city", "/customer/city"),
        "region": kinds.text("/region", "/province", "/shipping_address/region"),
        # Not required: a document whose time of change is not said is never outside of the window.
        "updated_at": kinds.instant("/updated_at"),
    }


def _line_fields() -> dict[str, Source]:
    return {
        "item_external_id": kinds.text("/product_id"),
        "sku": kinds.text("/sku"),
        "name": kinds.text("/description", "/name"),
        "quantity": kinds.decimal("/quantity"),
        "unit_price": kinds.decimal("/unit_price"),
        "amount_minor": kinds.money("/amount", exact=False),
    }


def _word(value: Any) -> str | None:
    """A word as it is; a JSON boolean as the word "true" or "false"."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else None


def _mark(value: Any) -> str | None:
    """The value that marks a document as deleted; None for no, zero and nothing."""
    if isinstance(value, str):
        return (
            None
            if value.strip().lower() in ("", "0", "false", "no", "n", "não", "null", "none")
            else value
        )
    return "yes" if value else None


def _finish(*, sums: bool) -> Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]:
    def finish(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
        if sums:
            invoices = _summed(invoices, lines)
        total, due = pl.col("total_minor"), pl.col("amount_due_minor")
        return invoices.with_columns(
            # A document without a time of change is as new as its date.
            pl.coalesce("updated_at", "issued_at").alias("updated_at"),
            pl.coalesce("amount_paid_minor", pl.when(due <= total).then(total - due)).alias(
                "amount_paid_minor"
            ),
            pl.col("amount_refunded_minor").fill_null(0),
        )

    return finish


def _summed(invoices: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The total is that of the lines; with a line whose amount is not known there is none."""
    all_known = pl.col("amount_minor").null_count() == 0
    sums = lines.group_by("row").agg(
        pl.when(all_known).then(pl.col("amount_minor").sum()).alias("_sum")
    )
    joined = invoices.with_row_index("row").join(sums, on="row", how="left", maintain_order="left")
    return joined.with_columns(pl.col("_sum").alias("total_minor")).drop("row", "_sum")


def column_pointer(path: str) -> str:
    """A column's name as a pointer, `Serie + Factura` as two; a pointer stays one."""
    if path.startswith("/"):
        return path
    return " + ".join(
        "/" + name.strip().replace("~", "~0").replace("/", "~1") for name in path.split(" + ")
    )
