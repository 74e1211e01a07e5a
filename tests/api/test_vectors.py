"""The vendors' published signatures over real sockets.

They are accepted as they are, and refused with one byte changed.
"""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api import webhooks
from connectors.kit.http.download import DownloadError
from connectors.kit.webhooks.certificates import Certificates
from tests.api.office import Office, sale

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def sample(name: str) -> Any:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return json.loads(path.read_text())


def at_the_time(monkeypatch: pytest.MonkeyPatch, stamp: int) -> None:
    """The API's clock shows the time of a delivery that was signed long ago."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(stamp, tz)

    monkeypatch.setattr(webhooks, "datetime", Clock)


@pytest.fixture(autouse=True)
def clock_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the API's clock.

    Bytes without an id are the same delivery within some seconds only, and both deliveries of a
    test must fall into the same seconds.
    """
    at_the_time(monkeypatch, int(datetime.now(UTC).timestamp()))


def proves(office: Office, at: str, body: bytes, headers: dict[str, str]) -> None:
    """Accepted, stored and not doubled as it is.

    Refused with another body, another signature or none.
    """
    assert [office.post(at, body, headers).status_code for _ in range(2)] == [200, 200]
    assert len(office.events(at)) <= 1
    kept = office.events(at)
    (name,) = (one for one in headers if "signature" in one or "hmac" in one)
    for wrong in (
        {**headers, name: headers[name][:-6] + "AAAAA="},
        {k: v for k, v in headers.items() if k != name},
    ):
        assert office.post(at, body, wrong).status_code == 401
    assert office.post(at, body.replace(b"1", b"2", 1) + b" ", headers).status_code == 401
    assert office.events(at) == kept


