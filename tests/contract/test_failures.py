"""Every connector names what went wrong and who must act, tries again what may pass, and tells no secrets."""

import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

import simulator
from connectors.kit.errors import (
    ConnectorError,
    CredentialsRejected,
    Misconfigured,
    PermissionMissing,
    RateLimited,
    Transient,
    UnexpectedShape,
    block_name,
)
from connectors.kit.http.auth import Token
from connectors.kit.http.client import open_client
from connectors.kit.spec import RequestAuth, Window
from simulator.registry import VENDORS
from tests.support.systems import SIMULATED


def is_list(request: httpx.Request) -> bool:
    return "token" not in request.url.path


def always(
    response: Callable[[], httpx.Response],
) -> Callable[[httpx.Request], httpx.Response | None]:
    return lambda request: response() if is_list(request) else None


def times(
    count: int, response: Callable[[], httpx.Response]
) -> Callable[[httpx.Request], httpx.Response | None]:
    """The first `count` list requests are answered so."""
    left = iter(range(count))
    return lambda request: response() if is_list(request) and next(left, None) is not None else None


def require_tokens(bench: Any) -> None:
    """Leaves out systems whose requests carry a key: there is nothing to renew."""
    if isinstance(bench.spec.auth(bench.connection), RequestAuth):
        pytest.skip("requests carry their own proof")


def read(bench: Any) -> list[Any]:
    return bench.pages(bench.spec.streams[0].name)


def test_expired_token_is_renewed_once_and_the_rotated_one_kept(bench: Any) -> None:
    require_tokens(bench)
    pages = read(bench)
    first = bench.tokens.held
    bench.world.grants[bench.spec.name].expire_access()
    assert len(read(bench)) == len(pages)
    assert bench.tokens.held.access_token != first.access_token
    assert [token.access_token for token in bench.tokens.kept] == [
        first.access_token,
        bench.tokens.held.access_token,
    ]
    # Some keep the refresh token for a day or for ever, some have none.
    if first.refresh_token and not VENDORS[bench.spec.name].tokens.kept_for:
        assert bench.tokens.held.refresh_token != first.refresh_token


def test_a_token_about_to_expire_is_renewed_before_use(bench: Any) -> None:
    require_tokens(bench)
    read(bench)
    bench.clock.set(bench.tokens.held.expires_at - timedelta(seconds=30))
    read(bench)
    assert len(bench.tokens.kept) == 2
    assert not [call for call in bench.calls if call.status == 401]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("invalid_grant", "The refresh token is no longer valid"),
        ("invalid_client", "Check client id and client secret"),
        ("unauthorized_client", "Re-consent"),
    ],
)
def test_refused_refresh_names_the_block_and_what_to_look_at_first(
    bench: Any, code: str, advice: str
) -> None:
    require_tokens(bench)
    auth = bench.spec.auth(bench.connection)
    advice = (
        "" if auth.refused is not CredentialsRejected else advice
    )  # NetSuite has advice of its own
    bench.before = lambda request: (
        None if is_list(request) else httpx.Response(400, json={"error": code})
    )
    with pytest.raises(
        CredentialsRejected, match=f'{code}\\. {advice}.*block "{block_name(bench.spec.name)}"'
    ):
        read(bench)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": "invalid_grant"}, "invalid_grant"),
        (
            {"error": "invalid_grant", "error_description": "expired", "access_token": ""},
            "invalid_grant",
        ),
        ({"error": {"code": "invalid_grant", "message": "expired"}}, "invalid_grant"),
        ({"errors": [{"code": "invalid_grant"}]}, "invalid_grant"),
        ({"response": {"errors": [{"errno": 1003, "message": "expired"}]}}, "1003"),
        ({"error": True}, "True"),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_a_refused_refresh_is_the_operators_whatever_the_status(
    bench: Any, body: dict[str, Any], code: str, status: int
) -> None:
    """An expired refresh token answered with 200 is not the vendor's fault: somebody must connect anew."""
    require_tokens(bench)
    bench.before = lambda request: None if is_list(request) else httpx.Response(status, json=body)
    with pytest.raises(CredentialsRejected, match=code) as caught:
        read(bench)
    assert f'block "{block_name(bench.spec.name)}"' in str(caught.value)
    assert "the vendor changed something" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_token_endpoint_that_is_busy_is_asked_again(bench: Any, status: int) -> None:
    require_tokens(bench)
    answers = iter([httpx.Response(status, json={"error": "temporarily_unavailable"})])
    bench.before = lambda request: None if is_list(request) else next(answers, None)
    assert read(bench)


