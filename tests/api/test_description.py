"""The published description, and what holds for every address of it."""

import re
from typing import Any

import httpx
import pytest

from tests.api.office import RUN_ID, Office
from tests.api.test_members import problem


@pytest.fixture(scope="module")
def description(office: Office) -> dict[str, Any]:
    found: dict[str, Any] = office.http.get("/openapi.json").json()
    return found


def test_names_are_short_and_plain(description: dict[str, Any], office: Office) -> None:
    assert description["info"]["title"].isascii()
    assert description["servers"] == [{"url": office.config.public_url}]
    ids = [way["operationId"] for ways in description["paths"].values() for way in ways.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z_]{3,20}", name) for name in ids), ids


def addresses(description: dict[str, Any], method: str) -> list[str]:
    return [
        path.format(member_id=1, redemption_id=1, run_id=RUN_ID, list_name="vip")
        for path, ways in description["paths"].items()
        if method in ways and "webhooks" not in path
    ]


def test_unknown_parameters_are_refused_everywhere(
    description: dict[str, Any], office: Office
) -> None:
    key = office.key()
    for method in ("get", "post", "put"):
        for path in addresses(description, method):
            answer = office.http.request(method, path, params={"limits": "5"}, headers=key)
            assert problem(answer) == (422, "invalid_request"), path
            assert answer.json()["errors"][0]["where"] == "query.limits", path
    known = office.http.get(
        "/api/billing/transactions", params={"limit": 1, "status": "paid"}, headers=key
    )
    assert known.status_code == 200


def test_head_is_answered_like_get(description: dict[str, Any], office: Office) -> None:
    key = office.key()
    for path in [*addresses(description, "get"), "/docs", "/docs/start.js", "/openapi.json"]:
        got, head = (office.http.request(way, path, headers=key) for way in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (got.status_code, b""), path
        volatile = {"date", "x-request-id", "ratelimit-remaining", "ratelimit-reset"}
        if path == "/metrics":
            volatile |= {"content-length"}
        assert {name: text for name, text in head.headers.items() if name not in volatile} == {
            name: text for name, text in got.headers.items() if name not in volatile
        }, path
    assert problem_status(office.http.head("/api/billing/sync", headers=key)) == 405


def problem_status(answer: httpx.Response) -> int:
    assert answer.content == b""
    return answer.status_code


def test_every_answer_tells_the_rate_limit(description: dict[str, Any], office: Office) -> None:
    key = office.key("members:read", per_minute=60)
    told = []
    for path in ("/api/members/1", "/api/members/2", "/health", "/api/nothing", "/docs"):
        headers = office.http.get(path, headers=key).headers
        told.append([headers[f"ratelimit-{name}"] for name in ("limit", "policy")])
        assert int(headers["ratelimit-remaining"]) <= int(headers["ratelimit-limit"])
        assert 0 <= int(headers["ratelimit-reset"]) <= 10
    assert told[:2] == [["10", "10;w=10"]] * 2
    assert told[2:] == [["10000", "10000;w=10"]] * 3


def test_what_is_left_goes_down_to_nothing(office: Office) -> None:
    key = office.key("members:read", per_minute=6)
    first, second = (office.http.get("/api/members/1/tiers", headers=key) for _ in range(2))
    assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("1", "0")
    assert problem(second) == (429, "rate_limited")
    assert second.headers["ratelimit-remaining"] == "0"
    assert 1 <= int(second.headers["ratelimit-reset"]) <= 10


def test_the_page_of_the_description_needs_nothing_from_elsewhere(office: Office) -> None:
    page = office.http.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "http" not in re.sub(r"<!DOCTYPE html>", "", page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert office.http.get(name).status_code == 200, name
    assert problem(office.http.get("/docs/other.js"))[0] == 422


class TestTheEndOfARun:
    def test_is_waited_for(self, office: Office) -> None:
        key, path = office.key("sync:start"), f"/api/billing/sync/{RUN_ID}"
        office.runs.asked = 0
        running = office.http.get(path, headers=key).json()
        assert (running["state"], running["ended"], running["succeeded"]) == (
            "Running", False, None,
        )  # fmt: skip
        ended = office.http.get(path, headers=key, params={"wait_seconds": 10}).json()
        assert (ended["state"], ended["ended"], ended["succeeded"]) == ("Completed", True, True)
        assert (ended["system"], ended["message"]) == ("xero", "2 new")
        assert ended["ui_url"].endswith(f"/runs/flow-run/{RUN_ID}")

    def test_refusals(self, office: Office) -> None:
        key = office.key("status:read")
        other = "00000000-0000-4000-8000-000000000000"
        answer = office.http.get(f"/api/billing/sync/{other}", headers=key)
        assert problem(answer) == (404, "unknown_run")
        assert problem(office.http.get("/api/billing/sync/run-1", headers=key))[0] == 422
        may_not = office.http.get(f"/api/billing/sync/{other}", headers=office.key("members:read"))
        assert problem(may_not) == (403, "insufficient_scope")
        office.runs.away = True
        try:
            answer = office.http.get(f"/api/billing/sync/{RUN_ID}", headers=key)
            assert problem(answer) == (503, "prefect_away")
        finally:
            office.runs.away = False
