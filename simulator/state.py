"""What survives a restart of `python -m simulator`: a file from which its world can be made again."""

import argparse
import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from simulator.faults import Faults
from simulator.model import SYSTEMS
from simulator.registry import VENDORS
from simulator.world import World


class State:
    """What survives a restart, in a file: when the world began, when it changed, and the tokens."""

    def __init__(self, path: Path | None) -> None:
        self._path = path if path is None else path.resolve()  # a link stays a link
        self.values: dict[str, Any] = {}
        if path is not None and path.exists():
            self.values = json.loads(path.read_text())
        self._saved_marks: object = None
        self._lock = Lock()
        self._saving = Lock()

    def build(self, arguments: argparse.Namespace) -> World:
        """The world of these arguments, carried on from where the file left it if it is the same world."""
        shape = [arguments.seed, arguments.customers, arguments.invoices, arguments.days]
        if self.values.get("shape") != shape:
            anchor = datetime.now(UTC).replace(microsecond=0).isoformat()
            self.values = {
                "shape": shape,
                "shared_sales": arguments.shared_sales,
                "anchor": anchor,
                "evolved": [],
                "tokens": {},
            }
        # Who rebuilds the world from the file has to know it as well.
        self.values["sales_max"] = {
            name: system.sales_max
            for name, system in VENDORS.items()
            if system.sales_max is not None
        }
        life = arguments.access_seconds
        world = World(
            until=datetime.fromisoformat(self.values["anchor"]),
            seed=arguments.seed,
            customers=arguments.customers,
            invoices=arguments.invoices,
            days=arguments.days,
            limit_scale=arguments.limits,
            faults=Faults(
                seed=arguments.seed, rate_429=arguments.faults, rate_500=arguments.faults
            ),
            consent=arguments.consent,
            access_token_seconds=None if life is None else dict.fromkeys(SYSTEMS, life),
            sales_max=self.values["sales_max"],
            shared_sales=self.values.get("shared_sales", 0),
        )
        for event in self.values["evolved"]:
            relive(world, event)
        for name, tokens in self.values["tokens"].items():
            world.grants[name].load(tokens)
        return world

    def evolve(
        self, world: World, steps: int = 1, *, systems: Collection[str] = SYSTEMS
    ) -> list[tuple[str, str]]:
        """Lets things happen and remembers when and where; returns (system, what) of each."""
        with self._lock:
            at = datetime.now(UTC).replace(microsecond=0)
            done = world.evolve(steps, at=at, systems=systems)
            event = at.isoformat() if systems is SYSTEMS else [at.isoformat(), *sorted(systems)]
            self.values["evolved"] += [event] * len(done)
            return done

    def save(self, world: World) -> None:
        """Writes the file when something changed: nobody could replace a lost single-use token.

        Raises OSError where the file cannot be written; the next call tries again.
        """
        with self._saving:
            self._save(world)

    def _save(self, world: World) -> None:
        marks = (
            len(self.values["evolved"]),
            *(grants.state.issued for grants in world.grants.values()),
        )
        if self._path is None or marks == self._saved_marks:
            return
        self.values["tokens"] = {name: grants.dump() for name, grants in world.grants.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.new")
        draft.write_text(json.dumps(self.values))
        draft.replace(self._path)
        self._saved_marks = marks


def relive(world: World, event: str | list[str]) -> list[tuple[str, str]]:
    """Lets one thing of the file happen again: its time, behind it the systems unless it was all.

    Returns (system, what happened).
    """
    at, *systems = [event] if isinstance(event, str) else event
    return world.evolve(at=datetime.fromisoformat(at), systems=systems or SYSTEMS)
