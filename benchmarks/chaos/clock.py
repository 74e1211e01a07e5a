"""A clock that the processes of the stack see and this one does not: a library preloaded into them.

Not libfaketime: its version 0.9.10 breaks Python's `time.sleep` once the time is stepped.
"""

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("stepped_clock.c")
_NANOSECONDS: Final = 1_000_000_000


class Clock:
    """How far the stack's clock is off, in a file that its processes have mapped.

    Raises subprocess.CalledProcessError if the library cannot be compiled into `folder`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._library, self._offset = folder / "stepped_clock.so", folder / "offset"
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._offset.write_bytes(struct.pack("=q", 0))
        for path in (folder, self._library, self._offset):
            path.chmod(0o755)  # PostgreSQL has an account of its own

    @staticmethod
    def is_possible() -> bool:
        """True where there is a C compiler."""
        return shutil.which("cc") is not None

    def environment(self) -> dict[str, str]:
        """What makes a process and its children see this clock. Waiting is by the true one."""
        return {"LD_PRELOAD": str(self._library), "TWEZAH_CHAOS_CLOCK": str(self._offset)}

    def step(self, seconds: float) -> None:
        """Sets the clock so many seconds ahead of the true one, or behind it, at once."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", round(seconds * _NANOSECONDS)))

    def restore(self) -> None:
        """The true time again."""
        self.step(0)
