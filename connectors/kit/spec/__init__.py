"""What a billing system is, as values: one `ConnectorSpec` per system, read by the kit's functions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import httpx
import polars as pl

from connectors.kit.errors import ConnectorError, UnexpectedShape
from connectors.kit.spec.access import (
    AssertionAuth,
    Consent,
    Grant,
    GrantedAccount,
    RequestAuth,
    TokenAuth,
)
from connectors.kit.spec.account import NO_SECRET, Account, of_account
from connectors.kit.spec.requests import (
    ListMovedError,
    Page,
    PageRequest,
    Pages,
    PageView,
    Param,
    Resume,
    Special,
    Window,
    WindowRefusedError,
    batches,
    utc_seconds,
)

if TYPE_CHECKING:
    from connectors.kit.files.csv_text import Place
    from connectors.kit.mapping.fields import Field
    from connectors.kit.mapping.reader import Records

#: Whether an answer without its list is an empty one: not; where only the list is missing; or
#: whatever is missing.
MissingIsEmpty = bool | Literal["whatever is missing"]

__all__ = [
    "NO_SECRET",
    "Account",
    "AssertionAuth",
    "ConnectorSpec",
    "Consent",
    "Deleted",
    "Details",
    "Grant",
    "GrantedAccount",
    "Lines",
    "ListMovedError",
    "Lookup",
    "MissingIsEmpty",
    "Page",
    "PageRequest",
    "PageView",
    "Pages",
    "Param",
    "RateLimit",
    "RequestAuth",
    "Resume",
    "RetryPolicy",
    "Special",
    "Stream",
    "TokenAuth",
    "Window",
    "WindowRefusedError",
    "batches",
    "of_account",
    "utc_seconds",
]


@dataclass(frozen=True)
class RateLimit:
    """How fast a vendor lets us ask: at most `count` requests in any `seconds`, for each pair in `windows`.

    `retry_after_seconds` is how long to wait after a 429 that does not say. `day_left_header` names
    the header in which the vendor says how many requests are left today: the day's limit depends on
    the customer's plan.
    """

    windows: tuple[tuple[int, float], ...]
    concurrency: int
    retry_after_seconds: float | None = None
    day_left_header: str = ""


@dataclass(frozen=True)
class RetryPolicy:
    """How long one request is tried.

    Attempts, total time, the longest wait a vendor may ask for, and how often an unreadable answer
    is asked for again.
    """

    attempts: int = 6
    total_seconds: float = 300
    longest_wait_seconds: float = 120
    garbled_limit: int = 2


@dataclass(frozen=True, eq=False)
class Lines:
    """How the lines of a document are read; paths are relative to the line.

    `nested` is the path of lines inside a line (one level). `adjust` gets the parsed lines with the
    helper columns and drops or changes lines. `also` are other paths, looked at where the first one
    holds nothing.
    """

    path: str
    fields: Mapping[str, "Field"]
    nested: str | None = None
    adjust: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Stream:
    """One list of a vendor and how its records become invoices.

    `first` builds the first request, or None when there is nothing to ask (e.g. no window).
    `records` is the pointer to the list in a page, `info` pointers to numbers beside it, `single`
    the pointers under which the vendor wraps one record. `helpers` are read like fields and only
    used by computed fields and `keep`. `finish` sees invoices with helpers, and lines. `deleted`
    replaces the mapping: it reads which documents are gone out of the JSON of an answer, and raises
    LookupError, TypeError or AttributeError where that is not possible. `split` divides a request
    whose answer is full and cannot be paged. `shrinks`: documents can leave the list (deleted
    ones), and later ones move up; lists that keep void documents do not. `details` asks for lines
    that the list leaves out. `gone` names the helper that marks a record of this list as a deleted
    document; it holds the time, or anything that is not nothing. `windowed` False: records are kept
    whatever their time of change (the window is about the pages). `reads` opens pages that are no
    JSON: it is given the type of a record, the body and the page's id, and raises nothing: what
        cannot be read is broken. `places` reads what stands where in such a page, row by row.
    `row_id`: where the vendor tells its records apart by something else than the document's
        external id, pointers to it;
    it is what pages and details go by. `census`: `deleted` reads the ids of all documents that
    still exist; what no census of the system names is gone. `deletions` names the streams that tell
    which documents of this list were deleted: itself, where it keeps them and says so. `by_id` asks
    for single documents of the list, which webhooks name. `incomplete`: the list says too little of
    its documents, so that each is asked for by its id. `total_advice`: what to do where the answers
    keep naming a total that is not reached ("": the total is the vendor's own, and known to be
    wrong at times).
    """

    name: str
    kind: str
    first: Callable[[Account, Window, datetime], PageRequest | None]
    paginate: Callable[[PageRequest], Pages]
    records: str
    fields: Mapping[str, "Field"] = field(default_factory=dict)
    helpers: Mapping[str, "Field"] = field(default_factory=dict)
    lines: Lines | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    single: tuple[str, ...] = ()
    missing_is_empty: MissingIsEmpty = False
    shrinks: bool = False
    keep: pl.Expr | None = None
    finish: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame] | None = None
    deleted: Callable[[Any], "Deleted"] | None = None
    split: Callable[[PageRequest, PageView], Sequence[PageRequest]] | None = None
    details: "Details | None" = None
    gone: str | None = None
    windowed: bool = True
    reads: Callable[[Any, bytes, int], "Records"] | None = None
    places: Callable[[bytes], "Sequence[Place]"] | None = None
    row_id: tuple[str, ...] = ()
    census: bool = False
    deletions: tuple[str, ...] = ()
    by_id: "ById | None" = None
    incomplete: bool = False
    total_advice: str = ""


@dataclass(frozen=True, eq=False)
class ById:
    """How documents of a list are asked for by the vendor's ids.

    `requests` batches ids into requests, the fewer the better. Their answers are pages of the list;
    or each holds one document, at one of the pointers `single` ("": it is the answer).
    """

    requests: Callable[[Account, Sequence[str]], Iterable[PageRequest]]
    single: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deleted:
    """Ids of documents that no longer exist (a census: that still do), with the vendor's time text.

    `record_count` counts all records. `listed`: ids that still exist, on a page of a stream that is
    no census by itself; where there are any, they are all of `listed_kind`.
    """

    external_ids: tuple[str, ...]
    deleted_at: tuple[str | None, ...]
    record_count: int
    listed: tuple[str, ...] = ()
    listed_kind: str | None = None


@dataclass(frozen=True, eq=False)
class Lookup:
    """A list asked by id to complete invoices: customers (phone) or items (sku).

    `wants` names the column whose values are asked for, `key` how the cached rows are matched:
    "external_id", or "name" where lines do not name their item's id. `requests` batches ids into
    requests; `paginate` pages each of them (None: one answer). `fallback` asks for one id that did
    not come back, and finds it at `fallback_record` ("": the whole answer). `fields` holds
    external_id and phones in order of preference, or external_id, name and sku.
    """

    name: Literal["customers", "items", "lines"]
    requests: Callable[[Account, Sequence[str]], Iterable[PageRequest]]
    records: str
    fields: Mapping[str, "Field"]
    key: Literal["external_id", "name"] = "external_id"
    paginate: Callable[[PageRequest], Pages] | None = None
    fallback: Callable[[Account, str], PageRequest] | None = None
    fallback_record: str | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    missing_is_empty: bool = False


@dataclass(frozen=True, eq=False)
class Details:
    """Lines that a list leaves out: asked for by the ids of a page's records before the page is stored.

    Their answers are stored with the page, as received, so that a page can still be mapped alone.
    `lookup` asks for them, its external_id telling lines apart; `record` points at a record's id,
    `line` at the id of a line's record (several: the first that is there).
    """

    lookup: Lookup
    record: str
    line: str | tuple[str, ...]

    @property
    def owner(self) -> tuple[str, ...]:
        """The pointers of `line`."""
        return (self.line,) if isinstance(self.line, str) else self.line


@dataclass(frozen=True, eq=False)
class ConnectorSpec:
    """Everything the kit knows about one billing system.

    `{account}` in `base_url` and `token_url` is the account as a host label. `auth` chooses how a
    connection proves itself, `consent` how it comes by its first token. `headers` are sent with
    every call. `fault` reads the vendor's error code out of an answer's body (a short code, never
    its text), `errors` says which error a code or status means where the usual reading would be
    wrong, `no_list` which one an answer without its list is, `error_answer` one with any other
    code. `key_style` re-writes the keys of hand-made samples (`try_record`) to the vendor's own
    spelling. `transport` stands in for the network, for systems that are not reached over one.
    """

    name: str
    title: str
    docs_url: str
    base_url: str
    token_url: str
    auth: Callable[[Account], TokenAuth | AssertionAuth | RequestAuth]
    streams: tuple[Stream, ...]
    lookups: tuple[Lookup, ...]
    rate: RateLimit
    page_size: int
    headers: Callable[[Account], Mapping[str, str]] = lambda _: {}
    #: Query parameters of every call, e.g. the organisation; a request's own go before them.
    params: Callable[[Account], Mapping[str, Param]] = lambda _: {}
    fault: Callable[[Any], str | None] = lambda _: None
    errors: Mapping[int | str, type[ConnectorError]] = field(default_factory=dict)
    no_list: type[UnexpectedShape] = UnexpectedShape
    error_answer: type[UnexpectedShape] = UnexpectedShape
    request_id_header: str = "x-request-id"
    page_limit: int = 20_000
    body_bytes_limit: int = 64 * 1024 * 1024
    retry: RetryPolicy = RetryPolicy()
    key_style: Callable[[str], str] | None = None
    transport: Callable[[Account], httpx.BaseTransport] | None = None
    consent: Consent | None = None

    def stream(self, name: str) -> Stream:
        """The stream of that name; KeyError where there is none."""
        return {stream.name: stream for stream in self.streams}[name]

    def lookup(self, name: str) -> Lookup:
        """The lookup of that name; KeyError where there is none."""
        return {str(lookup.name): lookup for lookup in self.lookups}[name]

    def size(self, connection: Account) -> int:
        """Records to ask for per page: the operator's choice, within what the vendor allows."""
        return max(1, min(connection.page_size or self.page_size, self.page_size))
