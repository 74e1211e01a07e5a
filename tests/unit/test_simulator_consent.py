"""The simulated vendors' consent pages and codes, as their documentation describes them."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from simulator import ACCOUNTS, CLIENT_ID, CLIENT_SECRET, ManualClock, World, client
from simulator.consent import challenge_of
from simulator.registry import VENDORS

TOKEN_PATHS = {
    "quickbooks": "/oauth2/v1/tokens/bearer",
    "xero": "/connect/token",
    "freshbooks": "/auth/oauth/token",
}
BACK = "https://example.org/back?keep=1"
#: RFC 7636, appendix B.
VERIFIER, CHALLENGE = (
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
)


def page(api: httpx.Client, **changes: str) -> httpx.Response:
    vendor = api.base_url.host.removesuffix(".test")
    params = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": BACK,
        "state": "s t",
    } | changes
    return api.get(VENDORS[vendor].consent.path, params=params)


def answered(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 302
    location = response.headers["location"]
    assert location.startswith("https://example.org/back?keep=1&")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def exchange(api: httpx.Client, code: str, **changes: str) -> httpx.Response:
    vendor = api.base_url.host.removesuffix(".test")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK} | changes
    if vendor == "freshbooks":
        return api.post(
            TOKEN_PATHS[vendor],
            data=form | {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
        )
    return api.post(TOKEN_PATHS[vendor], data=form, auth=(CLIENT_ID, CLIENT_SECRET))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(
        seed=5,
        customers=5,
        invoices=5,
        now=clock,
        accounts={"xero": ["b0a5c0de-0000-4000-8000-000000000002"]},
    )


@pytest.fixture(params=sorted(TOKEN_PATHS))
def api(request: pytest.FixtureRequest, world: World) -> httpx.Client:
    return client(world, request.param)


def test_the_challenge_is_the_rfcs() -> None:
    assert challenge_of(VERIFIER) == CHALLENGE


def test_the_page_asks_and_gives_a_code_that_works_once(api: httpx.Client) -> None:
    shown = page(api)
    assert shown.status_code == 200
    assert 'id="allow"' in shown.text and 'id="deny"' in shown.text
    answer = answered(page(api, decision="allow"))
    assert answer["state"] == "s t"
    assert answer.get("realmId") == (
        ACCOUNTS["quickbooks"] if api.base_url.host == "quickbooks.test" else None
    )
    assert exchange(api, answer["code"]).json()["refresh_token"]
    again = exchange(api, answer["code"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_refusal_and_unknown_scopes_go_back_as_errors(api: httpx.Client) -> None:
    assert answered(page(api, decision="deny")) == {
        "keep": "1",
        "error": "access_denied",
        "state": "s t",
    }
    assert answered(page(api, decision="allow", scope="everything"))["error"] == "invalid_scope"


@pytest.mark.parametrize(
    "changes",
    [{"client_id": "other"}, {"redirect_uri": "http://example.org/"}, {"response_type": "token"}],
    ids=str,
)
def test_nobody_is_sent_to_a_wrong_address(api: httpx.Client, changes: dict[str, str]) -> None:
    response = page(api, decision="allow", **changes)
    assert response.status_code == 400
    assert "location" not in response.headers


def test_codes_expire_and_belong_to_their_redirect_uri(
    api: httpx.Client, clock: ManualClock
) -> None:
    code = answered(page(api, decision="allow"))["code"]
    assert (
        exchange(api, code, redirect_uri="https://example.org/other").json()["error"]
        == "invalid_grant"
    )
    code = answered(page(api, decision="allow"))["code"]
    clock.advance(seconds=300)
    assert exchange(api, code).json()["error"] == "invalid_grant"


def test_xero_wants_the_verifier_of_the_challenge(world: World) -> None:
    api = client(world, "xero")
    asked = {"decision": "allow", "code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    assert exchange(api, answered(page(api, **asked))["code"]).status_code == 400
    assert (
        exchange(
            api, answered(page(api, **asked))["code"], code_verifier=VERIFIER[::-1]
        ).status_code
        == 400
    )
    assert (
        exchange(api, answered(page(api, **asked))["code"], code_verifier=VERIFIER).status_code
        == 200
    )
    assert (
        page(
            api, decision="allow", code_challenge=VERIFIER, code_challenge_method="plain"
        ).status_code
        == 400
    )


def test_freshbooks_takes_https_only_and_a_new_consent_ends_the_old(world: World) -> None:
    api = client(world, "freshbooks")
    assert page(api, decision="allow", redirect_uri="http://localhost:1/").status_code == 400
    before = exchange(api, answered(page(api, decision="allow"))["code"]).json()["refresh_token"]
    exchange(api, answered(page(api, decision="allow"))["code"])
    form = {
        "grant_type": "refresh_token",
        "refresh_token": before,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    assert (
        api.post(TOKEN_PATHS["freshbooks"], data=form | {"redirect_uri": BACK}).status_code == 400
    )


def test_one_consent_of_xero_lists_every_tenant_and_opens_each(world: World) -> None:
    api = client(world, "xero")
    tenants = [row["tenantId"] for row in api.get("/connections").json()]
    assert tenants == list(world.accounts["xero"])
    assert len(tenants) == 2
    for tenant in tenants:
        assert (
            api.get("/api.xro/2.0/Invoices", headers={"xero-tenant-id": tenant}).status_code == 200
        )
