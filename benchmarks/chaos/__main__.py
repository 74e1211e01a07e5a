"""`python -m benchmarks.chaos`: faults at random instants, and the ledger compared with the books.

Runs what an operator runs, `twezah up --simulator`, in a state folder and on ports of its own, and
starts it again when it was killed, as a service manager does. Sales, edits, voids and refunds
happen at the simulated vendors all the time; processes are killed and stopped, the vendors and the
database go away, the disk is full, the clock is stepped. After each round all of that ends, and
then the ledger must become what the simulator's books say, runs that are said to run must run,
schedules must be on and kept. Exits with 1 if anything was wrong, and keeps the evidence.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from benchmarks.chaos import faults
from benchmarks.chaos.clock import Clock
from benchmarks.chaos.disk import Disk
from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.faults import Scene
from benchmarks.chaos.figures import Figures
from benchmarks.chaos.oracle import Oracle
from benchmarks.chaos.service import UpService
from settings import Settings

if TYPE_CHECKING:
    from benchmarks.chaos.rounds import Chaos

_START_SECONDS_MAX: Final = 400.0


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="which faults, when (default: %(default)s)")
    add("--kills", type=int, default=30, help="processes to kill (default: %(default)s)")
    add("--minutes", type=float, default=60, help="end after this time (default: %(default)s)")
    add(
        "--kinds", nargs="+", default=list(faults.FAULTS), metavar="KIND",
        help=f"kill, stop, vendor, or some of {', '.join(faults.FAULTS)} (default: all)",
    )  # fmt: skip
    add("--keep", action="store_true", help="keep the state folder although all was right")
    add("--home", type=Path, help="empty state folder; by default a new one")
    add("--first-port", type=int, default=18_190, help="of three that are free")
    add("--per-round", type=int, default=12, help="faults in a round (default: %(default)s)")
    add("--round-seconds", type=float, default=45, help="length of a round (default: %(default)s)")
    add("--deadline-seconds", type=float, default=240, help="by then all is right again")
    add("--database-away-seconds", type=float, default=60)
    add("--poll-seconds", type=int, default=60, help="each system's schedule")
    add("--disk-mb", type=int, default=2_048, help="size of the disk that can be full")
    options = parser.parse_args(arguments)
    try:
        options.kinds = faults.chosen(options.kinds)
    except ValueError as error:
        parser.error(str(error))
    return options


def possible(kinds: list[str]) -> list[str]:
    """The kinds that this machine can do; says which it cannot."""
    missing = {}
    if not Disk.is_possible():
        missing["disk-full"] = "mounting needs root"
    if not Clock.is_possible():
        missing["clock-step"] = "there is no C compiler (cc)"
    for kind, reason in missing.items():
        if kind in kinds:
            say(f"{kind} is left out: {reason}")
    return [kind for kind in kinds if kind not in missing]


def forget_other_stacks(environment: MutableMapping[str, str]) -> None:
    """No setting of an installation on this machine is taken over: its ledger may be a real one."""
    for name in list(environment):
        if name.startswith(("TWEZAH_", "PREFECT_")):
            del environment[name]


def say(line: str) -> None:
    """A line for whoever watches."""
    print(line, flush=True)


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator["Chaos"]:
    """A stack that is up, and what the rounds need; at the end nothing of it is left running."""
    scratch = Path(tempfile.mkdtemp(prefix="twezah-chaos-"))
    scratch.chmod(0o711)  # PostgreSQL has an account of its own
    home = options.home or scratch / "home"
    home.mkdir(parents=True, exist_ok=True)
    port = options.first_port
    environment = {
        "TWEZAH_PREFECT_PORT": str(port),
        "TWEZAH_SIMULATOR_PORT": str(port + 1),
        "TWEZAH_API_PORT": str(port + 2),
    }
    settings = Settings(home=home, prefect_port=port, simulator_port=port + 1, api_port=port + 2)
    evidence = Evidence(home.with_name(f"{home.name}-evidence"))
    figures = Figures()
    with ExitStack() as leaving:
        disk, clock = None, None
        leaving.callback(_remove, scratch, figures, keep=options.keep)
        if "disk-full" in options.kinds:
            disk = Disk(home, options.disk_mb * 2**20)
            disk.mount()
            leaving.callback(disk.unmount)
        if "clock-step" in options.kinds:
            clock = Clock(scratch / "clock")
            environment |= clock.environment()
        # The vendor's memory is not on our disk.
        books = scratch / "simulator.json"
        (home / "simulator.json").symlink_to(books)
        service = UpService(settings, environment)
        scene = Scene(service, Random(options.seed), options.database_away_seconds, disk, clock)
        chaos = _chaos(options, scene, Oracle(books), evidence, figures)
        leaving.callback(_keep, chaos, home, keep=options.keep)
        leaving.callback(_stop, chaos)
        service.start()
        _await_ready(service)
        chaos.prepare()
        yield chaos


def _chaos(
    options: argparse.Namespace, scene: Scene, oracle: Oracle, evidence: Evidence, figures: Figures
) -> "Chaos":
    # Prefect's client reads its settings when it is imported: those of this stack.
    from twezah.cli.use_stack import use_api

    ports = {"TWEZAH_HOME": str(scene.service.settings.home)}
    os.environ.update(ports)
    use_api(scene.service.settings)
    from benchmarks.chaos.health import Schedules
    from benchmarks.chaos.rounds import Chaos, Plan

    plan = Plan(
        kinds=options.kinds,
        kills=options.kills,
        minutes_max=options.minutes,
        faults_per_round=options.per_round,
        round_seconds=options.round_seconds,
        deadline_seconds=options.deadline_seconds,
    )
    return Chaos(plan, scene, oracle, Schedules(options.poll_seconds), evidence, say, figures)


def _await_ready(service: UpService) -> None:
    deadline = time.monotonic() + _START_SECONDS_MAX
    while not service.is_ready:
        if time.monotonic() > deadline:
            raise SystemExit(
                f"`twezah up` is not ready after {_START_SECONDS_MAX:.0f} s: {service.log}"
            )
        time.sleep(0.5)


def _stop(chaos: "Chaos") -> None:
    left = chaos.scene.service.stop()
    if left:
        chaos.figures.wrong.append(f"left running after the stop: {', '.join(left)}")


def _must_keep(figures: Figures, *, keep: bool) -> bool:
    return keep or bool(figures.wrong) or sys.exc_info()[0] is not None


def _keep(chaos: "Chaos", home: Path, *, keep: bool) -> None:
    """What explains a failure. The stack has ended; a small disk is about to go."""
    if _must_keep(chaos.figures, keep=keep):
        if chaos.scene.disk is not None:
            home = chaos.evidence.keep_home(home)
        say(f"Kept: {home}, {chaos.evidence.folder}, {chaos.scene.service.log}")


def _remove(scratch: Path, figures: Figures, *, keep: bool) -> None:
    if not _must_keep(figures, keep=keep):
        shutil.rmtree(scratch, ignore_errors=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Runs the rounds and prints the figures."""
    options = parse_arguments()
    forget_other_stacks(os.environ)
    options.kinds = possible(options.kinds)
    signal.signal(signal.SIGTERM, _interrupt)
    with prepared(options) as chaos:
        try:
            chaos.run()
        except KeyboardInterrupt:
            say("Interrupted.")
    print(chaos.figures.text(options.seed, chaos.minutes))
    return 1 if chaos.figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
