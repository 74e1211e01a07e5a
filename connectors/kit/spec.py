"""What a billing system is, as values: one `ConnectorSpec` per system, read by the kit's functions."""

import re
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import httpx
import polars as pl
from pydantic import SecretStr

from connectors.kit.errors import ConnectorError, CredentialsRejected

if TYPE_CHECKING:
    from connectors.kit.mapping.fields import Field
    from connectors.kit.mapping.reader import Records


NO_SECRET: Final = SecretStr("")


@dataclass(frozen=True)
class Connection:
    """One connected account, as an operator configured it. Secrets never show in its repr.

    `base_url` and `token_url` empty: the vendor's own. `base_url` may carry a path prefix, or repeat the start of
    the vendor's paths. `refresh_token` is the seed given at consent; the live one is in the token store.
    `paths` overrides source paths: {"customer_phone": "/CustomField/0/StringValue"}, for one stream
    {"invoices.customer_phone": ...}, for lines {"lines.sku": ...}. `default_currency` is used where a document
    names none (single-currency companies). Dates without a time are midnight in `timezone`. `redirect_uri` is the one registered for the application: FreshBooks asks for it again
    when a token is renewed. `authorize_url` empty: the vendor's own consent page. `name` is what operators call it; empty: as
    its system.
    """

    system: str
    account: str
    base_url: str = ""
    token_url: str = ""
    client_id: str = ""
    client_secret: SecretStr = NO_SECRET
    refresh_token: SecretStr = NO_SECRET
    page_size: int | None = None
    region: str = "AO"
    timezone: str = "Africa/Luanda"
    timeout_seconds: float = 30
    paths: Mapping[str, str] = field(default_factory=dict)
    default_currency: str | None = None
    redirect_uri: str = "https://localhost/"
    authorize_url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    name: str = ""

    def secret(self, name: str) -> str:
        """The system's own secret of that name in clear text, "" where there is none."""
        found = self.secrets.get(name)
        return found.get_secret_value() if found else ""


@dataclass(frozen=True)
class Window:
    """Which changes to read, by the vendor's time of last change, UTC, `[since, until)`; None: no bound."""

    since: datetime | None = None
    until: datetime | None = None


#: A query parameter; a sequence is sent as the same parameter several times.
Param = str | Sequence[str]


