"""`twezah up` as a process, for as long as someone looks at it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import Settings
from tests.support.ports import free_ports
from twezah.stack.pginstall import python_environment

READY = "Ctrl-C stops everything."
STOP_SECONDS = 60


@contextmanager
def served(home: Path, *arguments: str) -> Iterator[Settings]:
    """A stack with a state folder and ports of its own, once it serves; `arguments` are those of `twezah up`.

    Raises:
        RuntimeError: it did not start; the message is its own.
    """
    prefect, simulator, api = free_ports(3)
    base = {
        k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PREFECT_"))
    }
    environment = base | {
        "TWEZAH_HOME": str(home), "TWEZAH_PREFECT_PORT": prefect, "TWEZAH_SIMULATOR_PORT": simulator, "TWEZAH_API_PORT": api,
    }  # fmt: skip
    command = [sys.executable, "-c", "from twezah.cli import main; main()", "up", *arguments]
    with (
        (home.parent / f"{home.name}-up.log").open("w+") as said,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            if not any(READY in line for line in process.stdout):
                said.seek(0)
                raise RuntimeError(f"twezah up did not start: {said.read()}")
            drain = threading.Thread(target=process.stdout.read, daemon=True)
            drain.start()
            yield Settings(
                home=home,
                prefect_port=int(prefect),
                simulator_port=int(simulator),
                api_port=int(api),
            )
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # its parts notice, and end
                raise
