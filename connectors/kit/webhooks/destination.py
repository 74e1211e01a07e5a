"""Where webhooks may be sent: the check of an address before anything is sent to it.

An operator enters the address, so it may point into our own network: at the database, at another
service, at the metadata of a cloud machine. The name is therefore resolved here, every address
that it has must be a public one (or in a network that the installation allows), and the request
goes to the address that was checked: the name is not resolved again.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
#: Addresses of a name, as text. Replaced in tests.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

#: How long a name may take to resolve.
RESOLVE_SECONDS_MAX: Final = 5.0
URL_CHARACTERS_MAX: Final = 2_000
#: Addresses of IPv6 that stand for one of IPv4 in their last 32 bits (NAT64).
_NAT64: Final = ip_network("64:ff9b::/96")


class ForbiddenDestinationError(ValueError):
    """Nothing may be sent there. The message says why and what to do."""


class UnknownHostError(OSError):
    """The name has no address now."""


@dataclass(frozen=True)
class Destination:
    """A URL in the parts that a request needs."""

    scheme: str
    #: In lower case; international names as `xn--`.
    host: str
    port: int
    #: With a slash before it.
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def destination(url: str) -> Destination:
    """The parts of a receiver's URL.

    Raises ForbiddenDestinationError: not http(s), or with a user, a password, a query or a
    fragment, which would be shown in lists. Signatures prove who sends; no token is needed.
    """
    if len(url) > URL_CHARACTERS_MAX or any(c <= " " or c in "\x7f\\" for c in url):
        raise ForbiddenDestinationError("the address is too long, or has a character of no URL")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if parts.hostname else ""
    except ValueError:
        raise ForbiddenDestinationError("the address is no URL") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ForbiddenDestinationError("the address must begin with https:// and have a host")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ForbiddenDestinationError(
            "the address must have no user, password, query or fragment: it is shown in lists. "
            "The signature proves who sends"
        )
    return Destination(
        parts.scheme, host, port or (443 if parts.scheme == "https" else 80), parts.path or "/"
    )


def networks(text: str) -> list[Network]:
    """The networks of a list separated by commas. Raises ValueError."""
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether something may be sent to an address: it is public, or in a network of `allowed`."""
    return _is_within(address, allowed) or all(
        _is_public(form) and not form.is_multicast for form in _forms(address)
    )


def _is_within(address: Address, allowed: Sequence[Network]) -> bool:
    inner = _forms(address)[-1]
    return any(inner in network for network in allowed)


def _forms(address: Address) -> list[Address]:
    """The address, and the IPv4 address that it stands for, which is the last one then."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner = address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return [address] if inner is None else [address, inner]


def _is_public(address: Address) -> bool:
    if address in _NAT64:  # what it stands for decides
        return True
    return address.is_global and not (
        address.is_private or address.is_loopback or address.is_link_local
        or address.is_unspecified or address.is_reserved
    )  # fmt: skip


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name. Raises OSError."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


async def checked_addresses(
    where: Destination, allowed: Sequence[Network], resolve: Resolve = resolve
) -> list[str]:
    """The addresses of a destination, each of which may be sent to, in the resolver's order.

    Plain HTTP goes to networks of `allowed` only: elsewhere others could read the points.

    Raises:
        ForbiddenDestinationError: One of its addresses is not allowed.
        UnknownHostError: It has none, or its name server does not answer in time.
    """
    try:
        async with asyncio.timeout(RESOLVE_SECONDS_MAX):
            texts = await resolve(where.host, where.port)
        addresses = [ip_address(text.partition("%")[0]) for text in texts]
    except (OSError, TimeoutError, UnicodeError):
        raise UnknownHostError("the host name is not found (DNS)") from None
    if not addresses:
        raise UnknownHostError("the host name has no address (DNS)")
    for address in addresses:
        if not is_allowed(address, allowed):
            raise ForbiddenDestinationError(
                f"{where.host} is not a public address. If it is meant, the administrator allows "
                "its network in TWEZAH_WEBHOOK_RECEIVER_NETWORKS"
            )
        if where.scheme == "http" and not _is_within(address, allowed):
            raise ForbiddenDestinationError(
                "the address must begin with https://. Plain HTTP goes only to networks of "
                "TWEZAH_WEBHOOK_RECEIVER_NETWORKS"
            )
    return [str(address) for address in addresses]
