"""The figures of a run of chaos, and how they are printed."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.chaos.comparison import Comparison


@dataclass
class Figures:
    """What was done, what came of it."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    #: Seconds until another process stood in the place of a killed one, by kind of fault.
    replaced_seconds: defaultdict[str, list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    #: Seconds from the last fault of a round until all was right again.
    recovered_seconds: list[float] = field(default_factory=list)
    #: The same for the ledger alone.
    ledger_seconds: list[float] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    #: What was wrong, a sentence each, with the round.
    wrong: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many processes got SIGKILL from us, those of a database that was away included."""
        return sum(n for kind, n in self.faults.items() if kind.startswith(("kill ", "database")))

    def text(self, seed: int, minutes: float) -> str:
        """Markdown: a table of the faults, then the sums."""
        last = self.comparisons[-1] if self.comparisons else Comparison(0, 0)
        done = (
            f"Seed {seed}, {minutes:.0f} minutes: {self.kills} kills among "
            f"{sum(self.faults.values())} faults in {self.rounds} rounds."
        )
        compared = (
            f"Documents compared: {sum(one.documents for one in self.comparisons):,} "
            f"({last.documents:,} at the end); points at the end: {last.points:,}."
        )
        lines = [
            "",
            done,
            "",
            "| fault | times | replaced after: half | 95 % | longest |",
            "|---|---:|---:|---:|---:|",
            *(self._row(kind, count) for kind, count in sorted(self.faults.items())),
            "",
            f"All right again after the last fault of a round: {spread(self.recovered_seconds)}.",
            f"The ledger right again: {spread(self.ledger_seconds)}.",
            compared,
            f"Wrong: {len(self.wrong) or 'nothing'}.",
            *(f"- {sentence}" for sentence in self.wrong),
        ]
        return "\n".join(lines)

    def _row(self, kind: str, count: int) -> str:
        seconds = self.replaced_seconds.get(kind)
        if not seconds:
            return f"| {kind} | {count} | | | |"
        return (
            f"| {kind} | {count} | {percentile(seconds, 50):.1f} s | "
            f"{percentile(seconds, 95):.1f} s | {max(seconds):.1f} s |"
        )


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def spread(seconds: Sequence[float]) -> str:
    """Median, 95 % and longest, or that there is none."""
    if not seconds:
        return "never"
    return (
        f"half within {percentile(seconds, 50):.1f} s, 95 % within "
        f"{percentile(seconds, 95):.1f} s, longest {max(seconds):.1f} s"
    )
