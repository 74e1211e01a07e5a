"""The page "Webhooks": what arrived, what became of it, and what waits for somebody."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from loyalty.masking import message
from panel.markdown import clock, plain, shortened, table
from sql.webhooks import EventRow
from tasks.run_report import grouped

TITLE: Final = "Webhooks"
#: Events that the page shows; all are in analytics.webhook.
SHOWN: Final = 100
_REASON_MAX: Final = 160
#: The states, and what they are called on the page, what waits for somebody first.
_WORDS: Final[Mapping[str, str]] = {
    "parked": "parked",
    "failed": "to be tried again",
    "received": "waiting",
    "claimed": "under way",
    "done": "done",
}


def headline(states: Mapping[str, int]) -> str:
    """One line: how many webhooks are in which state. Each counts once, however often tried."""
    parts = [
        f"{grouped(states[state])} {words}" for state, words in _WORDS.items() if states.get(state)
    ]
    return f"{', '.join(parts)}." if parts else "No webhook has arrived yet."


def markdown(
    states: Mapping[str, int],
    parked: Sequence[EventRow],
    latest: Sequence[EventRow],
    now: datetime,
    links: str,
    *,
    form: str,
) -> str:
    """The page as Prefect's UI shows it.

    Args:
        states: How many webhooks are in which state.
        parked: Those that wait for somebody, newest first.
        latest: The newest, whatever became of them.
        now: The time of the page, UTC.
        links: The line with links to the other pages.
        form: Link to the form with which webhooks are replayed and tested.
    """
    parts = [
        f"# {TITLE}",
        f"**{headline(states)}** As of {clock(now)}. Times are UTC.",
        links,
        (
            f"**Replay** parked ones, all or one by its number, and **send a test event**: {form}. "
            "Nothing counts twice."
        ),
        _section("Parked: somebody must correct something first", parked),
        _section(f"The latest {len(latest)}", latest),
        (
            "**Tried**: how often it was taken up. **At first**: why it failed the first time. "
            "**Became**: the documents that it brought or changed, and their points now. A sale "
            "that could not be used is a reject; the reports of its connection say why. All of "
            "it, and older: `analytics.webhook`."
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _section(title: str, events: Sequence[EventRow]) -> str:
    if not events:
        return ""
    head = ["No.", "Connection", "Arrived", "Event", "State", "Tried", "Why", "At first", "Became"]
    return f"## {title}\n\n{table(head, [_row(event) for event in events])}"


def _row(event: EventRow) -> list[str]:
    first = event.first_reason if event.first_reason != event.reason else None
    return [
        str(event.event_no),
        plain(event.connection),
        f"{event.received_at:%m-%d %H:%M:%S}",
        plain(shortened(event.kind, 60)),
        _WORDS.get(event.state, event.state),
        str(event.attempts),
        _text(event.reason),
        _text(first),
        _became(event),
    ]


def _text(reason: str | None) -> str:
    return plain(shortened(message(reason), _REASON_MAX)) if reason else "-"


def _became(event: EventRow) -> str:
    if not event.documents:
        return "-"
    named = ", ".join(plain(message(document)) for document in event.documents[:3])
    more = f" and {len(event.documents) - 3} more" if len(event.documents) > 3 else ""
    return f"{named}{more}: {grouped(event.points)} points"
