"""A file from a URL is had whole or not at all."""

import gzip
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import stamina

from connectors.kit.http.download import DownloadError, download

BODY = b"date,from,to,rate\n" + b"2026-01-01,USD,AOA,912.5\n" * 40


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


def test_a_body_that_ends_before_its_length_is_no_file() -> None:
    """Over a real socket: the header names more bytes than come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY)

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(head + BODY[:500])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/rates.csv?key=s3cret"
        with pytest.raises(DownloadError) as caught:
            download(url, bytes_max=10_000)
        thread.join(10)
    assert caught.value.passing
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("cut", [1, 9, 60])
def test_a_packed_body_that_is_cut_off_is_no_file(cut: int) -> None:
    packed = gzip.compress(BODY)

    class Cut(httpx.SyncByteStream):
        def __init__(self, size: int) -> None:
            self.size = size

        def __iter__(self) -> Iterator[bytes]:
            yield packed[: self.size]

    def answer(size: int) -> httpx.MockTransport:
        return httpx.MockTransport(
            lambda _: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Cut(size))
        )

    url = "http://rates.example.com/rates.csv"
    assert download(url, bytes_max=10_000, transport=answer(len(packed))) == BODY
    with pytest.raises(DownloadError):
        download(url, bytes_max=10_000, transport=answer(len(packed) - cut))
