"""The simulated vendors, served over HTTP on this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from simulator import World
from simulator.server import Application
from tests.support.waiting import wait_until


@contextmanager
def served_vendors(world: World) -> Iterator[str]:
    """The address of the vendors of a world, behind which each is at its name (`/xero`)."""
    config = uvicorn.Config(
        Application(world), host="127.0.0.1", port=0, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "the simulator", seconds=30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
