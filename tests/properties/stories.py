"""Small histories of documents and tiers, and the many ways in which they may arrive."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from hypothesis import strategies as st

from tests.support.books import HOUR, NOON, invoice

PHONES = 3
TIERS = ("lead", "silver", "gold", "platinum")
Ending = Literal["store", "award", "crash"]


@dataclass(frozen=True)
class Version:
    """One version of a document at the vendor; `state` None: it was deleted there."""

    document: int
    at: int
    state: dict[str, Any] | None

    def row(self, phones: Sequence[str]) -> dict[str, Any]:
        """The version as it is mapped: a row of INVOICE."""
        state = dict(self.state or {})
        phone, hour = phones[state.pop("phone")], state.pop("hour")
        return invoice(
            external_id=f"D{self.document}",
            customer_phone=phone,
            issued_at=NOON + hour * HOUR,
            updated_at=moment(self.at),
            **state,
        )


@dataclass(frozen=True)
class Tier:
    """A tier entered for a member."""

    phone: int
    hour: int
    tier: str


Event = Version | Tier


@dataclass(frozen=True)
class Story:
    """What happened, in the order in which it happened."""

    events: tuple[Event, ...]

    @property
    def versions(self) -> list[Version]:
        return [event for event in self.events if isinstance(event, Version)]


@dataclass(frozen=True)
class Batch:
    """Events that arrive together, and what happens then."""

    events: tuple[Event, ...]
    ending: Ending


def moment(at: int) -> Any:
    """The time of a version."""
    return NOON + timedelta(minutes=at)


def newest(versions: Sequence[Version]) -> dict[int, Version]:
    """Per document the version that counts."""
    return {version.document: version for version in sorted(versions, key=lambda v: v.at)}


AMOUNTS = st.one_of(st.integers(0, 20_000), st.sampled_from([1, 333, 999, 12_345, 10**9]))
CHANGES = ("edit", "edit", "refund", "refund", "void", "restore", "draft", "move", "date", "delete")


def _changed(draw: st.DrawFn, state: dict[str, Any], change: str) -> dict[str, Any]:
    if change == "edit":
        total = draw(AMOUNTS)
        return state | {
            "total_minor": total,
            "amount_refunded_minor": min(total, state["amount_refunded_minor"]),
        }
    if change == "refund":
        return state | {
            "amount_refunded_minor": state["total_minor"] * draw(st.integers(0, 100)) // 100
        }
    if change == "move":
        return state | {"phone": draw(st.integers(0, PHONES - 1))}
    if change == "date":
        return state | {"hour": draw(st.integers(0, 5))}
    return state | {"status": {"void": "void", "restore": "paid", "draft": "draft"}[change]}


@st.composite
def _documents(draw: st.DrawFn, number: int) -> list[Version]:
    state: dict[str, Any] = {
        "kind": draw(st.sampled_from(["invoice", "invoice", "sale", "credit_note", "refund"])),
        "currency": draw(st.sampled_from(["AOA", "AOA", "JPY", "KWD"])),
        "status": draw(st.sampled_from(["open", "paid", "draft"])),
        "total_minor": draw(AMOUNTS),
        "amount_refunded_minor": 0,
        "phone": draw(st.integers(0, PHONES - 1)),
        "hour": draw(st.integers(0, 5)),
    }
    versions = [Version(number, 0, state)]
    for at, change in enumerate(draw(st.lists(st.sampled_from(CHANGES), max_size=5)), 1):
        if change == "delete":
            versions.append(Version(number, at, None))
        else:
            state = _changed(draw, state, change)
            versions.append(Version(number, at, state))
    return versions


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Up to four documents of three customers, with up to five changes each, and some tiers."""
    documents = [draw(_documents(number)) for number in range(draw(st.integers(1, 4)))]
    tiers = st.builds(Tier, st.integers(0, PHONES - 1), st.integers(0, 5), st.sampled_from(TIERS))
    entered = draw(st.lists(tiers, max_size=3, unique_by=lambda tier: (tier.phone, tier.hour)))
    return Story((*(version for versions in documents for version in versions), *entered))


@st.composite
def arrivals(draw: st.DrawFn, story: Story) -> list[Batch]:
    """Everything at least once, in any order, some twice, in batches of any size; some stores crash and are tried again.

    A deletion comes after some version of its document: a vendor does not list what it deleted
    among what it has.
    """
    again = draw(st.lists(st.sampled_from(story.versions), max_size=6))
    order = list(_deletions_after(draw(st.permutations([*story.events, *again]))))
    endings: st.SearchStrategy[Ending | None] = st.sampled_from(
        [None, None, "store", "award", "crash"]
    )
    cuts = draw(st.lists(endings, min_size=len(order), max_size=len(order)))
    batches: list[Batch] = []
    waiting: list[Event] = []
    for event, cut in zip(order, cuts, strict=True):
        waiting.append(event)
        if cut:
            batches.append(Batch(tuple(waiting), cut))
            waiting = []
    return [*batches, Batch(tuple(waiting), "award")]


def _deletions_after(order: Sequence[Event]) -> Iterator[Event]:
    known: set[int] = set()
    held: list[Version] = []
    for event in order:
        if isinstance(event, Version) and event.state is None and event.document not in known:
            held.append(event)
            continue
        yield event
        if isinstance(event, Version) and event.document not in known:
            known.add(event.document)
            yield from (version for version in held if version.document == event.document)
