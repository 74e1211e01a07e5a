"""The forkserver: imports everything once, then forks a child for every socket the worker sends.

`python -m twezah.worker.forkserver FD MODULE...`, started by `forkserver_client.ForkServer` only.
It runs no code of a flow, opens no connection and starts no thread, so that a forked child is what
a fresh interpreter would be after its imports.
"""

import contextlib
import gc
import importlib
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import sysconfig
import threading
import time
from typing import Any

from twezah.worker import child
from twezah.worker.messages import Job, encode, receive_job

#: Seconds that flow runs get to report `Crashed` and leave when the worker has vanished (kill -9).
ORPHAN_GRACE_SECONDS = 10.0

#: Only for the time of the imports. Allocators and BLAS would start threads, Prefect's analytics
#: too, and extra loggers would get their handlers twice.
PRELOAD_ENVIRONMENT = {
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "",
    "PREFECT_PLUGINS_ENABLED": "false",
}

#: Polars 2.1 starts this thread at import. It sleeps on a condition variable until a query spills
#: to disk, holds no lock while it does, and no query ever runs here. Any other thread makes forking
#: unsafe, so the worker stays cold.
HARMLESS_THREADS = frozenset({"polars-ooc-clea"})


#: Models that every run uses. Prefect's are built at their first use, which every child would do
#: anew: 70 ms of CPU time each.
MODELS = {
    "prefect.client.schemas.objects": (
        "FlowRun", "FlowRunPolicy", "WorkPool", "WorkQueue", "BlockDocument", "Artifact",
        "ConcurrencyLeaseHolder", "ServerDefaultResultStorage",
    ),
    "prefect.client.schemas.responses": ("DeploymentResponse",),
    "prefect.client.schemas.actions": (
        "FlowRunUpdate", "LogCreate", "ArtifactCreate", "ArtifactUpdate",
    ),
    "prefect.client.schemas.schedules": ("IntervalSchedule",),
    "prefect.events.schemas.events": ("Event",),
    "prefect.events.filters": (
        "EventFilter", "EventNameFilter", "EventOccurredFilter", "EventIDFilter",
    ),
    "prefect.artifacts": ("MarkdownArtifact",),
}  # fmt: skip


class UnsafeToFork(RuntimeError):
    """An imported module started a thread."""


def main(argv: list[str]) -> None:
    """Preload, serve, and become the flow run's process in every forked child."""
    # Ctrl-C and a group-wide SIGTERM are the worker's to handle: it decides what becomes of the
    # running flows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = socket.socket(fileno=int(argv[0]))
    baseline = dict(os.environ)
    os.environ.update(PRELOAD_ENVIRONMENT)
    try:
        report = preload(argv[1:])
    except Exception as error:  # noqa: BLE001 - it is reported; the worker then starts runs cold
        control.sendall(encode({"error": f"{type(error).__name__}: {error}"}))
        return
    code_mtimes_ns = project_files()
    control.sendall(encode(report))
    job = serve(control)
    if job is not None:
        child.run(job, child.Preloaded(baseline, code_mtimes_ns, argv[1:]))


def preload(names: list[str]) -> dict[str, Any]:
    """Import the modules, and report seconds, memory and threads.

    Args:
        names: Modules; a package that ends in `.*` is imported with all its modules.

    Raises:
        UnsafeToFork: a module started a thread.
    """
    started = time.monotonic()
    seconds: dict[str, float] = {}
    for name in names:
        before = time.monotonic()
        _import(name)
        seconds[name] = round(time.monotonic() - before, 2)
    _complete_models()
    threads = [
        t.name for t in threading.enumerate() if t is not threading.main_thread()
    ] + native_threads()
    if threads:
        raise UnsafeToFork(f"threads started by an import: {', '.join(threads)}")
    gc.collect()
    # The child enables it again. Before that no collection may touch the shared pages: the kernel
    # would copy them.
    gc.disable()
    gc.freeze()
    return {
        "seconds": round(time.monotonic() - started, 2),
        "modules": seconds,
        "rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def _import(name: str) -> None:
    package = importlib.import_module(name.removesuffix(".*"))
    if name.endswith(".*"):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def _complete_models() -> None:
    """Builds what is used of MODELS, as far as it was imported and another release has it."""
    for module, names in MODELS.items():
        for name in names:
            model = getattr(sys.modules.get(module), name, None)
            if model is not None:
                model.model_rebuild()


def native_threads() -> list[str]:
    """Names of the process's threads other than the main one and the harmless ones."""
    names = []
    for thread_id in os.listdir("/proc/self/task"):
        if int(thread_id) != os.getpid():
            with open(f"/proc/self/task/{thread_id}/comm") as file:
                names.append(file.read().strip())
    return [name for name in names if name not in HARMLESS_THREADS]


def project_files() -> dict[str, int]:
    """Modification times (ns) of the imported files that are not installed packages.

    That is code which may be edited while the worker runs.
    """
    installed = tuple(path + os.sep for path in sysconfig.get_paths().values())
    times = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and not path.startswith(installed):
            with contextlib.suppress(OSError):
                times[path] = os.stat(path).st_mtime_ns
    return times


def serve(control: socket.socket) -> Job | None:
    """Fork a child for each socket received.

    Returns the job in a child, None in the server when the worker left.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    children: dict[int, socket.socket] = {}
    deadline: float | None = None  # set when the worker has left
    while deadline is None or children:
        watched = [wake_read] if deadline else [wake_read, control.fileno()]
        timeout = None if deadline is None else max(deadline - time.monotonic(), 0.1)
        ready, _, _ = select.select(watched, [], [], timeout)
        if wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 65536)
        _reap(children)
        if deadline is not None and time.monotonic() > deadline:
            _signal_groups(children, signal.SIGKILL)
        if control.fileno() not in ready:
            continue
        _, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not fds:
            deadline = time.monotonic() + ORPHAN_GRACE_SECONDS
            _signal_groups(children, signal.SIGTERM)
            continue
        connection = socket.socket(fileno=fds[0])
        connection.setblocking(True)  # noqa: FBT003  positional only
        server_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for fd in (wake_read, wake_write):
                os.close(fd)
            for other in (control, *children.values()):
                other.close()
            return _start_child(connection, server_pid)
        children[pid] = connection
    return None


def _start_child(connection: socket.socket, server_pid: int) -> Job:
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    child.die_with_parent(server_pid)
    gc.enable()
    job = receive_job(connection)
    # The worker may signal the process group from here on.
    connection.sendall(encode({"pid": os.getpid()}))
    connection.close()
    return job


def _reap(children: dict[int, socket.socket]) -> None:
    for pid in list(children):
        ended_pid, status, usage = os.wait4(pid, os.WNOHANG)
        if ended_pid:
            ending = {
                "returncode": os.waitstatus_to_exitcode(status),
                "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
                "max_rss_kb": usage.ru_maxrss,
            }
            with children.pop(pid) as connection, contextlib.suppress(OSError):
                connection.sendall(encode(ending))


def _signal_groups(children: dict[int, socket.socket], number: signal.Signals) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
