"""Lines that a list leaves out.

They are kept beside the page's records in one stored page, and joined to them when it is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.pointers import Column, Shape, shape
from connectors.kit.spec import Details

#: Where a stored page keeps the answers about its records' lines, and where a decoded record keeps
#: those lines.
DETAILS: Final = "details"
JOINED: Final = "/@lines"


def with_details(body: bytes, details: Sequence[bytes]) -> bytes:
    """A page and the answers about its records' lines, in one JSON object.

    Each is kept byte for byte as received.
    """
    return body.rstrip()[:-1] + b',"%s":[%s]}' % (DETAILS.encode(), b",".join(details))


@dataclass(frozen=True, eq=False)
class Joined:
    """Puts lines that were asked for beside a page into the page's records."""

    #: Decodes a stored page to its answers about lines.
    decoder: Decoder
    #: The answers of a decoded page.
    answers: Column
    #: The lines of an answer.
    lines: Column
    #: The ids of the records that lines belong to.
    owner: Callable[[Sequence[Any]], Sequence[Any]]
    #: The ids of records.
    record_id: Column
    #: The attribute of a record that takes its lines.
    slot: str

    def put(self, items: Sequence[Any], body: bytes) -> None:
        """Gives every record its lines, in the order in which they were sent.

        Args:
            items: The page's decoded records, which are changed.
            body: The page.

        Raises:
            DecodeError: As decoding raises it (`reader.UNREADABLE`).
        """
        lines: dict[str, list[Any]] = {}
        for answer in self.lines(self.answers([self.decoder.decode(body)])[0] or []):
            for owner, line in zip(self.owner(answer or []), answer or [], strict=True):
                lines.setdefault(str(owner), []).append(line)
        for record, key in zip(items, self.record_id(items), strict=True):
            setattr(record, self.slot, lines.get(str(key)))


def joined_by(details: Details, record: Shape, line: Shape) -> Joined:
    """How lines of this shape get into records of that shape, which has a list at `JOINED`."""
    columns = [line.columns[path] for path in details.owner]

    def owner(lines: Sequence[Any]) -> Sequence[Any]:
        rows = zip(*(column(lines) for column in columns), strict=True)
        return [
            next((owner_id for owner_id in values if owner_id is not None), None) for values in rows
        ]

    answer = shape((), {details.lookup.records: line.type})
    page = shape((), {f"/{DETAILS}": answer.type})
    slot = record.type.__struct_fields__[record.type.__struct_encode_fields__.index(JOINED[1:])]
    return Joined(
        Decoder(page.type),
        page.columns[f"/{DETAILS}"],
        answer.columns[details.lookup.records],
        owner,
        record.columns[details.record],
        slot,
    )
