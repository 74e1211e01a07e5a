"""The consent in the browser (OAuth 2, authorization code).

    started = ConsentLink(account, spec, redirect_uri="http://localhost:8912/callback")
    started.url    # opened by a person, who signs in at the vendor and allows the access
    granted = started.redeem(answered)    # the address that the browser was sent back to

The answer is taken once, within ten minutes, and only with the secret `state` of this very link.
"""

import re
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
import stamina
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from connectors.kit.errors import ConsentFailed, CredentialsRejected, Misconfigured, UnexpectedShape
from connectors.kit.http.auth import Token
from connectors.kit.http.client import SYSTEM_TIME, Client, Timing, open_client
from connectors.kit.http.retry import RetryDecision
from connectors.kit.mapping.reader import error_code
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    Consent,
    GrantedAccount,
    PageRequest,
    TokenAuth,
    of_account,
)

#: How long a link may be used.
LINK_SECONDS = 600
_ANSWER_CHARACTERS_MAX = 8192
_UNREADABLE = (LookupError, TypeError, AttributeError, msgspec.DecodeError, UnicodeDecodeError)

#: What the error codes mean that the vendor's page puts into the callback.
_AT_THE_PAGE = {
    "access_denied": "access was refused on the vendor's page; open the link again and allow it",
    "invalid_scope": (
        "the vendor does not know a scope that was asked for, or the application may not ask for it"
    ),
    "unauthorized_client": (
        "the application may not be connected this way; look at its settings at the vendor"
    ),
}
#: What the error codes mean that answer the exchange of the code.
_AT_THE_EXCHANGE = {
    "invalid_grant": (
        "the vendor no longer takes the code: it is a few minutes old or was used before, or the "
        "redirect URI is not exactly the one registered for the application"
    ),
    "invalid_code": (
        "the vendor no longer takes the code: it is a few minutes old or was used before, it "
        "belongs to another data centre than the block names, or the redirect URI is not exactly "
        "the one registered for the application"
    ),
    "invalid_client": (
        "the vendor does not know the client id or refuses the client secret; correct them"
    ),
    "unauthorized_client": _AT_THE_PAGE["unauthorized_client"],
    "redirect_uri_mismatch": (
        "the redirect URI is not exactly the one registered for the application"
    ),
}
#: What is said where the vendor's code does not tell what it refuses.
_REFUSED = (
    "the vendor refuses the code: it is a few minutes old or was used before, the redirect URI is "
    "not exactly the one registered for the application, or the vendor does not know the client id "
    "or refuses the client secret"
)


@dataclass(frozen=True)
class Granted:
    """What a consent gave us: a token, and the accounts that it opens."""

    token: Token
    accounts: tuple[GrantedAccount, ...]


class NotThisLink(ConsentFailed):
    """An answer that does not belong to this link: to an older one, or not from the vendor.

    This link can still be used.
    """


