"""What the vendors' webhooks send: deliveries about changes in the books.

    announcer = Announcer(world, {"custom": "whsec_..."})
    world.evolve(steps=10)
    for delivery in announcer.changes():
        httpx.post(url, content=delivery.body, headers=delivery.headers(now))

Written from the vendors' documentation alone. Deliveries may be repeated and overtake each other,
as the vendors warn they do.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Final

import httpx

from simulator.deliveries import Change, Delivery, Sender, What
from simulator.model import Document
from simulator.registry import announce, announcing
from simulator.subscriptions import Entry
from simulator.world import World

#: The vendors that announce sales, in their order.
SYSTEMS: Final = announcing()


@dataclass(frozen=True)
class Disorder:
    """How unreliable the delivery is, as shares of the deliveries (0 to 1)."""

    seed: int = 0
    #: Come twice.
    repeated: float = 0
    #: Are overtaken by a later one.
    overtaken: float = 0
    #: Never arrive.
    lost: float = 0


class Announcer:
    """Notices what changes in the books of a world and writes the vendors' deliveries about it.

    Args:
        world: The books.
        secrets: The signing secret per system: verifier token, webhook key, callback verifier,
            `whsec_...`.
        full: Whether custom deliveries hold the whole document, or its id only.
        cloud_events: Whether QuickBooks writes the form it has been using since 2026.
        disorder: What goes wrong on the way.
    """

    def __init__(
        self,
        world: World,
        secrets: Mapping[str, str],
        *,
        full: bool = True,
        cloud_events: bool = True,
        disorder: Disorder | None = None,
    ) -> None:
        self._world, self._secrets = world, dict(secrets)
        self._full, self._cloud = full, cloud_events
        self._disorder = disorder or Disorder()
        self._random = Random(f"{self._disorder.seed}/webhooks")
        self._numbers = count(1)
        self._seen: dict[tuple[str, str, str], int] = {}
        for system, document in self._documents():
            self._seen[system, document.entity, document.id] = document.version

    def _documents(self) -> Iterator[tuple[str, Document]]:
        for system in self._secrets:
            for document in self._world.books[system].all():
                yield system, document

    def changes(self) -> list[Delivery]:
        """Deliveries about all that changed since the last call, in the order of their arrival."""
        with self._world.lock:
            changed: dict[str, list[Change]] = {system: [] for system in self._secrets}
            for system, document in self._documents():
                key = (system, document.entity, document.id)
                version_before = self._seen.get(key)
                if version_before != document.version:
                    self._seen[key] = document.version
                    what = _what(document, new=version_before is None)
                    changed[system].append((document, what))
            deliveries = [
                delivery
                for system, changes in changed.items()
                for delivery in self.about(system, changes)
            ]
        return self._disordered(deliveries)

    def about(self, system: str, changed: Sequence[Change]) -> list[Delivery]:
        """Deliveries of one vendor about these documents."""
        ordered = sorted(changed, key=lambda change: change[0].updated_at)
        deliveries: list[Delivery] = announce(system).deliveries(self.sender(system), ordered)
        return deliveries

    def sender(self, system: str) -> Sender:
        """What deliveries of that vendor are made with."""
        return Sender(
            self._secrets[system],
            self._world.seed,
            self._random,
            self._numbers,
            full=self._full,
            books=self._world.books[system],
            cloud_events=self._cloud,
        )

    def _disordered(self, deliveries: list[Delivery]) -> list[Delivery]:
        disorder, random = self._disorder, self._random
        sent = [delivery for delivery in deliveries if random.random() >= disorder.lost]
        arriving = [
            delivery
            for delivery in sent
            for _ in range(2 if random.random() < disorder.repeated else 1)
        ]
        for at in range(len(arriving)):
            if random.random() < disorder.overtaken:
                other = random.randrange(len(arriving))
                arriving[at], arriving[other] = arriving[other], arriving[at]
        return arriving


class SubscribedAnnouncer:
    """Writes the deliveries to the addresses that were subscribed through the vendors' APIs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random, self._numbers = Random("subscribed"), count(1)
        self._seen = {key: document.version for key, document in self._documents()}

    def _documents(self) -> Iterator[tuple[tuple[str, str, str], Document]]:
        for system in SYSTEMS:
            for document in self._world.books[system].all():
                yield (system, document.entity, document.id), document

    def changes(self) -> list[tuple[str, Delivery]]:
        """Addresses and deliveries about all that changed since the last call."""
        with self._world.lock:
            changed: dict[str, list[Change]] = {}
            for key, document in self._documents():
                version_before = self._seen.get(key)
                if version_before != document.version:
                    self._seen[key] = document.version
                    what = _what(document, new=version_before is None)
                    changed.setdefault(key[0], []).append((document, what))
            return [
                sent
                for system, changes in changed.items()
                for entry in self._world.subscriptions[system].all()
                if entry.enabled
                for sent in self._to(system, entry, changes)
            ]

    def _to(
        self, system: str, entry: Entry, changed: Sequence[Change]
    ) -> Iterator[tuple[str, Delivery]]:
        sender = Sender(
            entry.secret,
            self._world.seed,
            self._random,
            self._numbers,
            books=self._world.books[system],
            topics=entry.topics,
        )
        ordered = sorted(changed, key=lambda change: change[0].updated_at)
        for delivery in announce(system).deliveries(sender, ordered):
            if not delivery.topic or entry.wants(delivery.topic):
                yield entry.url, delivery


def post(
    client: httpx.Client,
    url: str,
    delivery: Delivery,
    *,
    attempts: int = 5,
    wait_seconds: float = 0.2,
) -> httpx.Response:
    """Sends a delivery, again after every answer but 2xx and 410; the last answer.

    Raises:
        httpx.TransportError: If no attempt got an answer.
    """
    for attempt in range(attempts):
        last = attempt == attempts - 1
        try:
            answer = client.post(
                url, content=delivery.body, headers=delivery.headers(datetime.now(UTC), url)
            )
        except httpx.TransportError:
            if last:
                raise
        else:
            if answer.is_success or answer.status_code == 410 or last:
                return answer
        time.sleep(wait_seconds * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _what(document: Document, *, new: bool) -> What:
    if document.deleted:
        return "deleted"
    if new:
        return "created"
    return "voided" if document.status == "void" else "updated"
