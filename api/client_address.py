"""Where a request comes from."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

_UNSPECIFIED: Final = IPv6Address("::")


@dataclass(frozen=True)
class Source:
    """The sender's address; None where the server was reached without one (a Unix socket)."""

    address: IPv4Address | IPv6Address | None

    @property
    def is_loopback(self) -> bool:
        """Whether the sender is this machine."""
        return self.address is None or self.address.is_loopback

    @property
    def network(self) -> str | None:
        """The network that the audit keeps of the address: /24, or /48 of IPv6."""
        if self.address is None:
            return None
        return str(
            ip_network((self.address, 24 if self.address.version == 4 else 48), strict=False)
        )

    def subject(self, key: bytes) -> str:
        """The client's name among the rate limits: a keyed fingerprint of the address.

        Of IPv6, it is that of the /64 that one subscriber has.
        """
        if self.address is None:
            return "local"
        whole = ip_network((self.address, 32 if self.address.version == 4 else 64), strict=False)
        return hmac.digest(key, str(whole).encode(), hashlib.sha256).hex()[:24]

    def is_in(self, networks: Sequence[str]) -> bool:
        """Whether it is in one of the networks; an empty list holds all."""
        if not networks:
            return True
        return self.address is not None and any(
            self.address in ip_network(network) for network in networks
        )


def source_of(scope: Any) -> Source:
    """The sender of an ASGI request. An IPv4 address in IPv6 form counts as IPv4."""
    client = scope.get("client")
    try:
        address = ip_address(client[0]) if client else None
    except ValueError:  # a proxy that names no address is not this machine
        return Source(_UNSPECIFIED)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return Source(mapped or address)
