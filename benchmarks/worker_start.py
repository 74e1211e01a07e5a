"""How long a flow run takes to start, and what it costs: stock process worker beside the warm one, in one run.

    python benchmarks/worker_start.py --runs 10

Real Prefect server (SQLite, loopback), one flow that imports what the sync flows import and does
nothing. Every run is submitted after the one before has ended. Bounded: runs x 60 s per worker at
most, usually 2-3 minutes in all.
"""

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled
from rich.console import Console
from rich.table import Table

T = TypeVar("T")

POOL = "bench"
RUN_LIMIT_SECONDS = 60.0
FLOW = """
import os, time
from pathlib import Path
import great_expectations, httpx, pandas, polars
from prefect import flow

@flow(log_prints=True)
def start(hold: float = 0) -> None:
    print("hello")
    if hold:
        Path("pid").write_text(str(os.getpid()))
        time.sleep(hold)
"""


@dataclass
class Sample:
    """Seconds of every run of one worker, its CPU seconds per run and memory in kB."""

    to_running: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    to_completed: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    memory_kb: dict[str, int] = field(default_factory=dict)


def main() -> None:
    """Measure both workers and print the table."""
    parser = argparse.ArgumentParser(
        description="Compare the starts of flow runs: stock and warm worker."
    )
    parser.add_argument(
        "--runs", type=int, default=10, help="measured runs per worker (default 10, at most 100)"
    )
    runs = max(1, min(parser.parse_args().runs, 100))
    with tempfile.TemporaryDirectory() as scratch, server(Path(scratch)) as (client, environment):
        deployment = deploy(client, Path(scratch))
        commands = {
            "stock": ["-m", "prefect", "worker", "start", "--type", "process", "--pool", POOL],
            "warm": ["-m", "twezah.worker", "--pool", POOL],
        }
        samples = {
            name: measure(client, deployment, Path(scratch), command, environment, runs)
            for name, command in commands.items()
        }
    print_table(samples, runs)


@contextlib.contextmanager
def process(
    command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[tuple[int, Path]]:
    """A Python process, stopped at the end: its id and log file."""
    log = folder / f"{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
        )
    try:
        yield child.pid, log
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[SyncPrefectClient, dict[str, str]]]:
    """A Prefect server on a free port: its client, and the environment that leads to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        "-m",
        "prefect",
        "server",
        "start",
        "--no-ui",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with process(command, folder, environment):
        eventually(lambda: is_healthy(url))
        with SyncPrefectClient(api=url) as client:
            yield client, environment


def is_healthy(url: str) -> bool:
    """True once the server answers."""
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def deploy(client: SyncPrefectClient, folder: Path) -> UUID:
    """A pool and the deployment of the flow."""
    (folder / "bench_flow.py").write_text(FLOW)
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    return client.create_deployment(
        client.create_flow_from_name("start"),
        "start",
        entrypoint="bench_flow.py:start",
        pull_steps=[
            {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
        ],
        work_pool_name=POOL,
        enforce_parameter_schema=False,
    )


def measure(
    client: SyncPrefectClient,
    deployment: UUID,
    folder: Path,
    command: list[str],
    env: dict[str, str],
    runs: int,
) -> Sample:
    """Run the flow once to warm caches, once for its memory, then `runs` times for time and CPU."""
    sample = Sample()
    with process(command, folder, env) as (worker_pid, log):
        eventually(lambda: b"started!" in log.read_bytes())
        run_once(client, deployment)
        (folder / "pid").unlink(missing_ok=True)
        run_id = submit(client, deployment, hold=3)
        sample.memory_kb = memory_kb(eventually(lambda: pid_in(folder / "pid")))
        for pid in children_of(worker_pid):
            if b"twezah.worker.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                sample.memory_kb["forkserver"] = memory_kb(pid)["rss"]
        ended(client, run_id)
        before = cpu_seconds(worker_pid)
        for _ in range(runs):
            run = run_once(client, deployment)
            states = {state.name: state.timestamp for state in client.read_flow_run_states(run.id)}
            created = run.created
            assert created is not None
            sample.to_running.append((states["Running"] - created).total_seconds())
            sample.start.append((states["Running"] - states["Pending"]).total_seconds())
            sample.to_completed.append((states["Completed"] - created).total_seconds())
        time.sleep(2)  # the last process ends after its last state
        sample.cpu_seconds = (cpu_seconds(worker_pid) - before) / runs
    return sample


def submit(client: SyncPrefectClient, deployment: UUID, **parameters: float) -> UUID:
    """A run that is due now."""
    return client.create_flow_run_from_deployment(
        deployment, parameters=parameters, state=Scheduled()
    ).id


def run_once(client: SyncPrefectClient, deployment: UUID) -> FlowRun:
    """A run from submission to its end."""
    return ended(client, submit(client, deployment))


def ended(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
    """The run once it is over.

    Raises:
        RuntimeError: it did not complete.
    """

    def final() -> FlowRun | None:
        run = client.read_flow_run(run_id)
        return run if run.state is not None and run.state.is_final() else None

    run = eventually(final)
    if run.state_name != "Completed":
        raise RuntimeError(f"the run ended as {run.state_name}")
    return run


def eventually(attempt: Callable[[], T | None]) -> T:
    """The first truthy result within the time a run may take."""
    deadline = time.monotonic() + RUN_LIMIT_SECONDS
    while time.monotonic() < deadline:
        result = attempt()
        if result:
            return result
        time.sleep(0.2)
    raise TimeoutError(f"not within {RUN_LIMIT_SECONDS:.0f} s")


def pid_in(marker: Path) -> int | None:
    """The process id that a run has written, None before."""
    return int(marker.read_text() or 0) if marker.exists() else None


def children_of(pid: int) -> list[int]:
    """Direct children, whichever thread started them."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process, its living descendants and all that they have waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(child) for child in children_of(pid))


