"""Ends the children of a supervisor that died without ending them: `python -m twezah.stack.watchdog`.

Reads "+PGID" and "-PGID" lines from stdin, whose other end the supervisor holds. End of file means the
supervisor is gone, even by kill -9: what is still listed gets SIGTERM, and SIGKILL if that takes too long.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

GRACE_SECONDS = 15.0


def main() -> int:
    """Follow the list until end of file, then end whatever is left of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(group)
    end(groups, GRACE_SECONDS)
    return 0


def end(groups: set[int], grace_seconds: float) -> None:
    """End the groups: SIGTERM to the leaders, which end their own children, then SIGKILL to the rest."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and any(map(is_alive, groups)):
        time.sleep(0.1)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def is_alive(group: int) -> bool:
    """True while the group's leader exists and is not a zombie."""
    try:
        os.kill(group, 0)
        stat = Path(f"/proc/{group}/stat").read_text(encoding="ascii", errors="replace")
    except ProcessLookupError:
        return False
    except OSError:  # no /proc on this system: the signal went through, so it exists
        return sys.platform != "linux"
    return stat.rpartition(")")[2].split()[0] != "Z"


if __name__ == "__main__":
    sys.exit(main())
