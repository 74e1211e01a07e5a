"""Webhooks over real sockets: verified, stored, acknowledged.

Also whatever a hostile or broken sender does.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime

import pytest

from connectors.kit.described import test_event
from connectors.kit.webhooks.scheme import events
from connectors.registry import declaration
from sql.sealing import keyring
from tests.api.office import OLD_SECRET, SECRET, Office, blast, sale, signed


def test_a_signed_event_is_stored_before_it_is_acknowledged(office: Office) -> None:
    at = office.endpoint()
    body = sale("INV-1")
    answer = office.post(at, body, signed(body, "msg_1"))
    assert (answer.status_code, answer.content) == (200, b"")
    (row,) = office.rows(
        "SELECT dedup_key, kind, state, headers, source_ip::text FROM billing.webhook_event "
            "JOIN billing.webhook_endpoint "
        "USING (endpoint_no) WHERE endpoint_id = %s", at,
    )  # fmt: skip
    assert row[:3] == ("id:msg_1", "sale.completed", "received")
    assert row[3] == {"content-type": "application/json", "webhook-id": "msg_1"}
    assert row[4] == "127.0.0.1/32"
    assert office.attempts(at) == [("stored", 1)]


def test_a_replay_is_acknowledged_and_stored_once(office: Office) -> None:
    at, body = office.endpoint(), sale("INV-1")
    headers = signed(body, "msg_1")
    assert [office.post(at, body, headers).status_code for _ in range(3)] == [200, 200, 200]
    retried = signed(body, "msg_1", at=time.time() - 100)
    assert office.post(at, body, retried).status_code == 200, (
        "a retry has a timestamp and a signature of its own"
    )
    assert office.events(at) == ["id:msg_1"]
    assert office.attempts(at) == [("duplicate", 3), ("stored", 1)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-signature": None}, "signature_missing"),
        ({"webhook-signature": "v1,AAAA"}, "signature_does_not_match"),
        ({"webhook-signature": "v1,"}, "signature_missing"),
        ({"webhook-signature": "v2,é"}, "signature_missing"),
        ({"webhook-id": "msg_2"}, "signature_does_not_match"),
        ({"webhook-timestamp": "now"}, "timestamp_is_not_a_number"),
        ({"webhook-timestamp": None}, "timestamp_missing"),
    ],
)
def test_what_proves_nothing_is_refused(
    office: Office, change: dict[str, str | None], reason: str
) -> None:
    at, body = office.endpoint(), sale("INV-1")
    headers = {
        k: v.encode() for k, v in {**signed(body, "msg_1"), **change}.items() if v is not None
    }
    answer = office.http.post(
        f"/api/webhooks/billing/{at}",
        content=body,
        headers=headers,  # type: ignore[arg-type]
    )
    assert (answer.status_code, answer.json()["type"]) == (401, f"urn:problem-type:twezah:{reason}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert office.events(at) == []
    assert office.attempts(at) == [(reason, 1)]


def test_a_changed_body_is_refused(office: Office) -> None:
    at, body = office.endpoint(), sale("INV-1")
    assert (
        office.post(at, body.replace(b"150.0", b"950.0"), signed(body, "msg_1")).status_code == 401
    )


@pytest.mark.parametrize(
    ("age_seconds", "reason"), [(-330, "timestamp_in_the_future"), (330, "timestamp_too_old")]
)
def test_a_stale_or_future_delivery_is_refused(
    office: Office, age_seconds: float, reason: str
) -> None:
    at, body = office.endpoint(), sale("INV-1")
    answer = office.post(at, body, signed(body, "msg_1", at=time.time() - age_seconds))
    assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (401, reason)
    assert office.post(at, body, signed(body, "msg_1", at=time.time() - 270)).status_code == 200


def test_both_secrets_are_good_while_one_replaces_the_other(office: Office) -> None:
    at = office.endpoint(OLD_SECRET, SECRET)
    for number, secret in enumerate((OLD_SECRET, SECRET)):
        body = sale(str(number))
        assert office.post(at, body, signed(body, f"msg_{number}", secret)).status_code == 200
    office.rows(
        "UPDATE billing.webhook_secret s SET expires_at = now() "
            "FROM billing.webhook_endpoint p WHERE p.endpoint_no = s.endpoint_no "
        "AND p.endpoint_id = %s AND s.expires_at IS NOT NULL RETURNING 1", at,
    )  # fmt: skip
    time.sleep(1.1)  # an endpoint is remembered for a second
    assert office.post(at, body, signed(body, "msg_9", OLD_SECRET)).status_code == 401
    assert office.post(at, body, signed(body, "msg_9", SECRET)).status_code == 200


def test_an_unknown_and_a_disabled_endpoint(office: Office) -> None:
    body = sale("INV-1")
    assert office.post("x" * 32, body, signed(body, "msg_1")).status_code == 404
    at = office.endpoint()
    office.rows(
        "UPDATE billing.webhook_endpoint SET disabled_at = now() WHERE endpoint_id = %s "
        "RETURNING 1",
        at,
    )
    assert office.post(at, body, signed(body, "msg_1")).status_code == 410, "the sender shall stop"


def test_the_address_without_id_is_the_default_endpoints(office: Office) -> None:
    body = sale("INV-1")
    assert (
        office.http.post(
            "/api/webhooks/billing", content=body, headers=signed(body, "m")
        ).status_code
        == 404
    )
    at = office.endpoint(is_default=True)
    assert (
        office.http.post(
            "/api/webhooks/billing", content=body, headers=signed(body, "m")
        ).status_code
        == 200
    )
    assert office.events(at) == ["id:m"]


def test_only_senders_in_the_allowed_networks_are_heard(office: Office) -> None:
    body = sale("INV-1")
    there, here = (
        office.endpoint(allowed_networks=["192.0.2.0/24"]),
        office.endpoint(allowed_networks=["127.0.0.0/8"]),
    )
    answer = office.post(there, body, signed(body, "m"))
    assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (
        403,
        "network_not_allowed",
    )
    assert office.post(here, body, signed(body, "m")).status_code == 200


def test_a_body_that_is_too_large_is_refused_by_its_length_and_while_it_comes(
    office: Office,
) -> None:
    at = office.endpoint(body_bytes_max=2048)
    body = b'{"x": "' + b"a" * 4000 + b'"}'
    answer = office.post(at, body, signed(body, "m"))
    assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (413, "too_large")
    chunked = office.http.post(
        f"/api/webhooks/billing/{at}",
        content=(body[n : n + 100] for n in range(0, len(body), 100)), headers=signed(body, "m")
    )  # fmt: skip
    assert chunked.status_code == 413
    huge = office.http.post(f"/api/webhooks/billing/{at}", content=b"a" * (17 * 2**20))
    assert huge.status_code == 413
    assert office.events(at) == []


def test_what_is_signed_and_cannot_be_read_is_stored_all_the_same(office: Office) -> None:
    at, body = office.endpoint(), b'{"data": {"id": "1", "id": "2"}}'
    assert office.post(at, body, signed(body, "m")).status_code == 200
    assert office.rows(
        "SELECT kind FROM billing.webhook_event JOIN billing.webhook_endpoint "
        "USING (endpoint_no) WHERE endpoint_id = %s",
        at,
    ) == [("unreadable",)]


@pytest.mark.parametrize("body", [b"\x00\xff not json", b"invoice=1", b'{"data": '])
def test_a_signed_body_that_is_not_json_is_refused(office: Office, body: bytes) -> None:
    """Nobody could ever use it: its sender is told, and a forger as before."""
    at = office.endpoint()
    answer = office.post(at, body, signed(body, "m"))
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:problem-type:twezah:not_json")
    assert office.post(at, body, signed(b"{}", "m")).status_code == 401
    assert office.events(at) == []


@pytest.mark.parametrize(
    ("options", "secret"),
    [
        ({}, SECRET),
        ({"webhook_type_path": "/what/event", "webhook_data_path": ""}, SECRET),
        ({"webhook_scheme": "hmac sha256", "webhook_prefix": "sha256="}, "a secret"),
        (
            {
                "webhook_scheme": "hmac sha256",
                "webhook_encoding": "base64",
                "webhook_header": "X-Sig",
                "webhook_timestamp_header": "X-Time",
                "webhook_id_header": "X-Id",
                "webhook_type_header": "X-Topic",
            },
            "a secret",
        ),
        ({"webhook_scheme": "t and v1"}, "a secret"),
    ],
)
@pytest.mark.parametrize("system", ["custom", "push"])
def test_a_test_event_is_accepted_and_about_nothing(
    office: Office, system: str, options: dict[str, str], secret: str
) -> None:
    at = office.endpoint(secret, system=system, options=options)
    url = f"{office.url}/api/webhooks/billing/{at}"
    assert test_event.send(url, options, secret, datetime.now(UTC)) == 200
    ((kind, body, headers),) = office.rows(
        "SELECT kind, body_zstd, headers FROM billing.webhook_event "
        "JOIN billing.webhook_endpoint USING (endpoint_no) WHERE endpoint_id = %s",
        at,
    )
    assert kind == test_event.NAME
    hook = declaration(system, options)
    assert hook is not None
    (event,) = events(hook, keyring().unpack(body), headers)
    assert event.kind == "ignored"
    assert test_event.send(url, options, "whsec_" + "b" * 32, datetime.now(UTC)) == 401


def test_xeros_intent_to_receive(office: Office) -> None:
    """Good ones get 200, bad ones 401, with empty bodies, however many come."""
    at = office.endpoint("xero-webhook-key", system="xero")
    body = json.dumps(
        {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "ABC"}
    ).encode()
    good = base64.b64encode(hmac.digest(b"xero-webhook-key", body, hashlib.sha256)).decode()
    answers = [
        office.post(at, body, {"x-xero-signature": s}) for s in (good, "AAAA", good, good[::-1])
    ]
    assert [(a.status_code, a.content) for a in answers] == [
        (200, b""),
        (401, b""),
        (200, b""),
        (401, b""),
    ]
    assert not any("set-cookie" in a.headers for a in answers)
    assert office.attempts(at) == [("handshake", 2), ("signature_does_not_match", 2)]


def test_an_address_that_is_introduced_by_get(office: Office) -> None:
    """Adobe wants its code back; for other systems, and without a code, GET is no method."""
    at, other = office.endpoint(system="magento"), office.endpoint()
    answer = office.http.get(f"/api/webhooks/billing/{at}", params={"challenge": "8ec8d794-e0ab"})
    assert (answer.status_code, answer.text) == (200, "8ec8d794-e0ab")
    assert answer.headers["content-type"].startswith("text/plain")
    assert office.attempts(at) == [("handshake", 1)]
    for place, params in (
        (other, {"challenge": "a"}),
        (at, {}),
        (at, {"challenge": "<script>"}),
    ):
        refused = office.http.get(f"/api/webhooks/billing/{place}", params=params)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "POST"
    assert office.events(at) == []


def test_a_verification_is_stored_only_where_it_is_awaited(office: Office) -> None:
    form = (
        "name=callback.verify&object_id=77"
        "&verifier=scADVVi5QuKuj5qTjVkbJNYQe7V7USpGd&account_id=6BApk"
    )
    headers = {"content-type": "application/x-www-form-urlencoded"}
    waiting = office.endpoint("unused", system="freshbooks", handshake="awaited")
    assert office.post(waiting, form.encode(), headers).status_code == 200
    assert office.rows(
        "SELECT kind FROM billing.webhook_event JOIN billing.webhook_endpoint "
        "USING (endpoint_no) WHERE endpoint_id = %s",
        waiting,
    ) == [("handshake",)]
    known = office.endpoint("unused", system="freshbooks", handshake="confirmed")
    assert office.post(known, form.encode(), headers).status_code == 403
    assert office.events(known) == []


def test_business_centrals_handshake_and_notices(office: Office) -> None:
    """The token in the address is repeated as plain text; a notice counts with its clientState."""
    at = office.endpoint("a client state nobody can guess", system="business_central")
    answer = office.http.post(f"/api/webhooks/billing/{at}?validationToken=a%2Bb%3D%3D")
    assert (answer.status_code, answer.text) == (200, "a+b==")
    assert answer.headers["content-type"].startswith("text/plain")
    resource = (
        "api/v2.0/companies(7dbba574-5f69-4167-a43e-fb975045de15)"
        "/salesInvoices(9e0f5c9c-44e3-ea11-bb43-000d3a2feca1)"
    )
    notice = {
        "subscriptionId": "s1", "resource": resource, "changeType": "updated",
        "lastModifiedDateTime": "2026-05-01T10:00:00.1Z",
    }  # fmt: skip
    headers = {"content-type": "application/json"}
    for state, status in (("a client state nobody can guess", 200), ("another", 401)):
        body = json.dumps({"value": [notice | {"clientState": state}]}).encode()
        assert office.post(at, body, headers).status_code == status
    (stored,) = office.rows(
        "SELECT body_zstd FROM billing.webhook_event JOIN billing.webhook_endpoint "
        "USING (endpoint_no) WHERE endpoint_id = %s",
        at,
    )
    kept = keyring().unpack(stored[0])
    assert b"salesInvoices" in kept
    assert b"nobody can guess" not in kept
    assert office.attempts(at) == [
        ("handshake", 1), ("signature_does_not_match", 1), ("stored", 1),
    ]  # fmt: skip


def test_who_proves_nothing_too_often_is_not_listened_to_for_a_while(office: Office) -> None:
    at, body = office.endpoint(), sale("INV-1")
    bad = {**signed(body, "m"), "webhook-signature": "v1,AAAA"}
    codes = [office.post(at, body, bad).status_code for _ in range(70)]
    assert codes[:60] == [401] * 60
    assert set(codes[60:]) <= {401, 429} and 429 in codes[60:]
    answer = office.post(at, body, bad)
    asked = len(codes) + 1
    while answer.status_code != 429 and asked < 150:  # a slow machine earns one more each second
        answer, asked = office.post(at, body, bad), asked + 1
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert office.post(office.endpoint(), body, signed(body, "m")).status_code == 200, (
        "other endpoints hear it"
    )
    audit = dict(office.attempts(at))
    assert sum(audit.values()) == asked, "each attempt is in the audit"
    rows = office.rows(
        "SELECT count(*) FROM billing.http_attempt JOIN billing.webhook_endpoint "
        "USING (endpoint_no) WHERE endpoint_id = %s",
        at,
    )
    assert rows[0][0] < 50, "and equal ones of a second share a row"


def test_an_endpoint_has_a_rate_limit_of_its_own(office: Office) -> None:
    at = office.endpoint(events_per_minute=12)
    answers = []
    for number in range(5):
        body = sale(str(number))
        answers.append(office.post(at, body, signed(body, f"m{number}")).status_code)
    assert answers == [200, 200, 429, 429, 429]


def test_a_burst_of_a_thousand_is_stored_completely(office: Office) -> None:
    at = office.endpoint()
    deliveries = [(sale(str(number)), f"m{number}") for number in range(1000)]
    answers = asyncio.run(
        blast(office.url, at, [(body, signed(body, name)) for body, name in deliveries], 50)
    )
    assert set(answers) == {200}
    assert sorted(office.events(at)) == sorted(f"id:{name}" for _, name in deliveries)
