"""The stock process worker, except that it starts a run's process from the forkserver."""

import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import anyio
from prefect.runner import _starter_engine as starter
from prefect.settings import get_current_settings
from prefect.utilities.processutils import run_process as run_process_cold
from prefect.utilities.processutils import sanitize_subprocess_env
from prefect.workers.process import ProcessWorker

from twezah.worker.forkserver_client import ForkServer, ForkServerUnavailable, WarmProcess
from twezah.worker.messages import Job

#: What a flow run imports anyway. Libraries come first, because their files do not change.
MODULES = (
    "prefect",
    "prefect.flow_engine",
    "prefect.deployments.steps.pull",
    "prefect.runner._workspace_supervisor",
    "prefect._internal.metrics",
    "anyio._backends._asyncio",
    "rich._emoji_codes",
    "polars",
    "pandas",
    "great_expectations",
    "httpx",
    "settings",
    "flows.*",
    "expectations.preloaded",
)

#: Prefect's own seam: "Uses module-level `run_process` reference -- patch the module to override."
_SEAM = "run_process"
#: The stock worker kills its runs with -9 when it is stopped, and they stay `Running` for ever,
#: holding their place in concurrency limits. SIGTERM first lets the engine report `Crashed`.
STOP_GRACE_SECONDS = 10.0
#: How often it looks for the file that it starts after.
GATE_SECONDS = 0.1
#: With any other command, a run starts the stock way.
_SUPERVISOR_COMMAND = [sys.executable, "-m", "prefect.runner._workspace_supervisor"]


class WarmProcessWorker(ProcessWorker):
    """A `process` worker that forks flow runs from a preloaded interpreter.

    Polling, limits, state proposals, cancellation, crash detection and hooks are the stock
    worker's. So are runs with a command of their own, and every run while no forkserver is
    available.
    """

    #: Modules to preload; `package.*` is a package with all its modules.
    preload: ClassVar[Sequence[str]] = MODULES
    #: A file; the worker asks the server for nothing before it exists.
    start_after: ClassVar[str | None] = None

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "process (warm)"  # leaves `process` to the stock worker in Prefect's registry

    async def __aenter__(self) -> Self:
        self.forkserver = ForkServer(self.preload, self._logger)
        if sys.platform == "linux":
            settings = get_current_settings().to_environment_variables(exclude_unset=True)
            await self.forkserver.start(sanitize_subprocess_env({**os.environ, **settings}))
        setattr(starter, _SEAM, self._run_process)
        try:
            # A run that is taken before its interpreter is loaded would only wait as *Pending*.
            await self.forkserver.preloaded()
            await self._gate()
            await super().__aenter__()
        except BaseException:
            await self._stop_warm()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await super().__aexit__(*exc_info)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop_warm()

    async def _gate(self) -> None:
        """Wait for the file that says that the server is in order."""
        if self.start_after is not None:
            file = anyio.Path(self.start_after)
            while not await file.exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(GATE_SECONDS)

    async def _stop_warm(self) -> None:
        setattr(starter, _SEAM, run_process_cold)
        await self.forkserver.aclose()

    async def _run_process(self, command: list[str], **options: Any) -> Any:
        """Stands in for `prefect.utilities.processutils.run_process`.

        It has the same contract, and it also blocks until the process ends.
        """
        if sys.platform != "linux" or command[:-1] != _SUPERVISOR_COMMAND:
            return await run_process_cold(command, **options)
        job = Job(
            config_path=command[-1],
            env=dict(options["env"]),
            cwd=str(options["cwd"]) if options.get("cwd") else None,
            stream_output=bool(options.get("stream_output")),
        )
        try:
            process = await self.forkserver.spawn(job)
        except ForkServerUnavailable as error:
            self._logger.info("Cold start of a flow run: %s", error)
            return await run_process_cold(command, **options)
        options["task_status"].started(options["task_status_handler"](process))
        await self._wait(process)
        return process

    async def _wait(self, process: WarmProcess) -> None:
        try:
            await process.wait()
        except BaseException:  # the worker stops: leave no process behind
            with anyio.CancelScope(shield=True):
                await process.stop(STOP_GRACE_SECONDS)
            raise
        self._logger.debug(
            "Flow run process %d ended: %s %s", process.pid, process.returncode, process.usage
        )
