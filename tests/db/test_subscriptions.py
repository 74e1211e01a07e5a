"""What is kept of webhook subscriptions, and what the command line shows of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from settings import settings
from sql import subscriptions
from sql.db import connect
from sql.subscriptions import SubscriptionsBusyError, SubscriptionState
from twezah.cli import app

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATE = SubscriptionState(
    "stripe", "stripe", "failed", "the key may not", ["we_1"], None, "b", NOW, NOW
)


def test_a_state_is_kept_and_replaced(dsn: str) -> None:
    with connect(dsn) as db:
        assert subscriptions.read(db, "stripe") is None
        subscriptions.save(db, STATE)
        subscriptions.add_id(db, "stripe", "we_2")
        subscriptions.add_id(db, "stripe", "we_2")
        held = subscriptions.read(db, "stripe")
        assert held == replace(STATE, vendor_ids=["we_1", "we_2"])
        ends = NOW + timedelta(days=3)
        later = replace(STATE, state="subscribed", detail="", vendor_ids=[], expires_at=ends)
        subscriptions.save(db, later)
        assert subscriptions.read_all(db) == {"stripe": later}


def test_one_process_at_a_time(dsn: str) -> None:
    with subscriptions.exclusive(dsn, "block stripe", wait_seconds=1):
        with subscriptions.exclusive(dsn, "block square", wait_seconds=1):
            pass
        with (
            pytest.raises(SubscriptionsBusyError),
            subscriptions.exclusive(dsn, "block stripe", wait_seconds=0.01),
        ):
            pass
    with subscriptions.exclusive(dsn, "block stripe", wait_seconds=1):
        pass


def test_the_command_lists_them(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWEZAH_DATABASE_URL", dsn)
    monkeypatch.setenv("TWEZAH_HOME", str(tmp_path))
    settings.cache_clear()
    try:
        none = CliRunner().invoke(app, ["webhooks", "subscriptions"])
        assert "TWEZAH_API_PUBLIC_URL" in none.output
        with connect(dsn) as db:
            subscriptions.save(db, STATE)
            db.commit()
        shown = CliRunner().invoke(app, ["webhooks", "subscriptions", "--json"])
        (row,) = json.loads(shown.stdout)
        assert (row["connection"], row["state"]) == ("stripe", "failed")
        assert row["detail"] == "the key may not"
    finally:
        settings.cache_clear()
