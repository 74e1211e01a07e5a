"""The warm worker against a real Prefect server: what operators see must be what the stock worker shows."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.worker_fixtures import (
    Prefect,
    children_of,
    eventually,
    is_running,
    process,
    worker,
)

pytestmark = pytest.mark.timeout(600)

#: Light modules: what a run prints tells whether it was warm, not how fast it was.
PRELOAD = [
    f"--preload={name}"
    for name in ("prefect.flow_engine", "prefect.runner._workspace_supervisor", "polars")
]

Running = tuple[subprocess.Popen[bytes], Path]


@pytest.fixture(scope="module")
def warm(worker_prefect: Prefect) -> Iterator[Running]:
    """One warm worker for the tests that do not harm it."""
    with worker(worker_prefect, "warm", *PRELOAD) as running:
        yield running


def test_flow_completes_warm_with_logs_environment_and_directory(
    worker_prefect: Prefect, warm: Running
) -> None:
    run_id = worker_prefect.submit("warm", "report", {"COLOUR": "blue"}, x=21)
    run = worker_prefect.wait(run_id)
    assert run.state_name == "Completed"
    text = worker_prefect.logs(run_id, "warm=")
    assert "printed 42 3" in text
    assert "logged by the flow" in text
    assert "Finished in state Completed()" in worker_prefect.logs(
        run_id, "Finished in state Completed()"
    )
    assert f"cwd={worker_prefect.folder / 'project'} colour=blue warm=True project" in text
    second = worker_prefect.submit("warm", "report")
    assert "colour=none" in worker_prefect.logs(second, "warm=")
    assert "Warm start ready" in warm[1].read_text()


def test_failing_flow_is_failed_not_crashed(worker_prefect: Prefect, warm: Running) -> None:
    run = worker_prefect.wait(worker_prefect.submit("warm", "fail"))
    assert run.state is not None
    assert (run.state.name, "as intended" in (run.state.message or "")) == ("Failed", True)


def test_cancelled_run_runs_its_hook_and_leaves_no_process(
    worker_prefect: Prefect, warm: Running
) -> None:
    run_id = worker_prefect.submit("warm", "sleep")
    pid = eventually(lambda: worker_prefect.pid(run_id))
    worker_prefect.cancel(run_id)
    run = worker_prefect.wait(run_id, "Cancelled")
    assert run.state_name == "Cancelled"
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    hook = worker_prefect.folder / "project" / "cancelled.txt"
    eventually(hook.exists)


def test_killed_and_leaving_children_are_crashed_with_a_reason(
    worker_prefect: Prefect, warm: Running
) -> None:
    killed, left = (
        worker_prefect.submit("warm", "sleep"),
        worker_prefect.submit("warm", "leave", code=3),
    )
    os.kill(eventually(lambda: worker_prefect.pid(killed)), signal.SIGKILL)
    for run_id, code in ((killed, "-9"), (left, "3")):
        run = worker_prefect.wait(run_id)
        assert run.state is not None
        assert run.state.name == "Crashed"
        assert f"status code: {code}" in (run.state.message or "")


def test_run_that_needs_another_interpreter_starts_cold(
    worker_prefect: Prefect, warm: Running
) -> None:
    run_id = worker_prefect.submit("warm", "report", {"POLARS_MAX_THREADS": "1"})
    assert "warm=False" in worker_prefect.logs(run_id, "warm=")
    assert "POLARS_MAX_THREADS is read at import" in warm[1].read_text()


@pytest.mark.slow
def test_stock_worker_serves_the_same_deployment(worker_prefect: Prefect) -> None:
    with worker(worker_prefect, "stock", stock=True):
        run_id = worker_prefect.submit("stock", "report")
        assert "warm=False" in worker_prefect.logs(run_id, "warm=")
        assert worker_prefect.wait(run_id).state_name == "Completed"


@pytest.mark.slow
def test_dead_forkserver_crashes_its_runs_and_later_runs_start_cold(
    worker_prefect: Prefect,
) -> None:
    with worker(worker_prefect, "orphaned", *PRELOAD) as (server, log):
        run_id = worker_prefect.submit("orphaned", "sleep")
        pid = eventually(lambda: worker_prefect.pid(run_id))
        (forkserver,) = children_of(server.pid)
        os.kill(forkserver, signal.SIGKILL)
        assert worker_prefect.wait(run_id).state_name == "Crashed"
        assert not is_running(pid)
        assert "warm=False" in worker_prefect.logs(
            worker_prefect.submit("orphaned", "report"), "warm="
        )
        assert f"Forkserver {forkserver} died" in log.read_text()


@pytest.mark.slow
def test_broken_preload_is_logged_and_runs_start_cold(worker_prefect: Prefect) -> None:
    with worker(worker_prefect, "broken", "--preload", "no_such_module") as (_, log):
        assert "warm=False" in worker_prefect.logs(
            worker_prefect.submit("broken", "report"), "warm="
        )
        assert "Warm start is off" in log.read_text()
        assert "no_such_module" in log.read_text()


@pytest.mark.slow
def test_limit_holds_and_kill_of_the_worker_ends_its_runs(worker_prefect: Prefect) -> None:
    with worker(worker_prefect, "limited", "--limit", "1", *PRELOAD) as (server, _):
        runs = [worker_prefect.submit("limited", "sleep") for _ in range(2)]
        first = eventually(
            lambda: next((run_id for run_id in runs if worker_prefect.pid(run_id)), None)
        )
        pid = worker_prefect.pid(first)
        assert pid is not None
        time.sleep(2.5)  # two more polls
        (other,) = [run_id for run_id in runs if run_id != first]
        assert worker_prefect.client.read_flow_run(other).state_name in ("Scheduled", "Late")
        forkservers = children_of(server.pid)
        server.kill()
        server.wait()
        assert worker_prefect.wait(first).state_name == "Crashed"
        eventually(lambda: not any(is_running(p) for p in [pid, *forkservers]))


def test_stop_of_the_worker_and_of_its_parent_ends_everything(worker_prefect: Prefect) -> None:
    with (
        process(
            [sys.executable, "-c", "input()"],
            worker_prefect.folder / "parent.log",
            stdin=subprocess.PIPE,
        ) as parent,
        worker(worker_prefect, "stopped", "--parent-pid", str(parent.pid), *PRELOAD) as (child, _),
    ):
        run_id = worker_prefect.submit("stopped", "sleep")
        pid = eventually(lambda: worker_prefect.pid(run_id))
        forkservers = children_of(child.pid)
        parent.kill()
        assert child.wait(120) == 0
        assert worker_prefect.wait(run_id).state_name == "Crashed"
        eventually(lambda: not any(is_running(p) for p in [pid, *forkservers]))
