"""The points program: versioned parameters, never code. Frozen; an unknown key is refused."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Literal

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from loyalty.rounding import Rounding
from loyalty.schema import UTC_US

#: Basis points: 10_000 is 1.
BPS = 10_000
Bps = Annotated[int, Field(ge=0, le=10_000 * BPS)]
#: A version without beginning: Python has no minus infinity, and no sale is older.
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


class Program(BaseModel):
    """One version of the program, in force from `valid_from` (UTC) until the next version's.

    `base_rate_bps`: per currency, points per whole unit in basis points (100_000 = 10 points).
    `tier_rate_bps`: per tier, multiplier in basis points (12_000 = 1.2x).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1)]
    valid_from: AwareDatetime = BEGINNING
    base_rate_bps: dict[str, Bps]
    tier_rate_bps: dict[str, Bps]
    entry_tier: str
    rounding: Rounding = "down"
    basis: Literal["total", "subtotal"] = "total"

    @model_validator(mode="after")
    def _entry_tier_is_a_tier(self) -> "Program":
        if self.entry_tier not in self.tier_rate_bps:
            message = f"entry_tier {self.entry_tier!r} has no rate in tier_rate_bps"
            raise ValueError(message)
        return self


#: The tiers of the product's documentation.
TIER_RATE_BPS = MappingProxyType({"lead": 10_000, "silver": 12_000, "gold": 15_000, "platinum": 20_000})


def versions_frame(programs: Sequence[Program]) -> pl.DataFrame:
    """One row per version, sorted by `valid_from`: version, valid_from, entry_tier, rounding, basis."""
    rows = [(p.version, p.valid_from, p.entry_tier, p.rounding, p.basis) for p in programs]
    schema = {
        "program_version": pl.Int32(),
        "valid_from": UTC_US,
        "entry_tier": pl.String(),
        "rounding": pl.String(),
        "basis": pl.String(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort("valid_from")


def rates_frame(
    programs: Sequence[Program], field: Literal["base_rate_bps", "tier_rate_bps"], key: str
) -> pl.DataFrame:
    """One row per version and `key` (currency or tier) with its rate in basis points."""
    rows = [(p.version, name, rate) for p in programs for name, rate in getattr(p, field).items()]
    return pl.DataFrame(rows, schema={"program_version": pl.Int32(), key: pl.String, field: pl.Int64}, orient="row")
