"""The kit's parts by hand: paging driven by send(), limits on a hand-moved clock, URLs, tokens, errors."""

import json
import pickle
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.errors import CredentialsRejected, RateLimited, Transient, UnexpectedShape
from connectors.kit.http.auth import Token
from connectors.kit.http.ratelimit import Limiter
from connectors.kit.http.responses import retry_after_seconds
from connectors.kit.http.retry import RetryDecision
from connectors.kit.http.urls import join_url
from connectors.kit.read.pagination import by_page, by_start_position
from connectors.kit.spec import (
    Account,
    ListMovedError,
    PageRequest,
    PageView,
    RateLimit,
    RetryPolicy,
    batches,
)


def statement(start: int, size: int = 10) -> PageRequest:
    return PageRequest(
        "GET", "/query", {"query": f"SELECT * FROM Invoice STARTPOSITION {start} MAXRESULTS {size}"}
    )


@pytest.mark.parametrize(
    ("counts", "positions"),
    [
        pytest.param([0], [1], id="empty"),
        pytest.param([3], [1], id="one short page"),
        pytest.param([10, 0], [1, 11], id="exactly one page"),
        pytest.param([10, 10, 4], [1, 11, 21], id="three pages"),
    ],
)
def test_start_positions(counts: list[int], positions: list[int]) -> None:
    pages = by_start_position(statement(1))
    asked = [next(pages), *(pages.send(PageView(count)) for count in counts[:-1])]
    with pytest.raises(StopIteration):
        pages.send(PageView(counts[-1]))
    assert [request.params["query"] for request in asked] == [
        statement(position).params["query"] for position in positions
    ]
    assert [request.page_no for request in asked] == list(range(1, len(counts) + 1))


def test_a_total_keeps_a_capped_list_going() -> None:
    """A server that gives fewer than asked, and says how many there are, is read to the end."""
    pages = by_start_position(statement(1, 1000))
    next(pages)
    following = pages.send(PageView(100, {"total": 150}))
    assert following.param("query").endswith("STARTPOSITION 101 MAXRESULTS 1000")


@pytest.mark.parametrize(
    ("views", "ends"),
    [
        pytest.param([PageView(0)], True, id="empty"),
        pytest.param([PageView(3)], True, id="short"),
        pytest.param([PageView(10)], False, id="full, no count"),
        pytest.param([PageView(10, {"pages": 1})], True, id="last by count"),
        pytest.param([PageView(3, {"pages": 4})], False, id="short, but more pages are announced"),
        pytest.param([PageView(5, {"size": 5})], False, id="server's own size"),
    ],
)
def test_pages(views: list[PageView], ends: bool) -> None:
    pages = by_page(
        PageRequest("GET", "/x", {"page": "1", "n": "10"}), size_param="n", vendor_size=100
    )
    next(pages)
    for view in views[:-1]:
        pages.send(view)
    if ends:
        with pytest.raises(StopIteration):
            pages.send(views[-1])
    else:
        assert pages.send(views[-1]).params["page"] == str(len(views) + 1)


def test_an_empty_page_before_the_last_is_no_end() -> None:
    pages = by_page(
        PageRequest("GET", "/x", {"page": "1", "n": "10"}), size_param="n", vendor_size=100
    )
    next(pages)
    pages.send(PageView(10, {"pages": 2}))
    with pytest.raises(ListMovedError):
        pages.send(PageView(0, {"pages": 9}))


def test_page_numbers_are_whole_numbers_or_nothing() -> None:
    view = PageView(1, {"a": 3, "b": "4", "c": True, "d": "x", "e": None})
    assert [view.number(name) for name in "abcdef"] == [3, 4, None, None, None, None]


def test_requests_survive_json() -> None:
    request = PageRequest(
        "GET", "/x", {"a": "1", "ids[]": ["1", "2"]}, headers={"h": "v"}, page_no=3
    )
    assert PageRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_batches_are_sorted_and_complete() -> None:
    assert batches({"b", "a", "c"}, 2) == [["a", "b"], ["c"]]
    assert batches([], 2) == []


