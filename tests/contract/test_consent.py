"""The consent round trip of every system that has one, against the vendors' pages as they document them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors.kit.errors import (
    ConsentFailed,
    CredentialsRejected,
    Misconfigured,
    PermissionMissing,
    Transient,
    block_name,
)
from connectors.kit.http.client import Timing
from connectors.kit.http.consent import LINK_SECONDS, ConsentLink, NotThisLink
from connectors.kit.spec import Account
from tests.support.systems import SIMULATED

CONSENTED = sorted(name for name, spec in SIMULATED.items() if spec.consent is not None)
SECOND = {
    "xero": "b0a5c0de-0000-4000-8000-000000000002",
    "freshbooks": "Second2",
    "quickbooks": "9130350000000002",
    "sage_intacct": "AguaTwezah|E200",
    "zoho_books": "60000000002",
    "wave": "QnVzaW5lc3M6Mg==",
    "square": "L6KTWEZAH0002",
}


class Visit:
    """A person at the vendor's page, and the application that sent them there."""

    def __init__(self, bench: Any) -> None:
        self.bench, self.name = bench, bench.spec.name
        self.api = simulator.handler(bench.world, self.name)
        self.requests: list[httpx.Request] = []
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def connection(self, **changes: Any) -> Account:
        page = httpx.URL(self.bench.spec.consent.authorize_url).path
        account = "" if self.bench.spec.consent.tells_account else simulator.ACCOUNTS[self.name]
        given: Account = replace(
            self.bench.connection, authorize_url=f"http://127.0.0.1:9/{self.name}{page}", account=account, refresh_token=SecretStr("")
        )  # fmt: skip
        return replace(given, **changes)

    def start(self, redirect_uri: str = "https://example.org/back", **changes: Any) -> ConsentLink:
        clock = self.bench.clock
        timing = Timing(monotonic=lambda: clock().timestamp(), sleep=clock.sleep, now=clock)
        transport = httpx.MockTransport(self._answer)
        return ConsentLink(
            self.connection(**changes),
            self.bench.spec,
            redirect_uri,
            transport=transport,
            timing=timing,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.before(request) or self.api(request)

    def decide(self, started: ConsentLink, decision: str = "allow") -> str:
        """The address the browser ends at."""
        answer = self.api(
            httpx.Request("GET", httpx.URL(started.url).copy_merge_params({"decision": decision}))
        )
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])


@pytest.fixture(params=CONSENTED)
def visit(request: pytest.FixtureRequest, benches: Callable[..., Any]) -> Visit:
    return Visit(benches(request.param, accounts={request.param: [SECOND[request.param]]}))


def test_a_consent_gives_a_token_that_works_and_every_account(visit: Visit) -> None:
    started = visit.start()
    granted = started.redeem(visit.decide(started))
    accounts = [one.account for one in granted.accounts]
    every = [simulator.ACCOUNTS[visit.name], SECOND[visit.name]]
    told = {
        "quickbooks": every[-1:],
        "sage_intacct": every[:1],
    }  # in the callback; not at all: the block's own
    assert accounts == told.get(visit.name, every)
    assert granted.token.refresh_token
    authorised = {"authorization": f"Bearer {granted.token.access_token}"}
    assert (
        visit.bench.world.grants[visit.name].check(
            httpx.Request("GET", "http://x", headers=authorised)
        )
        == "valid"
    )
    assert granted.token.access_token not in repr(granted)
    assert granted.token.refresh_token not in repr(granted)


def test_the_link_asks_for_what_we_need_and_says_no_secret(visit: Visit) -> None:
    started = visit.start()
    asked = {name: values[0] for name, values in parse_qs(urlsplit(started.url).query).items()}
    assert asked["response_type"] == "code"
    consent = visit.bench.spec.consent
    assert asked["scope"] == consent.scope_separator.join(consent.scopes)
    assert consent.params.items() <= asked.items()
    assert len(asked["state"]) >= 32
    assert ("code_challenge" in asked) == visit.bench.spec.consent.pkce
    assert simulator.CLIENT_SECRET not in started.url
    assert visit.start().url != started.url, "each link has a state of its own"


@pytest.mark.parametrize("form", ["{}", "  {}\n", "{}#_=_", "?{query}", "{query}"])
def test_an_answer_may_be_pasted_in_parts(visit: Visit, form: str) -> None:
    started = visit.start()
    answered = visit.decide(started)
    assert started.redeem(form.format(answered, query=urlsplit(answered).query)).accounts


def test_a_refusal_says_so(visit: Visit) -> None:
    started = visit.start()
    with pytest.raises(
        ConsentFailed, match=r"access was refused on the vendor's page.*access_denied"
    ) as caught:
        started.redeem(visit.decide(started, "deny"))
    assert f'for "{block_name(visit.name)}"' in str(caught.value)
    assert not visit.requests, "the vendor is not asked for a token"


def test_an_answer_to_another_link_is_not_taken_and_ours_stays_good(visit: Visit) -> None:
    started = visit.start()
    for answered in (
        visit.decide(visit.start()),
        "https://example.org/back?code=stolen",
        "",
        "nonsense",
        "?" + "a=1&" * 80,
    ):
        with pytest.raises(NotThisLink, match="state differs"):
            started.redeem(answered)
    assert not visit.requests
    assert started.redeem(visit.decide(started)).accounts


