"""Webhooks that are signed with a certificate: PayPal's published vectors, and what is refused."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from connectors.kit.http.download import DownloadError, download
from connectors.kit.webhooks.certificates import CertificateAwayError, Certificates, public_key
from connectors.kit.webhooks.scheme import (
    Refused,
    Verified,
    certificate_address,
    delivery_key,
    verify,
)
from connectors.paypal.webhooks import WEBHOOK
from simulator.systems.paypal import certificate

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "paypal"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples in {SAMPLES}")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BODY = b'{"id": "WH-1", "event_type": "INVOICING.INVOICE.PAID"}'
SECRETS = [SecretStr("1AB"), SecretStr("2CD")]


def headers(body: bytes = BODY, webhook_id: str = "1AB", **changes: str) -> dict[str, str]:
    """Of a delivery as PayPal signs it."""
    time = "2026-05-01T11:59:00Z"
    text = certificate.signed_text("t-1", time, webhook_id, body)
    made = {
        "Paypal-Transmission-Id": "t-1",
        "Paypal-Transmission-Time": time,
        "Paypal-Transmission-Sig": certificate.signature(text),
        "Paypal-Cert-Url": certificate.ADDRESS,
        "Paypal-Auth-Algo": "SHA256withRSA",
    }
    return made | {name.replace("_", "-"): value for name, value in changes.items()}


def outcome(
    sent: dict[str, str], body: bytes = BODY, pem: bytes | None = None, now: datetime = NOW
) -> Any:
    pem = certificate.pem() if pem is None else pem
    return verify(WEBHOOK, SECRETS, sent, body, now, certificate=pem)


@needs_samples
@pytest.mark.parametrize("name", ["webhook_vector_2015.json", "webhook_vector_2015_java.json"])
def test_published_vectors(name: str) -> None:
    vector = json.loads((SAMPLES / name).read_text())
    pem = json.loads((SAMPLES / "webhook_vector_2015_cert.json").read_text())["pem"].encode()
    url = json.loads((SAMPLES / "webhook_vector_2015.json").read_text())["cert_url"]
    sent = {
        "PAYPAL-TRANSMISSION-ID": vector["transmission_id"],
        "PAYPAL-TRANSMISSION-TIME": vector["transmission_time"],
        "PAYPAL-TRANSMISSION-SIG": vector["transmission_sig"],
        "PAYPAL-CERT-URL": url,
        "PAYPAL-AUTH-ALGO": vector["auth_algo"],
    }
    body, secrets = vector["body"].encode(), [SecretStr(vector["webhook_id"])]
    at = datetime.fromisoformat(vector["transmission_time"])
    assert certificate_address(WEBHOOK, sent, body) == url
    right = verify(WEBHOOK, secrets, sent, body, at, certificate=pem)
    assert isinstance(right, Verified)
    assert right.message_id == vector["transmission_id"]
    changed = verify(WEBHOOK, secrets, sent, body + b" ", at, certificate=pem)
    assert changed == Refused("signature does not match")
    # It is over since March 2017.
    late = verify(WEBHOOK, secrets, sent, body, datetime(2017, 4, 1, tzinfo=UTC), certificate=pem)
    assert late == Refused("certificate not valid")


def test_a_delivery_is_verified_with_any_of_the_ids() -> None:
    assert outcome(headers()) == Verified("t-1", None, 0)
    assert outcome(headers(webhook_id="2CD")) == Verified("t-1", None, 1)
    assert outcome(headers(webhook_id="3EF")) == Refused("signature does not match")
    assert delivery_key(WEBHOOK, headers(), BODY, NOW) == "id:t-1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Paypal_Transmission_Sig": ""}, "signature missing"),
        ({"Paypal_Transmission_Sig": "AAAA"}, "signature does not match"),
        ({"Paypal_Transmission_Sig": "not base64!"}, "signature does not match"),
        ({"Paypal_Transmission_Id": "t-2"}, "signature does not match"),
        ({"Paypal_Transmission_Id": ""}, "message id missing"),
        ({"Paypal_Transmission_Time": "2026-05-01T11:59:01Z"}, "signature does not match"),
        ({"Paypal_Auth_Algo": "SHA1withRSA"}, "signature does not match"),
    ],
)
def test_what_is_refused(changes: dict[str, str], reason: str) -> None:
    assert outcome(headers(**changes)) == Refused(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://paypal.com.evil.test/v1/notifications/certs/CERT-1",
        "https://api.paypal.com.evil.test/v1/notifications/certs/CERT-1",
        "https://evil.test/v1/notifications/certs/CERT-1",
        "https://api.paypal.com@evil.test/v1/notifications/certs/CERT-1",
        "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/../../../x",
        "https://api.paypal.com/v1/notifications/certs/a/b",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?x=1",
        "https://api.paypal.com/v1/notifications/certs/CERT-1#x",
        "https://api.paypal.com/v1/notifications/certs/",
        "https://api.paypal.com/v1/oauth2/CERT-1",
        "https://www.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com\\@evil.test/v1/notifications/certs/CERT-1",
        "HTTPS://api.paypal.com/v1/notifications/certs/CERT-1",
        f"https://api.paypal.com/v1/notifications/certs/{'A' * 101}",
    ],
)
def test_no_other_address_is_asked(address: str) -> None:
    sent = headers(Paypal_Cert_Url=address)
    assert certificate_address(WEBHOOK, sent, BODY) is None
    unknown = verify(WEBHOOK, SECRETS, sent, BODY, NOW)
    assert unknown == Refused("certificate not known")


def test_nothing_is_fetched_for_a_delivery_that_cannot_be_right() -> None:
    assert certificate_address(WEBHOOK, headers(Paypal_Transmission_Sig=""), BODY) is None
    twice = [*headers().items(), ("paypal-cert-url", certificate.ADDRESS)]
    assert certificate_address(WEBHOOK, twice, BODY) is None
    assert certificate_address(WEBHOOK, headers(), b"x" * (WEBHOOK.body_bytes_max + 1)) is None
    assert verify(WEBHOOK, SECRETS, twice, BODY, NOW) == Refused("header given twice")


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        certificate.pem(issued_to="messages.evil.test"),
        certificate.pem(issued_to="evilpaypal.com"),
        certificate.pem(issued_to="paypal.com.evil.test"),
        certificate.pem(ends=NOW - timedelta(seconds=1)),
        certificate.pem(begins=NOW + timedelta(seconds=1)),
    ],
)
def test_a_certificate_of_another_time_or_name_is_none(pem: bytes) -> None:
    assert public_key(pem, ".paypal.com", NOW) is None
    assert outcome(headers(), pem=pem) == Refused("certificate not valid")


class Source:
    """Certificates at addresses, and a clock."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.seconds = 0.0
        self.fails = False

    def fetch(self, address: str) -> bytes:
        self.asked.append(address)
        if self.fails:
            raise DownloadError("api.paypal.com", "answered 404", passing=False)
        return b"pem"

    def store(self) -> Certificates:
        return Certificates(self.fetch, lambda: self.seconds)


