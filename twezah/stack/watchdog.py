"""Ends the children of a killed supervisor: `python -m twezah.stack.watchdog HOME STACK_ID`.

The supervisor holds the other end of stdin. End of file means that it is gone, even by kill -9.
Then every process that carries the mark of its stack gets SIGTERM, and SIGKILL if that takes too
long. It needs no list of them, so that a new watchdog can replace a killed one at any time.
"""

import os
import signal
import sys
from pathlib import Path

from twezah.stack.leftover_processes import end_marked


def main() -> int:
    """Wait for end of file, then end whatever is left of the stack."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    end_marked(Path(sys.argv[1]), only=sys.argv[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
