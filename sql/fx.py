"""Exchange rates in and out. The caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from loyalty.fx import PROBLEMS_SHOWN, RATES, FxRate, by_version
from loyalty.inputs import FX
from loyalty.program import Program
from sql.db import DbConnection, read_frame
from sql.named_queries import query


class RateChangedError(ValueError):
    """A stored rate would get another value, and nobody said that this is a correction."""


@dataclass(frozen=True)
class LoadedRates:
    """What became of the rates of a file; `corrected` ones replace what was known for their day."""

    #: Rates that were added.
    new: int
    #: Rates that were stored already.
    unchanged: int
    #: Rates that replace another one of their day.
    corrected: int

    def to_text(self) -> str:
        """One line."""
        return (
            f"{self.new} new exchange rates, {self.corrected} corrected, "
            f"{self.unchanged} known before"
        )


def rates(connection: DbConnection, programs: Sequence[Program]) -> pl.DataFrame:
    """The rates that the programs may need: loyalty.fx.FX."""
    bases = sorted({p.base_currency for p in programs if p.base_currency is not None})
    if not bases:
        return FX.to_frame()
    as_read = pl.Schema(
        {name: pl.Int32() if dtype == pl.Date else dtype for name, dtype in RATES.items()}
    )
    stored = read_frame(connection, query("fx", "rates"), {"bases": bases}, as_read).cast(RATES)
    return by_version(stored, programs)


def add(
    connection: DbConnection,
    rates: Sequence[FxRate],
    source: str,
    run_id: str,
    *,
    correct: bool = False,
) -> LoadedRates:
    """Adds the rates that are not known; loading a file twice adds nothing.

    Args:
        connection: Of the caller.
        rates: At most one per pair and day.
        source: Who says so; kept with each.
        run_id: Who loads them; kept with each.
        correct: A rate that differs from the known one of its day replaces it, and the sales are
            recomputed.

    Raises:
        RateChangedError: One differs, and `correct` is not set. Nothing is added then.
    """
    connection.execute(query("fx", "lock"))  # two loads at once must not both find a rate missing
    stored = {(row[0], row[1], row[2]): (row[3], row[4]) for row in _known(connection, rates)}
    fresh = [rate for rate in rates if stored.get(rate.key) != (rate.valid_until, rate.rate)]
    changed = [rate for rate in fresh if rate.key in stored]
    if changed and not correct:
        shown = "; ".join(
            f"{rate.currency} in {rate.base_currency} for {rate.valid_on}: "
            f"{stored[rate.key][1]} is known, {rate.rate} is new"
            for rate in changed[:PROBLEMS_SHOWN]
        )
        message = (
            f"{len(changed)} rates differ from what is known: {shown}. "
            "Load them as a correction if they are right: past sales are then recomputed"
        )
        raise RateChangedError(message)
    if fresh:
        values = _columns(fresh) | {
            "ends": [rate.valid_until for rate in fresh], "rates": [rate.rate for rate in fresh],
            "source": source, "run_id": run_id,
        }  # fmt: skip
        connection.execute(query("fx", "add"), values)
    return LoadedRates(len(fresh) - len(changed), len(rates) - len(fresh), len(changed))


def _known(connection: DbConnection, rates: Sequence[FxRate]) -> list[tuple[object, ...]]:
    return connection.execute(query("fx", "known"), _columns(rates)).fetchall()


def _columns(rates: Sequence[FxRate]) -> dict[str, object]:
    return {
        "currencies": [rate.currency for rate in rates],
        "bases": [rate.base_currency for rate in rates],
        "days": [rate.valid_on for rate in rates],
    }
