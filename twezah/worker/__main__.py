"""`python -m twezah.worker --pool billing`: the warm worker as a command.

It takes the options of `prefect worker start` that this project uses.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

#: After the parent's death the stop must not hang on an API that died with it.
STOP_DEADLINE_SECONDS = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C. Exit code 0 after an orderly stop."""
    options = _parser().parse_args(argv)
    if options.health_port is not None:
        os.environ["PREFECT_WORKER_WEBSERVER_PORT"] = str(options.health_port)
    if options.parent_pid is not None:
        _follow_parent(options.parent_pid)
    try:
        asyncio.run(_serve(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        _print("Worker stopped.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m twezah.worker",
        description=(
            "Serve a Prefect work pool of type process; flow runs start from a preloaded "
            "interpreter."
        ),
        epilog="Example: python -m twezah.worker --pool billing --limit 4",
    )
    parser.add_argument("--pool", required=True, help="work pool to serve; created if missing")
    parser.add_argument("--work-queue", action="append", help="only this queue (repeatable)")
    parser.add_argument("--name", help="name of this worker in the UI")
    parser.add_argument("--limit", type=int, help="flow runs at a time")
    parser.add_argument(
        "--health-port", type=int, metavar="PORT", help="serve GET /health on this loopback port"
    )
    parser.add_argument(
        "--start-after", metavar="FILE", help="preload, and take runs once this file exists"
    )
    parser.add_argument("--parent-pid", type=int, metavar="PID", help="stop when this process ends")
    parser.add_argument(
        "--preload",
        action="append",
        metavar="MODULE",
        help=(
            "module to preload instead of the default ones (repeatable; PACKAGE.* for all its "
            "modules)"
        ),
    )
    return parser


async def _serve(options: argparse.Namespace) -> None:
    from prefect.settings import (
        PREFECT_WORKER_HEARTBEAT_SECONDS,
        PREFECT_WORKER_PREFETCH_SECONDS,
    )
    from prefect.utilities.processutils import setup_signal_handlers_worker

    from twezah.worker.warm_worker import MODULES, WarmProcessWorker

    WarmProcessWorker.preload = options.preload or MODULES
    WarmProcessWorker.start_after = options.start_after
    worker = WarmProcessWorker(
        work_pool_name=options.pool,
        work_queues=options.work_queue,
        name=options.name,
        limit=options.limit,
        prefetch_seconds=PREFECT_WORKER_PREFETCH_SECONDS.value(),
        heartbeat_interval_seconds=int(PREFECT_WORKER_HEARTBEAT_SECONDS.value()),
    )
    setup_signal_handlers_worker(os.getpid(), "the warm process worker", _print)
    await worker.start(with_healthcheck=options.health_port is not None, printer=_print)


def _print(message: str, **_style: object) -> None:
    print(message, flush=True)


def _follow_parent(parent_pid: int) -> None:
    """Stop in an orderly way when `parent_pid` is gone, in any way once the deadline has passed."""

    def watch() -> None:
        while _is_alive(parent_pid):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_DEADLINE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _is_alive(pid: int) -> bool:
    if os.path.exists("/proc/self/stat"):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    sys.exit(main())
