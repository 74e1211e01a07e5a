"""`python -m benchmarks.baselines 10000 100000`: the baselines alone, in a database of their own."""

import argparse
from pathlib import Path

from benchmarks.baselines import copy_merge, dlt_load
from benchmarks.harness import measure, scaling, table
from benchmarks.pages import stored
from twezah.settings import Settings
from twezah.stack.postgres import running


def main() -> None:
    """Measures both at each size and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+", help="numbers of invoices")
    parser.add_argument("--home", type=Path, default=Path(".twezah/bench"), help="state folder of the database")
    arguments = parser.parse_args()
    results = []
    with running(Settings(home=arguments.home)) as dsn:
        for size in arguments.sizes:
            factory = stored(size, arguments.home / "pages")
            for name, run in (("dlt", dlt_load.run), ("COPY + merge", copy_merge.run)):
                results.append(measure(name, run, factory, size, dsn))
                print(table(results[-1:], baseline="dlt").splitlines()[-1], flush=True)
    print(f"\n{table(results, baseline='dlt')}\n")
    for name in ("dlt", "COPY + merge"):
        print(scaling(results, name))


if __name__ == "__main__":
    main()
