"""Slow senders, an absent database, a killed process.

Nothing is acknowledged that is not stored, and nothing stored is lost.
"""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from api import guard, protocol
from sql import webhooks
from tests.api.office import (
    FakeRuns,
    Office,
    office_on,
    own_process,
    sale,
    served,
    settings_for,
    signed,
    wait_until_ready,
)
from tests.support.ports import free_ports


def connection_to(office: Office) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(office.url.rsplit(":", 1)[1])), timeout=10)


def everything(sender: socket.socket) -> bytes:
    said = b""
    while part := sender.recv(65_536):
        said += part
    return said


def until(sender: socket.socket, end: bytes) -> bytes:
    said = b""
    while end not in said:
        part = sender.recv(65_536)
        assert part, said
        said += part
    return said


def test_a_head_that_does_not_end_is_cut_off(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.6)
    with connection_to(office) as silent, connection_to(office) as slow:
        began = time.monotonic()
        slow.sendall(b"POST /api/webhooks/billing/x HTTP/1.1\r\nhost: x\r\n")
        time.sleep(0.3)
        slow.sendall(b"x-more: 1\r\n")  # one more header does not buy more time
        assert everything(slow).startswith(b"HTTP/1.1 408 ")
        assert everything(silent).startswith(b"HTTP/1.1 408 ")
        assert 0.5 < time.monotonic() - began < 8


def test_a_head_without_end_is_cut_off(office: Office) -> None:
    with connection_to(office) as sender:
        sender.sendall(b"GET /health HTTP/1.1\r\n")
        try:
            for number in range(5_000):
                sender.sendall(b"x-%d: %s\r\n" % (number, b"a" * 1_000))
            said = everything(sender)
        except OSError:
            said = b""  # closed while we were still sending
        assert said == b"" or said.startswith(b"HTTP/1.1 431 ")
    assert office.http.get("/health").status_code == 200


