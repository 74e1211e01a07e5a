"""Runs one contestant at a time in a process of its own, and prints the contestants side by side."""

import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

PagesFactory = Callable[[], Iterator[bytes]]
#: Loads all pages into the database at the URL; returns the seconds that count, set-up excluded.
Contestant = Callable[[PagesFactory, str], float]

_KIB_PER_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contestant at one size; `peak_rss_mb` is of its process, or of its largest child if larger."""

    name: str
    n_invoices: int
    seconds: float
    peak_rss_mb: float

    @property
    def invoices_per_second(self) -> float:
        """Throughput."""
        return self.n_invoices / self.seconds


class ContestantFailedError(RuntimeError):
    """A contestant ended without a result; its own error is on stderr."""


def measure(
    name: str, run: Contestant, factory: PagesFactory, n_invoices: int, dsn: str
) -> Measurement:
    """Calls `run(factory, dsn)` in a fresh interpreter, so that nobody inherits imports, caches or memory.

    Args:
        name: how the table calls it.
        run: a module-level function; `factory` likewise has to be picklable.
        factory: makes the pages, e.g. `benchmarks.pages.StoredPages`.
        n_invoices: how many invoices the pages hold.
        dsn: database URL.

    Raises:
        ContestantFailedError: the process failed.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    # Not a daemon: a contestant may have worker processes of its own.
    process = context.Process(target=_contest, args=(sending, run, factory, dsn), name=name)
    process.start()
    sending.close()
    try:
        seconds, peak_rss_mb = receiving.recv()
    except EOFError:
        process.join()
        message = f"{name} at {n_invoices}: exit code {process.exitcode}"
        raise ContestantFailedError(message) from None
    process.join()
    return Measurement(name, n_invoices, seconds, peak_rss_mb)


def _contest(sending: Connection, run: Contestant, factory: PagesFactory, dsn: str) -> None:
    seconds = run(factory, dsn)
    sending.send((seconds, _peak_rss_mb()))
    sending.close()


def _peak_rss_mb() -> float:
    """Largest resident set of this process or of a finished child, in MiB.

    Linux counts what a parent held before exec into a child's ru_maxrss; VmHWM starts at exec.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():
        own = next(
            int(line.split()[1])
            for line in status.read_text().splitlines()
            if line.startswith("VmHWM")
        )
        return max(own, children) / _KIB_PER_MIB
    unit = _KIB_PER_MIB if sys.platform == "darwin" else 1  # macOS counts bytes
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, children) / unit / _KIB_PER_MIB


def table(measurements: Iterable[Measurement], *, baselines: Sequence[str]) -> str:
    """Markdown, one row per size and contestant; a ratio above 1 is faster than that baseline at that size."""
    rows = list(measurements)
    seconds = {(row.name, row.n_invoices): row.seconds for row in rows}
    lines = [
        f"| invoices | contestant | seconds | invoices/s |{''.join(f' ratio to {name} |' for name in baselines)} peak MB |",
        f"|---:|---|---:|---:|{'---:|' * len(baselines)}---:|",
    ]
    for row in sorted(rows, key=lambda row: row.n_invoices):
        base = (seconds.get((name, row.n_invoices)) for name in baselines)
        ratios = "".join(f" {one / row.seconds:.1f} |" if one else " |" for one in base)
        lines.append(
            f"| {row.n_invoices:,} | {row.name} | {row.seconds:.2f} | {row.invoices_per_second:,.0f} "
            f"|{ratios} {row.peak_rss_mb:.0f} |"
        )
    return "\n".join(lines)


def scaling(measurements: Sequence[Measurement], name: str) -> str:
    """One sentence: how time and memory of `name` grow from its smallest to its largest size."""
    rows = sorted((row for row in measurements if row.name == name), key=lambda row: row.n_invoices)
    first, last = rows[0], rows[-1]
    factor = last.n_invoices / first.n_invoices
    return (
        f"{name}: {factor:,.0f}x the invoices take {last.seconds / first.seconds:,.1f}x the time "
        f"and {last.peak_rss_mb / first.peak_rss_mb:.2f}x the memory"
    )
