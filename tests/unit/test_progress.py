"""The bar of long work: what it says, how often, and that it never stops the work."""

from uuid import UUID, uuid4

import pytest

import panel.runs.progress
from panel.runs.progress import Progress


class Shown:
    """Takes the place of Prefect's API: (percent, description) of every request."""

    def __init__(self) -> None:
        self.key = ""
        self.said: list[tuple[float, str]] = []
        self.broken = False

    def create(self, percent: float, key: str, text: str) -> UUID:
        self.key = key
        return self.update(uuid4(), percent, text)

    def update(self, artifact: UUID, percent: float, text: str) -> UUID:
        if self.broken:
            raise ConnectionError("no server")
        self.said.append((percent, text))
        return artifact


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    made = Shown()
    monkeypatch.setattr(panel.runs.progress, "create_progress_artifact", made.create)
    monkeypatch.setattr(panel.runs.progress, "update_progress_artifact", made.update)
    return made


def test_says_how_far_and_how_long_still(shown: Shown) -> None:
    clock = Clock()
    with Progress("backfill-sage_intacct", "days", 12_000, clock=clock) as bar:
        bar.at(0)
        clock.now += 300
        bar.at(3_000, note="March 2026")
        clock.now += 900
        bar.at(12_000)
    assert shown.key == "progress-backfill-sage-intacct"
    assert shown.said == [
        (0.0, "0 of 12 000 days"),
        (25.0, "3 000 of 12 000 days; March 2026; about 15 min left"),
        (100.0, "12 000 of 12 000 days"),
        (100.0, "12 000 of 12 000 days; done after 20 min"),
    ]


def test_a_thousand_steps_a_second_are_a_request_every_other_second(shown: Shown) -> None:
    clock = Clock()
    with Progress("x", "pages", 10_000, clock=clock) as bar:
        for step in range(10_000):
            clock.now += 0.001
            bar.at(step)
    assert len(shown.said) <= 7


def test_short_work_shows_nothing(shown: Shown) -> None:
    clock = Clock()
    with Progress("x", "pages", 10, after_seconds=5, clock=clock) as bar:
        for step in range(10):
            clock.now += 0.4
            bar.at(step + 1)
    assert shown.said == []


def test_what_is_counted_may_change(shown: Shown) -> None:
    clock = Clock()
    with Progress("x", "pages", clock=clock) as bar:
        bar.at(500)
        clock.now += 600
        bar.at(0, 100, what="members")
        clock.now += 10
        bar.at(10, what="members")
    assert shown.said[-2][1] == "10 of 100 members; about 90 s left"


def test_a_failure_is_told_as_one_and_goes_on(shown: Shown) -> None:
    with pytest.raises(ValueError, match="secret"), Progress("x", "pages", 4) as bar:
        bar.at(1)
        raise ValueError("secret")
    assert shown.said[-1] == (25.0, "1 of 4 pages; stopped (ValueError) after 0 s")


def test_an_unknown_total_is_no_hundred_percent(shown: Shown) -> None:
    clock = Clock()
    with Progress("x", "pages", clock=clock) as bar:
        bar.at(7)
        clock.now += 10
        bar.at(9, total=4)  # the vendor said too few
    assert shown.said[0] == (0.0, "7 pages")
    assert shown.said[1][0] == 100.0


def test_a_server_that_is_away_never_stops_the_work_and_is_not_asked_again(
    shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    shown.broken = True
    clock = Clock()
    with Progress("x", "pages", 4, clock=clock) as bar:
        bar.at(1)
        shown.broken = False
        clock.now += 10
        bar.at(2)
    assert shown.said == []
    assert [record.message for record in caplog.records] == [
        "the progress is not shown: ConnectionError"
    ]
