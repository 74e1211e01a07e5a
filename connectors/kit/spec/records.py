"""What a reader of pages gives back: the records of a page, and those that cannot be decoded.

JSON pages are read by `connectors.kit.mapping.reader`, files by the `Stream.reads` of their list.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Broken:
    """A record that is not even an object of the expected form."""

    page_id: int
    #: Its place in the page, or the number of its row or line in a file.
    record_no: int
    #: JSON pointer to the part that is wrong.
    path: str
    #: Why it cannot be read, without a value.
    reason: str
    #: The id of the document that it is a part of; None where it names none.
    document: str | None = None
    #: What it says, as a fingerprint: the record is recognised when it is read again. "": the
    #: document is enough.
    row_key: str = ""
    #: The field that is wrong; "record": all of it.
    field: str = "record"


@dataclass(frozen=True)
class Records:
    """The records of one page, or of several put together.

    `items`, `numbers` and `page_ids` have one entry per decoded record.
    """

    #: The decoded records.
    items: list[Any]
    #: Their places in the page, or in the file.
    numbers: list[int]
    #: The page each of them is from.
    page_ids: list[int]
    #: The records that could not be decoded.
    broken: list[Broken]
    #: Values beside the list, by the names in `Stream.info`.
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """All records, broken ones as well."""
        return len(self.items) + len(self.broken)

    def extend(self, other: "Records") -> None:
        """Puts the records of another page behind these."""
        self.items.extend(other.items)
        self.numbers.extend(other.numbers)
        self.page_ids.extend(other.page_ids)
        self.broken.extend(other.broken)


class Place(NamedTuple):
    """A row of a file, so that it is found again in a later version of the file."""

    #: The row's number in the file.
    number: int
    #: A fingerprint of what it says.
    content: str
    #: The same without its id.
    without_id: str
