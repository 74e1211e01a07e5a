"""How a connection proves who it is, as values: what a billing system's description says about its authentication."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from connectors.kit.errors import CredentialsRejected
from connectors.kit.spec.account import Account
from connectors.kit.spec.requests import PageRequest

#: Builds the request that fetches or renews a token, from the connection, the token URL and the
#: refresh token in force.
Grant = Callable[[Account, str, str], httpx.Request]


@dataclass(frozen=True)
class TokenAuth:
    """OAuth 2: a token is kept in the token store, sent as Bearer, and renewed when it ends or is refused.

    `seeded`: the first renewal needs the refresh token of a consent. Client credentials and signed
        assertions do not;
    their grants are given an empty refresh token. `refused` says what to check when the vendor
    refuses the token.
    """

    grant: Grant
    seeded: bool = True
    refused: type[CredentialsRejected] = CredentialsRejected
    #: The word before the token in the header `authorization`, where it is not the usual one.
    word: str = "Bearer"


@dataclass(frozen=True)
class AssertionAuth:
    """OAuth 2 without a consent: every token is asked for with a freshly signed assertion, there is no refresh token.

    `grant` builds the request from the connection, the token URL and the time, UTC. `refused` says
    what to check.
    """

    grant: Callable[[Account, str, datetime], httpx.Request]
    refused: type[CredentialsRejected] = CredentialsRejected


@dataclass(frozen=True)
class GrantedAccount:
    """An account that a consent opened to us, as the vendor calls it."""

    account: str
    name: str = ""


@dataclass(frozen=True)
class Consent:
    """How a person lets us in (OAuth 2, authorization code); only systems that have it can be connected in a browser.

    The accounts are told in the callback, under `account_param`, or by a call: `accounts` is the
    request, `read_accounts` reads its JSON and raises LookupError, TypeError or AttributeError
    where that is not possible. `secret_in_body`: client id and secret go into the body instead of
    HTTP Basic. `loopback`: the vendor lets an application register an http://localhost address, so
    that the browser can bring the answer to us by itself. `older` names, for a scope, a broader one
    that consents given earlier have in its place.
    """

    authorize_url: str
    scopes: tuple[str, ...]
    pkce: bool = False
    secret_in_body: bool = False
    loopback: bool = True
    account_param: str = ""
    accounts: PageRequest | None = None
    read_accounts: Callable[[Any], Sequence[GrantedAccount]] | None = None
    older: Mapping[str, str] = field(default_factory=dict)

    @property
    def tells_account(self) -> bool:
        """Whether the consent says which accounts it opened; otherwise the operator enters it in the block."""
        return bool(self.account_param) or self.accounts is not None


@dataclass(frozen=True)
class RequestAuth:
    """Every request carries its own proof (API key, Basic, OAuth 1); there is nothing to renew.

    `sign` changes the request in place; it is given the connection and the time, UTC. `refused`
    says what to check when the vendor refuses the proof.
    """

    sign: Callable[[Account, httpx.Request, datetime], None]
    refused: type[CredentialsRejected] = CredentialsRejected
