"""What we change in Prefect's server for its speed."""

from datetime import timedelta
from typing import Any

import pytest
from prefect.server.schemas.schedules import IntervalSchedule
from prefect.types import _datetime

from twezah.stack.prefect_server import remember_timezones


def test_time_zones_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect asks for all of them whenever it checks a schedule."""
    asked: list[None] = []

    def slowly() -> set[str]:
        asked.append(None)
        return {"Africa/Luanda", "UTC"}

    monkeypatch.setattr(_datetime, "available_timezones", slowly)
    remember_timezones()
    schedules = [
        IntervalSchedule(interval=timedelta(minutes=5), timezone=zone)
        for zone in ("Africa/Luanda", "UTC", "Africa/Luanda")
    ]
    assert [schedule.timezone for schedule in schedules] == [
        "Africa/Luanda",
        "UTC",
        "Africa/Luanda",
    ]
    assert len(asked) == 1
    broken: Any = "Africa/Atlantis"
    with pytest.raises(ValueError, match="Atlantis"):
        IntervalSchedule(interval=timedelta(minutes=5), timezone=broken)
