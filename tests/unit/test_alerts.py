"""What is worth an alert, at its edges; and that a mail's subject adds no header."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from panel.alerts.checks import backlogs, consents_ending, keys_ending, reject_ratio
from panel.alerts.mail import Alerts, AlertsNotSentError, EmailAlerts
from panel.alerts.reach import Alert, AlertReach, markdown
from sql.keys import KeyRow
from sql.webhooks import Backlog

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("accepted", "rejected", "told"),
    [
        (80, 20, True),
        (81, 19, False),
        (75, 25, True),
        (74, 26, False),
        (100, 0, False),
        (4, 1, False),
        (0, 0, False),
    ],
)
def test_rejects_are_told_from_four_fifths_of_the_limit_up_to_it(
    accepted: int, rejected: int, told: bool
) -> None:
    event = reject_ratio("xero", accepted, rejected, limit_percent=25, fewest=20, link="")
    assert (event is not None) == told


def _key(days: float, prefix: str = "twz_a", replaces: str | None = None, **values: Any) -> KeyRow:
    fixed: dict[str, Any] = {"revoked_at": None, "last_used_at": None, **values}
    return KeyRow(
        1, prefix, "shop", [], 600, NOW, NOW + timedelta(days=days), replaces=replaces, **fixed
    )


def test_keys_are_told_in_their_last_two_weeks_unless_revoked_or_replaced() -> None:
    told = list(
        keys_ending(
            [_key(13.9), _key(14, "twz_b"), _key(-1, "twz_c"), _key(3, "twz_d", revoked_at=NOW)],
            NOW,
        )
    )
    assert [event.about for event in told] == ["twz_a"]
    assert list(keys_ending([_key(3), _key(90, "twz_b", replaces="twz_a")], NOW)) == []


def test_a_consent_is_told_before_its_vendor_forgets_it_and_only_where_one_does() -> None:
    rows = [
        (system, "a/1", NOW - timedelta(days=days))
        for system in ("xero", "freshbooks")
        for days in (45, 47, 61)
    ]
    (told,) = consents_ending(rows, NOW)
    assert told.about == "xero-a-1" and "2026-05-14" in told.what


def test_webhooks_are_told_when_old_many_or_parked() -> None:
    late, soon = NOW - timedelta(minutes=11), NOW - timedelta(minutes=9)
    rows = [
        Backlog("xero", "fine", 1000, 0, soon),
        Backlog("xero", "old", 1, 0, late),
        Backlog("xero", "many", 1001, 0, soon),
        Backlog("xero", "parked", 0, 1, None),
    ]
    assert [event.about for event in backlogs(rows, NOW)] == ["old", "many", "parked"]


def test_a_line_break_in_the_subject_adds_no_header() -> None:
    block = EmailAlerts(recipients=["a@example.com"], sender="b@example.com", host="localhost")
    mail = block.message("failed\r\nBcc: c@example.com", "text")
    assert mail["Bcc"] is None and mail["Subject"] == "failed Bcc: c@example.com"
    with pytest.raises(ValueError, match="recipients"):
        EmailAlerts(
            recipients=["a@example.com>\nBcc: c@example.com"],
            sender="b@example.com",
            host="localhost",
        )


class Hooks(HTTPServer):
    """Two web hooks of this machine: /refused does not take what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str]]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                got.append((self.path, body))
                self.send_response(403 if self.path == "/refused" else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    made = Hooks()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_one_form_sends_to_each_address_that_is_set(hooks: Hooks) -> None:
    block = Alerts(
        slack_url=SecretStr(f"{hooks.url}/slack"), webhook_url=SecretStr(f"{hooks.url}/own")
    )
    assert block.send("what happened", "Twezah: x failed") == ["Slack", "webhook"]
    assert hooks.got == [
        ("/slack", {"text": "*Twezah: x failed*\nwhat happened"}),
        ("/own", {"subject": "Twezah: x failed", "body": "what happened"}),
    ]


def test_what_cannot_be_sent_is_named_without_its_address(hooks: Hooks) -> None:
    """And the other addresses get the alert all the same."""
    block = Alerts(
        slack_url=SecretStr(f"{hooks.url}/refused"),
        webhook_url=SecretStr(f"{hooks.url}/own"),
        recipients=["ops@example.com"],
    )
    with pytest.raises(AlertsNotSentError) as failed:
        block.send("body", "subject")
    assert [path for path, _ in hooks.got] == ["/refused", "/own"]
    assert "Slack (answered with 403)" in str(failed.value)
    assert "e-mail (sender or mail server is missing" in str(failed.value)
    assert hooks.url not in str(failed.value)
    with pytest.raises(AlertsNotSentError, match="does not begin with https"):
        Alerts(webhook_url=SecretStr("http://example.com/hook")).send("body")
    with pytest.raises(AlertsNotSentError, match="names no address"):
        Alerts().send("body")


def test_the_page_says_whether_alerts_reach_anybody() -> None:
    due = [Alert(NOW, "a run failed", ""), Alert(NOW, "webhooks pile up", "answered with 403")]
    nobody = markdown(AlertReach(alerts=due[:1]), "*test-alerts*")
    assert "reach nobody yet" in nobody and "/blocks/catalog/alerts/create" in nobody
    assert "| a run failed | only here |" in nobody
    sent = markdown(AlertReach("id-1", "Alerts", due), "*test-alerts*")
    assert "Some alerts could not be sent" in sent and "/blocks/block/id-1" in sent
    assert "| a run failed | sent |" in sent and "not sent: answered with 403" in sent
    assert "None was due" in markdown(AlertReach("id-1", "Alerts"), "x")
