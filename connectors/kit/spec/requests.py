"""What is asked for and what came back, as values.

Requests, pages, and how they follow each other.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Window:
    """Which changes to read, by the vendor's time of last change: `[since, until)`, UTC.

    None is no bound.
    """

    since: datetime | None = None
    until: datetime | None = None


#: A query parameter; a sequence is sent as the same parameter several times.
Param = str | Sequence[str]


@dataclass(frozen=True)
class PageRequest:
    """One request of a list, without secrets.

    So it can be stored, and an interrupted read be continued.
    """

    method: str
    #: The vendor's path, behind the base URL.
    path: str
    params: Mapping[str, Param] = field(default_factory=dict)
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Counts the requests of one read, from 1.
    page_no: int = 1

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, read back by `from_json`."""
        return asdict(self) | {"params": dict(self.params), "headers": dict(self.headers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The request stored by `to_json`."""
        return cls(**data)

    def param(self, name: str) -> str:
        """The value of a parameter.

        Raises:
            KeyError: If it is not there.
        """
        value = self.params[name]
        return value if isinstance(value, str) else ",".join(value)

    def turn(self, **params: str) -> Self:
        """The following page's request: these parameters changed, the page number one higher."""
        return replace(self, params={**self.params, **params}, page_no=self.page_no + 1)


@dataclass(frozen=True)
class Page:
    """One answer, exactly as received."""

    #: The list it is a page of.
    stream: str
    page_no: int
    body: bytes = field(repr=False)
    content_type: str
    #: UTC.
    fetched_at: datetime
    request: PageRequest
    #: None: this is the last page.
    next_request: PageRequest | None
    record_count: int
    #: From sending the request to the end of the answer.
    elapsed_ms: int


@dataclass(frozen=True)
class Resume:
    """Where an interrupted read stopped."""

    #: The request of the last page stored.
    request: PageRequest
    #: That page, as it came.
    body: bytes = field(repr=False)
    #: The request that was to come next.
    following: PageRequest


@dataclass(frozen=True)
class PageView:
    """What a pagination generator is told about the page it asked for."""

    record_count: int
    #: Values beside the records, by the names in `Stream.info`.
    info: Mapping[str, Any] = field(default_factory=dict)
    #: The ids of the records, where they have one.
    ids: Sequence[Any] = ()
    #: The answer's Link header.
    link: str = ""
    #: When the records were changed, as written, where a list may be ordered by that.
    versions: Sequence[Any] = ()
    #: Whether the answer's status is 206 (Partial Content).
    partial: bool = False

    @property
    def marks(self) -> list[Any]:
        """What tells apart the records that did not change.

        An edited record may stand elsewhere in the list.
        """
        if len(self.versions) != len(self.ids):
            return list(self.ids)
        return list(zip(map(str, self.ids), map(str, self.versions), strict=True))

    def number(self, name: str) -> int | None:
        """A whole number that the vendor put beside the records (pages, total, ...).

        None where it gave none.
        """
        value = self.info.get(name)
        if isinstance(value, str) and value.isdigit():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


class ListMovedError(Exception):
    """Records left a list while it was paged, and others moved up past the reader.

    The list must be read again.
    """


class WindowRefusedError(Exception):
    """The server refuses a request that begins at another record than pages of its own do."""


@dataclass(frozen=True)
class Special:
    """A request of a guarded list that does not ask for the next page as the server divides it."""

    request: PageRequest
    #: "overlap": its page begins with a record that was read before; a refusal is thrown back into
    #: the generator as WindowRefusedError. "again": a page that was read before. "look back": the
    #: same, but only to compare it; its answer is not kept.
    purpose: Literal["overlap", "again", "look back"]


#: Yields requests, is sent what each answer held, returns after the last page (the protocol of
#: httpx's auth flows).
Pages = Generator[PageRequest | Special, PageView, None]


def batches(ids: Collection[str], size: int) -> list[list[str]]:
    """Ids in sorted order, `size` at a time: the same ids give the same requests."""
    ordered = sorted(ids)
    return [ordered[at : at + size] for at in range(0, len(ordered), size)]


def utc_seconds(moment: datetime, shift: timedelta = timedelta()) -> str:
    """`2026-05-01T00:00:00` of a moment in UTC, moved by `shift`."""
    return (moment + shift).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def is_due(since: datetime | None, now: datetime, every_hours: int) -> bool:
    """Whether a job that runs every so many hours is due; 0 hours: always.

    It is due if a new interval began since the last run.
    """
    if since is None or every_hours <= 0:
        return since is not None
    interval = every_hours * 3600
    return int(since.timestamp()) // interval != int(now.timestamp()) // interval
