"""`python -m tests.fuzz`: plays the histories of many seeds.

`make fuzz SEEDS=10000` plays seeds 0 to 9999, `make fuzz SEED=123` that one.
"""

import argparse
import os
import sys
import time

# Frames of a few rows: threads that share them cost more than they bring. Read at the import.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from tests.fuzz.events import described, history
from tests.fuzz.run import databases, play_all


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None, help="this seed alone, in words")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if asked.seed is not None:
        print(f"seed {asked.seed}:\n{described(history(asked.seed))}", flush=True)
        asked.first, asked.seeds, asked.processes = asked.seed, 1, 1
    began = time.monotonic()
    with databases(asked.processes) as names:
        failed, played = play_all(names, range(asked.first, asked.first + asked.seeds))
    seconds = time.monotonic() - began
    print(f"{played} seeds in {seconds:.0f} s, {played / seconds:.1f} a second, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
