"""How long `twezah status` and `twezah explain` take while the database is up.

    python -m benchmarks.commands --runs 10
    python -m benchmarks.commands --runs 10 --against ../another-checkout

With `--against`, both checkouts run in turn, so that whatever else the machine does slows both. The
CPU time says more than the time on a busy machine.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from settings import PROJECT_ROOT, Settings
from sql.migrate import migrate
from twezah.stack.postgres import running

#: The ledger is empty: what is measured is the way to the first query and its answer.
COMMANDS: Final = (("status", "--json"), ("explain", "member", "1"))
_MAIN: Final = "from twezah.cli import main; main()"
_SECONDS_MAX: Final = 120


def measure(project: Path, home: Path, command: tuple[str, ...]) -> tuple[float, float]:
    """Seconds, and CPU seconds, of one call."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TWEZAH_", "PREFECT_"))}
    environment |= {"TWEZAH_HOME": str(home), "PYTHONPATH": str(project)}
    before, started = _cpu_seconds(), time.monotonic()
    subprocess.run(
        [sys.executable, "-c", _MAIN, *command],
        env=environment,
        cwd=project,
        capture_output=True,
        check=False,
        timeout=_SECONDS_MAX,
    )
    return time.monotonic() - started, _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measures, and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    projects = [PROJECT_ROOT, *([options.against.resolve()] if options.against else [])]
    taken: dict[tuple[Path, str], list[tuple[float, float]]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="twezah-commands-") as folder,
        running(Settings(home=Path(folder), database_url=None)) as dsn,
    ):
        migrate(dsn)
        for number in range(options.runs + 1):
            for command in COMMANDS:
                for project in projects:
                    result = measure(project, Path(folder), command)
                    if number:  # the first reads the files from the disk
                        taken[project, command[0]].append(result)
    for (project, name), results in sorted(taken.items()):
        seconds, cpu = (statistics.median(part) for part in zip(*results, strict=True))
        print(f"{name:8} {seconds:6.2f} s, {cpu:5.2f} CPU s  ({project})")


if __name__ == "__main__":
    main()
