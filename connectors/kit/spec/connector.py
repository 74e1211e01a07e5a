"""What a billing system is, as one value: `ConnectorSpec`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from connectors.kit.errors import ConnectorError, UnexpectedShape
from connectors.kit.spec.access import AssertionAuth, Consent, RequestAuth, TokenAuth
from connectors.kit.spec.account import Account
from connectors.kit.spec.requests import Param
from connectors.kit.spec.streams import Lookup, Stream


@dataclass(frozen=True)
class RateLimit:
    """How many requests a vendor lets us send for one account."""

    #: Pairs (count, seconds): at most `count` requests in any `seconds`.
    windows: tuple[tuple[int, float], ...]
    #: Requests under way at the same time.
    concurrency: int
    #: How long to wait after a 429 that does not say.
    retry_after_seconds: float | None = None
    #: The header in which the vendor says how many requests are left today; "": none. The day's
    #: limit depends on the customer's plan.
    day_left_header: str = ""
    #: The header in which the vendor says in how many seconds that limit begins anew; "": none.
    day_reset_header: str = ""


@dataclass(frozen=True)
class RetryPolicy:
    """How long one request is tried."""

    attempts: int = 6
    total_seconds: float = 300
    #: The longest wait that a vendor may ask for; for more the run ends.
    longest_wait_seconds: float = 120
    #: How often an unreadable answer is asked for again.
    garbled_limit: int = 2


@dataclass(frozen=True, eq=False)
class ConnectorSpec:
    """Everything the kit knows about one billing system.

    `{account}` in `base_url` and `token_url` is the account as a host label.
    """

    #: The system's key in code and tables.
    name: str
    #: What people call it.
    title: str
    #: The vendor's documentation of its API.
    docs_url: str
    base_url: str
    token_url: str
    #: Chooses how an account proves itself.
    auth: Callable[[Account], TokenAuth | AssertionAuth | RequestAuth]
    streams: tuple[Stream, ...]
    lookups: tuple[Lookup, ...]
    rate: RateLimit
    #: Records per page, at most.
    page_size: int
    #: Sent with every call.
    headers: Callable[[Account], Mapping[str, str]] = lambda _: {}
    #: Query parameters of every call, e.g. the organisation; a request's own go before them.
    params: Callable[[Account], Mapping[str, Param]] = lambda _: {}
    #: Reads the vendor's error code out of an answer's body: a short code, never its text. It may
    #: raise LookupError, TypeError or AttributeError, which means that there is none.
    fault: Callable[[Any], str | None] = lambda _: None
    #: Which error a code or status means, where the usual reading would be wrong.
    errors: Mapping[int | str, type[ConnectorError]] = field(default_factory=dict)
    #: Whether an error code counts also where records came with it: parts of them are missing then
    #: (GraphQL).
    errors_beside_records: bool = False
    #: Reads in the body of any answer for how many seconds nobody should ask for this account;
    #: None: it does not say. It may raise LookupError, TypeError, ValueError or AttributeError.
    rest_seconds: Callable[[Any], float | None] | None = None
    #: Reads in the headers of an answer what an operator should know (a version that is not the
    #: one that was asked for), as a sentence; None: nothing. It is logged once a run.
    warning: Callable[[Account, Mapping[str, str]], str | None] | None = None
    #: Which error an answer without its list is.
    no_list: type[UnexpectedShape] = UnexpectedShape
    #: Which error an answer with any other error code is.
    error_answer: type[UnexpectedShape] = UnexpectedShape
    #: The header with the vendor's id of a request, which its support asks for.
    request_id_header: str = "x-request-id"
    #: Pages of one list; more of them are a runaway.
    page_limit: int = 20_000
    #: Bytes of one answer, unpacked.
    body_bytes_limit: int = 64 * 1024 * 1024
    retry: RetryPolicy = RetryPolicy()
    #: Re-writes the keys of hand-made samples (`try_record`) to the vendor's own spelling.
    key_style: Callable[[str], str] | None = None
    #: Stands in for the network, for systems that are not reached over one.
    transport: Callable[[Account], httpx.BaseTransport] | None = None
    #: How a person lets us in with a browser; None: the block holds all that is needed.
    consent: Consent | None = None

    @property
    def tells_time(self) -> bool:
        """Whether its documents may tell when a sale was, and not its day only."""
        return any(
            stream.fields["issued_at"].kind != "day" or "made_at" in stream.helpers
            for stream in self.streams
            if "issued_at" in stream.fields
        )

    def stream(self, name: str) -> Stream:
        """The stream of that name.

        Raises:
            KeyError: If there is none.
        """
        return {stream.name: stream for stream in self.streams}[name]

    def lookup(self, name: str) -> Lookup:
        """The lookup of that name.

        Raises:
            KeyError: If there is none.
        """
        return {str(lookup.name): lookup for lookup in self.lookups}[name]

    def size(self, account: Account) -> int:
        """Records to ask for per page: the operator's choice, within what the vendor allows."""
        return max(1, min(account.page_size or self.page_size, self.page_size))
