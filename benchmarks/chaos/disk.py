"""A small disk of its own for the state folder, so that it can be full."""

import os
import subprocess
import time
from pathlib import Path
from typing import Final

_BALLAST: Final = "chaos-ballast"
_SMALLEST_BYTES: Final = 4096
_ENDING_SECONDS_MAX: Final = 10


class Disk:
    """A tmpfs over an empty folder. Mounting needs root; what is in it is gone with `unmount`."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self._size_bytes = size_bytes

    @staticmethod
    def is_possible() -> bool:
        """True where this process may mount."""
        return os.geteuid() == 0

    def mount(self) -> None:
        """Raises CalledProcessError if the system refuses."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self._size_bytes},mode=0755"
        command = ["mount", "-t", "tmpfs", "-o", options, "twezah-chaos", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)

    def fill(self) -> None:
        """Takes every byte that is left."""
        descriptor = os.open(self.folder / _BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            size, chunk = 0, self._size_bytes
            while chunk >= _SMALLEST_BYTES:
                try:
                    os.posix_fallocate(descriptor, size, chunk)
                    size += chunk
                except OSError:
                    chunk //= 2
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Gives the space back."""
        (self.folder / _BALLAST).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Once nobody uses it any more; lazily if somebody still does."""
        deadline = time.monotonic() + _ENDING_SECONDS_MAX
        while not self._unmounted("--") and time.monotonic() < deadline:
            time.sleep(0.5)
        if self.folder.is_mount():
            self._unmounted("--lazy")

    def _unmounted(self, option: str) -> bool:
        command = ["umount", option, str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
