"""What a validation says: which rows failed what, and one line per expectation for the operator."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import polars as pl

#: One row per (row, expectation it failed). `row_no` is the position in the validated frame, from
#: 0.
FAILED: Final = pl.Schema(
    {"row_no": pl.UInt32, "column": pl.String, "expectation": pl.String, "reason": pl.String}
)


@dataclass(frozen=True, slots=True)
class Result:
    """One expectation over one batch, in plain words.

    It never holds a value of the batch, which may be personal.
    """

    #: As a sentence.
    expectation: str
    #: The column, as the canonical frame calls it.
    column: str
    #: The short code that is stored with a rejected row.
    reason: str
    #: Rows that were looked at.
    checked: int
    #: Rows that broke it.
    failed: int


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one suite over one frame.

    Attributes:
        checked: rows of the frame.
        failed: columns of `FAILED`, ordered by row_no; a row that breaks two expectations is there
            twice.
        results: one per expectation, in the order in which the suite declares them.
    """

    checked: int
    failed: pl.DataFrame
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether every row met every expectation."""
        return self.failed.is_empty()

    def divided(self, heights: Sequence[int]) -> list["Report"]:
        """This report as one per part: the frame was made of parts of these heights, in order."""
        begins = accumulate(heights, initial=0)
        return [self._part(begin, height) for begin, height in zip(begins, heights, strict=False)]

    def _part(self, begin: int, height: int) -> "Report":
        if not height:
            return NOTHING_CHECKED
        row_no = pl.col("row_no")
        failed = self.failed.filter(row_no.is_between(begin, begin + height, closed="left"))
        failed = failed.with_columns(row_no - begin)
        failures = Counter(failed.select("column", "expectation").rows())
        results = tuple(
            replace(result, checked=height, failed=failures[result.column, result.expectation])
            for result in self.results
        )
        return Report(height, failed, results)

    @property
    def failed_rows(self) -> pl.Series:
        """Positions of the rows to leave out, each once, ascending (UInt32)."""
        return self.failed["row_no"].unique().sort()


#: Of no rows: not even the expectations were looked at.
NOTHING_CHECKED: Final = Report(0, FAILED.to_frame(), ())
