"""How long `twezah up` takes from the command to ready, and how much CPU time all its processes use.

    python -m benchmarks.start --runs 5
    python -m benchmarks.start --runs 5 --against ../another-checkout

The first start of a new state folder makes the databases and applies every deployment; the later
ones find all of it there. With `--against`, both checkouts start in turn, so that whatever else the
machine does slows both. Each start is bounded by ten minutes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from settings import PROJECT_ROOT

READY: Final = "Ctrl-C stops everything."
SECONDS_MAX: Final = 600.0


@dataclass(frozen=True)
class Start:
    """One start: seconds to ready, CPU seconds of each process until then, seconds of each step."""

    seconds: float
    cpu: dict[str, float]
    steps: list[tuple[float, str]]

    @property
    def cpu_seconds(self) -> float:
        """Of all processes."""
        return sum(self.cpu.values())


def measure(project: Path, home: Path, first_port: int, arguments: list[str]) -> Start:
    """Starts the stack, waits until it is ready, and stops it.

    Raises:
        RuntimeError: it did not become ready within ten minutes.

    """
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TWEZAH_", "PREFECT_"))},
        "TWEZAH_HOME": str(home),
        "TWEZAH_PREFECT_PORT": str(first_port),
        "TWEZAH_SIMULATOR_PORT": str(first_port + 1),
        "TWEZAH_API_PORT": str(first_port + 2),
        "PYTHONPATH": str(project),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-c", "from twezah.cli import main; main()", "up", *arguments]
    begun = time.monotonic()
    with _ended(
        subprocess.Popen(
            command, cwd=project, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    ) as process:  # fmt: skip
        steps = []
        for line in process.stdout or ():
            steps.append((time.monotonic() - begun, line.strip()))
            if READY in line:
                return Start(steps[-1][0], cpu_seconds(home), steps)
            if steps[-1][0] > SECONDS_MAX:
                break
    raise RuntimeError(f"{project} did not become ready: {[line for _, line in steps[-5:]]}")


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Stops the stack after the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=120)


def cpu_seconds(home: Path) -> dict[str, float]:
    """Of the processes that belong to the state folder, with their children that have ended."""
    used: Counter[str] = Counter()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and _belongs_to(process, home):
                times = process.cpu_times()
                seconds = times.user + times.system + times.children_user + times.children_system
                used[_title(process.cmdline())] += seconds
    return dict(used.most_common())


def _title(words: list[str]) -> str:
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return Path(words[0]).name if words and "postgres" in words[0] else "up"


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    if process.environ().get("TWEZAH_HOME") == str(home):
        return True
    return any(str(home) in word for word in process.cmdline())


def row(name: str, starts: list[Start]) -> str:
    """The medians, as a row of the table."""
    seconds = [start.seconds for start in starts]
    used = statistics.median(start.cpu_seconds for start in starts)
    return (
        f"| {name} | {len(starts)} | {statistics.median(seconds):.1f} s | {min(seconds):.1f} s "
        f"| {max(seconds):.1f} s | {used:.1f} s |"
    )


def main() -> None:
    """Starts each checkout in turn, prints each start and then the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="starts after the first one")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--first-port", type=int, default=18_100, help="of six that are free")
    parser.add_argument("--home", type=Path, help="state folders; by default new ones")
    parser.add_argument(
        "--steps", action="store_true", help="print each step, and the CPU of each process"
    )
    parser.add_argument("--simulator", action="store_true", help="with the simulated systems")
    options = parser.parse_args()
    projects = {"this": PROJECT_ROOT}
    if options.against:
        projects["other"] = options.against.resolve()
    arguments = ["--simulator"] if options.simulator else []
    first: dict[str, list[Start]] = {name: [] for name in projects}
    again: dict[str, list[Start]] = {name: [] for name in projects}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.home or Path(scratch)
        for run in range(options.runs + 1):
            for number, (name, project) in enumerate(projects.items()):
                port = options.first_port + 3 * number
                start = measure(project, folder / name, port, arguments)
                (first if run == 0 else again)[name].append(start)
                used = f"{start.seconds:.1f} s, {start.cpu_seconds:.1f} CPU seconds"
                print(f"{name}, start {run}: {used}", flush=True)
                if options.steps:
                    print(*(f"  {at:6.1f} s {line}" for at, line in start.steps), sep="\n")
                    used = ", ".join(f"{title} {cpu:.1f}" for title, cpu in start.cpu.items())
                    print(f"  CPU seconds: {used}", flush=True)
    print("\n| start | runs | median | least | most | CPU |\n|---|---:|---:|---:|---:|---:|")
    for name in projects:
        print(row(f"{name}, first", first[name]))
        if again[name]:
            print(row(name, again[name]))
    if options.against and again["this"]:
        medians = [statistics.median(one.seconds for one in again[name]) for name in projects]
        print(f"\nratio other / this: {medians[1] / medians[0]:.2f}")


if __name__ == "__main__":
    main()
