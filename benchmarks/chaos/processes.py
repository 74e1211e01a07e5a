"""Which processes belong to one stack, and what each of them is.

A process belongs to the stack when it was started with its state folder in `TWEZAH_HOME`, when it
is a PostgreSQL server of its data folder, or when its parent belongs to it. Other stacks of the
same machine have other folders.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

#: Kinds that can be found, by what their command line says, the first that fits.
_COMMANDS: Final = (
    ("watchdog", ("-m", "twezah.stack.watchdog")),
    ("keeper", ("-m", "twezah.stack.keeper")),
    ("provision", ("-m", "twezah.stack.provision")),
    ("worker", ("-m", "twezah.worker")),
    ("api", ("-m", "api")),
    ("simulator", ("-m", "simulator")),
    ("server", ("-m", "prefect", "server", "start")),
    ("server", ("-m", "twezah.stack.prefect_server")),
    ("server", ("prefect.server.api.server:create_app",)),
    ("run", ("-m", "prefect.engine")),
    ("run", ("-m", "prefect.runner._workspace_supervisor")),
)
_FORKSERVER: Final = ("-m", "twezah.worker.forkserver")
#: The sibling closes what it inherits: three standard files and its pipe are left.
SIBLING_FILES_MAX: Final = 4


@dataclass(frozen=True)
class ProcessRow:
    """What the process table says of one process."""

    pid: int
    parent: int
    session: int
    command: tuple[str, ...]
    home: str | None
    created: float
    #: Open files; asked for only of processes that may be a sibling.
    files: int = 0


@dataclass(frozen=True)
class Target:
    """One process of the stack. `created` tells it from a later one with the same number."""

    kind: str
    pid: int
    created: float

    def is_alive(self) -> bool:
        """True while it exists and has not ended."""
        try:
            process = psutil.Process(self.pid)
            same = process.create_time() == self.created
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def find(home: Path, up_pid: int | None) -> list[Target]:
    """The processes of the stack of `home`, this one and its other children excluded."""
    return classify(read_table(), home, up_pid)


def classify(rows: Iterable[ProcessRow], home: Path, up_pid: int | None) -> list[Target]:
    """The targets among `rows`; those of no known kind are "other"."""
    table = {row.pid: row for row in rows}
    ours = {pid for pid, row in table.items() if pid == up_pid or _belongs(row, home)}
    while more := {pid for pid, row in table.items() if row.parent in ours} - ours:
        ours |= more
    ours.discard(os.getpid())
    return [
        Target("up" if pid == up_pid else _kind(table[pid], table, home), pid, table[pid].created)
        for pid in sorted(ours)
    ]


def _belongs(row: ProcessRow, home: Path) -> bool:
    return row.pid != os.getpid() and (row.home == str(home) or _is_postmaster(row, home))


def _is_postmaster(row: ProcessRow, home: Path) -> bool:
    program = Path(row.command[0]).name if row.command else ""
    return program == "postgres" and str(home / "pg") in row.command


def _kind(row: ProcessRow, table: Mapping[int, ProcessRow], home: Path) -> str:
    if _is_postmaster(row, home):
        return "postmaster"
    if row.command and row.command[0].startswith("postgres: "):
        return "backend" if "[local]" in row.command[0] else "other"
    if _has(row.command, _FORKSERVER):
        return _forked(row, table)
    return next((kind for kind, words in _COMMANDS if _has(row.command, words)), "other")


def _forked(row: ProcessRow, table: Mapping[int, ProcessRow]) -> str:
    """The forkserver, a run (which leads a session) or a fork of a run share a command line."""
    if row.session == row.pid:
        return "run"
    parent = table.get(row.parent)
    if parent is not None and _has(parent.command, _FORKSERVER):
        return "sibling" if row.files <= SIBLING_FILES_MAX else "other"
    return (
        "forkserver" if parent is not None and _has(parent.command, ("twezah.worker",)) else "other"
    )


def _has(command: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """True when the words stand side by side in the command line."""
    return any(command[at : at + len(words)] == words for at in range(len(command)))


def read_table() -> list[ProcessRow]:
    """All processes of the machine, those that have just ended left out."""
    rows = []
    for process in psutil.process_iter(["pid", "ppid", "cmdline", "create_time", "status"]):
        values = process.info
        if values["status"] == psutil.STATUS_ZOMBIE or not values["cmdline"]:
            continue
        try:
            rows.append(_row(process, values))
        except (psutil.Error, OSError):
            continue
    return rows


def _row(process: psutil.Process, values: Mapping[str, object]) -> ProcessRow:
    command = tuple(str(word) for word in values["cmdline"])  # type: ignore[attr-defined]
    may_be_sibling = _has(command, _FORKSERVER)
    return ProcessRow(
        pid=process.pid,
        parent=int(str(values["ppid"])),
        session=os.getsid(process.pid),
        command=command,
        home=_home(process),
        created=float(str(values["create_time"])),
        files=process.num_fds() if may_be_sibling else 0,
    )


def _home(process: psutil.Process) -> str | None:
    try:
        environment: dict[str, str] = process.environ()
        return environment.get("TWEZAH_HOME")
    except (psutil.Error, OSError):
        return None
