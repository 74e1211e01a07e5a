"""Token endpoints, and who is let in: each vendor's own rules."""

from datetime import UTC, datetime

import httpx
import pytest

from simulator import (
    ACCOUNTS,
    CLIENT_ID,
    CLIENT_SECRET,
    ManualClock,
    World,
    client,
    seed_refresh_token,
)

TOKEN_PATHS = {
    "quickbooks": "/oauth2/v1/tokens/bearer",
    "xero": "/connect/token",
    "freshbooks": "/auth/oauth/token",
}
QBO = f"/v3/company/{ACCOUNTS['quickbooks']}"
XERO = "/api.xro/2.0"
FRESHBOOKS = f"/accounting/account/{ACCOUNTS['freshbooks']}"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def refresh(
    api: httpx.Client, token: str, *, secret: str = CLIENT_SECRET, **extra: str
) -> httpx.Response:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "redirect_uri": "https://x",
    } | extra
    vendor = api.base_url.host.removesuffix(".test")
    if vendor == "freshbooks":
        form |= {"client_id": CLIENT_ID, "client_secret": secret}
        return api.post(TOKEN_PATHS[vendor], data=form)
    return api.post(TOKEN_PATHS[vendor], data=form, auth=(CLIENT_ID, secret))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=60, invoices=300, now=clock)


@pytest.fixture
def quickbooks(world: World) -> httpx.Client:
    return client(world, "quickbooks")


@pytest.fixture
def xero(world: World) -> httpx.Client:
    return client(world, "xero")


@pytest.fixture
def freshbooks(world: World) -> httpx.Client:
    return client(world, "freshbooks")


@pytest.mark.parametrize("vendor", TOKEN_PATHS)
def test_a_wrong_client_or_token_is_refused(vendor: str, world: World) -> None:
    api = client(world, vendor)
    assert refresh(api, "nonsense").status_code == 400
    assert refresh(api, "nonsense").json()["error"] == "invalid_grant"
    assert (
        refresh(api, seed_refresh_token(vendor), secret="wrong").json()["error"] == "invalid_client"
    )


def test_quickbooks_returns_the_same_refresh_token_for_a_day(
    quickbooks: httpx.Client, clock: ManualClock
) -> None:
    seed = seed_refresh_token("quickbooks")
    first = refresh(quickbooks, seed).json()
    assert (first["refresh_token"], first["expires_in"]) == (seed, 3600)
    clock.advance(hours=25)
    second = refresh(quickbooks, seed).json()["refresh_token"]
    assert second != seed
    assert refresh(quickbooks, seed).json() == {"error": "invalid_grant"}
    assert refresh(quickbooks, second).status_code == 200


def test_xero_honours_the_old_refresh_token_for_half_an_hour(
    xero: httpx.Client, clock: ManualClock
) -> None:
    seed = seed_refresh_token("xero")
    assert refresh(xero, seed).json()["refresh_token"] != seed
    clock.advance(minutes=29)
    assert refresh(xero, seed).status_code == 200
    clock.advance(minutes=2)
    assert refresh(xero, seed).json() == {"error": "invalid_grant"}


def test_freshbooks_refresh_tokens_are_single_use(freshbooks: httpx.Client) -> None:
    seed = seed_refresh_token("freshbooks")
    assert refresh(freshbooks, seed, redirect_uri="").status_code == 400
    fresh = refresh(freshbooks, seed).json()
    assert fresh["created_at"] == int(NOW.timestamp())
    assert refresh(freshbooks, seed).status_code == 400
    assert refresh(freshbooks, fresh["refresh_token"]).status_code == 200


def test_expired_access_tokens_get_the_vendors_own_401(
    quickbooks: httpx.Client, xero: httpx.Client, freshbooks: httpx.Client, clock: ManualClock
) -> None:
    clock.advance(days=2)
    body = quickbooks.get(f"{QBO}/query", params={"query": "SELECT * FROM Invoice"})
    assert body.status_code == 401
    assert body.json()["fault"]["error"][0]["code"] == "3200"
    body = xero.get(f"{XERO}/Invoices")
    assert body.status_code == 401
    assert body.json()["Detail"].startswith("TokenExpired: token expired at ")
    body = freshbooks.get(
        f"{FRESHBOOKS}/invoices/invoices", headers={"x-api-version": "2023-02-20"}
    )
    assert (body.status_code, body.json()["code"], body.json()["details"][0]["reason"]) == (
        401,
        16,
        "1003",
    )
    assert freshbooks.get("/auth/api/v1/users/me").json()["error"] == "unauthenticated"


def test_foreign_accounts_are_forbidden(
    quickbooks: httpx.Client, xero: httpx.Client, freshbooks: httpx.Client
) -> None:
    assert quickbooks.get("/v3/company/1/query").json()["fault"]["error"][0]["code"] == "3100"
    refused = xero.get(f"{XERO}/Invoices", headers={"xero-tenant-id": "other"})
    assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")
    assert freshbooks.get("/accounting/account/439001/invoices/invoices").status_code == 403
