"""What a forked child does: prepare the run's workspace, then become `prefect.engine`.

Prefect's supervisor runs the deployment's pull steps and replaces itself by `python -m
prefect.engine`. Here the pull steps run in a fork of their own, and the replacement is the still
untouched preloaded interpreter, given the environment, working directory and import path that the
new one would have had.
"""

import contextlib
import ctypes
import importlib.machinery
import json
import os
import runpy
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twezah.worker.messages import Job

#: Variables that the interpreter, an allocator or an imported library reads once, at start or
#: import.
_READ_AT_IMPORT = (
    *("PYTHON", "LD_", "MALLOC_", "OMP_", "OPENBLAS_", "MKL_", "ARROW_", "POLARS_", "GX_"),
    *(
        "PREFECT_TASKS_",
        "PREFECT_TASK_",
        "PREFECT_FLOWS_DEFAULT_",
        "PREFECT_FLOW_DEFAULT_",
        "PREFECT_PLUGINS_",
    ),
)
#: Read at the start as well, but `import_path` applies it to the forked child.
_APPLIED_LATER = frozenset({"PYTHONPATH"})


#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
#: What this process has set up Prefect's logging by: settings and variables; empty before.
_logging_set_up_by: list[tuple[Any, dict[str, str]]] = []


@dataclass(frozen=True)
class Preloaded:
    """What the preloaded modules depend on."""

    #: Environment variables of the forkserver before its imports.
    environment: dict[str, str]
    #: Modification times (ns) of the files that the modules were read from.
    code_mtimes_ns: dict[str, int]
    #: What was preloaded; `package.*` is a package with all its modules.
    modules: list[str]


@dataclass(frozen=True)
class Launch:
    """The process that Prefect's supervisor wants to become."""

    #: Program and arguments.
    command: list[str]
    #: Working directory.
    cwd: str
    #: All environment variables.
    environment: dict[str, str]


def run(job: Job, preloaded: Preloaded) -> None:
    """Run the job's flow in this process.

    Leaves as `python -m prefect.engine` would: by return, exit or signal.
    """
    _redirect(stream_output=job.stream_output)
    _replace_environment(job.env)
    if job.cwd:
        os.chdir(job.cwd)
    _refresh_prefect()
    launch = _prepare(job.config_path)
    reason = why_cold(launch, preloaded)
    if reason is None:
        _become_engine(launch, preloaded)
        return
    if launch.command == _engine_command():
        print(f"twezah.worker: cold start: {reason}", file=sys.stderr, flush=True)
    os.chdir(launch.cwd)
    os.execvpe(launch.command[0], launch.command, launch.environment)


def why_cold(launch: Launch, preloaded: Preloaded) -> str | None:
    """Why this run needs a fresh interpreter; None when the preloaded one is equivalent."""
    if launch.command != _engine_command():
        return "another command"
    names = {*launch.environment, *preloaded.environment} - _APPLIED_LATER
    for name in sorted(names):
        same = launch.environment.get(name) == preloaded.environment.get(name)
        if name.startswith(_READ_AT_IMPORT) and not same:
            return f"environment variable {name} is read at import and differs from the worker's"
    path = import_path(launch, preloaded)
    for name, file in _top_level(preloaded).items():
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if (
            spec is not None
            and spec.origin
            and os.path.realpath(spec.origin) != os.path.realpath(file)
        ):
            return f"package {name} is another one on this run's import path: {spec.origin}"
    for file, mtime_ns in preloaded.code_mtimes_ns.items():
        if _mtime_ns(file) != mtime_ns:
            return f"{file} changed since the worker was started; restart the worker"
    return None


def _top_level(preloaded: Preloaded) -> dict[str, str]:
    """Files of the packages that a run's workspace could shadow.

    These are the preloaded packages, and those that are not installed.
    """
    names = {name.partition(".")[0] for name in preloaded.modules}
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {
        name: file
        for name, file in files.items()
        if file
        and "." not in name
        and name != "__main__"
        and (name in names or file in preloaded.code_mtimes_ns)
    }


