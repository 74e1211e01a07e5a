"""`python -m simulator`: serves all vendors on 127.0.0.1 until SIGTERM, Ctrl-C or the parent's end."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Collection, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import uvicorn

from simulator import ACCOUNTS, CLIENT_ID, SYSTEMS, World, seed_refresh_token
from simulator.postman import Postman
from simulator.server import Application, Evolve
from simulator.state import State

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
        "--shared-sales",
        type=int,
        default=0,
        metavar="COUNT",
        help="past sales that several systems tell: a shop, its payment service, the books",
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


def main(argv: list[str] | None = None) -> int:
    """Serves until told to stop; returns the exit code."""
    arguments = parse_arguments(argv)
    state = State(arguments.state)
    world = state.build(arguments)
    postman = Postman(world)

    def evolve(steps: int, systems: Collection[str]) -> list[tuple[str, str]]:
        done = state.evolve(world, steps, systems=systems)
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
        await asyncio.to_thread(evolve, 1, SYSTEMS)


if __name__ == "__main__":
    sys.exit(main())
