"""The first two hundred seeds of the fuzzed world; `make fuzz SEEDS=10000` plays more."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz.events import Change, Clock, Poll, Push, State, Tier, history, is_complete
from tests.fuzz.invariants import CHECKS
from tests.fuzz.run import failure, is_whole, report
from tests.fuzz.shrink import smallest

SEEDS, AT_ONCE = 200, 20
CASES = Path(__file__).resolve().parents[3] / "shared" / "samples" / "loyalty-cases.json"
# A seed that fails is made small before it is told of.
pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_the_ledger_of_every_seed_is_right(dsn: str, first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        reason = failure(dsn, history(seed), whole=is_whole(seed))
        assert reason is None, report(dsn, seed, reason or "")


SOLD = State("invoice", "AOA", "paid", 15_000, 0, 0, 0)
NOBODYS = replace(SOLD, customer=None)


@pytest.mark.parametrize("states", [(SOLD, NOBODYS, SOLD), (NOBODYS, SOLD), (NOBODYS, SOLD, SOLD)])
def test_an_old_version_is_no_news_of_a_newer_one(dsn: str, states: tuple[State, ...]) -> None:
    """A poll reads the second version, and a webhook tells the first one afterwards.

    One that can be used must not close the reject of the newer one, and one that cannot is not to
    be rejected once a newer one is stored.
    """
    told = [Change("loja-a", 0, one, minute=at) for at, one in enumerate(states, 1)]
    late = Push(None, "loja-a", 0, (0,), minute=40)
    assert (
        failure(dsn, (*told[:2], Poll(None, "loja-a", minute=30), late, *told[2:]), whole=False)
        is None
    )


def test_a_time_that_our_clock_cannot_believe_is_no_old_one(dsn: str) -> None:
    """Our clock is behind: the same rejected version, read again, seems to be of the future."""
    read = Poll(None, "loja-a", minute=98)
    told = (Change("loja-a", 0, NOBODYS, minute=76), read, Clock(-600, minute=140))
    again = (replace(read, noise=185, minute=205), Change("loja-a", 0, SOLD, minute=231))
    assert failure(dsn, (*told, *again), whole=False) is None


def test_a_webhook_without_a_phone_is_asked_for(dsn: str) -> None:
    """On the whole way: the vendor answers with the document, and none is rejected without a name."""
    draft = replace(NOBODYS, status="draft")
    told = (Change("loja-b", 1, draft, minute=1), Push(None, "loja-b", 1, (0,), minute=2))
    corrected = Change("loja-b", 1, SOLD, minute=3)
    assert failure(dsn, (*told, corrected), whole=True) is None
    assert failure(dsn, (*told, replace(corrected, state=None)), whole=True) is None


def test_a_seed_is_always_the_same_history() -> None:
    assert history(123) == history(123)
    assert history(123) != history(124)


def test_every_invariant_has_a_check_or_a_reason() -> None:
    named = {name.split()[0] for name in CHECKS}
    assert named == {f"I{number:02}" for number in range(1, 26)}
    if CASES.exists():
        known = {one["id"]: one["name"] for one in json.loads(CASES.read_text())["invariants"]}
        assert {name.partition(" ")[::2] for name in CHECKS} == set(known.items())


def test_a_failing_history_is_made_small() -> None:
    paid = State("invoice", "AOA", "paid", 100, 0, 0, 0)
    noise = [Tier(one % 3, 0, "gold", minute=one) for one in range(20)]
    needed = [Change("loja-a", 1, paid, minute=3), Change("loja-a", 1, None, minute=9)]
    whole = (*noise[:7], needed[0], *noise[7:12], needed[1], *noise[12:])
    found = smallest(whole, lambda one: set(needed) <= set(one))
    assert list(found) == needed


def test_no_seed_ends_with_a_document_that_cannot_be_awarded() -> None:
    assert all(is_complete(history(seed)) for seed in range(1000))
