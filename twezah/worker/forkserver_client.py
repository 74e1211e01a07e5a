"""The worker's side of the forkserver.

It starts the forkserver, starts flow runs from it, and notices when it is gone.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from twezah.worker.messages import PREFIX_BYTES, ConnectionLost, Job, body_length, send_job

#: Preloading takes about ten seconds; longer than this, something hangs.
PRELOAD_TIMEOUT_SECONDS = 120.0
#: A child answers a few milliseconds after the fork; a machine that swaps may need longer.
START_TIMEOUT_SECONDS = 30.0
#: Longer than the forkserver's own grace for flow runs.
STOP_TIMEOUT_SECONDS = 15.0
#: A forkserver that dies sooner after its start is not restarted: it would die again.
RESTART_PAUSE_SECONDS = 60.0


class ForkServerUnavailable(Exception):
    """No flow run was started; start it some other way."""


class WarmProcess:
    """A flow run's process: what Prefect needs of `anyio.abc.Process` to watch and kill it."""

    def __init__(
        self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        #: CPU seconds and peak memory, known after the end.
        self.usage: dict[str, float] = {}
        self._reader = reader
        self._writer = writer

    async def wait(self) -> int:
        """Wait for the end; the exit code, or minus the signal number.

        A dead forkserver takes its children with it, so its silence is a SIGKILL.
        """
        if self.returncode is not None:
            return self.returncode
        try:
            ending = await _receive(self._reader)
        except ConnectionLost:
            ending = {"returncode": -signal.SIGKILL}
            self._signal(signal.SIGKILL)
        self._writer.close()
        self.usage = {key: ending[key] for key in ("cpu_seconds", "max_rss_kb") if key in ending}
        self.returncode = int(ending["returncode"])
        return self.returncode

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM to the process group, and SIGKILL after the grace period.

        Returns once the process is gone.
        """
        waiting = asyncio.ensure_future(self.wait())
        self._signal(signal.SIGTERM)
        await asyncio.wait([waiting], timeout=grace_seconds)
        if not waiting.done():
            self._signal(signal.SIGKILL)
        await waiting

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class ForkServer:
    """One forkserver process, restarted at most once a minute when it dies."""

    def __init__(
        self, modules: Sequence[str], logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    ) -> None:
        self._modules = list(modules)
        self._logger = logger
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[bool] | None = None
        self._environment: dict[str, str] = {}
        self._started_at = 0.0
        self._broken = False  # preloading failed: it would fail again

    @property
    def pid(self) -> int | None:
        """Process id while it is running."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process is not None else None

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start preloading; returns at once.

        `environment` is what flow runs without settings of their own get.
        """
        self._started_at = time.monotonic()
        self._environment = dict(environment)
        ours, theirs = socket.socketpair()
        self._control = ours
        self._ready = asyncio.get_running_loop().create_future()
        command = ("-m", "twezah.worker.forkserver", str(theirs.fileno()), *self._modules)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                env=self._environment,
                pass_fds=[theirs.fileno()],
            )
        self._watch = asyncio.create_task(self._follow(ours.dup(), self._process, self._ready))

    async def _follow(
        self,
        control: socket.socket,
        process: asyncio.subprocess.Process,
        ready: asyncio.Future[bool],
    ) -> None:
        reader, writer = await asyncio.open_connection(sock=control)
        try:
            report = await asyncio.wait_for(_receive(reader), PRELOAD_TIMEOUT_SECONDS)
        except (ConnectionLost, TimeoutError) as error:
            report = {"error": f"the forkserver did not come up: {type(error).__name__}"}
        if "error" in report:
            self._broken = True
            self._logger.warning("Warm start is off, flow runs start cold: %s", report["error"])
        else:
            self._logger.info(
                "Warm start ready: forkserver %d, preloaded in %.1f s, %.0f MB",
                process.pid,
                report["seconds"],
                report["rss_kb"] / 1024,
            )
        ready.set_result("error" not in report)
        returncode = await process.wait()
        writer.close()
        if self._control is not None and not self._broken:
            self._logger.error(
                "Forkserver %d died (%s); flow runs start cold.", process.pid, returncode
            )

    async def preloaded(self) -> bool:
        """Wait until the modules are loaded, or cannot be; False where they cannot."""
        return self._ready is not None and await asyncio.shield(self._ready)

    async def spawn(self, job: Job) -> WarmProcess:
        """Fork a process for `job`.

        Raises:
            ForkServerUnavailable: nothing was started.
        """
        if self._ready is None or not await asyncio.shield(self._ready) or self._control is None:
            raise ForkServerUnavailable("preloading failed")
        if self.pid is None:
            await self._restart_later()
            raise ForkServerUnavailable("the forkserver is gone")
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
            await asyncio.to_thread(send_job, ours, job)
            reader, writer = await asyncio.open_connection(sock=ours)
            started = await asyncio.wait_for(_receive(reader), START_TIMEOUT_SECONDS)
        except (OSError, ConnectionLost, TimeoutError) as error:
            ours.close()  # a child that has not answered yet finds its worker gone and ends
            raise ForkServerUnavailable(f"{type(error).__name__}: {error}") from error
        if "pid" not in started:
            writer.close()
            raise ForkServerUnavailable(f"the child ended at once: {started}")
        return WarmProcess(int(started["pid"]), reader, writer)

    async def _restart_later(self) -> None:
        if not self._broken and time.monotonic() - self._started_at > RESTART_PAUSE_SECONDS:
            self._logger.info("Starting a new forkserver.")
            await self.start(self._environment)

    async def aclose(self) -> None:
        """Stop it, and what still runs under it."""
        if self._control is None or self._process is None:
            return
        control, self._control = self._control, None
        with control, contextlib.suppress(OSError):
            control.shutdown(socket.SHUT_RDWR)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._watch is not None:
            self._watch.cancel()


async def _receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        prefix = await reader.readexactly(PREFIX_BYTES)
        message: dict[str, Any] = json.loads(await reader.readexactly(body_length(prefix)))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise ConnectionLost("closed") from error
    return message
