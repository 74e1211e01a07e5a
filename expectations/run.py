"""Runs a suite over a frame: the only place that touches Great Expectations and pandas.

Great Expectations evaluates in at most two passes: first for a yes or no, with one expectation for
all columns that must have values; then, if any failed, those alone, asking which rows. A clean
batch, the common case, takes one pass. An expectation costs the same for one row and for thousands.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import polars as pl

from expectations.awards import awards
from expectations.checks import Check, Suite, not_null
from expectations.invoices import KEY as INVOICE_KEY
from expectations.invoices import bounds, invoices
from expectations.report import FAILED, NOTHING_CHECKED, Report, Result
from expectations.stock import expectation

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationValidationResult

_ROW_NO: Final = "row_no"
#: Has a value where all columns have one that must.
_ALL_PRESENT: Final = "all_present"
_VERDICT: Final = {"result_format": "BOOLEAN_ONLY"}
_WHICH_ROWS: Final = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": [_ROW_NO],
    "return_unexpected_index_query": False,
    "partial_unexpected_count": 0,
}


class ExpectationNotEvaluatedError(RuntimeError):
    """Great Expectations could not evaluate an expectation.

    Nothing may be concluded about the batch.
    """

    def __init__(self, check: Check) -> None:
        super().__init__(f"could not evaluate: {check.words} ({check.type})")


def validate_invoices(frame: pl.DataFrame, *, now: datetime | None = None) -> Report:
    """Checks mapped invoices, one row per document.

    The columns are those of `loyalty.schema.INVOICE`; nulls are allowed.

    Args:
        frame: the batch. Two rows of one key both fail: keep the newest version of each document
            beforehand.
        now: aware time of the run, the bound for `issued_at`; the clock's by default.

    Raises:
        ExpectationNotEvaluatedError: an expectation could not be evaluated.
    """
    return _shared().run(_INVOICES, frame, bounds(now or datetime.now(UTC)))


def validate_each(frames: Sequence[pl.DataFrame]) -> list[Report]:
    """Checks the mapped invoices of several lists; one report per frame, as `validate_invoices`.

    One evaluation serves all of them: it costs the same for one row and for thousands. Frames
    without rows cost nothing, not even the import of Great Expectations.

    Raises:
        ExpectationNotEvaluatedError: an expectation could not be evaluated.
    """
    filled = [frame for frame in frames if not frame.is_empty()]
    together = pl.concat(filled) if filled else pl.DataFrame()
    # A key is unique within its list; the same key in another list is another reading of it.
    if len(filled) > 1 and together.select(INVOICE_KEY).is_duplicated().any():
        return [validate_each([frame])[0] for frame in frames]
    whole = validate_invoices(together) if filled else NOTHING_CHECKED
    return whole.divided([frame.height for frame in frames])


def validate_awards(frame: pl.DataFrame) -> Report:
    """Checks computed awards before they are posted.

    Args:
        frame: system, account, external_id, member_id, entry_no, due_before, due_after, points,
            breakdown, program_version, event_at; one row per ledger entry.

    Raises:
        ExpectationNotEvaluatedError: an expectation could not be evaluated.
    """
    return _shared().run(_AWARDS, frame, {})


def preload() -> None:
    """Pays the import (7 s of CPU) and the set-up now.

    For a process that workers are forked from: they inherit what is loaded.
    """
    _shared()


_INVOICES: Final = invoices()
_AWARDS: Final = awards()


class _Runner:
    """Great Expectations' objects of this process, made once.

    The engine holds one batch: hence the lock.
    """

    def __init__(self) -> None:
        # Read when the library is imported: no usage statistics leave the machine.
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        import great_expectations as gx  # seven seconds, paid by validating processes only
        from great_expectations.data_context.types.base import ProgressBarsConfig
        from great_expectations.execution_engine import pandas_execution_engine
        from great_expectations.validator.v1_validator import Validator

        # Frames up to this size are hashed whole, for a mark of the batch that nobody looks at: a
        # quarter of a validation.
        pandas_execution_engine.HASH_THRESHOLD = 0
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._source = context.data_sources.add_pandas("frames")
        self._batches = self._source.add_dataframe_asset(
            "frame"
        ).add_batch_definition_whole_dataframe("whole")
        self._gx = gx
        # What Batch.validate() and ValidationDefinition.run() call. Using it directly spares the
        # former's second fingerprint of the whole frame and the latter's result store.
        self._validator = Validator
        self._first: dict[str, tuple[_First, Any]] = {}
        for suite in (_INVOICES, _AWARDS):
            first = _first_pass(suite)
            self._first[suite.name] = (
                first,
                self._gx_suite(suite.name, [(at, check) for at, (check, _) in enumerate(first)]),
            )

    def run(self, suite: Suite, frame: pl.DataFrame, parameters: Mapping[str, int]) -> Report:
        if frame.is_empty():
            return _report(suite, 0, {})
        data = _to_pandas(frame.select(suite.prepare).with_columns(_all_present(suite)))
        with _lock:
            try:
                return _report(suite, frame.height, self._failures(suite, data, parameters))
            finally:
                self._forget()

    def _failures(
        self, suite: Suite, data: "pd.DataFrame", parameters: Mapping[str, int]
    ) -> dict[int, list[int]]:
        """Positions of the failing rows by index of the check they fail."""
        first, gx_suite = self._first[suite.name]
        verdicts = self._evaluate(
            suite, [check for check, _ in first], gx_suite, _VERDICT, data, parameters
        )
        failed = [pair for at, pair in enumerate(first) if not verdicts[at].success]
        if not failed:
            return {}
        asked = sorted(index for _, indexes in failed for index in indexes)
        gx_suite = self._gx_suite(suite.name, [(index, suite.checks[index]) for index in asked])
        numbered = data.assign(**{_ROW_NO: range(len(data))})
        details = self._evaluate(suite, suite.checks, gx_suite, _WHICH_ROWS, numbered, parameters)
        positions = {index: _positions(result) for index, result in details.items()}
        for check, indexes in failed:
            # Failed, yet by no row: an error in disguise. Passing the batch on would be guessing.
            if not any(positions.get(index) for index in indexes):
                raise ExpectationNotEvaluatedError(check)
        return {index: rows for index, rows in positions.items() if rows}

    def _evaluate(
        self,
        suite: Suite,
        checks: Sequence[Check],
        gx_suite: Any,
        result_format: Mapping[str, object],
        data: "pd.DataFrame",
        parameters: Mapping[str, int],
    ) -> dict[int, "ExpectationValidationResult"]:
        """Results by index in `checks`: Great Expectations returns them in another order."""
        validator = self._validator(self._batches, dict(result_format), {"dataframe": data})
        outcome = validator.validate_expectation_suite(gx_suite, dict(parameters))
        results = {
            int(result.expectation_config.meta["check"]): result for result in outcome.results
        }
        for index, result in results.items():
            if _raised(result.exception_info):
                raise ExpectationNotEvaluatedError(checks[index])
        if len(results) != len(gx_suite.expectations):
            message = (
                f"suite {suite.name}: {len(results)} of {len(gx_suite.expectations)} "
                "expectations answered"
            )
            raise RuntimeError(message)
        return results

    def _gx_suite(self, name: str, checks: Sequence[tuple[int, Check]]) -> Any:
        expectations = [
            expectation(check.type)(**check.kwargs, meta={"check": index})
            for index, check in checks
        ]
        return self._gx.ExpectationSuite(name, expectations=expectations)

    def _forget(self) -> None:
        """Lets go of the batch: the engine would keep the last one, personal data included."""
        batches = self._source.get_execution_engine().batch_manager
        batches.reset_batch_cache()
        batches.batch_data_cache.clear()


#: What the first pass evaluates, and the indexes of the checks that each of these stands for.
_First: TypeAlias = list[tuple[Check, tuple[int, ...]]]


def _first_pass(suite: Suite) -> _First:
    """Each check for itself, and one for all that ask for a value."""
    present = _asks_for_a_value(suite)
    alone = [(check, (index,)) for index, check in enumerate(suite.checks) if index not in present]
    return [(not_null(_ALL_PRESENT), tuple(present)), *alone]


def _asks_for_a_value(suite: Suite) -> dict[int, str]:
    """The columns that must have values, by index of their check."""
    kind = not_null(_ALL_PRESENT).type
    return {
        index: check.kwargs["column"]
        for index, check in enumerate(suite.checks)
        if check.type == kind
    }


def _all_present(suite: Suite) -> pl.Expr:
    columns = _asks_for_a_value(suite).values()
    present = pl.all_horizontal(pl.col(column).is_not_null() for column in columns)
    return pl.when(present).then(pl.lit(1, pl.Int8)).alias(_ALL_PRESENT)


_lock = threading.RLock()
_runner: _Runner | None = None


def _shared() -> _Runner:
    global _runner  # noqa: PLW0603  (one per process, made on first use)
    with _lock:
        if _runner is None:
            _runner = _Runner()
        return _runner


def _after_fork() -> None:
    """A thread that held the lock in the parent does not exist in the child."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def _to_pandas(frame: pl.DataFrame) -> "pd.DataFrame":
    """Converts without losing a digit.

    An integer column without nulls becomes int64, which (unlike narrower ones) is compared at once
    and not value by value; any other column keeps its Arrow type, since a null would turn int64
    into float64.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            column.name: column.cast(pl.Int64).to_numpy()
            if column.dtype.is_integer() and not column.null_count()
            else column.to_pandas(use_pyarrow_extension_array=True)
            for column in frame
        }
    )


def _raised(exception_info: Mapping[str, Any]) -> bool:
    """Either one record of an exception or, when metrics failed, one record per metric."""
    if "raised_exception" in exception_info:
        return bool(exception_info["raised_exception"])
    return any(record["raised_exception"] for record in exception_info.values())


def _positions(result: "ExpectationValidationResult") -> list[int]:
    return [int(row[_ROW_NO]) for row in result.result.get("unexpected_index_list") or ()]


def _report(suite: Suite, checked: int, positions: Mapping[int, Sequence[int]]) -> Report:
    parts = [
        pl.DataFrame({"row_no": rows}, schema={"row_no": pl.UInt32}).with_columns(
            column=pl.lit(check.column),
            expectation=pl.lit(check.words),
            reason=pl.lit(check.reason),
        )
        for check, rows in (
            (suite.checks[index], rows) for index, rows in sorted(positions.items())
        )
    ]
    failed = pl.concat([FAILED.to_frame(), *parts]).sort("row_no", maintain_order=True)
    results = tuple(
        Result(check.words, check.column, check.reason, checked, len(positions.get(index, ())))
        for index, check in enumerate(suite.checks)
    )
    return Report(checked, failed, results)
