"""A Prefect server, a pool, sample deployments and workers as real processes, for the tests of the warm worker."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Scheduled

T = TypeVar("T")

POOL = "warm-test"
WAIT_SECONDS = 120.0

FLOWS = """
import os, sys, time
from pathlib import Path
from prefect import flow, get_run_logger, task
from prefect.runtime import flow_run

@task
def double(x: int) -> int:
    return 2 * x

@flow(log_prints=True)
def report(x: int = 1) -> None:
    import polars as pl
    import helper
    print("printed", double(x), pl.DataFrame({"a": [1, 2]}).select(pl.col("a").sum()).item())
    get_run_logger().info("logged by the flow")
    warm = "twezah.worker.child" in sys.modules
    print("cwd=" + os.getcwd(), "colour=" + os.environ.get("COLOUR", "none"), f"warm={warm}", helper.WHERE)

@flow
def fail() -> None:
    raise ValueError("as intended")

def cancelled(flow, flow_run, state):
    Path("cancelled.txt").write_text(state.name)

@flow(on_cancellation=[cancelled])
def sleep(seconds: float = 60) -> None:
    Path(f"pid.{flow_run.id}").write_text(str(os.getpid()))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.1)

@flow
def leave(code: int = 3) -> None:
    os._exit(code)
"""


@dataclass
class Prefect:
    """A running server with one deployment per sample flow."""

    url: str
    folder: Path
    client: SyncPrefectClient
    environment: dict[str, str]
    deployments: dict[str, UUID] = field(default_factory=dict)

    def submit(
        self, queue: str, flow: str, env: dict[str, str] | None = None, **parameters: Any
    ) -> UUID:
        """Create a run of a sample flow in a worker's queue, due now."""
        run = self.client.create_flow_run_from_deployment(
            self.deployments[flow],
            parameters=parameters,
            job_variables={"env": env or {}},
            state=Scheduled(),
            work_queue_name=queue,
        )
        return run.id

    def pid(self, run_id: UUID) -> int | None:
        """Process id of a run of `sleep`, None until it has begun."""
        marker = self.folder / "project" / f"pid.{run_id}"
        return int(marker.read_text() or 0) or None if marker.exists() else None

    def wait(self, run_id: UUID, *states: str) -> FlowRun:
        """The run as soon as its state has one of these names, by default any final one."""

        def reached() -> FlowRun | None:
            run = self.client.read_flow_run(run_id)
            state = run.state
            assert state is not None
            if states and state.is_final() and state.name not in states:
                pytest.fail(f"{state.name}: {state.message}")
            return run if (state.name in states if states else state.is_final()) else None

        return eventually(reached)

    def cancel(self, run_id: UUID) -> None:
        """What the button in the UI does."""
        self.client.set_flow_run_state(run_id, Cancelling())

    def logs(self, run_id: UUID, containing: str) -> str:
        """The run's log in the API once it contains this text."""

        def found() -> str | None:
            logs = self.client.read_logs(
                LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])), 200, 0
            )
            text = "\n".join(log.message for log in logs)
            return text if containing in text else None

        return eventually(found)


def eventually(attempt: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
    """The first result that is not None or False."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = attempt()
        if result is not None and result is not False:
            return result
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds} s")


def is_running(pid: int) -> bool:
    """True while the process exists and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children_of(pid: int) -> list[int]:
    """Process ids of the direct children."""
    with contextlib.suppress(OSError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


@contextlib.contextmanager
def process(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is terminated, then killed, at the end."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def worker(
    prefect: Prefect, queue: str, *options: str, stock: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A started worker with a queue of its own in the test pool, and its log file."""
    prefect.client.create_work_queue(queue, work_pool_name=POOL)
    log = prefect.folder / f"worker-{queue}.log"
    module = ["prefect", "worker", "start", "--type", "process"] if stock else ["twezah.worker"]
    command = [sys.executable, "-m", *module, "--pool", POOL, "--work-queue", queue, *options]
    with process(command, log, env=prefect.environment, cwd=prefect.folder) as child:
        eventually(lambda: b"started!" in log.read_bytes())
        yield child, log


@pytest.fixture(scope="package")
def worker_prefect(
    prefect_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prefect]:
    """The server with the sample flows, for all tests of the worker."""
    url = prefect_server["PREFECT_API_URL"]
    auth_string = prefect_server["PREFECT_API_AUTH_STRING"]
    with SyncPrefectClient(api=url, auth_string=auth_string) as client:
        prefect = Prefect(url, tmp_path_factory.mktemp("worker"), client, prefect_server)
        _deploy(prefect)
        yield prefect


def _deploy(prefect: Prefect) -> None:
    project = prefect.folder / "project"
    project.mkdir()
    (project / "samples.py").write_text(FLOWS)
    (project / "helper.py").write_text("WHERE = 'project'\n")
    prefect.client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(project)}}]
    for name in ("report", "fail", "sleep", "leave"):
        flow_id = prefect.client.create_flow_from_name(name)
        prefect.deployments[name] = prefect.client.create_deployment(
            flow_id,
            name,
            entrypoint=f"samples.py:{name}",
            pull_steps=pull,
            work_pool_name=POOL,
            enforce_parameter_schema=False,
        )
