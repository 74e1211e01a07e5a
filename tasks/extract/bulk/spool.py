"""Mapped pages on their way from extraction to the load.

Each is decoded once, and kept in a temporary file without a name.
"""

import io
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

import polars as pl

from connectors.kit.mapping import Mapped

#: Frames beyond this are on disk. The file has no name, so nobody else can open it and it vanishes
#: with the process.
IN_MEMORY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Packed:
    """One batch, ready to be written: its frames that are not empty, as Arrow IPC.

    `needs`: per lookup the ids without which the batch cannot be loaded.
    """

    stream: str
    record_count: int
    needs: dict[str, set[str]] = field(repr=False)
    frames: dict[str, bytes] = field(repr=False)


def pack(stream: str, mapped: Mapped, needs: dict[str, set[str]]) -> Packed:
    """Serialises a batch."""
    frames = {name: _written(frame) for name in _FRAMES if (frame := getattr(mapped, name)).height}
    return Packed(stream, mapped.record_count, needs, frames)


def _written(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc(
        buffer, compression="lz4"
    )  # a fifth of the bytes, for less time than they take through a pipe
    return buffer.getvalue()


@dataclass(frozen=True)
class _Entry:
    """Where a batch is in the file: per frame offset and size."""

    stream: str
    record_count: int
    whole: bool
    places: dict[str, tuple[int, int]]


class NotYetError(RuntimeError):
    """The next batch is not to be had, or cannot be loaded before something is looked up."""


class Spool:
    """Batches of mapped pages in the order of arrival.

    They may be read several times, also by another thread.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115  closed by `close`
            max_size=IN_MEMORY_BYTES
        )
        self._entries: list[_Entry] = []
        self._end = 0
        self._complete = False
        self._changed = threading.Condition()

    def append(self, packed: Packed) -> None:
        """Adds the batch."""
        with self._changed:
            places = {name: self._write(frame) for name, frame in packed.frames.items()}
            whole = not any(packed.needs.values())
            self._entries.append(_Entry(packed.stream, packed.record_count, whole, places))
            self._changed.notify_all()

    def complete(self) -> None:
        """Nothing more will be added."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[tuple[str, Mapped]]:
        """(stream, batch), in order, of those that are there."""
        for entry in list(self._entries):
            yield self._unpacked(entry)

    def follow(self, deadline: float) -> Iterator[tuple[str, Mapped]]:
        """(stream, batch), in order, waiting for those to come, until all are there.

        Raises NotYetError at `deadline` (monotonic seconds), and at a batch that waits for a
        lookup.
        """
        at = 0
        while True:
            with self._changed:
                while at == len(self._entries) and not self._complete:
                    if not self._changed.wait(deadline - time.monotonic()):
                        raise NotYetError
                if at == len(self._entries):
                    return
                entry = self._entries[at]
            if not entry.whole or time.monotonic() > deadline:
                raise NotYetError
            yield self._unpacked(entry)
            at += 1

    def close(self) -> None:
        """Gives the file back."""
        with self._changed:
            self._file.close()

    def _unpacked(self, entry: _Entry) -> tuple[str, Mapped]:
        frames = {name: self._read(*place) for name, place in entry.places.items()}
        return entry.stream, replace(Mapped.empty(), record_count=entry.record_count, **frames)

    def _write(self, frame: bytes) -> tuple[int, int]:
        offset = self._end
        self._file.seek(offset)
        self._file.write(frame)
        self._end += len(frame)
        return offset, len(frame)

    def _read(self, offset: int, size: int) -> pl.DataFrame:
        with self._changed:
            self._file.seek(offset)
            body = self._file.read(size)
        return pl.read_ipc(body)


_FRAMES = tuple(one.name for one in fields(Mapped) if one.name != "record_count")