class ConsentLink:
    """One link to the vendor's consent page, waiting for its answer."""

    def __init__(
        self,
        account: Account,
        spec: ConnectorSpec,
        redirect_uri: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timing: Timing = SYSTEM_TIME,
    ) -> None:
        """Prepares the link.

        Args:
            account: The account to connect; its `redirect_uri` is replaced.
            spec: Its billing system.
            redirect_uri: Where the vendor sends the browser back to.
            transport: Replaces the network in tests.
            timing: Clock and sleep.

        Raises:
            Misconfigured: The system has no consent, the client id is missing, or the address of
                the consent page is no URL.
        """
        self._account = replace(account, redirect_uri=redirect_uri)
        self._spec = spec
        self._consent = consent_of(spec)
        self._transport = transport
        self._timing = timing
        self._state = secrets.token_urlsafe(32)
        self._verifier = secrets.token_urlsafe(48) if self._consent.pkce else ""
        self._ends_at = timing.monotonic() + LINK_SECONDS
        self._used = False
        self._lock = threading.Lock()
        self.redirect_uri = redirect_uri
        self.url = self._link()

    def _link(self) -> str:
        page = (
            self._account.authorize_url or of_account(self._consent.authorize_url, self._account)
        ).strip()
        if not self._account.client_id:
            raise Misconfigured(self._spec.name, "connect", "there is no client id")
        if urlsplit(page).scheme not in ("http", "https") or not urlsplit(page).hostname:
            raise Misconfigured(
                self._spec.name, "connect", "the address of the consent page is not an http(s) URL"
            )
        challenge = {}
        if self._verifier:
            code_challenge = create_s256_code_challenge(self._verifier)
            challenge = {"code_challenge": code_challenge, "code_challenge_method": "S256"}
        asked: str = prepare_grant_uri(
            page,
            self._account.client_id,
            "code",
            redirect_uri=self.redirect_uri,
            scope=self._consent.scope_separator.join(self._consent.scopes),
            state=self._state,
            **self._consent.params,
            **challenge,
        )
        return asked

    @property
    def system(self) -> str:
        """The billing system."""
        return self._spec.name

    @property
    def seconds_left(self) -> float:
        """How long the link may still be used."""
        return max(0.0, self._ends_at - self._timing.monotonic())

    def redeem(self, answered: str) -> Granted:
        """Exchanges the code in an answer, once.

        Args:
            answered: The address the browser was sent back to, or its part from the question mark
                on.

        Raises:
            NotThisLink: The answer belongs to another link; this one can still be used.
            ConsentFailed: The consent was refused, the code came too late or the vendor does not
                take it.
            ConnectorError: The vendor does not answer, or not as documented.
        """
        params = _params(answered)
        with self._lock:
            self._check(params)
            self._used = True
        code = params.get("code", "")
        if params.get("error") or not code:
            raise self._failed(
                _meaning(
                    _AT_THE_PAGE, params.get("error"), "the answer has neither a code nor an error"
                )
            )
        return self._exchange(code, params.get(self._consent.account_param, ""))

    def _check(self, params: dict[str, str]) -> None:
        if not secrets.compare_digest(params.get("state", "").encode(), self._state.encode()):
            detail = (
                "the answer is not one to this link (its state differs): use the newest link, in "
                "the browser it was opened in"
            )
            raise NotThisLink(self._spec.name, "connect", detail)
        if self._used:
            raise self._failed("this link was answered before; each one works once")
        if self.seconds_left <= 0:
            raise self._failed(
                f"the answer came more than {LINK_SECONDS // 60} minutes after the link was made"
            )

    def _failed(self, detail: str) -> ConsentFailed:
        return ConsentFailed(self._spec.name, "connect", detail)

    def _exchange(self, code: str, account_in_callback: str) -> Granted:
        tokens = _Held()
        spec = replace(self._spec, auth=lambda _: TokenAuth(self._grant_once(code), seeded=False))
        with open_client(
            self._account, spec, tokens, transport=self._transport, timing=self._timing
        ) as client:
            try:
                token = client.token()
            except CredentialsRejected as error:
                detail = _meaning(_AT_THE_EXCHANGE, error.detail, _REFUSED)
                raise ConsentFailed(
                    error.system, "connect", detail, call=error.call, status=error.status
                ) from None
            if token is None or not token.refresh_token:
                raise self._failed(
                    "the vendor gave no refresh token: the application or its scopes do not allow "
                    "offline access"
                )
            accounts = self._accounts(client, account_in_callback)
        return Granted(tokens.held or token, accounts)

    def _grant_once(self, code: str) -> Callable[[Account, str, str], httpx.Request]:
        """The grant that exchanges the code; a second exchange is refused here."""
        codes = [code]

        def grant(account: Account, url: str, _: str) -> httpx.Request:
            if not codes:
                raise self._failed("the vendor refuses the token it has just given")
            return code_request(account, self._consent, url, codes.pop(), self._verifier)

        return grant

    def _accounts(self, client: Client, account_in_callback: str) -> tuple[GrantedAccount, ...]:
        """The accounts that the consent opened.

        Raises:
            ConsentFailed: There is none.
            UnexpectedShape: They cannot be read.
        """
        consent = self._consent
        if consent.account_param:
            accounts: Sequence[GrantedAccount] = (
                (GrantedAccount(account_in_callback),) if account_in_callback else ()
            )
        elif consent.accounts is None or consent.read_accounts is None:
            # The vendor does not say: the account in the block counts.
            accounts = (GrantedAccount(self._account.account),) if self._account.account else ()
        else:
            try:
                body = msgspec.json.decode(_ask(client, consent.accounts))
                if code := error_code(self._spec, body):
                    kind = self._spec.errors.get(code, UnexpectedShape)
                    detail = f"an error answer, code {code}"
                    raise kind(self._spec.name, "accounts", detail, call=consent.accounts.path)
                accounts = consent.read_accounts(body)
            except _UNREADABLE:
                detail = "the list of accounts cannot be read"
                raise UnexpectedShape(
                    self._spec.name, "accounts", detail, call=consent.accounts.path
                ) from None
        if not accounts:
            raise self._failed(
                "the consent opened no account: on the vendor's page, choose at least one company"
            )
        return tuple(accounts)


