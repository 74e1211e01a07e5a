"""A fleet of connections of one sender, idle or slow, does not shut the API for others."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from api.senders import Senders
from tests.api.office import Office, sale, signed

FLEET = 1_010
#: Both ends of every connection are in this process.
FILES = 4_096


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for the fleet."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if wanted < FILES:
        pytest.skip(f"this machine allows only {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connection_from(office: Office, address: str) -> socket.socket:
    """A connection whose sender has this address."""
    port = int(office.url.rsplit(":", 1)[1])
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0))


def post_from(office: Office, address: str, at: str, number: int) -> bytes:
    """The status line that a signed webhook of this sender is answered with."""
    body = sale(f"FLEET-{number}")
    headers = {**signed(body, f"fleet-{number}"), "content-length": str(len(body)), "host": "x"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /api/webhooks/billing/{at} HTTP/1.1\r\n{lines}connection: close\r\n\r\n"
    with connection_from(office, address) as sender:
        sender.sendall(head.encode() + body)
        return sender.recv(12)


#: What the fleet says, and is silent after: nothing, a part of a head, a whole request (and stays),
#: a part of a body.
SAID = {
    "silent": b"",
    "head": b"GET /health/live HTTP/1.1\r\nhost: x\r\n",
    "kept alive": b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n",
    "body": b"POST /api/billing/sync HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n{",
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_others_are_answered_meanwhile(office: Office, many_files: None, said: bytes) -> None:
    """The same fleet shut everybody out when connections were counted together."""
    at = office.endpoint()
    with ExitStack() as fleet:
        for number in range(FLEET):
            sender = fleet.enter_context(connection_from(office, "127.0.0.1"))
            if said:
                try:
                    sender.sendall(said)
                except ConnectionError:  # it has been closed already, for a younger one
                    continue
            if number % 250 == 0:
                assert post_from(office, "127.0.0.2", at, number) == b"HTTP/1.1 200"
        began = time.monotonic()
        for number in range(5_000, 5_005):
            assert post_from(office, "127.0.0.2", at, number) == b"HTTP/1.1 200"
        assert time.monotonic() - began < 60
    assert len(office.events(at)) == 10


@dataclass(eq=False)
class Fake:
    """A connection, and whether it was closed."""

    client_address: str | None
    waits_for_sender: bool = True
    closed: bool = field(default=False, init=False)

    def give_up(self) -> None:
        self.closed = True


def admitted(
    senders: Senders, address: str | None, number: int, *, waits: bool = True
) -> list[Fake]:
    """So many connections of a sender, all of which find room."""
    made = [Fake(address, waits) for _ in range(number)]
    assert all(senders.admit(one) for one in made)
    return made


def test_a_sender_over_its_limit_loses_its_own_oldest() -> None:
    senders = Senders(source_max=3, total_max=10)
    others = admitted(senders, "192.0.2.2", 2)
    own = admitted(senders, "192.0.2.1", 5)
    assert [one.closed for one in own] == [True, True, False, False, False]
    assert not any(one.closed for one in others)


def test_what_is_being_answered_is_never_closed() -> None:
    senders = Senders(source_max=2, total_max=10)
    busy = admitted(senders, "192.0.2.1", 2, waits=False)
    assert not senders.admit(Fake("192.0.2.1"))
    assert not any(one.closed for one in busy)
    senders.forget(busy[0])
    assert senders.admit(Fake("192.0.2.1"))


def test_where_all_is_full_the_greatest_sender_makes_room() -> None:
    senders = Senders(source_max=6, total_max=10)
    small, great = admitted(senders, "192.0.2.2", 4), admitted(senders, "192.0.2.1", 6)
    admitted(senders, "192.0.2.3", 1)
    assert [one.closed for one in great] == [True, False, False, False, False, False]
    assert not any(one.closed for one in small)


def test_who_is_one_sender() -> None:
    """A subscriber has a whole IPv6 network; an IPv4 address may come as an IPv6 one."""
    senders = Senders(source_max=2, total_max=10)
    six = admitted(senders, "2001:db8::1", 1) + admitted(senders, "2001:db8::2:1", 2)
    assert [one.closed for one in six] == [True, False, False]
    four = admitted(senders, "192.0.2.1", 1) + admitted(senders, "::ffff:192.0.2.1", 2)
    assert [one.closed for one in four] == [True, False, False]


def test_proxies_speak_for_many() -> None:
    senders = Senders(source_max=2, trusted_proxies=["10.0.0.0/8", "fd00::/8"], total_max=20)
    for address in ("10.1.2.3", "fd00::1", None):
        assert not any(one.closed for one in admitted(senders, address, 5))
