"""What is worth an alert, at its edges; and that a mail's subject adds no header."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from panel.alerts.checks import backlogs, consents_ending, keys_ending, reject_ratio
from panel.alerts.mail import EmailAlerts
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
