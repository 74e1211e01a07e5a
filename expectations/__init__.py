"""What must be true of our frames before they are stored, and the one place that checks it."""

from expectations.report import FAILED, Report, Result
from expectations.run import (
    ExpectationNotEvaluatedError,
    preload,
    validate_awards,
    validate_each,
    validate_invoices,
)

__all__ = [
    "FAILED",
    "ExpectationNotEvaluatedError",
    "Report",
    "Result",
    "preload",
    "validate_awards",
    "validate_each",
    "validate_invoices",
]
