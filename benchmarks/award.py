"""The rules alone: `award()` over a million invoices, beside the floor of reading and writing the same columns.

    python -m benchmarks.award [invoices]

Prints seconds and peak memory of a process of its own for each step: `plain` leaves the promotions
out, `award` has all in one go, `chunks` works like the award step: so many members at a time,
claims on budgets first, dividing them, then the points.
"""

import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from loyalty.award import Evaluation, award, evaluate
from loyalty.inputs import DUE, GRANTS, HISTORY, LINES, REFERRALS, TIERS, Facts
from loyalty.program import TIER_RATE_BPS, Program
from loyalty.promotions import Promotion
from loyalty.promotions.limits import allocate

MEMBERS, LINES_EACH = 100_000, 2
#: Above it, only `chunks` is run: everything at once takes some 2 GiB per million.
AT_ONCE_MAX = 2_000_000
#: Sales in a chunk.
SALES_AT_ONCE = 500_000
START = datetime(2025, 1, 1, tzinfo=UTC)
PROGRAM = Program(
    version=1,
    base_rate_bps={"AOA": 100_000, "USD": 100_000},
    tier_rate_bps=dict(TIER_RATE_BPS),
    entry_tier="lead",
)
SKUS = [f"AGUA-{n}L" for n in (1, 5, 10, 20)] + [f"SKU-{n}" for n in range(96)]


def promotions() -> list[Promotion]:
    """Twenty, of all kinds, some for the whole year, some grouped, limited and budgeted."""

    def one(number: int, rule: dict[str, object], **more: object) -> Promotion:
        days = {} if number % 2 else {"valid_to": START + timedelta(days=30 + 15 * number)}
        own = {
            "promotion_id": f"p{number}",
            "version": 1,
            "valid_from": START + timedelta(days=10 * number),
            "rule": rule,
        }
        return Promotion.model_validate(own | days | more)

    products = [
        {"kind": "product_bonus", "match": {"sku_patterns": [f"*-{n}*"]}, reward: amount}
        for n, (reward, amount) in enumerate(
            [("points_per_unit", 25), ("percent_bps", 5_000), ("multiplier_bps", 20_000)] * 2
        )
    ]
    seasons = [
        {"kind": "seasonal_multiplier", "multiplier_bps": 15_000 + 1_000 * n} for n in range(6)
    ]
    bonuses = [{"kind": "purchase_bonus", "points": 50 + n} for n in range(7)]
    conditions = [
        {}, {"weekdays": ["sat", "sun"]}, {"hours": [{"start": "18:00", "end": "22:00"}]}, {"tiers": ["gold", "platinum"]},
        {"minimum_minor": {"AOA": 1_000_000}}, {"first_purchase": True}, {"systems": ["xero"]},
    ]  # fmt: skip
    found = [one(n, rule, when=conditions[n % 7]) for n, rule in enumerate(products)]
    found += [
        one(6 + n, rule, when=conditions[n % 7], stacking={"group": "season"})
        for n, rule in enumerate(seasons)
    ]
    found += [
        one(
            12 + n,
            rule,
            when=conditions[n % 7],
            limits={"budget": 10**6, "per_period": {"points": 200, "period": "month"}}
            if n < 3
            else {},
        )
        for n, rule in enumerate(bonuses)
    ]
    return [
        *found,
        one(19, {"kind": "referral_reward", "referrer_points": 500, "friend_points": 100}),
    ]


