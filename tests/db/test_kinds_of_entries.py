"""Whatever kind of entry a run posts, its report has it: what is shown sums to what was posted."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from loyalty.corrections import Adjustment
from panel.reports import webhooks
from panel.reports.sync_run import Links, markdown
from sql import corrections, report
from sql.explain_member import explain_member
from sql.postings import Posted
from tasks.award.members import Awarded
from tasks.load.invoices import Loaded
from tasks.run_report import RunReport
from tasks.webhooks.counts import Counts
from tests.db.test_member_events import tell
from tests.db.test_rules import program, recompute
from tests.support.books import NOON, Books, invoice
from tests.support.two_members import Pair

#: Which figure of a run's report has the points of a kind of entry.
SHOWN = {
    **dict.fromkeys(
        ("award", "edit", "refund", "void", "moved", "referral", "duplicate"), "points"
    ),
    **dict.fromkeys(("event", "event void"), "points_by_event"),
    "expiry": "expired_points",
}
#: What people and the loyalty app post, and no run that awards points.
BY_HAND = {
    "adjustment", "adjustment void", "opening balance", "opening balance void", "redemption",
    "redemption reversal",
}  # fmt: skip


def reported(books: Books, awarded: Awarded) -> RunReport:
    """The report of a run that loaded nothing and awarded this."""
    posted = Posted(awarded.entries, awarded.points)
    return RunReport(
        books.job(), datetime.now(UTC), loaded=Loaded(), awarded=awarded, posted=posted
    )


def posted_by(books: Books, run_id: str) -> dict[str, int]:
    """Points in the ledger by the figure that must show them."""
    sums: dict[str, int] = {}
    for kind, points in books.rows(
        "SELECT kind, sum(points)::bigint FROM analytics.points_history WHERE run_id = %(run_id)s "
        "GROUP BY 1",
        run_id=run_id,
    ):
        assert kind in SHOWN, f"a run posts entries of the kind {kind}, and no report shows them"
        sums[SHOWN[kind]] = sums.get(SHOWN[kind], 0) + points
    return sums


@pytest.fixture
def stirred(pair: Pair) -> tuple[Books, int, str, Awarded]:
    """A run that posts a sale, two events, takes one of an event back, and lets points expire."""
    books, member, _ = pair
    more = {"expiry": Jsonb({"months": 12})}
    program(books, events=Jsonb({"review": {"points": 20, "at_most": 1}}), **more)
    late = datetime.now(UTC) - timedelta(days=10)
    tell(books, member, "late", late)
    old = Adjustment(
        member_id=member, points=70, reason="old", author="Ana", key="k",
        event_at=datetime(2024, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    books.award()
    program(
        books,
        events=Jsonb({"review": {"points": 20, "at_most": 1}, "survey": {"points": 5}}),
        **more,
    )
    tell(books, member, "early", late - timedelta(days=1))
    tell(books, member, "s1", late, name="survey")
    with books.transaction() as connection:
        corrections.adjust(connection, old, "by hand")
    books.store(invoice(issued_at=late, updated_at=late))
    awarded = books.award()
    (run_id,) = books.rows(
        "SELECT run_id FROM loyalty.award_entry ORDER BY posted_at DESC LIMIT 1"
    )[0]
    return books, member, run_id, awarded


def test_every_kind_of_entry_is_known_to_the_report(books: Books) -> None:
    """A kind that is new must be shown by reports, or be one that no run posts."""
    kinds = {kind for (kind,) in books.rows("SELECT kind FROM loyalty.movement_kind")}
    assert kinds == {*SHOWN, *BY_HAND}


def test_a_report_shows_all_that_its_run_posted(stirred: tuple[Books, int, str, Awarded]) -> None:
    books, _, run_id, awarded = stirred
    posted = posted_by(books, run_id)
    assert posted == {"points": 1500, "points_by_event": 5, "expired_points": -70}
    told = reported(books, awarded)
    counts = told.summary()
    assert counts["points"] == 1500 and counts["expired_points"] == 70
    assert counts["points_by_event"] == {"review": 0, "survey": 5}
    assert told.headline().endswith(
        "1 entries, +1 500 points; events: review +0, survey +5; -70 points expired"
    )
    text = markdown(told, Links("run", "block", "name"), "Title")
    assert "| Points posted for the event survey of members (1 entries) | 5 |" in text
    assert "| Points posted for the event review of members (2 entries) | 0 |" in text
    assert "| Points taken because they were not used in time | -70 |" in text
    of_webhooks = Counts(states={1: "done"}, entries=1, points=1500)
    of_webhooks.add(Loaded(), awarded)
    assert of_webhooks.summary()["points_by_event"] == {"review": 0, "survey": 5}
    shown = webhooks.markdown({"shop": of_webhooks}, [], [], [])
    assert "; events: review +0, survey +5; -70 points expired" in shown
    assert "| the event survey of members | 5 |" in shown


def test_what_some_runs_posted_is_shown_by_cause(stirred: tuple[Books, int, str, Awarded]) -> None:
    books, _, run_id, _ = stirred
    causes = {row.cause: (row.entries, row.points) for row in report.posted(books.dsn, [run_id])}
    assert causes == {
        "award": (1, 1500), "event review": (2, 0), "event survey": (1, 5), "expiry": (1, -70),
    }  # fmt: skip


def test_a_member_is_explained_by_the_names_of_events(
    stirred: tuple[Books, int, str, Awarded],
) -> None:
    books, member, _, _ = stirred
    told = explain_member(books.dsn, member)
    assert told is not None
    causes = {(cause.kind, cause.event): cause.points for cause in told.causes}
    assert causes == {
        ("award", None): 1500, ("adjustment", None): 70, ("event", "review"): 40,
        ("event", "survey"): 5, ("event void", "review"): -20, ("expiry", None): -70,
    }  # fmt: skip
    assert sum(causes.values()) == told.balance_points == books.points()


def test_analysts_read_for_which_event_points_were_given(pair: Pair) -> None:
    """Also of an event that only one member had; reasons that people typed stay hidden."""
    books, member, _ = pair
    program(books, events=Jsonb({"review": {"points": 20}}))
    tell(books, member, "r1")
    recompute(books)
    program(books, events=Jsonb({"survey": {"points": 5}}))
    recompute(books)
    by_hand = Adjustment(
        member_id=member, points=1, reason="typed", author="Ana", event_at=NOON, key="k"
    )
    with books.transaction() as connection:
        corrections.adjust(connection, by_hand, "by hand")
    with psycopg.connect(books.dsn) as analyst:
        analyst.execute("SET ROLE analyst")
        for view, void in (("adjustment", "event"), ("points_history", "event void")):
            rows = analyst.execute(
                f"SELECT kind, reason FROM analytics.{view} ORDER BY kind, reason".encode()
            ).fetchall()
            assert rows == [("adjustment", None), ("event", "review"), (void, "review")], view
