"""Mapped batches of a large read on their way from extraction to the load.

They wait in a temporary file without a name, as Arrow IPC, so that a page is decoded once and
memory does not follow the size of the read.
"""

import io
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, fields, replace

import polars as pl

from connectors.kit.mapping import Mapped
from tasks.extract.batch import MappedBatch

#: Frames beyond this are on disk. The file has no name, so nobody else can open it and it vanishes
#: with the process.
IN_MEMORY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Packed:
    """One batch, ready to be written to a file or sent through a pipe."""

    #: The list that the batch is of.
    stream: str
    #: Records on its pages, whatever became of them.
    record_count: int
    #: Per lookup the ids without which the batch cannot be loaded.
    needs: dict[str, set[str]] = field(repr=False)
    #: By the name of the field of `Mapped`, its frames that are not empty, as Arrow IPC.
    frames: dict[str, bytes] = field(repr=False)


def pack(batch: MappedBatch) -> Packed:
    """Serialises a batch."""
    frames = {
        name: _written(frame) for name in _FRAMES if (frame := getattr(batch.mapped, name)).height
    }
    return Packed(batch.stream, batch.mapped.record_count, batch.needs, frames)


def _written(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    # A fifth of the bytes, for less time than they take through a pipe.
    frame.write_ipc(buffer, compression="lz4")
    return buffer.getvalue()


@dataclass(frozen=True)
class _Entry:
    """Where a batch is in the file."""

    #: The list that the batch is of.
    stream: str
    #: Records on its pages.
    record_count: int
    #: Whether it can be loaded without a lookup.
    whole: bool
    #: Per frame its offset and size in bytes.
    places: dict[str, tuple[int, int]]


class NotYetError(RuntimeError):
    """The next batch is not to be had, or cannot be loaded before something is looked up."""


class Spool:
    """Mapped batches in the order of arrival.

    They may be read several times, also by another thread. What a batch needs is not kept: it is
    read once that is looked up, or if it needs nothing.
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

    def __iter__(self) -> Iterator[MappedBatch]:
        """The batches that are there."""
        for entry in list(self._entries):
            yield self._unpacked(entry)

    def follow(self, deadline: float) -> Generator[MappedBatch, None, None]:
        """The batches, waiting for those to come, until all are there.

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

    def _unpacked(self, entry: _Entry) -> MappedBatch:
        frames = {name: self._read(*place) for name, place in entry.places.items()}
        mapped = replace(Mapped.empty(), record_count=entry.record_count, **frames)
        return MappedBatch(entry.stream, mapped, needs={})

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


#: The fields of `Mapped` that are frames.
_FRAMES = tuple(part.name for part in fields(Mapped) if part.name != "record_count")
