"""Prefect's services without its web server: `python -m twezah.stack.prefect_services`.

Schedules, late runs, automations and their alerts, and what is written of events. What `prefect
server services start` does in the foreground, with an orderly end.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress

from prefect.cli._server_utils import _run_all_services
from prefect.plugins import load_prefect_collections

from twezah.stack.prefect_server import remember_timezones
from twezah.stack.private_files import UMASK


async def serve() -> None:
    """Runs them until SIGTERM or SIGINT."""
    services = asyncio.ensure_future(_run_all_services())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, services.cancel)
    with suppress(asyncio.CancelledError):
        await services


def main() -> int:
    """Serve until a signal."""
    os.umask(UMASK)
    remember_timezones()
    load_prefect_collections()  # the block that sends e-mail is ours
    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
