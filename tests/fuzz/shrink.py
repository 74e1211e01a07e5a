"""Makes a failing history small: leaves out piece after piece until nothing more can go."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.fuzz.events import History, Poll, Step, Together

#: How many smaller histories are tried at most: each takes about half a second.
TRIES_MAX = 300


def smallest(history: History, fails: Callable[[History], bool]) -> History:
    """The smallest history found that still fails: delta debugging, then simpler events."""
    tries = 0

    def still_fails(candidate: History) -> bool:
        nonlocal tries
        tries += 1
        return tries <= TRIES_MAX and fails(candidate)

    size = max(1, len(history) // 2)
    while size:
        begin, shorter = 0, False
        while begin < len(history):
            candidate = history[:begin] + history[begin + size :]
            if still_fails(candidate):
                history, shorter = candidate, True
            else:
                begin += size
        if not shorter or size > 1:
            size //= 2
    return _simplified(history, still_fails)


def _simplified(history: History, still_fails: Callable[[History], bool]) -> History:
    for place in range(len(history)):
        for simpler in _simpler(history[place]):
            candidate = (*history[:place], simpler, *history[place + 1 :])
            if still_fails(candidate):
                history = candidate
                break
    return history


def _simpler(event: Any) -> Iterator[Any]:
    if isinstance(event, Together):
        yield event.first
        yield event.second
    if isinstance(event, Step) and event.fault is not None:
        yield replace(event, fault=None)
    if isinstance(event, Poll) and event.noise:
        yield replace(event, noise=0)