@dataclass
class _Held:
    """The token of an exchange, before anyone knows where it belongs."""

    held: Token | None = field(default=None, repr=False)

    def read(self) -> Token | None:
        return self.held

    def refresh(
        self,
        stale: Token | None,  # noqa: ARG002  the protocol's
        renew: Callable[[Token | None], Token],
    ) -> Token:
        self.held = renew(self.held)
        return self.held


def consent_of(spec: ConnectorSpec) -> Consent:
    """How the system is consented to.

    Raises:
        Misconfigured: It is connected in another way.
    """
    if spec.consent is None:
        raise Misconfigured(
            spec.name, "connect", "this system has no consent page; its block holds all it needs"
        )
    return spec.consent


def _ask(client: Client, request: PageRequest) -> bytes:
    """The body of the answer to a call that follows the exchange of the code.

    A failure that may pass is tried again, because the code cannot be exchanged a second time.
    """
    for attempt in stamina.retry_context(
        on=RetryDecision(client.spec.retry).backoff, attempts=4, timeout=60
    ):
        with attempt:
            return client.send(request, "accounts").body
    raise AssertionError("stamina re-raises the last error")  # pragma: no cover


def code_request(
    account: Account, consent: Consent, url: str, code: str, verifier: str
) -> httpx.Request:
    """The request that exchanges a code for a token.

    It proves that the same application asked for the code.
    """
    if consent.json_body:
        fields = {
            "grant_type": "authorization_code",
            "client_id": account.client_id,
            "client_secret": account.client_secret.get_secret_value(),
            "code": code,
            "redirect_uri": account.redirect_uri,
            **({"code_verifier": verifier} if verifier else {}),
        }
        return httpx.Request("POST", url, json=fields, headers={"accept": "application/json"})
    body = prepare_token_request(
        "authorization_code",
        "",
        redirect_uri=account.redirect_uri,
        code=code,
        code_verifier=verifier or None,
    )
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    how = "client_secret_post" if consent.secret_in_body else "client_secret_basic"
    secret = account.client_secret.get_secret_value()
    url, headers, body = ClientAuth(account.client_id, secret, how).prepare(
        "POST", url, headers, body
    )
    return httpx.Request("POST", url, headers=headers, content=body)


def _params(answered: str) -> dict[str, str]:
    """The parameters of an answer, however it was pasted; the first of each name."""
    text = answered.strip()[:_ANSWER_CHARACTERS_MAX]
    try:
        query = urlsplit(text).query or text.rpartition("?")[2]
        pairs = parse_qsl(query.partition("#")[0], max_num_fields=50)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def _meaning(meanings: dict[str, str], code: str | None, otherwise: str) -> str:
    """What an error code of the vendor means.

    The vendor's own words are not repeated: they may quote what was sent.
    """
    if not code:
        return otherwise
    shown = re.sub(r"[^a-zA-Z0-9_.-]", "", code)[:40] or "unknown"
    return f"{meanings.get(code, otherwise)} ({shown})"
