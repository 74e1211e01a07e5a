"""Which of two versions counts, whatever clocks do: the rule alone, with histories that are made up."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.schema import INVOICE
from sql.versions import (
    AHEAD_MAX,
    READING,
    Version,
    newest,
    supersedes,
    versions,
    with_plausible_times,
)
from tests.support.books import HOUR, NOON, invoice

SECOND = timedelta(seconds=1)
#: How far the vendor's clock, or what we take its local time to be, is off.
SKEWS = st.one_of(
    st.sampled_from([timedelta(), HOUR, -HOUR, timedelta(days=13_000), -timedelta(days=20_000)]),
    st.integers(-7_200, 7_200).map(lambda seconds: timedelta(seconds=seconds)),
)


def pages_of(moments: list[datetime], *, is_read: bool = True) -> pl.DataFrame:
    """A page for each moment: asked then, and there half a second later."""
    rows = [(n, at, at + SECOND / 2, int(is_read)) for n, at in enumerate(moments)]
    return pl.DataFrame(rows, schema=READING, orient="row")


def frame(*rows: tuple[int, datetime, int]) -> pl.DataFrame:
    """Versions of document A: page, time of change, total."""
    made = [invoice(page_id=page, updated_at=at, total_minor=total) for page, at, total in rows]
    return pl.DataFrame(made, schema=INVOICE, orient="row")


def version(at: int, **changes: object) -> Version:
    base = Version(at, None, 1, 0, at * 10, at * 10 + 1, 1)
    return base._replace(**changes)  # type: ignore[arg-type]


@given(st.lists(SKEWS, min_size=2, max_size=6), st.permutations(range(6)), st.booleans())
def test_what_was_read_last_wins_whatever_the_times_say_and_in_whichever_order_it_arrives(
    skews: list[timedelta], order: list[int], twice: bool
) -> None:
    read_at = [NOON + n * timedelta(minutes=1) for n in range(len(skews))]
    pages = pages_of(read_at)
    said = [
        (n, at - 5 * SECOND + skew, 100 + n)
        for n, (at, skew) in enumerate(zip(read_at, skews, strict=True))
    ]
    arrived = [said[n] for n in order if n < len(said)]
    history = with_plausible_times(frame(*arrived), pages, "updated_at")
    # All at once, and one after the other.
    assert newest(history, pages)["total_minor"].to_list() == [100 + len(skews) - 1]
    rows = versions(history.join(pages, on="page_id", how="left", maintain_order="left"))
    stored = rows[0]
    for one in (*rows[1:], *(rows if twice else ())):
        stored = one if supersedes(one, stored) else stored
    assert stored.page_id == len(skews) - 1


@given(st.lists(st.integers(0, 50), min_size=2, max_size=5, unique=True), st.permutations(range(5)))
def test_events_that_hold_a_document_follow_its_time_of_change(
    minutes: list[int], order: list[int]
) -> None:
    """A webhook may be delivered hours late: when it arrived says nothing, unless the time cannot be right."""
    pages = pages_of([NOON + HOUR + n * SECOND for n in range(5)], is_read=False)
    said = [
        (page, NOON + minutes[page] * timedelta(minutes=1), minutes[page])
        for page in order
        if page < len(minutes)
    ]
    history = with_plausible_times(frame(*said), pages, "updated_at")
    assert newest(history, pages)["total_minor"].to_list() == [max(minutes)]


@given(st.integers(-1_000, 1_000), st.integers(-1_000, 1_000), st.booleans(), st.booleans())
def test_of_two_records_exactly_one_is_newer(
    first: int, second: int, reads: bool, claims: bool
) -> None:
    one = version(first, page_id=1, is_read=int(reads))
    other = version(second, page_id=2, claimed_at=9_999 if claims else None)
    assert supersedes(one, other) != supersedes(other, one)


def test_a_time_within_the_tolerance_is_believed_and_one_beyond_is_that_of_the_reading() -> None:
    pages = pages_of([NOON])
    arrived = NOON + SECOND / 2
    for ahead, kept in (
        (AHEAD_MAX, True),
        (AHEAD_MAX + SECOND, False),
        (timedelta(days=13_000), False),
    ):
        row = with_plausible_times(frame((0, arrived + ahead, 1)), pages, "updated_at").row(
            0, named=True
        )
        assert row["updated_at"] == (arrived + ahead if kept else arrived)
        assert row["claimed_at"] == (None if kept else arrived + ahead)


def test_a_page_that_is_not_known_changes_no_time() -> None:
    far = datetime(2062, 1, 1, tzinfo=UTC)
    made = with_plausible_times(frame((7, far, 1)), READING.to_frame(), "updated_at")
    assert made.select("updated_at", "claimed_at").rows() == [(far, None)]


@pytest.mark.parametrize(
    ("later", "wins"),
    [
        (version(5, page_id=2, asked_at=200), True),  # asked after the other had arrived
        (
            version(5, page_id=2, asked_at=90),
            False,
        ),  # asked while the other was under way: its time decides
        (version(5, page_id=2, asked_at=200, is_read=0), False),  # a webhook that came late
        (version(5, page_id=2, asked_at=90, claimed_at=99), True),  # its time cannot be right
        (
            version(10, page_id=2, asked_at=90),
            True,
        ),  # the same time: the one that was fetched later
        (version(5, page_id=1), True),  # the same record, mapped anew
        (version(5, page_id=None, record_no=None), False),  # a deletion that came late
        (version(10, page_id=None, record_no=None), True),
        (version(10, record_no=3), True),  # a later record of the same page
    ],
)
def test_each_rule(later: Version, wins: bool) -> None:
    assert supersedes(later, version(10)) is wins


def test_a_page_that_is_read_again_does_not_bring_back_what_was_deleted_as_of_it() -> None:
    gone = version(10, page_id=4, record_no=None)
    for again in (
        version(10, page_id=4),
        version(9_000, page_id=4, claimed_at=9_999),
        version(5, page_id=3),
    ):
        assert not supersedes(again, gone)


def test_a_document_once_in_a_batch_costs_no_comparison() -> None:
    once = pl.concat(
        [frame((0, NOON, 1)), frame((0, NOON, 2)).with_columns(external_id=pl.lit("B"))]
    )
    assert newest(once, READING.to_frame()) is once


def test_pages_count_up() -> None:
    """The rule trusts the order of pages; the clock alone is not enough."""
    moments = [NOON, NOON - HOUR]
    pages = pages_of(moments)
    rows = versions(
        frame((0, NOON, 1), (1, NOON - HOUR, 2))
        .with_columns(claimed_at=pl.lit(None, dtype=pl.Datetime("us", "UTC")))
        .join(pages, on="page_id", how="left")
    )
    (first, second), *_ = pairwise(rows)
    assert not supersedes(second, first), "our clock was set back: the vendor's times decide"
