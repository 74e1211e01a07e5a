"""Mapped pages on their way from extraction to the load: decoded once, kept in a nameless temporary file."""

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

import polars as pl

from connectors.kit.mapping import Mapped

#: Frames beyond this are on disk. The file has no name, so nobody else can open it and it vanishes with the process.
IN_MEMORY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Packed:
    """One batch, ready to be written: the stream, its records, and its frames that are not empty, as Arrow IPC."""

    stream: str
    record_count: int
    frames: dict[str, memoryview] = field(repr=False)


def pack(stream: str, mapped: Mapped) -> Packed:
    """Serialises a batch."""
    return Packed(
        stream,
        mapped.record_count,
        {name: _written(frame) for name in _FRAMES if (frame := getattr(mapped, name)).height},
    )


def _written(frame: pl.DataFrame) -> memoryview:
    buffer = io.BytesIO()
    frame.write_ipc(buffer)
    return buffer.getbuffer()


@dataclass(frozen=True)
class _Entry:
    """Where a batch is in the file: per frame offset and size."""

    stream: str
    record_count: int
    places: dict[str, tuple[int, int]]


class Spool:
    """Batches of mapped pages in the order of arrival; may be read several times."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  closed by `close`
        self._entries: list[_Entry] = []
        self._end = 0

    def append(self, packed: Packed) -> None:
        """Adds the batch."""
        places = {name: self._write(frame) for name, frame in packed.frames.items()}
        self._entries.append(_Entry(packed.stream, packed.record_count, places))

    def __iter__(self) -> Iterator[tuple[str, Mapped]]:
        """(stream, batch), in order."""
        empty = Mapped.empty()
        for entry in self._entries:
            frames = {name: self._read(*place) for name, place in entry.places.items()}
            yield entry.stream, replace(empty, record_count=entry.record_count, **frames)

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()

    def _write(self, frame: memoryview) -> tuple[int, int]:
        offset = self._end
        self._file.seek(offset)
        self._file.write(frame)
        self._end += frame.nbytes
        return offset, frame.nbytes

    def _read(self, offset: int, size: int) -> pl.DataFrame:
        self._file.seek(offset)
        return pl.read_ipc(self._file.read(size))


_FRAMES = tuple(one.name for one in fields(Mapped) if one.name != "record_count")