def test_limiter_never_exceeds_any_sliding_window() -> None:
    now = 0.0
    sent: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    limiter = Limiter(
        RateLimit(((3, 1.0), (5, 10.0)), concurrency=2), monotonic=lambda: now, sleep=sleep
    )
    for _ in range(14):
        with limiter.slot():
            sent.append(now)
        now += 0.1
    for count, seconds in ((3, 1.0), (5, 10.0)):
        assert all(
            later - earlier >= seconds - 1e-9
            for earlier, later in zip(sent, sent[count:], strict=False)
        )


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.test", "/v3/company/1/query", "https://api.test/v3/company/1/query"),
        ("https://api.test/", "/v3/company/1/query", "https://api.test/v3/company/1/query"),
        (
            "http://127.0.0.1:9/quickbooks",
            "/v3/company/1/query",
            "http://127.0.0.1:9/quickbooks/v3/company/1/query",
        ),
        (
            "https://api.test/v3/company/1",
            "/v3/company/1/query",
            "https://api.test/v3/company/1/query",
        ),
        (
            "https://api.test/api.xro/2.0/",
            "/api.xro/2.0/Invoices",
            "https://api.test/api.xro/2.0/Invoices",
        ),
    ],
)
def test_base_url_with_prefix_or_overlap(base: str, path: str, url: str) -> None:
    assert str(join_url(httpx.URL(base), path)) == url


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("Wed, 20 May 2026 12:01:00 GMT", 60),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    now = datetime(2026, 5, 20, 12, tzinfo=UTC)
    assert retry_after_seconds(httpx.Response(429, headers={"retry-after": value}), now) == seconds


def test_patience() -> None:
    """What is tried again, and how long is waited."""
    patience = RetryDecision(RetryPolicy(longest_wait_seconds=120, garbled_limit=2))
    assert patience.backoff(Transient("x", "y", "z")) is True
    assert patience.backoff(RateLimited("x", "y")) is True
    assert patience.backoff(RateLimited("x", "y", retry_after_seconds=120)) == 120
    assert patience.backoff(RateLimited("x", "y", retry_after_seconds=121)) is False
    assert patience.backoff(CredentialsRejected("x", "y", "z")) is False
    assert patience.backoff(ValueError()) is False
    garbled = UnexpectedShape("x", "y", "z", status=200)
    assert [patience.backoff(garbled) for _ in range(3)] == [True, True, False]
    assert patience.backoff(UnexpectedShape("x", "y", "z", status=400)) is False


def test_errors_say_what_where_and_who() -> None:
    error = CredentialsRejected(
        "xero", "token", "invalid_grant", call="POST host/path", status=400, request_id="r-1"
    )
    assert str(error).startswith(
        "xero token: POST host/path 400: invalid_grant: request id r-1. The refresh token is no longer valid"
    )
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.status, copied.request_id) == (str(error), 400, "r-1")
    limited = RateLimited(
        "xero", "invoices", retry_after_seconds=60, now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert pickle.loads(pickle.dumps(limited)).come_back_at == limited.come_back_at


def test_secrets_do_not_show() -> None:
    connection = Account("xero", "A", "", "", "id", SecretStr("s3cret"), SecretStr("r3fresh"))
    token = Token("acc3ss", "r3fresh", datetime(2026, 1, 1, tzinfo=UTC))
    for secret in ("s3cret", "r3fresh", "acc3ss"):
        assert secret not in f"{connection!r} {token!r}"


def test_every_system_is_complete() -> None:
    for name, spec in SYSTEMS.items():
        assert spec.name == name
        assert spec.docs_url.startswith("https://")
        assert all(lookup.fields["external_id"] for lookup in spec.lookups)
        assert len({stream.name for stream in spec.streams}) == len(spec.streams)
        with pytest.raises(KeyError):
            spec.stream("nothing")
