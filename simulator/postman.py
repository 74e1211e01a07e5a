"""Sends the vendors' webhooks when something happens in the world.

They go to the addresses that were introduced, and to those that were subscribed through the
vendors' APIs.
"""

import logging
import threading
from collections.abc import Mapping
from queue import Queue
from typing import Any, Final

import httpx

from simulator.deliveries import Delivery
from simulator.webhooks import SYSTEMS, Announcer, SubscribedAnnouncer, post
from simulator.world import World

_SECONDS_MAX: Final = 5.0
#: More waiting deliveries than that are dropped, as a vendor's are after days: polling finds what
#: they told.
_WAITING_MAX: Final = 10_000
log = logging.getLogger(__name__)


class Postman:
    """The addresses by system, and a thread that delivers in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._addresses: dict[str, tuple[str, str]] = {}
        self._announcer: Announcer | None = None
        self._subscribed = SubscribedAnnouncer(world)
        self._waiting: Queue[tuple[str, Delivery]] = Queue(_WAITING_MAX)
        self._lock = threading.Lock()
        threading.Thread(target=self._deliver, name="postman", daemon=True).start()

    def introduce(self, addresses: Any) -> None:
        """Takes `{"xero": {"url": "http://...", "secret": "..."}}`; the same again changes nothing.

        Raises ValueError for anything else.
        """
        found = _read(addresses)
        with self._lock:
            if found != self._addresses:
                self._addresses = found
                self._announcer = Announcer(
                    self._world, {system: secret for system, (_, secret) in found.items()}
                )

    def collect(self) -> None:
        """Something happened: what changed is on its way."""
        with self._lock:
            sent = self._subscribed.changes()
            if self._announcer is not None:
                changes = self._announcer.changes()
                sent += [(self._addresses[one.system][0], one) for one in changes]
            for url, delivery in sent:
                if not self._waiting.full():
                    self._waiting.put((url, delivery))

    def _deliver(self) -> None:
        with httpx.Client(trust_env=False, timeout=_SECONDS_MAX) as client:
            while True:
                url, delivery = self._waiting.get()
                try:
                    status = post(client, url, delivery).status_code
                except httpx.TransportError as error:
                    log.warning(
                        "a webhook of %s was not delivered: %s",
                        delivery.system,
                        type(error).__name__,
                    )
                else:
                    if status >= 300:
                        log.warning("a webhook of %s was answered with %d", delivery.system, status)


def _read(addresses: Any) -> dict[str, tuple[str, str]]:
    if not isinstance(addresses, Mapping) or not set(addresses) <= set(SYSTEMS):
        raise ValueError(f"an object with some of {', '.join(SYSTEMS)}")
    found = {}
    for system, place in addresses.items():
        url, secret = (
            (place.get(name) for name in ("url", "secret"))
            if isinstance(place, Mapping)
            else (None, None)
        )
        if (
            not isinstance(url, str)
            or not isinstance(secret, str)
            or not url.startswith(("http://", "https://"))
        ):
            raise ValueError(f"{system}: url and secret are texts, and the url is one of HTTP")
        found[system] = (url, secret)
    return found
