"""Who holds how many connections, and who has to give one back so that others are answered.

Connections are counted for each sender: an IPv4 address, or the /64 network of an IPv6 address.
Where there are too many, one that waits for its sender is closed, and never one whose request is
being answered: first of the sender that has the most.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Protocol

#: Connections at once, of everybody.
CONNECTIONS_MAX: Final = 1_000


class Held(Protocol):
    """One connection, as the server sees it."""

    @property
    def client_address(self) -> str | None:
        """The other end; None where it has no address (a Unix socket)."""

    @property
    def waits_for_sender(self) -> bool:
        """True while nothing is being answered: the sender is to speak, or to go on speaking."""

    def give_up(self) -> None:
        """Closes the connection."""


class Senders:
    """The connections of one server."""

    def __init__(
        self, source_max: int, trusted_proxies: Sequence[str] = (), total_max: int = CONNECTIONS_MAX
    ) -> None:
        """Nobody is connected yet.

        Args:
            source_max: Connections of one sender at once.
            trusted_proxies: Addresses or networks that speak for many, and are not limited.
            total_max: Connections at once.

        """
        self._source_max = source_max
        self._total_max = total_max
        self._proxies = [ip_network(network) for network in trusted_proxies]
        self._held: dict[str, dict[Held, None]] = {}
        self._total = 0

    def admit(self, connection: Held) -> bool:
        """Counts a new connection; False if there is no room and it must be closed."""
        sender = _sender(connection)
        held = self._held.get(sender, {})
        if len(held) >= self._limit(connection.client_address) and not self._close_one(held):
            return False
        if self._total >= self._total_max and not self._make_room():
            return False
        self._held.setdefault(sender, {})[connection] = None
        self._total += 1
        return True

    def forget(self, connection: Held) -> None:
        """A connection has ended. Does nothing if it was not admitted."""
        sender = _sender(connection)
        held = self._held.get(sender, {})
        if connection in held:
            del held[connection]
            self._total -= 1
            if not held:
                del self._held[sender]

    def _make_room(self) -> bool:
        """Closes a connection of the sender with the most; False if all are being answered."""
        by_number = sorted(self._held.values(), key=len, reverse=True)
        return any(self._close_one(held) for held in by_number)

    def _close_one(self, held: dict[Held, None]) -> bool:
        """Closes the oldest connection that waits for its sender."""
        oldest = next((connection for connection in held if connection.waits_for_sender), None)
        if oldest is None:
            return False
        self.forget(oldest)
        oldest.give_up()
        return True

    def _limit(self, address: str | None) -> int:
        """The limit of a sender; proxies and Unix sockets have none: they speak for many."""
        if address is None:
            return self._total_max
        parsed = _parsed(address)
        is_proxy = any(parsed in network for network in self._proxies)
        return self._total_max if is_proxy else self._source_max


def _parsed(address: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _sender(connection: Held) -> str:
    """What counts as one sender."""
    if connection.client_address is None:
        return ""
    parsed = _parsed(connection.client_address)
    bits = 32 if isinstance(parsed, IPv4Address) else 64
    return str(ip_network((parsed, bits), strict=False))