def test_an_answer_works_once_also_at_the_same_instant(visit: Visit) -> None:
    started = visit.start()
    answered = visit.decide(started)
    together = threading.Barrier(2)

    def one(_: int) -> str:
        together.wait(timeout=10)
        try:
            started.redeem(answered)
        except ConsentFailed as error:
            return str(error)
        return "granted"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(one, range(2)))
    assert outcomes.count("granted") == 1
    assert any("works once" in outcome for outcome in outcomes)


def test_a_link_ends_after_ten_minutes(visit: Visit) -> None:
    started = visit.start()
    visit.bench.clock.advance(seconds=LINK_SECONDS)
    with pytest.raises(ConsentFailed, match="more than 10 minutes after"):
        started.redeem(visit.decide(started))


def test_a_code_that_is_too_old_says_so(visit: Visit) -> None:
    started = visit.start()
    answered = visit.decide(started)
    visit.bench.clock.advance(minutes=6)
    with pytest.raises(
        ConsentFailed,
        match=r"a few minutes old or was used before.*(invalid_(grant|code)|UNAUTHORIZED)",
    ):
        started.redeem(answered)


def test_a_code_sent_to_another_redirect_uri_says_so(visit: Visit) -> None:
    started, other = visit.start(), visit.start("https://example.org/other")
    code = parse_qs(urlsplit(visit.decide(other)).query)["code"][0]
    state = parse_qs(urlsplit(started.url).query)["state"][0]
    with pytest.raises(ConsentFailed, match="redirect URI is not exactly the one registered"):
        started.redeem(f"?code={code}&state={state}&realmId=1")


def test_a_wrong_secret_says_so_and_is_not_shown(visit: Visit) -> None:
    started = visit.start(client_secret=SecretStr("wr0ng-s3cret"))
    answered = visit.decide(started)
    with pytest.raises(ConsentFailed, match="refuses the client secret") as caught:
        started.redeem(answered)
    told = str(caught.value)
    assert "wr0ng" not in told
    assert parse_qs(urlsplit(answered).query)["code"][0] not in told


def test_the_vendors_own_words_go_no_further(visit: Visit) -> None:
    started = visit.start()
    state = parse_qs(urlsplit(started.url).query)["state"][0]
    with pytest.raises(ConsentFailed) as caught:
        started.redeem(
            f"?error=%3Cscript%3E244923000001&error_description=244923000002&state={state}"
        )
    assert "<" not in str(caught.value)
    assert "244923000002" not in str(caught.value)


def test_a_busy_account_list_is_asked_again_because_the_code_is_gone(visit: Visit) -> None:
    if visit.bench.spec.consent.accounts is None:
        pytest.skip("the callback names the account")
    failures = iter([503, 429])

    def busy(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        status = next(failures, None)
        return httpx.Response(status, headers={"retry-after": "1"}) if status else None

    visit.before = busy
    started = visit.start()
    assert len(started.redeem(visit.decide(started)).accounts) == 2


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (200, b'{"access_token": "a", "expires_in": 60}', ConsentFailed),
        (200, b"<html>", Exception),
        (503, b"", Transient),
        (400, b'{"error": "invalid_client"}', ConsentFailed),
    ],
    ids=["no refresh token", "a web page", "busy", "unknown client"],
)
def test_a_token_server_that_answers_otherwise(
    visit: Visit, status: int, content: bytes, error: type[Exception]
) -> None:
    visit.before = lambda request: (
        httpx.Response(status, content=content) if "token" in request.url.path else None
    )
    started = visit.start()
    with pytest.raises(error) as caught:
        started.redeem(visit.decide(started))
    assert type(caught.value) is not CredentialsRejected


def test_a_token_that_is_refused_at_once_ends_it(visit: Visit) -> None:
    if visit.bench.spec.consent.accounts is None:
        pytest.skip("the callback names the account")
    visit.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(401, content=b"{}")
    )
    started = visit.start()
    with pytest.raises(
        (ConsentFailed, PermissionMissing), match="refuses the token it has just given"
    ):
        started.redeem(visit.decide(started))


def test_a_consent_without_an_account_says_so(visit: Visit) -> None:
    def nothing(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        empty: dict[str, Any] = {
            "xero": [],
            "freshbooks": {"response": {"business_memberships": []}},
            "zoho_books": {"organizations": []},
            "wave": {"data": {"businesses": {"edges": []}}},
        }
        return httpx.Response(200, json=empty.get(visit.name, {}))

    visit.before = nothing
    started = visit.start(account="")
    answered = visit.decide(started).replace("realmId", "other")
    with pytest.raises(ConsentFailed, match="opened no account"):
        started.redeem(answered)


@pytest.mark.parametrize("changes", [{"client_id": ""}, {"authorize_url": "consent.html"}], ids=str)
def test_settings_that_cannot_work_are_said_before_anyone_clicks(
    visit: Visit, changes: dict[str, str]
) -> None:
    with pytest.raises(Misconfigured):
        visit.start(**changes)