def test_a_certificate_is_kept_for_a_day() -> None:
    source = Source()
    store = source.store()
    assert store.known("a") is None
    assert [store.get("a"), store.get("a"), store.known("a")] == [b"pem"] * 3
    source.seconds = 86_399
    store.get("a")
    assert source.asked == ["a"]
    source.seconds = 86_401
    assert store.known("a") is None
    store.get("a")
    assert source.asked == ["a", "a"]


def test_a_failure_is_remembered_for_a_minute() -> None:
    source = Source()
    source.fails, store = True, source.store()
    for _ in range(3):
        with pytest.raises(CertificateAwayError, match="answered 404"):
            store.get("a")
    assert len(source.asked) == 1
    source.fails, source.seconds = False, 61
    assert store.get("a") == b"pem"


def test_only_so_many_are_fetched_in_a_minute_and_kept() -> None:
    source = Source()
    store = source.store()
    for number in range(10):
        store.get(f"a{number}")
    with pytest.raises(CertificateAwayError, match="too many"):
        store.get("a10")
    assert store.get("a9") == b"pem"  # what is kept is not held up
    source.seconds = 61
    for number in range(10, 20):
        store.get(f"a{number}")
    assert sum(store.known(f"a{number}") is not None for number in range(20)) == 16
    assert store.known("a0") is None


def test_threads_that_ask_at_once_fetch_once() -> None:
    source, begun, go = Source(), threading.Event(), threading.Event()

    def slow(address: str) -> bytes:
        begun.set()
        assert go.wait(10)
        return source.fetch(address)

    store = Certificates(slow, lambda: 0.0)
    threads = [threading.Thread(target=store.get, args=("a",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert source.asked == ["a"]


def served(answer: Callable[[httpx.Request], httpx.Response]) -> bytes:
    return download(
        certificate.ADDRESS, bytes_max=1000, attempts=1, redirects=0,
        transport=httpx.MockTransport(answer),
    )  # fmt: skip


def test_no_redirect_is_followed_and_nothing_is_asked_twice() -> None:
    asked: list[str] = []

    def moved(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": "https://evil.test/"})

    with pytest.raises(DownloadError, match="answered 302"):
        served(moved)
    assert asked == [certificate.ADDRESS]

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(503)

    with pytest.raises(DownloadError, match="answered 503"):
        served(busy)
    assert len(asked) == 2
    with pytest.raises(DownloadError, match="larger than 1000"):
        served(lambda _: httpx.Response(200, content=b"x" * 2000))