def refused_in_200(bench: Any) -> dict[str, Any]:
    """How a system says, with status 200, that a token ended."""
    return {
        "quickbooks": {"fault": {"error": [{"code": "3200"}], "type": "AUTHENTICATION"}},
        "freshbooks": {"error": "unauthenticated", "error_description": "expired"},
        "sage_intacct": {"ia::result": {"ia::error": {"code": "x", "message": "Invalid token"}}},
        "zoho_books": {"code": 57, "message": "You are not authorized"},
        "custom": {"error": "invalid_token"},
        "shopify": {"errors": [{"message": "m", "extensions": {"code": "invalid_token"}}]},
    }.get(bench.spec.name, {})


def test_a_token_refused_with_status_200_is_renewed_once_and_then_the_operators(bench: Any) -> None:
    body = refused_in_200(bench)
    if not body:
        pytest.skip("this system has no such answer")
    whole = len(read(bench))
    bench.before = times(1, lambda: httpx.Response(200, json=body))
    assert len(read(bench)) == whole
    assert len(bench.tokens.kept) == 2
    asked = len(bench.api_requests())
    bench.before = always(lambda: httpx.Response(200, json=body))
    with pytest.raises(CredentialsRejected, match=f'block "{block_name(bench.spec.name)}"'):
        read(bench)
    assert len(bench.api_requests()) - asked == 2


def test_new_consent_in_the_block_replaces_a_dead_token(bench: Any) -> None:
    """The stored refresh token is dead, the block has a new one: no one needs to clear the store."""
    require_tokens(bench)
    bench.tokens.held = Token("dead", "dead-refresh", bench.clock())
    assert read(bench)
    assert bench.tokens.held.refresh_token != "dead-refresh"


def test_token_that_never_works(bench: Any) -> None:
    """401 after a renewal is final: two calls, no loop."""
    bench.before = always(lambda: httpx.Response(401, json={}))
    with pytest.raises(CredentialsRejected):
        read(bench)
    renewed = not isinstance(bench.spec.auth(bench.connection), RequestAuth)
    assert len(bench.api_requests()) == 1 + renewed


def test_another_account_is_a_matter_of_permission(bench: Any) -> None:
    bench.before = always(lambda: httpx.Response(403, json={}))
    with pytest.raises(PermissionMissing, match=f'block "{block_name(bench.spec.name)}"'):
        read(bench)
    assert len(bench.api_requests()) == 1


def test_throttled_then_served(bench: Any) -> None:
    whole = len(read(bench))
    bench.before = times(2, lambda: httpx.Response(429, headers={"retry-after": "7"}))
    assert len(read(bench)) == whole
    assert len([call for call in bench.calls if call.throttled]) == 2


def test_throttled_for_hours_is_not_slept(bench: Any) -> None:
    bench.before = always(lambda: httpx.Response(429, headers={"retry-after": "67000"}))
    with pytest.raises(RateLimited, match="come back at 2026-05-21 06:36:40 UTC") as caught:
        read(bench)
    assert caught.value.come_back_at == bench.clock() + timedelta(seconds=67_000)
    assert len(bench.api_requests()) == 1


