"""Plays the histories of many seeds, in processes side by side."""

import multiprocessing
import queue
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from settings import Settings
from tests.fuzz.events import History, described, history, is_complete
from tests.fuzz.shrink import smallest
from tests.fuzz.world import BrokenError, play
from tests.support.database import server

#: Every so many seeds, nothing of the way is abridged: real mapping, real Great Expectations.
WHOLE_EVERY = 50
#: Seeds that fail until no more are looked for.
FAILURES_MAX = 5
_INVARIANT = re.compile(r"\bI\d\d\b")


def is_whole(seed: int) -> bool:
    """Whether the seed takes the whole way."""
    return seed % WHOLE_EVERY == 0


def failure(dsn: str, played: History, *, whole: bool) -> str | None:
    """Why a history fails; None: it does not."""
    try:
        play(dsn, played, whole=whole)
    except BrokenError as error:
        return str(error)
    return None


def report(dsn: str, seed: int, reason: str) -> str:
    """What to know about a seed that fails: why, the smallest history, and how to repeat it."""
    whole = is_whole(seed)

    def fails_alike(one: History) -> bool:
        why = failure(dsn, one, whole=whole) if is_complete(one) else None
        return why is not None and _kind(why) == _kind(reason)

    small = smallest(history(seed), fails_alike)
    why = failure(dsn, small, whole=whole) or "this time it did not fail"
    return (
        f"seed {seed} fails: {reason}\nthe smallest history that still fails:\n"
        f"{described(small)}\nit fails with: {why}\nagain: make fuzz SEED={seed}"
    )


def _kind(reason: str) -> str:
    """The invariant that a reason names, or the error: of `KeyError: 5`, that is `KeyError`."""
    named = _INVARIANT.search(reason)
    return named[0] if named else reason.partition(":")[0]


@contextmanager
def databases(count: int) -> Iterator[list[str]]:
    with (
        tempfile.TemporaryDirectory(prefix="twezah-fuzz-") as home,
        server(Settings(home=Path(home))) as databases,
    ):
        yield [databases.migrated() for _ in range(count)]


def play_all(names: list[str], seeds: range) -> tuple[int, int]:
    """How many failed, and how many were played."""
    spawn = multiprocessing.get_context("spawn")
    results, stop = spawn.Queue(), spawn.Event()
    players = [
        spawn.Process(target=_player, args=(dsn, seeds[at :: len(names)], results, stop))
        for at, dsn in enumerate(names)
    ]
    for player in players:
        player.start()
    failed, played, ended = 0, 0, 0
    while ended < len(players):
        try:
            what, text = results.get(timeout=10)
        except queue.Empty:
            if not any(player.is_alive() for player in players):
                raise RuntimeError("the players ended without a word; see above") from None
            continue
        played += what == "played"
        ended += what == "ended"
        if what == "failed":
            failed += 1
            print(f"\n{text}\n", flush=True)
            if failed >= FAILURES_MAX:
                stop.set()
        if what == "played" and played % 100 == 0:
            print(f"{played} of {len(seeds)} seeds, {failed} failed", flush=True)
    for player in players:
        player.join()
    return failed, played


def _player(dsn: str, seeds: range, results: Any, stop: Any) -> None:
    try:
        for seed in seeds:
            if stop.is_set():
                break
            reason = failure(dsn, history(seed), whole=is_whole(seed))
            if reason is not None:
                results.put(("failed", report(dsn, seed, reason)))
            results.put(("played", ""))
    finally:
        results.put(("ended", ""))