def test_a_body_that_does_not_end_is_cut_off(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS_MAX", 0.6)
    at = office.endpoint()
    with connection_to(office) as sender:
        sender.sendall(
            b"POST /api/webhooks/billing/%s HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
            % at.encode()
        )
        for _ in range(3):
            sender.sendall(b"a")
            time.sleep(0.1)
        said = everything(sender)
    assert (
        said.startswith(b"HTTP/1.1 408 ")
        and b"too_slow_sender" in said
        and b"connection: close" in said.lower()
    )
    assert office.attempts(at) == [("too_slow_sender", 1)]


def test_who_sends_too_much_hears_so_before_the_connection_ends(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = (
        f"POST /api/webhooks/billing/{office.endpoint()} HTTP/1.1\r\nhost: x\r\n"
        f"content-length: {2**25}\r\n"
    )
    with connection_to(office) as sender:  # it reads only once it has sent all
        sender.sendall(head.encode() + b"\r\n" + b"a" * 2**25)
        said = everything(sender)
    assert (
        said.startswith(b"HTTP/1.1 413 ")
        and said.endswith(b"}")
        and b"connection: close" in said.lower()
    )
    monkeypatch.setattr(guard, "LINGER_SECONDS_MAX", 0.3)
    with connection_to(office) as sender:  # it asks first, and is not invited
        sender.sendall(head.encode() + b"expect: 100-continue\r\n\r\n")
        assert everything(sender).startswith(b"HTTP/1.1 413 ")
    with connection_to(office) as sender:  # it never ends, and more bytes buy no more time
        sender.sendall(head.encode() + b"\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(40):
                sender.sendall(b"a")
                time.sleep(0.1)
    monkeypatch.undo()
    monkeypatch.setattr(guard, "LINGER_BYTES_MAX", 2**20)
    with connection_to(office) as sender, pytest.raises(ConnectionError):
        sender.sendall(head.encode() + b"\r\n" + b"a" * 2**25)


def test_slow_senders_do_not_hold_up_the_others(office: Office) -> None:
    at = office.endpoint()
    slow = [connection_to(office) for _ in range(200)]
    try:
        for one in slow:
            one.sendall(
                b"POST /api/webhooks/billing/%s HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
                % at.encode()
            )
        body = sale("INV-1")
        began = time.monotonic()
        assert office.post(at, body, signed(body, "m")).status_code == 200
        assert time.monotonic() - began < guard.BODY_SECONDS_MAX
    finally:
        for one in slow:
            one.close()


def test_who_hangs_up_is_in_the_audit(office: Office) -> None:
    at = office.endpoint()
    with connection_to(office) as sender:
        sender.sendall(
            b"POST /api/webhooks/billing/%s HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
            % at.encode()
        )
        time.sleep(0.1)
    assert office.attempts(at) == [("hung_up", 1)]


def test_without_the_database_nothing_is_acknowledged_and_afterwards_all_is_well(
    office: Office,
) -> None:
    at, body, key = office.endpoint(), sale("INV-1"), office.key()
    assert office.post(at, body, signed(body, "before")).status_code == 200
    with office.without_database():
        began = time.monotonic()
        with ThreadPoolExecutor(5) as pool:
            answers = list(
                pool.map(lambda n: office.post(at, body, signed(body, f"m{n}")), range(5))
            )
        assert {answer.status_code for answer in answers} == {503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert time.monotonic() - began < 30
        assert office.http.get("/health").status_code == 503
        assert office.http.get("/health/live").status_code == 200
        for question in ("transactions", "explanation?system=xero&invoice=1", "status"):
            assert office.http.get(f"/api/billing/{question}", headers=key).status_code == 503
    wait_until_ready(office.url, seconds=10)  # however long it was away
    for number in range(5):
        assert office.post(at, body, signed(body, f"m{number}")).status_code == 200, (
            "the sender tries again"
        )
    assert sorted(office.events(at)) == ["id:before", *(f"id:m{n}" for n in range(5))]
    assert office.http.get("/api/billing/transactions", headers=key).status_code == 200
    assert dict(office.attempts(at))["stored"] == 6


def test_the_database_goes_away_between_verifying_and_storing(office: Office) -> None:
    """The endpoint is still known, so the delivery gets as far as the store."""
    at, body = office.endpoint(), sale("INV-1")
    assert office.post(at, body, signed(body, "first")).status_code == 200
    with psycopg.connect(office.dsn) as other:
        other.execute("LOCK TABLE billing.webhook_event IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        answer = office.post(at, body, signed(body, "second"))
        assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (503, "not_stored")
        assert time.monotonic() - began < 10, (
            "it waits 2.5 s to store; the rest is a busy machine's"
        )
        other.rollback()
    time.sleep(0.5)
    assert office.post(at, body, signed(body, "second")).status_code == 200
    assert office.events(at) == ["id:first", "id:second"]
    # What the sender was told, and what became of its event a moment later.
    assert dict(office.attempts(at)) == {"stored": 2, "not_stored": 1, "duplicate": 1}


def test_a_process_killed_after_the_acknowledgement_has_lost_nothing(
    office: Office, tmp_path: Path
) -> None:
    """An event whose wake-up was lost waits in the database.

    The next process starts a run that claims it.
    """
    (port,) = free_ports(1)
    settings = settings_for(tmp_path, office.dsn, secret_key=office.config.key.decode())
    url = f"http://127.0.0.1:{port}"
    at, body = office.endpoint(), sale("INV-1")
    with own_process(settings, int(port), TWEZAH_SECRET_KEY=office.config.key.decode()) as process:
        wait_until_ready(url)
        answer = httpx.post(
            f"{url}/api/webhooks/billing/{at}", content=body, headers=signed(body, "m")
        )
        process.kill()
        assert answer.status_code == 200
    app, _, runs = office_on(settings)
    with served(app, settings):
        deadline = time.monotonic() + 10
        while not runs.started and time.monotonic() < deadline:
            time.sleep(0.05)
    assert runs.started[0][0] == "webhooks"
    with psycopg.connect(office.dsn) as connection:
        claimed = webhooks.claim_events(connection, 10_000, run_id="r")
        connection.rollback()
    assert [one.body for one in claimed if one.dedup_key == "id:m" and one.body == body]


def test_a_burst_starts_one_run_and_none_where_somebody_claims(
    office: Office, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, office.dsn, secret_key=office.config.key.decode())
    office.rows(
        "UPDATE billing.webhook_event SET state = 'done', finished_at = now() "
        "WHERE state <> 'done' RETURNING 1"
    )
    app, _, runs = office_on(settings)
    at = office.endpoint()

    def burst(url: str, name: str) -> None:
        with httpx.Client(base_url=url) as http:
            for number in range(30):
                body = sale(str(number))
                headers = signed(body, f"{name}{number}")
                assert (
                    http.post(
                        f"/api/webhooks/billing/{at}", content=body, headers=headers
                    ).status_code
                    == 200
                )

    def started(runs: FakeRuns) -> list[str]:
        time.sleep(0.3)
        return [one[0] for one in runs.started]

    with psycopg.connect(office.dsn, autocommit=True) as flow, ExitStack() as serving:
        with webhooks.claiming(flow):
            url = serving.enter_context(served(app, settings))
            flow.execute("LISTEN billing_webhook")
            burst(url, "a")
            assert {n.channel for n in flow.notifies(timeout=5, stop_after=1)} == {
                "billing_webhook"
            }
            assert started(runs) == []
        burst(url, "b")
        assert started(runs) == ["webhooks"]


def test_after_its_answer_a_sender_holds_neither_connection_nor_memory(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.6)
    unfinished = b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
    complete = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    for request, drop in ((unfinished, b"x"), (complete, b"\r\n")):
        with connection_to(office) as sender:
            sender.sendall(request)
            assert sender.recv(65_536).startswith(b"HTTP/1.1 ")
            began = time.monotonic()
            with suppress(ConnectionError):
                for _ in range(200):  # one more byte does not buy more time
                    sender.sendall(drop)
                    time.sleep(0.1)
                everything(sender)
            assert 0.5 < time.monotonic() - began < 15
    with connection_to(office) as patient:  # a slow one that is honest is served again
        patient.sendall(unfinished + b"a" * 99)
        assert b" 404 " in until(patient, b'"request_id"')
        patient.sendall(b"a" + complete)
        assert b" 200 " in until(patient, b'"status":"ok"')


@pytest.mark.parametrize(
    "what", [b"x-more: %s\r\n" % (b"a" * 1_000), b"x" * 1_000, b"1;%s\r\na\r\n" % (b"e" * 1_000)]
)
def test_trailers_and_chunk_extensions_without_end_are_cut_off(office: Office, what: bytes) -> None:
    chunked = b"POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with connection_to(office) as sender, suppress(ConnectionError):
        sender.sendall(chunked + (b"" if what.startswith(b"1") else b"0\r\n"))
        for _ in range(20_000):
            sender.sendall(what)
        pytest.fail("20 MB were taken")


def test_a_trailer_is_no_header(office: Office) -> None:
    at, body = office.endpoint(), sale("INV-1")
    lines = b"".join(
        b"%s: %s\r\n" % (name.encode(), value.encode()) for name, value in signed(body, "m").items()
    )
    head = (
        b"POST /api/webhooks/billing/%s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        % at.encode()
    )
    for before, behind, status in ((lines, lines, b" 200 "), (b"", lines, b" 401 ")):
        with connection_to(office) as sender:
            sender.sendall(
                head + before + b"\r\n%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, behind)
            )
            assert status in sender.recv(65_536)


def test_who_does_not_read_the_answers_is_let_go(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS_MAX", 0.5)
    with connection_to(office) as sender:
        sender.settimeout(10)
        sender.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 300)
        deadline = time.monotonic() + 20
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                sender.sendall(b"\r\n")
                time.sleep(0.1)
        assert time.monotonic() < deadline
