"""The records of a page as the bytes that were received, and how a value is put into one."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.pointers import segments
from connectors.kit.mapping.reader import UNREADABLE
from connectors.kit.spec import Stream
from connectors.kit.webhooks.bodies import raw_at, raw_list

#: An object's values, unread.
ENTRIES: Final = Decoder(dict[str, msgspec.Raw])
_WHOLE: Final = Decoder(Any)


def raw_records(stream: Stream, body: bytes) -> list[bytes]:
    """The records of a page of the list."""
    return raw_list(raw_at(body, segments(stream.records)) or b"[]")


def opened_record(record: bytes) -> Any:
    """A record's JSON; None where it is none, which is said when the page is mapped."""
    try:
        return _WHOLE.decode(record)
    except UNREADABLE:
        return None


def with_value(record: bytes, parts: Sequence[str], value: bytes) -> bytes:
    """The record with another value at a pointer's parts; objects on the way are made."""
    if not parts:
        return value
    entries = ENTRIES.decode(record) if record.startswith(b"{") else {}
    inner = bytes(entries.get(parts[0], b"{}")).strip()
    return msgspec.json.encode(
        {**entries, parts[0]: msgspec.Raw(with_value(inner, parts[1:], value))}
    )
