"""What must hold for a mapped invoice before it is stored."""

from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from expectations.checks import (
    Check,
    Parameter,
    Suite,
    at_least,
    between,
    matches,
    not_null,
    one_of,
    unique,
)
from loyalty.schema import KINDS, STATUSES

#: ITU-T E.164: a plus, no leading zero, at most 15 digits. `\Z`, because `$` lets a trailing
#: newline pass.
PHONE_REGEX: Final = r"^\+[1-9][0-9]{7,14}\Z"
#: ISO 4217 alphabetic code.
CURRENCY_REGEX: Final = r"^[A-Z]{3}\Z"
#: More than any sale can be, in minor units: a larger amount is read with the wrong scale.
TOTAL_MINOR_MAX: Final = 10**15
#: Earlier dates are wrong dates.
ISSUED_AT_MIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
#: A vendor's clock, or a sale dated tomorrow in its own timezone, may run ahead of ours by this
#: much.
ISSUED_AHEAD_MAX: Final = timedelta(days=2)
#: What names a document.
KEY: Final = ("system", "account", "external_id")
#: Columns without nulls.
REQUIRED: Final = (*KEY, "kind", "currency", "total_minor", "status", "issued_at", "updated_at")
#: Only these statuses can earn points: a draft or void invoice without a phone is harmless and
#: kept.
EARNING: Final = ("open", "paid")


def invoices() -> Suite:
    """The suite for frames of `loyalty.schema.INVOICE`; `bounds` gives its one parameter."""
    phone_words = f"customer_phone has a value where status is {' or '.join(EARNING)}"
    checks: tuple[Check, ...] = (
        *(not_null(column) for column in REQUIRED),
        not_null("customer_phone", checked="phone_where_needed", words=phone_words),
        matches("customer_phone", PHONE_REGEX, "customer_phone is an E.164 number"),
        one_of("kind", KINDS),
        one_of("status", STATUSES),
        matches("currency", CURRENCY_REGEX, "currency is three capital letters"),
        between("total_minor", 0, TOTAL_MINOR_MAX, "total_minor is between 0 and 10^15"),
        between("amount_refunded_minor", 0, None, "amount_refunded_minor is not negative"),
        at_least(
            "total_minor",
            "amount_refunded_minor",
            shown="amount_refunded_minor",
            words="amount_refunded_minor is at most total_minor",
            reason="exceeds_total",
        ),
        between(
            "issued_at",
            _epoch_us(ISSUED_AT_MIN),
            Parameter("issued_at_max_us"),
            (
                f"issued_at is between {ISSUED_AT_MIN:%Y-%m-%d} "
                f"and {ISSUED_AHEAD_MAX.days} days from now"
            ),
        ),
        unique(KEY, shown="external_id"),
    )
    return Suite("invoices", checks, _PREPARE)


#: Times travel as microseconds since the epoch and absent refunds as 0, so that Great Expectations
#: compares whole integer columns instead of calling Python once per value.
_PREPARE: Final = (
    pl.col(*KEY, "kind", "customer_phone", "currency", "total_minor", "status"),
    pl.when(
        pl.col("customer_phone").is_not_null()
        | pl.col("status").is_in(EARNING).not_().fill_null(value=True)
    )
    .then(pl.lit(1, pl.Int8))
    .alias("phone_where_needed"),
    pl.col("amount_refunded_minor").fill_null(0),
    pl.col("issued_at", "updated_at").dt.epoch("us"),
)


def bounds(now: datetime) -> dict[str, int]:
    """The suite's parameters at an (aware) time: the latest acceptable `issued_at`."""
    return {"issued_at_max_us": _epoch_us(now + ISSUED_AHEAD_MAX)}


def _epoch_us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