def test_standard_webhooks(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    for vector in sample("webhook_vectors_accounting.json")["standard_webhooks"]:
        stamp = vector["webhook-timestamp"]
        headers = {
            "webhook-id": vector["webhook-id"], "webhook-timestamp": str(stamp),
            "webhook-signature": vector["expected"],
        }  # fmt: skip
        at = office.endpoint(vector.get("secret") or f"whpk_{vector['public_key_b64']}")
        assert office.post(at, vector["body"].encode(), headers).status_code == 401, (
            "years old by now"
        )
        at_the_time(monkeypatch, stamp)
        proves(office, at, vector["body"].encode(), headers)
        monkeypatch.undo()


def test_quickbooks(office: Office) -> None:
    for vector in sample("webhook_vectors_accounting.json")["quickbooks_online"]:
        at = office.endpoint(vector["verifier_token"], system="quickbooks")
        proves(
            office,
            at,
            vector["body"].encode(),
            {"intuit-signature": vector["expected_intuit_signature"]},
        )


def test_xero(office: Office) -> None:
    for vector in sample("webhook_vectors_accounting.json")["xero"]:
        at = office.endpoint(vector["webhook_key"], system="xero")
        proves(
            office,
            at,
            vector["body"].encode(),
            {"x-xero-signature": vector["expected_x_xero_signature"]},
        )


def test_freshbooks(office: Office) -> None:
    for vector in sample("webhook_vectors_accounting.json")["freshbooks"]:
        at = office.endpoint(vector["verifier"], system="freshbooks", handshake="confirmed")
        headers = {"x-freshbooks-hmac-sha256": vector["expected_x_freshbooks_hmac_sha256"], **FORM}
        proves(office, at, vector["form_body"].encode(), headers)


def test_a_custom_system_that_signs_like_stripe(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"webhook_scheme": "t and v1", "webhook_header": "Stripe-Signature"}
    for vector in sample("stripe/webhook_signature_vectors.json"):
        body = (SAMPLES / "stripe" / vector["body_file"]).read_bytes()
        at = office.endpoint(vector["secret"], options=options)
        at_the_time(monkeypatch, vector["timestamp"])
        assert office.post(at, body, {"stripe-signature": vector["header"]}).status_code == 200
        assert (
            office.post(at, body + b" ", {"stripe-signature": vector["header"]}).status_code == 401
        )
        for shift, why in ((301, "timestamp_too_old"), (-301, "timestamp_in_the_future")):
            at_the_time(monkeypatch, vector["timestamp"] + shift)
            answer = office.post(at, body, {"stripe-signature": vector["header"]})
            assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (401, why)
        monkeypatch.undo()


@pytest.mark.parametrize(("encoding", "prefix"), [("hex", ""), ("hex", "sha256="), ("base64", "")])
def test_a_custom_system_with_plain_hmac(office: Office, encoding: str, prefix: str) -> None:
    import base64

    options = {
        "webhook_scheme": "hmac sha256",
        "webhook_header": "X-My-Signature",
        "webhook_encoding": encoding,
        "webhook_prefix": prefix,
    }
    secret, body = "a plain secret, long enough to be one", sale("INV-1")
    at = office.endpoint(secret, options=options)
    digest = hmac.digest(secret.encode(), body, hashlib.sha256)
    made = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    proves(office, at, body, {"x-my-signature": prefix + made})
    # Openssl agrees with the vector that Shopify's library publishes: the same scheme, in base64.
    if encoding == "base64":
        at = office.endpoint(
            "test_secret_key", options={**options, "webhook_header": "X-Shopify-Hmac-Sha256"}
        )
        headers = {"x-shopify-hmac-sha256": "B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g="}
        proves(office, at, b'{"foo": "bar"}', headers)


def test_the_clock_is_real_again() -> None:
    assert abs((vars(webhooks)["datetime"].now(UTC) - datetime.now(UTC)).total_seconds()) < 5


@pytest.mark.parametrize("name", ["webhook_vector_2015.json", "webhook_vector_2015_java.json"])
def test_paypals_vectors(office: Office, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its certificate is fetched once, from PayPal's own address alone."""
    vector, url = sample(f"paypal/{name}"), sample("paypal/webhook_vector_2015.json")["cert_url"]
    pem = sample("paypal/webhook_vector_2015_cert.json")["pem"].encode()
    asked: list[str] = []

    def fetched(address: str) -> bytes:
        asked.append(address)
        return pem

    monkeypatch.setattr(office.state, "certificates", Certificates(fetched))
    moment = datetime.fromisoformat(vector["transmission_time"])
    at_the_time(monkeypatch, int(moment.timestamp()))
    at = office.endpoint(vector["webhook_id"], system="paypal", connection="paypal")
    headers = {
        "paypal-transmission-id": vector["transmission_id"],
        "paypal-transmission-time": vector["transmission_time"],
        "paypal-transmission-sig": vector["transmission_sig"],
        "paypal-cert-url": url,
        "paypal-auth-algo": vector["auth_algo"],
        "content-type": "application/json",
    }
    body = vector["body"].encode()
    assert [office.post(at, body, headers).status_code for _ in range(2)] == [200, 200]
    assert office.events(at) == [f"id:{vector['transmission_id']}"]
    elsewhere = {**headers, "paypal-cert-url": url.replace("paypal.com", "paypal.com.evil.test")}
    for wrong in (elsewhere, {**headers, "paypal-transmission-id": "x"}):
        assert office.post(at, body, wrong).status_code == 401
    assert asked == [url]


def test_a_certificate_that_cannot_be_had_is_no_refusal(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PayPal sends again later; its address is not counted as one that proves nothing."""

    def fetched(_: str) -> bytes:
        raise DownloadError("api.paypal.com", "no answer", passing=True)

    monkeypatch.setattr(office.state, "certificates", Certificates(fetched))
    at = office.endpoint("1AB", system="paypal", connection="paypal")
    headers = {
        "paypal-transmission-id": "1",
        "paypal-transmission-sig": "AAAA",
        "paypal-cert-url": "https://api.paypal.com/v1/notifications/certs/CERT-1",
    }
    answers = [office.post(at, b"{}", headers) for _ in range(70)]
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].headers["retry-after"] == "60"
    assert office.events(at) == []