def _mtime_ns(file: str) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None


def import_path(launch: Launch, preloaded: Preloaded) -> list[str]:
    """`sys.path` as `python -m` would have it.

    That is: working directory, PYTHONPATH, then the interpreter's own entries.
    """
    added = {
        entry for entry in preloaded.environment.get("PYTHONPATH", "").split(os.pathsep) if entry
    }
    interpreter = [entry for entry in sys.path[1:] if entry not in added]
    paths = [entry for entry in launch.environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return list(dict.fromkeys([launch.cwd, *paths, *interpreter]))


def _engine_command() -> list[str]:
    return [sys.executable, "-m", "prefect.engine"]


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when `parent_pid` dies; at once when it already has."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _redirect(*, stream_output: bool) -> None:
    """Output goes where the worker's goes, or nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if not stream_output:
        os.dup2(null, 1)
        os.dup2(null, 2)
    os.close(null)


def _replace_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()


def _prepare(config_path: str) -> Launch:
    """Runs Prefect's workspace supervisor in a fork, up to the point where it would exec.

    Exits as the supervisor does on failure.
    """
    reader, writer = os.pipe()
    parent_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        die_with_parent(parent_pid)
        _supervise_and_leave(config_path, writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        body = pipe.read()
    _, status = os.waitpid(pid, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code < 0:
        os.kill(os.getpid(), -exit_code)
    if exit_code > 0 or not body:
        sys.exit(exit_code or 1)
    return Launch(**json.loads(body))


def _supervise_and_leave(config_path: str, writer: int) -> None:
    exit_code = 1
    try:
        from prefect.runner import _workspace_supervisor as supervisor

        async def hand_over(command: list[str], *, cwd: Path, environment: dict[str, str]) -> int:
            _write(writer, {"command": command, "cwd": str(cwd), "environment": environment})
            return 0

        supervisor._launch_engine = hand_over
        exit_code = supervisor.main([config_path])
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        # The stock supervisor is replaced by exec here: no exit handlers either.
        os._exit(exit_code)


def _write(fd: int, message: dict[str, Any]) -> None:
    with open(fd, "w", encoding="utf-8") as pipe:
        json.dump(message, pipe)


def _become_engine(launch: Launch, preloaded: Preloaded) -> None:
    sys.path[:] = import_path(launch, preloaded)
    importlib.invalidate_caches()
    _replace_environment(launch.environment)
    os.chdir(launch.cwd)
    _refresh_prefect()
    _refresh_others()
    _prepare_run()
    warnings.filterwarnings(
        "ignore", message=".*prefect.engine.*found in sys.modules", category=RuntimeWarning
    )
    sys.argv = ["prefect.engine"]
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def _refresh_prefect() -> None:
    """Do again what `import prefect` derived from the environment.

    That is: settings, profile and logging. To set up logging takes 50 ms; a run whose pull steps
    change nothing of what it goes by keeps the set-up that it began with.
    """
    from prefect import context
    from prefect.logging import configuration
    from prefect.settings import get_current_settings

    context.refresh_global_settings_context()
    variables = {k: v for k, v in os.environ.items() if k.startswith("PREFECT_LOGGING_")}
    basis = (get_current_settings(), variables)
    if basis in _logging_set_up_by:
        return
    configuration.PROCESS_LOGGING_CONFIG.clear()
    configuration.setup_logging()
    _logging_set_up_by[:] = [basis]


def _refresh_others() -> None:
    """Resets state that a fork copies and a fresh interpreter would not share."""
    settings: Any = sys.modules.get("settings")  # ours: a run's folder may hold another of its name
    if settings is not None:
        settings.settings.cache_clear()
    numpy: Any = sys.modules.get("numpy")  # random and tempfile take care of themselves
    if numpy is not None:
        numpy.random.seed()


def _prepare_run() -> None:
    """Does what only a fork can do for a run, before it starts threads."""
    sibling: Any = sys.modules.get("tasks.extract.bulk.map_process")
    if sibling is not None:
        sibling.prepare_run()