@pytest.mark.parametrize("status", [408, 500, 502, 503])
def test_server_error_then_served(bench: Any, status: int) -> None:
    whole = len(read(bench))
    bench.before = times(2, lambda: httpx.Response(status))
    assert len(read(bench)) == whole


def test_server_error_for_ever(bench: Any) -> None:
    bench.before = always(lambda: httpx.Response(500))
    with pytest.raises(Transient, match="500"):
        read(bench)
    assert len(bench.api_requests()) == bench.spec.retry.attempts


def test_no_answer(bench: Any) -> None:
    def broken(request: httpx.Request) -> httpx.Response | None:
        raise httpx.ConnectTimeout("to https://user:secret@host/?query=1", request=request)

    bench.before = broken
    with pytest.raises(Transient, match="no answer: ConnectTimeout") as caught:
        read(bench)
    assert "secret" not in str(caught.value)


def test_an_unreadable_answer_that_passes(bench: Any) -> None:
    """Asked for again a few times; what comes of those that do not pass is in test_hostile."""
    whole = len(read(bench))
    bench.before = times(
        2, lambda: httpx.Response(200, content=b"<html><body>Sign in</body></html>")
    )
    assert len(read(bench)) == whole


def test_not_found_and_bad_request_are_not_repeated(bench: Any) -> None:
    bench.before = always(lambda: httpx.Response(404, text="no such thing"))
    with pytest.raises(UnexpectedShape, match="404"):
        read(bench)
    assert len(bench.api_requests()) == 1


@pytest.mark.parametrize("url", ["ftp://x", "no url at all", "http://"])
def test_base_url_that_is_none(bench: Any, url: str) -> None:
    connection = replace(bench.connection, base_url=url)
    with (
        pytest.raises(Misconfigured, match=f'block "{block_name(bench.spec.name)}"'),
        open_client(connection, bench.spec, bench.tokens),
    ):
        pass


def test_secrets_are_nowhere(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the connection's repr, the logs, or any error's text, also not after pickling."""
    caplog.set_level(logging.DEBUG)
    read(bench)
    held = bench.tokens.held
    texts = [repr(bench.connection), repr(held)]
    for status in (400, 401, 403, 404, 429, 500):
        bench.before = always(
            lambda status=status: httpx.Response(status, json={"detail": "secret"})
        )
        with pytest.raises(ConnectorError) as caught:
            bench.pages(bench.spec.streams[0].name, Window(bench.clock() - timedelta(days=2), None))
        texts += [
            str(caught.value),
            repr(caught.value),
            str(pickle.loads(pickle.dumps(caught.value))),
        ]
    texts.append(caplog.text)
    kept = [held.access_token, held.refresh_token] if held else []
    secrets = [
        "sim-secret",
        "cs_simulated",
        "sim-refresh",
        "PRIVATE KEY",
        "SELECT",
        "where=",
        "search[",
        "sk_live_simulated",
        *kept,
    ]
    for text in texts:
        assert not [secret for secret in filter(None, secrets) if secret in text]


def test_a_faulty_vendor_loses_nothing(benches: Callable[..., Any]) -> None:
    """Under a tenth of faults of every kind the same documents are read."""
    for system in SIMULATED:
        small = {"customers": 10, "invoices": 40}
        calm = benches(system, **small)
        rough = benches(
            system,
            **small,
            faults=simulator.Faults(
                seed=3,
                rate_429=0.05,
                rate_500=0.05,
                timeouts=0.03,
                truncated_json=0.03,
                html=0.03,
                errors_in_200=0.03,
                repeated_page=0.03,
            ),
        )
        calm.page_size = rough.page_size = 10
        key = ["external_id", "updated_at"]
        once = (
            calm.read().invoices.sort(key).drop("page_id", "record_no").unique(maintain_order=True)
        )
        again = (
            rough.read().invoices.sort(key).drop("page_id", "record_no").unique(maintain_order=True)
        )
        assert again.equals(once)
