"""The vocabulary of the suites: a check is a stock expectation plus how we talk about it."""

from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True, slots=True)
class Parameter:
    """A bound that is known only when the suite runs."""

    #: As the suite's `run` is given it.
    name: str


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a suite.

    Attributes:
        type: Great Expectations' name of it, e.g. `expect_column_values_to_not_be_null`.
        kwargs: its arguments. They name columns of the frame that the suite's `prepare` returns.
        column: the column an operator is shown, as the canonical frame calls it.
        words: the expectation as a sentence.
        reason: short code stored with a rejected row.
    """

    type: str
    kwargs: dict[str, Any]
    column: str
    words: str
    reason: str


@dataclass(frozen=True, slots=True)
class Suite:
    """Checks, and the narrow frame they look at.

    Attributes:
        name: unique per process.
        checks: in the order of the report.
        prepare: a column or derived expression for each column that the checks name; no other is
            converted.
    """

    name: str
    checks: tuple[Check, ...]
    prepare: tuple[pl.Expr, ...]


def not_null(column: str, *, words: str | None = None, checked: str | None = None) -> Check:
    """`column` has a value in every row.

    `checked` names the prepared column to look at, where it is another one.
    """
    return Check(
        "expect_column_values_to_not_be_null",
        {"column": checked or column},
        column,
        words or f"{column} has a value",
        "missing",
    )


def matches(column: str, regex: str, words: str) -> Check:
    """Every value of `column` matches `regex`; a null passes."""
    kwargs = {"column": column, "regex": regex}
    return Check("expect_column_values_to_match_regex", kwargs, column, words, "bad_format")


def one_of(column: str, values: tuple[str, ...]) -> Check:
    """Every value of `column` is one of `values`; a null passes."""
    kwargs = {"column": column, "value_set": list(values)}
    words = f"{column} is one of {', '.join(values)}"
    return Check("expect_column_values_to_be_in_set", kwargs, column, words, "not_allowed")


def none_of(column: str, values: tuple[int, ...], words: str) -> Check:
    """No value of `column` is one of `values`; a null passes."""
    kwargs = {"column": column, "value_set": list(values)}
    return Check("expect_column_values_to_not_be_in_set", kwargs, column, words, "not_allowed")


def between(column: str, low: int | None, high: int | Parameter | None, words: str) -> Check:
    """Every value of `column` lies in [low, high]; None leaves that side open and a null passes."""
    top = {"$PARAMETER": high.name} if isinstance(high, Parameter) else high
    kwargs = {"column": column, "min_value": low, "max_value": top}
    return Check("expect_column_values_to_be_between", kwargs, column, words, "out_of_range")


def at_least(column: str, other: str, *, shown: str, words: str, reason: str) -> Check:
    """`column` >= `other` in every row; a row where either is null passes."""
    kwargs = {
        "column_A": column,
        "column_B": other,
        "or_equal": True,
        "ignore_row_if": "either_value_is_missing",
    }
    return Check("expect_column_pair_values_a_to_be_greater_than_b", kwargs, shown, words, reason)


def equal(column: str, other: str, *, shown: str, words: str, reason: str) -> Check:
    """`column` == `other` in every row; a row where either is null passes."""
    kwargs = {"column_A": column, "column_B": other, "ignore_row_if": "either_value_is_missing"}
    return Check("expect_column_pair_values_to_be_equal", kwargs, shown, words, reason)


def unique(columns: tuple[str, ...], *, shown: str) -> Check:
    """No two rows share their values of `columns`.

    All rows of one value fail, since neither can be preferred here.
    """
    kwargs = {"column_list": list(columns), "ignore_row_if": "any_value_is_missing"}
    words = f"({', '.join(columns)}) occurs once in the batch"
    return Check("expect_compound_columns_to_be_unique", kwargs, shown, words, "duplicate")
