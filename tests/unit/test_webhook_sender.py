"""Where webhooks may go, which address is asked, and how they are signed."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from connectors.kit.webhooks import send
from connectors.kit.webhooks.destination import (
    ForbiddenDestinationError,
    UnknownHostError,
    checked_addresses,
    destination,
    is_allowed,
    networks,
)
from connectors.kit.webhooks.send import OutgoingMessage, Sender, SendResult
from connectors.kit.webhooks.signatures import standard_signature
from sql.changes import KINDS
from tests.support.receiver import receiver

HERE = networks("127.0.0.0/8")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::", "::1",
    "fe80::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:7f00:1::",
    "2002:0a00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "::127.0.0.1",
]  # fmt: skip
PUBLIC = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]


def resolving(*addresses: str) -> Any:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if not addresses:
            raise socket.gaierror
        return addresses

    return resolve


def check(url: str, *addresses: str, allowed: str = "") -> list[str]:
    return asyncio.run(
        checked_addresses(destination(url), networks(allowed), resolving(*addresses))
    )


@pytest.mark.parametrize("address", PRIVATE)
def test_private_places_are_refused(address: str) -> None:
    assert not is_allowed(ip_address(address), [])
    with pytest.raises(ForbiddenDestinationError):
        check("https://app.example.com/", address)
    with pytest.raises(ForbiddenDestinationError):  # one private address of two is enough
        check("https://app.example.com/", "1.1.1.1", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_places_are_not(address: str) -> None:
    assert check("https://app.example.com/", address) == [str(ip_address(address))]
    with pytest.raises(ForbiddenDestinationError, match="https"):
        check("http://app.example.com/", address)


def test_what_an_administrator_allows() -> None:
    assert check("http://app.lan/", "10.1.2.3", allowed="10.1.0.0/16") == ["10.1.2.3"]
    assert check("https://app.lan/", "fd12::1", allowed="fd12::/16") == ["fd12::1"]
    assert check("http://app.lan/", "::ffff:10.1.2.3", allowed="10.1.0.0/16")
    with pytest.raises(ForbiddenDestinationError):
        check("http://app.lan/", "10.2.2.3", allowed="10.1.0.0/16")


def test_a_name_without_address() -> None:
    with pytest.raises(UnknownHostError):
        check("https://app.example.com/")


@pytest.mark.parametrize(
    "url",
    ["", "app.example.com", "https://", "https:///x", "https://a b/", "https://a:99999/",
     "https://a/\r\nx: y", "https://a@b/", "https://a\\@b/", "https://a/?b", "https://a/#b",
     "file:///etc/passwd", "https://" + "a" * 2000 + ".com/"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ForbiddenDestinationError):
        destination(url)


def test_the_parts_of_an_address() -> None:
    where = destination("https://ÁGUA.example:8443/hooks")
    assert (where.host, where.authority, where.path) == (
        "xn--gua-dla.example", "xn--gua-dla.example:8443", "/hooks",
    )  # fmt: skip
    assert destination("https://[2606:4700::1]").authority == "[2606:4700::1]"


@pytest.mark.parametrize(
    ("secret", "message_id", "stamp", "body", "signature"),
    [
        (SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}',
         "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553,
         b'{"email":"test@example.com","username":"test_user"}',
         "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
    ],
)  # fmt: skip
def test_signatures_are_those_of_the_reference_libraries(
    secret: str, message_id: str, stamp: int, body: bytes, signature: str
) -> None:
    assert standard_signature([secret], message_id, stamp, body) == signature
    assert standard_signature([secret, secret], message_id, stamp, body) == " ".join(
        [signature] * 2
    )
    with pytest.raises(ValueError, match="dot"):
        standard_signature([secret], "msg.1", stamp, body)


def posted(url: str, *addresses: str, body: bytes = b"{}") -> SendResult:
    message = OutgoingMessage("msg_1", url, body, [SECRET])
    with Sender(HERE, resolving(*addresses)) as sender:
        return sender.send(message).result(30)


def test_the_checked_address_is_asked_under_the_name() -> None:
    """The name is resolved once: a second answer of its name server changes nothing."""
    with receiver() as app:
        port = app.url.split(":")[2].split("/")[0]
        assert posted(f"http://app.invalid:{port}/hooks", "127.0.0.1").ok
        assert app.requests[0].headers["host"] == f"app.invalid:{port}"
        # A second address is tried where the first does not answer.
        assert posted(f"http://app.invalid:{port}/hooks", "127.0.0.9", "127.0.0.1").ok


def test_nobody_listens() -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        result = posted(f"http://app.invalid:{probe.getsockname()[1]}/", "127.0.0.1")
    assert (result.status, result.ok) == (None, False)
    assert "refused" in result.error


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header every now and then: each wait is short, and all together are not."""
    monkeypatch.setattr(send, "SEND_SECONDS_MAX", 0.5)
    stop = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with closing(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"x: y\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        result = posted(f"http://app.invalid:{server.getsockname()[1]}/", "127.0.0.1")
        stop.set()
        thread.join(10)
    assert result.error.startswith("no answer within")


def test_a_long_answer_is_not_read() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        sent = 0

        def flood() -> None:
            nonlocal sent
            connection, _ = server.accept()
            with closing(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                try:
                    while sent < 2**28:
                        sent += connection.send(b"x" * 65_536)
                except OSError:
                    return

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        assert posted(f"http://app.invalid:{server.getsockname()[1]}/", "127.0.0.1").ok
        thread.join(30)
    assert sent < 2**28


def test_a_message_that_is_too_large_or_unsigned_is_not_sent() -> None:
    assert "larger" in posted("http://app.invalid/", "127.0.0.1", body=b"x" * 20_001).error
    with Sender(HERE, resolving("127.0.0.1")) as sender:
        result = sender.send(OutgoingMessage("msg_1", "http://a.invalid/", b"{}", [])).result(30)
    assert "no secret" in result.error


def test_the_form_offers_every_kind() -> None:
    from typing import get_args

    from flows.receivers import Kind

    assert set(get_args(Kind)) == set(KINDS)


def test_networks_are_read() -> None:
    assert networks(" 10.0.0.0/8, 127.0.0.1 ,") == [
        ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"),
    ]  # fmt: skip
