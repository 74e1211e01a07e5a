"""The keys that seal stored bodies: a new one in front, and old ones taken out of the file."""

import fcntl
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import Settings, new_data_key
from sql.sealing import REFRESH_SECONDS, key_id


def is_in_file(config: Settings) -> bool:
    """Whether the keys are in a file of this installation; else their keeper makes new ones."""
    return config.data_key is None and config.data_key_command is None


def add_key(config: Settings) -> str:
    """Makes a new key, first in the file; returns its number in hexadecimal."""
    config.data_keys()  # makes the file, where there is none
    path, new = config.data_key_path, new_data_key()
    with _alone(path):
        _replace(path, [new.decode(), *path.read_text(encoding="ascii").split()])
        return key_id(config.data_keys()[0]).hex()


def is_known_to_all(config: Settings) -> bool:
    """Whether every process has asked for its keys since the file was changed.

    One that did not would go on sealing with a key that nobody else has any more.
    """
    return time.time() - config.data_key_path.stat().st_mtime > 2 * REFRESH_SECONDS


def drop_keys(config: Settings, used: Collection[str | None]) -> int:
    """Takes keys out of the file that sealed nothing (`used`: those that did); how many.

    The first one stays.
    """
    with _alone(config.data_key_path):
        keys = config.data_keys()
        kept = [n for n, key in enumerate(keys) if n == 0 or key_id(key).hex() in used]
        texts = config.data_key_path.read_text(encoding="ascii").replace(",", " ").split()
        if len(kept) < len(keys):
            _replace(config.data_key_path, [texts[number] for number in kept])
        return len(keys) - len(kept)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One command at a time reads the file and replaces it: a lost key is lost bodies."""
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        yield


def _replace(path: Path, keys: list[str]) -> None:
    """Writes the file at once: whoever reads it has all of it, and only its owner can."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)
