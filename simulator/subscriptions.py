"""Subscriptions of webhooks that clients made through a vendor's API.

Each vendor's `api.py` says how they are asked for; this remembers them, and when they end. What is
sent to them is `webhooks.SubscribedAnnouncer`'s.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from simulator.clock import Now


@dataclass
class Entry:
    """One subscription."""

    id: str
    url: str
    #: Events or lists, in the vendor's words.
    topics: tuple[str, ...]
    #: What its webhooks are signed with, or carry.
    secret: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    #: Whether webhooks are sent: neither switched off nor waiting for a handshake.
    enabled: bool = True
    #: What else the vendor keeps of it.
    facts: dict[str, Any] = field(default_factory=dict)

    def wants(self, topic: str) -> bool:
        """Whether an event is one of those: by its name, or by the first part of it."""
        return any(
            own in ("*", topic) or topic.startswith((f"{own}.", f"{own}/")) for own in self.topics
        )


class SubscriptionBook:
    """The subscriptions of one vendor's account."""

    def __init__(self, vendor: str, seed: int, now: Now) -> None:
        self._vendor, self._seed, self._now = vendor, seed, now
        self._made = 0
        self._entries: dict[str, Entry] = {}
        #: Whether the client's key or token may manage subscriptions.
        self.allowed = True

    def digest(self, words: str = "") -> str:
        """64 hexadecimal digits that are the same in the same world."""
        text = f"{self._seed}/{self._vendor}/subscription/{self._made}/{words}"
        return sha256(text.encode()).hexdigest()

    def add(
        self,
        url: str,
        topics: tuple[str, ...],
        *,
        secret: str,
        key: str,
        life: timedelta | None = None,
        enabled: bool = True,
        **facts: Any,
    ) -> Entry:
        """A new one under the id `key`."""
        now = self._now()
        ends = now + life if life else None
        entry = Entry(key, url, topics, secret, now, ends, enabled, facts)
        self._entries[key] = entry
        return entry

    def next_digest(self) -> str:
        """The digest of a new subscription, for its id and secret."""
        self._made += 1
        return self.digest()

    def all(self) -> list[Entry]:
        """Those that did not end, the oldest first; one that ended is gone."""
        now = self._now()
        for key, entry in list(self._entries.items()):
            if entry.expires_at is not None and entry.expires_at <= now:
                del self._entries[key]
        return list(self._entries.values())

    def get(self, key: str) -> Entry | None:
        """The one of that id."""
        return next((entry for entry in self.all() if entry.id == key), None)

    def remove(self, key: str) -> bool:
        """Whether there was one."""
        return self._entries.pop(key, None) is not None
