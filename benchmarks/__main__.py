"""`make bench`: dlt, COPY + merge and the whole product side by side; then the worker's start."""

import argparse
import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks import ledger
from benchmarks.baselines import copy_merge, dlt_load
from benchmarks.harness import measure, scaling, table
from benchmarks.pages import stored
from settings import Settings
from twezah.stack.postgres import running

CONTESTANTS = {
    "dlt": dlt_load.run_default,
    "dlt, tuned": dlt_load.run_tuned,
    "COPY + merge": copy_merge.run,
    "twezah": ledger.run,
}
BASELINES = ("dlt", "dlt, tuned")

DATABASE = "bench"


def settled(dsn: str) -> str:
    """The URL of an empty database: nobody pays for what the one before left to be written, vacuumed or pushed out of memory."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name in (DATABASE, ledger.DATABASE):
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        connection.execute("CHECKPOINT")
    os.sync()
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{DATABASE}"))


def main() -> None:
    """Measures each contestant at each size, one after the other, and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="invoices"
    )
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--home", type=Path, default=Path(".twezah/bench"), help="state folder")
    arguments = parser.parse_args()
    results = []
    with running(Settings(home=arguments.home)) as dsn:
        for size in arguments.sizes:
            factory = stored(size, arguments.home / "pages")
            for name in arguments.only:
                results.append(measure(name, CONTESTANTS[name], factory, size, settled(dsn)))
                print(table(results[-1:], baselines=()).splitlines()[-1], flush=True)
    print(f"\n{table(results, baselines=BASELINES)}\n")
    for name in arguments.only:
        print(scaling(results, name))


if __name__ == "__main__":
    main()
