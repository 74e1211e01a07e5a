"""What the parts that all vendors share need to know of one vendor.

Each `systems/<name>/system.py` says it, in values and small functions. How the vendor answers is in
the same folder's `api.py`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `calls` in any `seconds`; `path` narrows it to URLs that end so."""

    name: str
    calls: int
    seconds: float
    path: str = ""


def _nothing_more(_scope: str, _now: datetime) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, eq=False)
class Tokens:
    """How the vendor's token endpoint behaves."""

    #: Life of an access token, seconds, from the vendor's pages.
    access_seconds: float = 3600
    #: Life of a refresh token, seconds; None: it does not end.
    refresh_seconds: float | None = None
    #: Scope of the consent that a fresh simulator begins with.
    scope: str = ""
    #: A refresh token younger than this is given back instead of a new one.
    kept_for: timedelta = timedelta()
    #: How long a replaced refresh token is still taken.
    grace: timedelta = timedelta()
    #: One live refresh token per user and application: a new one ends all others.
    single: bool = False
    #: What client credentials get: nothing, an access token, or a refresh token as well.
    client_credentials: Literal["refused", "access", "access and refresh"] = "refused"
    #: The words that are taken before an access token, in lower case.
    words: tuple[str, ...] = ("bearer",)
    #: What an answer holds besides, from the scope and the time.
    answer: Callable[[str, datetime], Mapping[str, Any]] = _nothing_more


@dataclass(frozen=True, eq=False)
class ConsentPage:
    """The page on which a person lets an application in."""

    #: Where it is.
    path: str
    #: Every scope that may be asked for.
    scopes: Collection[str]
    #: What stands between scopes; None: spaces.
    scope_separator: str | None = None
    #: Whether PKCE is looked at; otherwise its parameters are ignored.
    pkce: bool = False
    #: Whether redirect URIs must be https.
    https_only: bool = False
    #: The parameter of the callback that names the account; "": none does.
    account_param: str = ""


@dataclass(frozen=True, eq=False)
class System:
    """One vendor."""

    #: Place among the systems. What is drawn at random depends on the order of the systems, so a
    #: new one goes last.
    place: int
    #: The account that a fresh simulator has.
    account: str
    tokens: Tokens
    #: Rate limits; those that a vendor does not publish only make its 429 reachable.
    rules: tuple[Rule, ...]
    #: How a document's number is written, by entity (see `books`).
    number_formats: Mapping[str, str]
    #: Where id sequences start, by sequence; others at 101.
    first_ids: Mapping[str, int] = field(default_factory=dict)
    #: Number of the first document.
    first_number: int = 1
    #: Sales of the past that `python -m simulator` gives it at most, so that a demonstration of all
    #: systems stays quick (where each sale costs its readers a call, fewer); None: as many as the
    #: first systems have.
    sales_max: int | None = None
    #: Requests at once; 0: no limit.
    concurrent: int = 0
    consent: ConsentPage | None = None
    #: An error body that the vendor sends with status 200; None: it never does.
    error_in_200: Any = None
    #: Share of the sales that begin as drafts.
    drafts: float = 0
    #: What we expect a document to be, by entity, where it is not the usual (`truth`); None: no
    #: document of its own.
    kinds: Mapping[str, str | None] = field(default_factory=dict)
    #: What we expect before a document's id, by entity, where ids of several kinds could meet.
    prefixes: Mapping[str, str] = field(
        default_factory=lambda: dict.fromkeys(("CreditMemo", "CreditNote"), "credit_note/")
    )
    #: Whether the body alone says which list is asked for, and the path does not.
    asks_in_body: bool = False
    #: Whether ids are GUIDs; otherwise they are counted.
    guids: bool = False
    #: Whether documents have no id beside their number.
    ids_are_numbers: bool = False
    #: Every so many customers, by their ids, one buys as a guest; 0: none.
    guests_every: int = 0
    #: Whether a sale counts as a draft until it is paid.
    sells_when_paid: bool = False