def memory_kb(pid: int) -> dict[str, int]:
    """Resident memory, and the part of it that is this process's alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
    return {"rss": sizes["Rss"], "private": sizes["Private_Clean"] + sizes["Private_Dirty"]}


def print_table(samples: dict[str, Sample], runs: int) -> None:
    """Median and 90th percentile of each, and how many times the warm one is faster."""
    stock, warm = samples["stock"], samples["warm"]
    table = Table(title=f"{runs} runs each, seconds (median / p90)")
    for heading in ("", "stock", "warm", "ratio of medians"):
        table.add_column(heading, justify="left" if not heading else "right")
    for label, name in (
        ("created -> Running (incl. polling every 1 s)", "to_running"),
        ("Pending -> Running (the start itself)", "start"),
        ("created -> Completed", "to_completed"),
    ):
        a, b = getattr(stock, name), getattr(warm, name)
        ratio = statistics.median(a) / statistics.median(b)
        table.add_row(label, spread(a), spread(b), f"{ratio:.1f}x")
    cpu_ratio = stock.cpu_seconds / warm.cpu_seconds
    table.add_row(
        "CPU seconds per run",
        f"{stock.cpu_seconds:.2f}",
        f"{warm.cpu_seconds:.2f}",
        f"{cpu_ratio:.1f}x",
    )
    for label, name in (
        ("memory of a run, resident, MB", "rss"),
        ("memory of a run, its own, MB", "private"),
    ):
        a_mb, b_mb = stock.memory_kb[name] / 1024, warm.memory_kb[name] / 1024
        table.add_row(label, f"{a_mb:.0f}", f"{b_mb:.0f}", f"{a_mb / b_mb:.1f}x")
    table.add_row(
        "memory of the forkserver, MB", "-", f"{warm.memory_kb['forkserver'] / 1024:.0f}", ""
    )
    Console(width=110).print(table)


def spread(values: list[float]) -> str:
    """Median and 90th percentile."""
    p90 = sorted(values)[max(0, -(-len(values) * 9 // 10) - 1)]
    return f"{statistics.median(values):.2f} / {p90:.2f}"


if __name__ == "__main__":
    main()
