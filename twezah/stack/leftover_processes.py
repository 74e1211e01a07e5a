"""Finds and ends what a killed `twezah up` left running, and only that.

Every process of a stack has a mark in its environment: which start of which state folder it
belongs to. Environments are inherited, so the children of children carry it as well, and unlike
a process number it cannot come to belong to a stranger.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

#: The variable that holds the mark.
MARK = "TWEZAH_STACK"
#: How long a process may take to end by itself before it is killed.
GRACE_SECONDS = 15.0
#: How often it looks whether they have ended.
POLL_SECONDS = 0.1


def mark(home: Path, stack_id: str) -> str:
    """The value of the variable MARK in the environment of this stack's processes."""
    return f"{stack_id}:{home}"


def marked(home: Path, *, only: str | None = None, but: str | None = None) -> list[psutil.Process]:
    """The living processes of stacks of this state folder.

    Args:
        home: The state folder.
        only: Those of the stack with this id alone.
        but: Not those of the stack with this id.

    """
    return [
        process
        for process in psutil.process_iter()
        if _belongs(_mark_of(process), home, only=only, but=but)
    ]


def _mark_of(process: psutil.Process) -> str:
    with suppress(psutil.Error, OSError):  # it has ended, or is another user's
        if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            return str(process.environ().get(MARK, ""))
    return ""


def _belongs(value: str, home: Path, *, only: str | None, but: str | None) -> bool:
    stack_id, _, folder = value.partition(":")
    return folder == str(home) and only in (None, stack_id) and but != stack_id


def end_marked(
    home: Path, *, only: str | None = None, but: str | None = None, seconds: float = GRACE_SECONDS
) -> list[str]:
    """Ends them: SIGTERM to the leaders, which end their own children; SIGKILL to the rest.

    Returns the command lines of the leaders, shortened; empty if nothing was there.
    """
    processes = marked(home, only=only, but=but)
    leaders = _leaders(processes)
    commands = [_command(process) for process in leaders]
    for process in leaders:
        with suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + seconds
    while processes and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        processes = marked(home, only=only, but=but)
    while processes:  # again, for what was started meanwhile
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1)
        processes = marked(home, only=only, but=but)
    return commands


def _leaders(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    numbers = {process.pid for process in processes}
    leaders = []
    for process in processes:
        with suppress(psutil.Error):
            if process.ppid() not in numbers:
                leaders.append(process)
    return leaders


def _command(process: psutil.Process) -> str:
    """What the process is, e.g. `twezah.worker`: never its options, which may hold paths."""
    with suppress(psutil.Error):
        words = process.cmdline()
        if "-m" in words[:-1]:
            return str(words[words.index("-m") + 1])
        return Path(words[0]).name if words else str(process.name())
    return f"process {process.pid}"