@dataclass(frozen=True)
class PageRequest:
    """One request of a list, without secrets, so that it can be stored and an interrupted read continued."""

    method: str
    path: str
    params: Mapping[str, Param] = field(default_factory=dict)
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    page_no: int = 1

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, read back by `from_json`."""
        return asdict(self) | {"params": dict(self.params), "headers": dict(self.headers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The request stored by `to_json`."""
        return cls(**data)

    def param(self, name: str) -> str:
        """The value of a parameter that has one.

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
    """One answer, exactly as received. `next_request` None: it was the last."""

    stream: str
    page_no: int
    body: bytes = field(repr=False)
    content_type: str
    fetched_at: datetime
    request: PageRequest
    next_request: PageRequest | None
    record_count: int
    elapsed_ms: int


@dataclass(frozen=True)
class Resume:
    """Where an interrupted read stopped: the last page stored, as it was asked for and as it came, and what was next."""

    request: PageRequest
    body: bytes = field(repr=False)
    following: PageRequest


@dataclass(frozen=True)
class PageView:
    """What a pagination generator is told about the page it asked for.

    `ids` are its records', where they have one; `link` is the answer's Link header.
    """

    record_count: int
    info: Mapping[str, Any] = field(default_factory=dict)
    ids: Sequence[Any] = ()
    link: str = ""

    def number(self, name: str) -> int | None:
        """A whole number the vendor put beside the records (pages, total, ...), None where it said none."""
        value = self.info.get(name)
        if isinstance(value, str) and value.isdigit():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


class ListMovedError(Exception):
    """Records left a list while it was paged, and others moved up past the reader: it must be read again."""


#: Yields requests, is sent what each answer held, returns after the last page (the protocol of httpx's auth flows).
Pages = Generator[PageRequest, PageView, None]


@dataclass(frozen=True)
class RateLimit:
    """How fast a vendor lets us ask: at most `count` requests in any `seconds`, for each pair in `windows`.

    `retry_after_seconds` is how long to wait after a 429 that does not say. `day_left_header` names the header in which
    the vendor says how many requests are left today: the day's limit depends on the customer's plan.
    """

    windows: tuple[tuple[int, float], ...]
    concurrency: int
    retry_after_seconds: float | None = None
    day_left_header: str = ""


@dataclass(frozen=True)
class RetryPolicy:
    """How long one request is tried.

    Attempts, total time, the longest wait a vendor may ask for, and how often an unreadable answer is asked for again.
    """

    attempts: int = 6
    total_seconds: float = 300
    longest_wait_seconds: float = 120
    garbled_limit: int = 2


@dataclass(frozen=True, eq=False)
class Lines:
    """How the lines of a document are read; paths are relative to the line.

    `nested` is the path of lines inside a line (one level). `adjust` gets the parsed lines with the helper columns
    and drops or changes lines. `also` are other paths, looked at where the first one holds nothing.
    """

    path: str
    fields: Mapping[str, "Field"]
    nested: str | None = None
    adjust: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Stream:
    """One list of a vendor and how its records become invoices.

    `first` builds the first request, or None when there is nothing to ask (e.g. no window). `records` is the pointer
    to the list in a page, `info` pointers to numbers beside it, `single` the pointers under which the vendor wraps
    one record. `helpers` are read like fields and only used by computed fields and `keep`. `finish` sees invoices
    with helpers, and lines. `deleted` replaces the mapping: it reads which documents are gone out of the JSON of an
    answer, and raises LookupError, TypeError or AttributeError where that is not possible.
    `split` divides a request whose answer is full and cannot be paged. `shrinks`: documents can leave the list (deleted
    ones), and later ones move up; lists that keep void documents do not. `details` asks for lines that the
    list leaves out. `gone` names the helper that marks a record
    of this list as a deleted document; it holds the time, or anything that is not nothing. `windowed` False: records
    are kept whatever their time of change (the window is about the pages). `reads` opens pages that are no JSON: it is
    given the type of a record, the body and the page's id, and raises nothing: what cannot be read is broken.
    `row_id`: where the vendor tells its records apart by something else than the document's external id, pointers to it;
    it is what pages and details go by. `census`: `deleted` reads the ids of all documents that still exist; what no
    census of the system names is gone. `by_id` asks for single documents of the list, which webhooks name.
    """

    name: str
    kind: str
    first: Callable[[Connection, Window, datetime], PageRequest | None]
    paginate: Callable[[PageRequest], Pages]
    records: str
    fields: Mapping[str, "Field"] = field(default_factory=dict)
    helpers: Mapping[str, "Field"] = field(default_factory=dict)
    lines: Lines | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    single: tuple[str, ...] = ()
    missing_is_empty: bool = False
    shrinks: bool = False
    keep: pl.Expr | None = None
    finish: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame] | None = None
    deleted: Callable[[Any], "Deleted"] | None = None
    split: Callable[[PageRequest, PageView], Sequence[PageRequest]] | None = None
    details: "Details | None" = None
    gone: str | None = None
    windowed: bool = True
    reads: Callable[[Any, bytes, int], "Records"] | None = None
    row_id: tuple[str, ...] = ()
    census: bool = False
    by_id: "ById | None" = None


@dataclass(frozen=True, eq=False)
class ById:
    """How documents of a list are asked for by the vendor's ids.

    `requests` batches ids into requests, the fewer the better. Their answers are pages of the list; or each holds one document, at one of
    the pointers `single` ("": it is the answer).
    """

    requests: Callable[[Connection, Sequence[str]], Iterable[PageRequest]]
    single: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deleted:
    """Ids of documents that no longer exist (a census: that still do), with the vendor's time text.

    `record_count` counts all records.
    """

    external_ids: tuple[str, ...]
    deleted_at: tuple[str | None, ...]
    record_count: int


@dataclass(frozen=True, eq=False)
class Lookup:
    """A list asked by id to complete invoices: customers (phone) or items (sku).

    `wants` names the column whose values are asked for, `key` how the cached rows are matched: "external_id", or
    "name" where lines do not name their item's id. `requests` batches ids into requests; `paginate` pages each of
    them (None: one answer). `fallback` asks for one id that did not come back, and finds it at `fallback_record` ("": the
    whole answer). `fields` holds external_id and
    phones in order of preference, or external_id, name and sku.
    """

    name: Literal["customers", "items", "lines"]
    requests: Callable[[Connection, Sequence[str]], Iterable[PageRequest]]
    records: str
    fields: Mapping[str, "Field"]
    key: Literal["external_id", "name"] = "external_id"
    paginate: Callable[[PageRequest], Pages] | None = None
    fallback: Callable[[Connection, str], PageRequest] | None = None
    fallback_record: str | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    missing_is_empty: bool = False


@dataclass(frozen=True, eq=False)
class Details:
    """Lines that a list leaves out: asked for by the ids of a page's records before the page is stored.

    Their answers are stored with the page, as received, so that a page can still be mapped alone. `lookup` asks for
    them, its external_id telling lines apart; `record` points at a record's id, `line` at the id of a line's record
    (several: the first that is there).
    """

    lookup: Lookup
    record: str
    line: str | tuple[str, ...]

    @property
    def owner(self) -> tuple[str, ...]:
        """The pointers of `line`."""
        return (self.line,) if isinstance(self.line, str) else self.line


#: Builds the request that fetches or renews a token, from the connection, the token URL and the refresh token in force.
Grant = Callable[[Connection, str, str], httpx.Request]


@dataclass(frozen=True)
class TokenAuth:
    """OAuth 2: a token is kept in the token store, sent as Bearer, and renewed when it ends or is refused.

    `seeded`: the first renewal needs the refresh token of a consent. Client credentials and signed assertions do not;
    their grants are given an empty refresh token. `refused` says what to check when the vendor refuses the token.
    """

    grant: Grant
    seeded: bool = True
    refused: type[CredentialsRejected] = CredentialsRejected


@dataclass(frozen=True)
class AssertionAuth:
    """OAuth 2 without a consent: every token is asked for with a freshly signed assertion, there is no refresh token.

    `grant` builds the request from the connection, the token URL and the time, UTC. `refused` says what to check.
    """

    grant: Callable[[Connection, str, datetime], httpx.Request]
    refused: type[CredentialsRejected] = CredentialsRejected


@dataclass(frozen=True)
class GrantedAccount:
    """An account that a consent opened to us, as the vendor calls it."""

    account: str
    name: str = ""


@dataclass(frozen=True)
class Consent:
    """How a person lets us in (OAuth 2, authorization code); only systems that have it can be connected in a browser.

    The accounts are told in the callback, under `account_param`, or by a call: `accounts` is the request, `read_accounts`
    reads its JSON and raises LookupError, TypeError or AttributeError where that is not possible. `secret_in_body`: client id
    and secret go into the body instead of HTTP Basic. `loopback`: the vendor lets an application register an
    http://localhost address, so that the browser can bring the answer to us by itself.
    """

    authorize_url: str
    scopes: tuple[str, ...]
    pkce: bool = False
    secret_in_body: bool = False
    loopback: bool = True
    account_param: str = ""
    accounts: PageRequest | None = None
    read_accounts: Callable[[Any], Sequence[GrantedAccount]] | None = None

    @property
    def tells_account(self) -> bool:
        """Whether the consent says which accounts it opened; otherwise the operator enters it in the block."""
        return bool(self.account_param) or self.accounts is not None


@dataclass(frozen=True)
class RequestAuth:
    """Every request carries its own proof (API key, Basic, OAuth 1); there is nothing to renew.

    `sign` changes the request in place; it is given the connection and the time, UTC. `refused` says what to check
    when the vendor refuses the proof.
    """

    sign: Callable[[Connection, httpx.Request, datetime], None]
    refused: type[CredentialsRejected] = CredentialsRejected


@dataclass(frozen=True, eq=False)
class ConnectorSpec:
    """Everything the kit knows about one billing system.

    `{account}` in `base_url` and `token_url` is the account as a host label. `auth` chooses how a connection proves itself, `consent` how it comes by its first token. `headers` are sent with every call. `fault` reads the vendor's error code out of an answer's body (a short code,
    never its text), `errors` says which error a code or status means where the usual reading would be wrong.
    `key_style` re-writes the keys of hand-made samples (`try_record`) to the vendor's own spelling. `transport` stands in
    for the network, for systems that are not reached over one.
    """

    name: str
    title: str
    docs_url: str
    base_url: str
    token_url: str
    auth: Callable[[Connection], TokenAuth | AssertionAuth | RequestAuth]
    streams: tuple[Stream, ...]
    lookups: tuple[Lookup, ...]
    rate: RateLimit
    page_size: int
    headers: Callable[[Connection], Mapping[str, str]] = lambda _: {}
    fault: Callable[[Any], str | None] = lambda _: None
    errors: Mapping[int | str, type[ConnectorError]] = field(default_factory=dict)
    request_id_header: str = "x-request-id"
    page_limit: int = 20_000
    body_bytes_limit: int = 64 * 1024 * 1024
    retry: RetryPolicy = RetryPolicy()
    key_style: Callable[[str], str] | None = None
    transport: Callable[[Connection], httpx.BaseTransport] | None = None
    consent: Consent | None = None

    def stream(self, name: str) -> Stream:
        """The stream of that name; KeyError where there is none."""
        return {stream.name: stream for stream in self.streams}[name]

    def lookup(self, name: str) -> Lookup:
        """The lookup of that name; KeyError where there is none."""
        return {str(lookup.name): lookup for lookup in self.lookups}[name]

    def size(self, connection: Connection) -> int:
        """Records to ask for per page: the operator's choice, within what the vendor allows."""
        return max(1, min(connection.page_size or self.page_size, self.page_size))


def of_account(url: str, connection: Connection) -> str:
    """A URL with `{account}` filled in as a host label: lower case, hyphens for everything else."""
    return url.replace("{account}", re.sub(r"[^a-z0-9]+", "-", connection.account.lower()).strip("-"))


def batches(ids: Collection[str], size: int) -> list[list[str]]:
    """Ids in sorted order, `size` at a time: the same ids give the same requests."""
    ordered = sorted(ids)
    return [ordered[at : at + size] for at in range(0, len(ordered), size)]


def utc_seconds(moment: datetime, shift: timedelta = timedelta()) -> str:
    """`2026-05-01T00:00:00` of a moment in UTC, moved by `shift`."""
    return (moment + shift).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