def make(invoices: int, folder: Path) -> None:
    """The world as Arrow files, made by arithmetic: the same every time."""
    row = pl.int_range(invoices, dtype=pl.Int64, eager=True).alias("n")
    mixed = (row * 2_654_435_761) % 4_294_967_296
    frame = pl.DataFrame({"n": row, "mixed": mixed}).select(
        pl.when(pl.col("n") % 3 == 0)
        .then(pl.lit("quickbooks"))
        .otherwise(pl.lit("xero"))
        .alias("system"),
        pl.lit("books").alias("account"),
        pl.format("INV-{}", "mixed").alias("external_id"),
        (pl.col("mixed") % MEMBERS + 1).alias("member_id"),
        pl.when(pl.col("n") % 20 == 7)
        .then(pl.lit("credit_note"))
        .otherwise(pl.lit("invoice"))
        .alias("kind"),
        pl.when(pl.col("n") % 50 == 3)
        .then(pl.lit("void"))
        .otherwise(pl.lit("paid"))
        .alias("status"),
        pl.lit("AOA").alias("currency"),
        (pl.col("mixed") % 2_000_000 + 100).alias("total_minor"),
        pl.lit(None, pl.Int64).alias("subtotal_minor"),
        pl.when(pl.col("n") % 30 == 5)
        .then(pl.lit(100))
        .otherwise(pl.lit(0))
        .alias("amount_refunded_minor"),
        (pl.lit(START) + pl.duration(minutes=pl.col("mixed") % 525_600))
        .cast(HISTORY["issued_at"])
        .alias("issued_at"),
        (pl.col("n") // 1_000).alias("page_id"),
        (pl.col("n") % 1_000).cast(pl.Int32).alias("record_no"),
        pl.lit(None, pl.String).alias("account_award_when"),
        pl.lit(None, pl.String).alias("invoice_number"),
        pl.lit(value=True).alias("time_known"),
        pl.lit(None, pl.String).alias("original_external_id"),
    )
    frame.cast(HISTORY).write_ipc(folder / "history.arrow")
    line = pl.int_range(invoices * LINES_EACH, dtype=pl.Int64, eager=True).alias("n")
    pl.DataFrame({"n": line, "sku": (line * 48_271) % 100}).select(
        (pl.col("n") // LINES_EACH // 1_000).alias("page_id"),
        (pl.col("n") // LINES_EACH % 1_000).cast(pl.Int32).alias("record_no"),
        (pl.col("n") % LINES_EACH + 1).cast(pl.Int32).alias("line_no"),
        pl.col("sku").replace_strict(dict(enumerate(SKUS)), return_dtype=pl.String),
        pl.lit("Water").alias("name"),
        pl.lit(2_000_000, pl.Int64).alias("quantity_micro"),
        pl.lit(50_000, pl.Int64).alias("amount_minor"),
    ).select(LINES.names()).write_ipc(folder / "lines.arrow")
    member = pl.int_range(1, MEMBERS + 1, dtype=pl.Int64, eager=True)
    names = pl.Series(list(TIER_RATE_BPS))
    pl.DataFrame(
        {"member_id": member, "valid_from": START, "tier": names.gather(member % 4)}, schema=TIERS
    ).write_ipc(folder / "tiers.arrow")
    pl.DataFrame(
        {"friend_id": member[::10], "referrer_id": member[1::10], "referred_at": START},
        schema=REFERRALS,
    ).write_ipc(folder / "referrals.arrow")


def floor(folder: Path) -> float:
    """Reads what the award reads, and writes as many rows of the same columns as it gives."""
    start = time.perf_counter()
    history = pl.read_ipc(folder / "history.arrow")
    for name in ("lines", "tiers", "referrals"):
        pl.read_ipc(folder / f"{name}.arrow")
    filled = {"net_minor": pl.col("total_minor"), "tier": pl.lit("gold"), "program_version": pl.lit(1, pl.Int32),
              "due": pl.col("total_minor"), "breakdown": pl.lit('{"base":150000,"tier":30000,"p1@1":50}'),
              "counted_at": pl.lit(None, pl.String), "credited_minor": pl.lit(0, pl.Int64)}  # fmt: skip
    assert list(filled) == DUE.names()
    history.with_columns(**filled).write_ipc(folder / "floor.arrow")
    return time.perf_counter() - start


def run(folder: Path, *, plain: bool) -> float:
    """Reads, awards, writes."""
    start = time.perf_counter()
    frames = {
        name: pl.read_ipc(folder / f"{name}.arrow")
        for name in ("history", "tiers", "lines", "referrals")
    }
    read = time.perf_counter()
    facts = Facts() if plain else Facts(lines=frames["lines"], referrals=frames["referrals"])
    due = award(frames["history"], frames["tiers"], [PROGRAM], [] if plain else promotions(), facts)
    awarded = time.perf_counter()
    due.write_ipc(folder / "due.arrow")
    print(f"  award() alone: {awarded - read:.2f} s, {due.height} rows, {due['due'].sum()} points")
    return time.perf_counter() - start


def run_in_chunks(folder: Path) -> float:
    """Reads, awards and writes part by part; what is in memory does not grow with the history."""
    start = time.perf_counter()
    frames = {
        name: pl.scan_ipc(folder / f"{name}.arrow")
        for name in ("history", "tiers", "lines", "referrals")
    }
    invoices = int(frames["history"].select(pl.len()).collect().item())
    size = max(1, MEMBERS * SALES_AT_ONCE // invoices)
    claims = pl.concat(
        [_part(frames, low, size, GRANTS.to_frame()).claims for low in range(1, MEMBERS + 1, size)]
    )
    granted = [
        allocate(claims.filter(pl.col("promotion_id") == one.promotion_id), one.limits.budget)
        for one in promotions()
        if one.limits.budget is not None
    ]
    grants = pl.concat(granted).select(GRANTS.names()).cast(GRANTS)
    rows = points = 0
    for number, low in enumerate(range(1, MEMBERS + 1, size)):
        due = _part(frames, low, size, grants).due
        due.write_ipc(folder / f"due{number % 2}.arrow")
        rows, points = rows + due.height, points + int(due["due"].sum())
    print(
        f"  evaluate() alone: {sum(_spent):.2f} s, in chunks of {size} members; {rows} rows, {points} points"
    )
    return time.perf_counter() - start


#: Seconds of each evaluation.
_spent: list[float] = []


def _part(frames: dict[str, pl.LazyFrame], low: int, size: int, grants: pl.DataFrame) -> Evaluation:
    """The members from `low` on, with the sales of the friends they brought."""
    members = pl.Series(range(low, min(low + size, MEMBERS + 1)), dtype=pl.Int64)
    asked = members.implode()
    brought = pl.col("referrer_id").is_in(asked) | pl.col("friend_id").is_in(asked)
    referrals = frames["referrals"].filter(brought).collect()
    friends = referrals.filter(pl.col("referrer_id").is_in(asked))["friend_id"]
    needed = pl.concat([members, friends]).unique().implode()
    history = frames["history"].filter(pl.col("member_id").is_in(needed)).collect()
    places = history.lazy().select("page_id", "record_no")
    lines = (
        frames["lines"]
        .join(places, on=["page_id", "record_no"], how="semi")
        .collect(engine="streaming")
    )
    tiers = frames["tiers"].filter(pl.col("member_id").is_in(needed)).collect()
    facts = Facts(lines=lines, referrals=referrals, grants=grants, members=members)
    start = time.perf_counter()
    found = evaluate(history, tiers, [PROGRAM], promotions(), facts)
    _spent.append(time.perf_counter() - start)
    return found


def main() -> None:
    """One step in this process, or all of them in processes of their own."""
    if len(sys.argv) == 4 and sys.argv[1] in ("floor", "award", "plain", "chunks", "make"):
        step, folder = sys.argv[1], Path(sys.argv[3])
        if step == "make":
            make(int(sys.argv[2]), folder)
            return
        if step == "chunks":
            seconds = run_in_chunks(folder)
        else:
            seconds = floor(folder) if step == "floor" else run(folder, plain=step == "plain")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{step}: {seconds:.2f} s, peak {peak} MiB")
        return
    invoices = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{invoices} invoices, {MEMBERS} members, {len(promotions())} promotions")
    with tempfile.TemporaryDirectory() as made:
        at_once = ("plain", "award") if invoices <= AT_ONCE_MAX else ()
        for step in ("make", "floor", *at_once, "chunks"):
            subprocess.run(
                [sys.executable, "-m", "benchmarks.award", step, str(invoices), made], check=True
            )


if __name__ == "__main__":
    main()
