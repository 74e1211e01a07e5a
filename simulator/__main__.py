"""`python -m simulator`: serves all vendors on 127.0.0.1 until SIGTERM, Ctrl-C or the parent's end."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Final

import uvicorn

from simulator import ACCOUNTS, CLIENT_ID, SYSTEMS, Faults, World, seed_refresh_token
from simulator.postman import Postman
from simulator.registry import VENDORS
from simulator.server import Application, Evolve

_PARENT_CHECK_SECONDS: Final = 0.5
_SAVE_SECONDS: Final = 0.1


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=9400,
        help="port on 127.0.0.1; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the world (default: %(default)s)"
    )
    parser.add_argument(
        "--customers", type=int, default=300, help="customers per system (default: %(default)s)"
    )
    parser.add_argument(
        "--invoices", type=int, default=400, help="sales per system (default: %(default)s)"
    )
    parser.add_argument(
        "--days", type=float, default=120, help="days of past sales (default: %(default)s)"
    )
    parser.add_argument(
        "--faults",
        type=float,
        default=0,
        metavar="RATE",
        help="share of answers that are 429, and 500",
    )
    parser.add_argument(
        "--limits",
        type=float,
        default=1,
        metavar="SCALE",
        help="times the vendors' rate limits; 0: none",
    )
    parser.add_argument(
        "--access-seconds",
        type=float,
        metavar="SECONDS",
        help="life of access tokens, instead of the vendors'",
    )
    parser.add_argument(
        "--evolve-every", type=float, metavar="SECONDS", help="let something happen every so often"
    )
    parser.add_argument(
        "--consent",
        choices=("ask", "allow", "deny"),
        default="ask",
        help="consent pages: two links, or an answer at once",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="remember tokens and changes here across restarts",
    )
    parser.add_argument(
        "--parent-pid", type=int, metavar="PID", help="stop when this process has ended"
    )
    return parser.parse_args(argv)


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
            self.values = {"shape": shape, "anchor": anchor, "evolved": [], "tokens": {}}
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
        )
        for at in self.values["evolved"]:
            world.evolve(at=datetime.fromisoformat(at))
        for name, tokens in self.values["tokens"].items():
            world.grants[name].load(tokens)
        return world

    def evolve(self, world: World, steps: int = 1) -> list[tuple[str, str]]:
        """Lets things happen and remembers when; returns (system, what) of each."""
        with self._lock:
            at = datetime.now(UTC).replace(microsecond=0)
            done = world.evolve(steps, at=at)
            self.values["evolved"] += [at.isoformat()] * len(done)
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


def main(argv: list[str] | None = None) -> int:
    """Serves until told to stop; returns the exit code."""
    arguments = parse_arguments(argv)
    state = State(arguments.state)
    world = state.build(arguments)
    postman = Postman(world)

    def evolve(steps: int = 1) -> list[tuple[str, str]]:
        done = state.evolve(world, steps)
        with suppress(OSError):  # tried again every moment
            state.save(world)  # a vendor that announces a sale still knows it after a power cut
        postman.collect()
        return done

    config = uvicorn.Config(
        Application(world, evolve=evolve, introduce=postman.introduce),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops at these, then raises them again for the handler it found: this one.
        signal.signal(number, lambda *_: None)
    asyncio.run(_serve(server, world, state, arguments, evolve))
    state.save(world)
    return 0 if server.started else 1


async def _serve(
    server: uvicorn.Server,
    world: World,
    state: State,
    arguments: argparse.Namespace,
    evolve: Evolve,
) -> None:
    chores: list[Coroutine[Any, Any, None]] = [_announce(server), _save(state, world)]
    if arguments.parent_pid is not None:
        chores.append(_follow(server, arguments.parent_pid))
    if arguments.evolve_every:
        chores.append(_evolve(evolve, arguments.evolve_every))
    tasks = [asyncio.create_task(chore) for chore in chores]
    try:
        await server.serve()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _announce(server: uvicorn.Server) -> None:
    while not server.started:
        await asyncio.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    tokens = {
        name: {"account": ACCOUNTS[name], "refresh_token": seed_refresh_token(name)}
        for name in SYSTEMS
    }
    print(
        json.dumps({"url": f"http://127.0.0.1:{port}", "client_id": CLIENT_ID, "systems": tokens}),
        flush=True,
    )


async def _save(state: State, world: World) -> None:
    while True:
        try:
            state.save(world)
        except OSError as error:  # a full disk: the next look is soon
            print(f"the state was not saved: {error.strerror}", file=sys.stderr, flush=True)
        await asyncio.sleep(_SAVE_SECONDS)


async def _follow(server: uvicorn.Server, parent_pid: int) -> None:
    """Stops the server once the parent is gone: its child is then adopted, or the pid is free."""
    adopted_by, is_child = os.getppid(), os.getppid() == parent_pid
    while (not is_child or os.getppid() == adopted_by) and _alive(parent_pid):
        await asyncio.sleep(_PARENT_CHECK_SECONDS)
    server.should_exit = True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _evolve(evolve: Evolve, every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        await asyncio.to_thread(evolve, 1)


if __name__ == "__main__":
    sys.exit(main())
