"""Rate limits as the vendors publish them, measured on the world's clock."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from threading import Lock

from simulator.clock import Now
from simulator.registry import VENDORS
from simulator.system import Rule


@dataclass(frozen=True, slots=True)
class Throttled:
    """Which limit was hit and when to come back."""

    name: str
    retry_after_seconds: int


class Limits:
    """Counts one vendor's calls; `scale` multiplies the limits, 0 switches them off."""

    def __init__(self, vendor: str, now: Now, scale: float) -> None:
        self._now, self.scale, self._lock = now, scale, Lock()
        self._calls: dict[Rule, deque[datetime]] = {rule: deque() for rule in VENDORS[vendor].rules}
        at_once = VENDORS[vendor].concurrent
        self._concurrent = max(1, int(at_once * scale)) if at_once else 0
        self._open = 0

    def enter(self, path: str) -> Throttled | None:
        """Counts a call in; pair with `leave` when it was let in (None)."""
        with self._lock:
            if self.scale:
                throttled = self._check(path)
                if throttled is not None:
                    return throttled
            self._open += 1
            return None

    def _check(self, path: str) -> Throttled | None:
        if self._concurrent and self._open >= self._concurrent:
            return Throttled("concurrent", 1)
        instant = self._now()
        rules = [rule for rule in self._calls if path.endswith(rule.path)]
        for rule in rules:
            calls = self._calls[rule]
            while calls and (instant - calls[0]).total_seconds() >= rule.seconds:
                calls.popleft()
            if len(calls) >= self._ceiling(rule):
                return Throttled(
                    rule.name, max(1, ceil(rule.seconds - (instant - calls[0]).total_seconds()))
                )
        for rule in rules:
            self._calls[rule].append(instant)
        return None

    def _ceiling(self, rule: Rule) -> int:
        return max(1, int(rule.calls * self.scale))

    def leave(self) -> None:
        """Counts a call out."""
        with self._lock:
            self._open -= 1

    def remaining(self) -> dict[str, int]:
        """Calls left per limit, as of the last call."""
        with self._lock:
            if not self.scale:
                return {rule.name: rule.calls for rule in self._calls}
            return {
                rule.name: max(0, self._ceiling(rule) - len(calls))
                for rule, calls in self._calls.items()
            }
