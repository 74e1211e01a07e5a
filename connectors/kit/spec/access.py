"""How an account proves who it is, as values of a billing system's description."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from connectors.kit.errors import CredentialsRejected
from connectors.kit.spec.account import Account
from connectors.kit.spec.requests import PageRequest

#: Builds the request that fetches or renews a token, from the account, the token URL and the
#: refresh token in force.
Grant = Callable[[Account, str, str], httpx.Request]


@dataclass(frozen=True)
class TokenAuth:
    """OAuth 2 with refresh tokens.

    A token is kept in the token store, sent as Bearer, and renewed when it ends or is refused.
    """

    grant: Grant
    #: Whether the first renewal needs the refresh token of a consent. Client credentials and signed
    #: assertions do not: their grants are given an empty refresh token.
    seeded: bool = True
    #: The error, with its advice, when the vendor refuses the token.
    refused: type[CredentialsRejected] = CredentialsRejected
    #: The word before the token, where it is not the usual one; "": the token alone.
    word: str = "Bearer"
    #: The header that takes the token, where it is not the usual one.
    header: str = "authorization"
    #: Scopes that an application must have where nobody consents; of each entry one is enough.
    #: Test Connection names those that a token lacks.
    scopes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class AssertionAuth:
    """OAuth 2 without a consent.

    Every token is asked for with a freshly signed assertion, and there is no refresh token.
    """

    #: Builds the request from the account, the token URL and the time, UTC.
    grant: Callable[[Account, str, datetime], httpx.Request]
    #: The error, with its advice, when the vendor refuses the assertion or its token.
    refused: type[CredentialsRejected] = CredentialsRejected


@dataclass(frozen=True)
class RequestAuth:
    """Every request carries its own proof (API key, Basic, OAuth 1); there is nothing to renew."""

    #: Changes the request in place; it is given the account and the time, UTC.
    sign: Callable[[Account, httpx.Request, datetime], None]
    #: The error, with its advice, when the vendor refuses the proof.
    refused: type[CredentialsRejected] = CredentialsRejected


@dataclass(frozen=True)
class GrantedAccount:
    """An account that a consent opened to us, as the vendor calls it."""

    #: Its id at the vendor.
    account: str
    name: str = ""


@dataclass(frozen=True)
class Consent:
    """How a person lets us in (OAuth 2, authorization code).

    Only systems that have it can be connected in a browser. Which accounts a consent opened is
    either in the callback, under `account_param`, or in the answer to the call `accounts`.
    """

    authorize_url: str
    scopes: tuple[str, ...]
    #: The vendor's page where an operator registers an application; "": the guide says where.
    register_url: str = ""
    #: What the vendor wants between scopes, where that is no space (RFC 6749, section 3.3).
    scope_separator: str = " "
    #: Further parameters of the link, e.g. those without which the vendor gives no refresh token.
    params: Mapping[str, str] = field(default_factory=dict)
    #: Whether the vendor knows PKCE (RFC 7636).
    pkce: bool = False
    #: Whether client id and secret go into the body, instead of HTTP Basic.
    secret_in_body: bool = False
    #: Whether the vendor lets an application register an http://localhost address, so that the
    #: browser can bring the answer to us by itself.
    loopback: bool = True
    #: The parameter of the callback that names the account; "": none.
    account_param: str = ""
    #: The request whose answer lists the accounts.
    accounts: PageRequest | None = None
    #: Reads the JSON of that answer. Raises LookupError, TypeError or AttributeError where that is
    #: not possible.
    read_accounts: Callable[[Any], Sequence[GrantedAccount]] | None = None
    #: Whether the code is exchanged with a body of JSON, instead of a form; client id and secret are
    #: then in it.
    json_body: bool = False
    #: For a scope, the broader one that earlier consents have in its place.
    older: Mapping[str, str] = field(default_factory=dict)

    @property
    def tells_account(self) -> bool:
        """Whether the consent says which accounts it opened.

        If not, the operator enters the account in the block.
        """
        return bool(self.account_param) or self.accounts is not None
