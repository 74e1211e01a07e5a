"""The numbers of /api/billing/status, each against the rows it is made of."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import open_office
from tests.api.office import SECRET, Office, sale, settings_for, signed
from tests.support.database import Databases

NOW = datetime.now(UTC)
_RUN = """
INSERT INTO billing.sync_run (system, account, run_id, source, state, started_at, finished_at,
    error, summary)
VALUES ('xero', 'a', %s, %s, %s, %s, %s, %s, %s::jsonb) RETURNING sync_id
"""


@pytest.fixture
def office(databases: Databases, tmp_path: Path) -> Iterator[Office]:
    """An API with a database of its own."""
    dsn = databases.migrated()
    with open_office(settings_for(tmp_path, dsn), events_deployment=None) as made:
        yield made
    databases.drop(dsn)


def run(
    office: Office,
    minutes_ago: float,
    state: str,
    *,
    source: str = "poll",
    ms: int = 100,
    **more: Any,
) -> None:
    at = NOW - timedelta(minutes=minutes_ago)
    ended = None if state == "extracting" else at + timedelta(seconds=30)
    said = (
        f'{{"calls": 10, "throttled": 1, "fetched": 50, "rejected": 2, "response_ms_p50": {ms}, '
        f'"response_ms_p95": {ms * 4}}}'
    )
    summary = said if source == "poll" else '{"fetched": 7}'
    office.rows(_RUN, f"run-{minutes_ago:g}", source, state, at, ended, more.get("error"), summary)


def asked(office: Office, **params: Any) -> dict[str, Any]:
    answer = office.http.get(
        "/api/billing/status", headers=office.key("status:read"), params=params
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_rates_and_times_are_those_of_the_polls_of_the_window(office: Office) -> None:
    run(office, 3_000, "failed", error="long ago")
    run(office, 60, "abandoned")
    for minutes_ago, ms in ((50, 100), (40, 120), (30, 900)):
        run(office, minutes_ago, "stored", ms=ms)
    run(office, 20, "failed", ms=80, error="Transient: no answer")
    run(office, 5, "stored", source="webhook")
    (one,) = asked(office)["accounts"]
    assert (one["succeeded"], one["failed"], one["success_rate"], one["error_rate"]) == (
        3,
        1,
        0.75,
        0.25,
    )
    assert (one["connection"], one["error"]) == ("failing", "Transient: no answer"), (
        "the webhooks do not hide it"
    )
    assert (one["reject_rate"], one["throttled_rate"]) == (0.04, 0.1)
    assert one["response_time"] == {"p50_ms": 100, "p95_ms": 3600}
    assert datetime.fromisoformat(one["last_sync_at"]) == NOW - timedelta(minutes=20)
    assert datetime.fromisoformat(one["last_success_at"]) == NOW - timedelta(
        minutes=30
    ) + timedelta(seconds=30)
    assert one["run_id"] == "run-20"
    (narrow,) = asked(office, window_hours=72)["accounts"]
    assert (narrow["succeeded"], narrow["failed"]) == (3, 2)
    run(office, 1, "extracting")
    assert asked(office)["accounts"][0]["connection"] == "syncing"


def test_an_account_that_is_only_announced(office: Office) -> None:
    run(office, 5, "stored", source="webhook")
    (one,) = asked(office)["accounts"]
    assert (one["connection"], one["success_rate"], one["response_time"]["p50_ms"]) == (
        "ok",
        None,
        None,
    )


def test_webhooks_that_wait_and_how_fast_they_were(office: Office) -> None:
    at = office.endpoint(SECRET, connection="shop")
    for number in range(20):
        body = sale(str(number))
        assert office.post(at, body, signed(body, f"m{number}")).status_code == 200
    office.rows(
        "UPDATE billing.webhook_event SET state = 'done', finished_at = received_at + "
        "event_no * interval '100 ms' "
        "WHERE event_no <= 17 RETURNING 1"
    )
    office.rows(
        "UPDATE billing.webhook_event SET state = 'parked', finished_at = now() "
        "WHERE event_no = 18 RETURNING 1"
    )
    office.rows(
        "UPDATE billing.webhook_event SET state = 'failed', attempts = 1 WHERE event_no = 19 "
        "RETURNING 1"
    )
    ((oldest,),) = office.rows("SELECT received_at FROM billing.webhook_event WHERE event_no = 19")
    (one,) = asked(office)["webhooks"]
    assert (one["waiting"], one["parked"], one["received"], one["error_rate"]) == (2, 1, 20, 0.1)
    assert one["to_ledger"] == {"p50_ms": 900, "p95_ms": 1700}
    assert datetime.fromisoformat(one["oldest_at"]) == oldest
    office.rows(
        "UPDATE billing.webhook_event SET received_at = received_at - interval '2 days' RETURNING 1"
    )
    (later,) = asked(office)["webhooks"]
    assert (later["waiting"], later["parked"], later["received"], later["error_rate"]) == (
        2,
        1,
        0,
        None,
    )
    text = office.http.get("/metrics", headers=office.key("metrics:read")).text
    assert (
        'twezah_webhook_backlog{account="",connection="shop",state="waiting",system="custom"} 2.0'
        in text
    )
