"""Signatures of webhooks: the vendors' published vectors, and everything that must be refused."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connectors import registry as declared
from connectors.kit.webhooks.scheme import (
    Refused,
    Verified,
    Webhook,
    delivery_key,
    handshake,
    unusable,
    verify,
)
from connectors.kit.webhooks.signatures import (
    Scheme,
    plain_hmac,
    standard_webhooks,
    timestamped_list,
    url_and_body,
)

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def hook(scheme: Scheme) -> Webhook:
    return Webhook("custom", scheme, lambda _: [])


def check(
    scheme: Scheme,
    secrets: list[str],
    headers: Any,
    body: bytes,
    now: datetime = NOW,
    url: str | None = None,
) -> str:
    """ "verified", or why not."""
    outcome = verify(hook(scheme), [SecretStr(one) for one in secrets], headers, body, now, url)
    return outcome.reason if isinstance(outcome, Refused) else "verified"


def vectors(system: str) -> list[dict[str, Any]]:
    path = SAMPLES / "webhook_vectors_accounting.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return list(json.loads(path.read_text())[system])


def signed(
    secret: str, body: bytes, stamp: str = STAMP, message_id: str = "msg_1"
) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = base64.b64encode(
        hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
    ).decode()
    return {"Webhook-Id": message_id, "Webhook-Timestamp": stamp, "Webhook-Signature": f"v1,{made}"}


def test_standard_webhooks_vectors() -> None:
    for vector in vectors("standard_webhooks"):
        stamp = vector["webhook-timestamp"]
        secret = vector.get("secret") or f"whpk_{vector['public_key_b64']}"
        headers = {
            "webhook-id": vector["webhook-id"], "webhook-timestamp": str(stamp), "webhook-signature": vector["expected"],
        }  # fmt: skip
        body = vector["body"].encode()
        assert (
            check(standard_webhooks(), [secret], headers, body, datetime.fromtimestamp(stamp, UTC))
            == "verified"
        )
        assert (
            check(
                standard_webhooks(),
                [secret],
                headers,
                body + b" ",
                datetime.fromtimestamp(stamp, UTC),
            )
            == "signature does not match"
        )


def test_quickbooks_vectors() -> None:
    for vector in vectors("quickbooks_online"):
        headers = {"intuit-signature": vector["expected_intuit_signature"]}
        secrets = [SecretStr(vector["verifier_token"])]
        outcome = verify(
            declared.WEBHOOKS["quickbooks"], secrets, headers, vector["body"].encode(), NOW
        )
        assert isinstance(outcome, Verified)


def test_xero_vectors_and_intent_to_receive() -> None:
    for vector in vectors("xero"):
        secrets, body = [SecretStr(vector["webhook_key"])], vector["body"].encode()
        good = {"x-xero-signature": vector["expected_x_xero_signature"]}
        assert isinstance(verify(declared.WEBHOOKS["xero"], secrets, good, body, NOW), Verified)
        wrong = verify(
            declared.WEBHOOKS["xero"], secrets, {"x-xero-signature": "c29tZXRoaW5n"}, body, NOW
        )
        assert wrong == Refused("signature does not match", 401)


def test_freshbooks_vectors_sign_the_fields_and_not_the_body() -> None:
    for vector in vectors("freshbooks"):
        headers = {"X-FreshBooks-Hmac-SHA256": vector["expected_x_freshbooks_hmac_sha256"]}
        body = vector["form_body"].encode()
        secrets = [SecretStr(vector["verifier"])]
        assert isinstance(
            verify(declared.WEBHOOKS["freshbooks"], secrets, headers, body, NOW), Verified
        )
        other = body.replace(b"1234567", b"1234568")
        assert isinstance(
            verify(declared.WEBHOOKS["freshbooks"], secrets, headers, other, NOW), Refused
        )


def test_shopify_is_signed_with_either_secret() -> None:
    """Of the vendor's own library (shopify-api-js, validate.test.ts)."""
    headers = {"X-Shopify-Hmac-SHA256": "B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g="}
    hook, body = declared.WEBHOOKS["shopify"], b'{"foo": "bar"}'
    secrets = [SecretStr("the new one"), SecretStr("test_secret_key")]
    outcome = verify(hook, secrets, headers, body, NOW)
    assert isinstance(outcome, Verified)
    assert outcome.secret_no == 1  # for an hour after a rotation the old one signs
    assert isinstance(verify(hook, secrets, headers, body + b" ", NOW), Refused)
    assert isinstance(verify(hook, secrets, {}, body, NOW), Refused)


def test_stripes_vector() -> None:
    path = SAMPLES / "stripe" / "webhook_signature_vectors.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    for vector in json.loads(path.read_text()):
        body = (path.parent / vector["body_file"]).read_bytes()
        at = datetime.fromtimestamp(vector["timestamp"], UTC)
        scheme = timestamped_list("Stripe-Signature")
        assert (
            check(scheme, [vector["secret"]], {"stripe-signature": vector["header"]}, body, at)
            == "verified"
        )
        # Stripe's own library takes any time in the future.
        early = at - timedelta(seconds=301)
        headers = {"stripe-signature": vector["header"]}
        assert check(scheme, [vector["secret"]], headers, body, early) == "timestamp in the future"


def test_squares_vectors_sign_the_address_as_well() -> None:
    path = SAMPLES / "square" / "webhook_signature_vectors.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    scheme = plain_hmac("x-square-hmacsha256-signature", content=url_and_body)
    for vector in json.loads(path.read_text()):
        headers = {"x-square-hmacsha256-signature": vector["signature"]}
        body = vector["body"].encode()
        assert check(scheme, [vector["key"]], headers, body, url=vector["url"]) == "verified"
        assert (
            check(scheme, [vector["key"]], headers, body, url=vector["url"] + "/")
            == "signature does not match"
        )
        assert check(scheme, [vector["key"]], headers, body) == "address not known"


def test_shopifys_vector() -> None:
    headers = {"X-Shopify-Hmac-Sha256": "B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g="}
    assert (
        check(plain_hmac("X-Shopify-Hmac-Sha256"), ["test_secret_key"], headers, b'{"foo": "bar"}')
        == "verified"
    )


BODY = b'{"id": "1"}'
GOOD = signed(SECRET, BODY)
REFUSED = {
    "no secret": ([], GOOD, "no secret to check with"),
    "empty secret": ([""], GOOD, "no secret to check with"),
    "secret is no base64": (["whsec_é"], GOOD, "no secret to check with"),
    "another secret": ([OTHER], GOOD, "signature does not match"),
    "no headers": ([SECRET], {}, "timestamp missing"),
    "no id": ([SECRET], {k: v for k, v in GOOD.items() if k != "Webhook-Id"}, "message id missing"),
    "dot in the id": ([SECRET], signed(SECRET, BODY, message_id="msg.1"), "message id missing"),
    "no timestamp": ([SECRET], {k: v for k, v in GOOD.items() if k != "Webhook-Timestamp"}, "timestamp missing"),
    "no signature": ([SECRET], {k: v for k, v in GOOD.items() if k != "Webhook-Signature"}, "signature missing"),
    "v1 with nothing": ([SECRET], {**GOOD, "Webhook-Signature": "v1,"}, "signature missing"),
    "no comma": ([SECRET], {**GOOD, "Webhook-Signature": GOOD["Webhook-Signature"][3:]}, "signature missing"),
    "folded with a comma and a space": (
        [SECRET], {**GOOD, "Webhook-Signature": f"v1,AAAA, {GOOD['Webhook-Signature']}x"}, "signature does not match",
    ),
    "part of the signature": (
        [SECRET], {**GOOD, "Webhook-Signature": GOOD["Webhook-Signature"][:-4]}, "signature does not match",
    ),
    "not ASCII": ([SECRET], {**GOOD, "Webhook-Signature": "v1,é\udcff"}, "signature does not match"),
    "unknown version": (
        [SECRET], {**GOOD, "Webhook-Signature": "v2" + GOOD["Webhook-Signature"][2:]}, "signature missing",
    ),
    "time as a float": ([SECRET], signed(SECRET, BODY, stamp=STAMP + ".0"), "timestamp is not a number"),
    "negative time": ([SECRET], signed(SECRET, BODY, stamp="-1"), "timestamp is not a number"),
    "time in Arabic digits": ([SECRET], signed(SECRET, BODY, stamp="١٢٣"), "timestamp is not a number"),
    "time of many digits": ([SECRET], signed(SECRET, BODY, stamp="9" * 400), "timestamp is not a number"),
    "too old": ([SECRET], signed(SECRET, BODY, stamp=str(int(STAMP) - 301)), "timestamp too old"),
    "in the future": ([SECRET], signed(SECRET, BODY, stamp=str(int(STAMP) + 301)), "timestamp in the future"),
    "a header twice": (
        [SECRET], [*GOOD.items(), ("webhook-signature", GOOD["Webhook-Signature"])], "header given twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_is_refused(case: str) -> None:
    secrets, headers, reason = REFUSED[case]
    assert check(standard_webhooks(), secrets, headers, BODY) == reason


def test_a_wrong_time_is_told_only_to_who_knows_the_secret() -> None:
    stale = signed(OTHER, BODY, stamp=str(int(STAMP) - 10_000))
    assert check(standard_webhooks(), [SECRET], stale, BODY) == "signature does not match"


def test_just_within_the_tolerance() -> None:
    for shift in (-300, 300):
        assert (
            check(
                standard_webhooks(), [SECRET], signed(SECRET, BODY, str(int(STAMP) + shift)), BODY
            )
            == "verified"
        )


def test_rotation_of_secrets_by_either_side() -> None:
    both = {**GOOD, "Webhook-Signature": f"v1a,xyz v1,AAAA {GOOD['Webhook-Signature']}"}
    assert check(standard_webhooks(), [SECRET], both, BODY) == "verified"
    outcome = verify(
        hook(standard_webhooks()),
        [SecretStr("bad!"), SecretStr(OTHER), SecretStr(SECRET)],
        GOOD,
        BODY,
        NOW,
    )
    assert outcome == Verified("msg_1", NOW, secret_no=2)


def test_a_secret_without_prefix_or_padding() -> None:
    bare = SECRET.removeprefix("whsec_").rstrip("=")
    assert check(standard_webhooks(), [bare], GOOD, BODY) == "verified"


@pytest.mark.parametrize(("encoding", "prefix"), [("hex", ""), ("hex", "sha256="), ("base64", "")])
def test_plain_hmac(encoding: Any, prefix: str) -> None:
    digest = hmac.digest(b"s3cret", BODY, hashlib.sha256)
    text = digest.hex().upper() if encoding == "hex" else base64.b64encode(digest).decode()
    scheme = plain_hmac("X-Sig", encoding, prefix=prefix)
    assert check(scheme, ["s3cret"], {"x-sig": prefix + text}, BODY) == "verified"
    assert (
        check(scheme, ["s3cret"], {"x-sig": prefix + text[:-1]}, BODY) == "signature does not match"
    )
    assert check(scheme, ["s3cret"], {"x-sig": f"md5={text}"}, BODY) != "verified"
    assert check(scheme, ["s3cret"], {}, BODY) == "signature missing"


def test_plain_hmac_with_a_timestamp_header() -> None:
    scheme = plain_hmac("X-Sig", "hex", timestamp_header="X-Time")
    made = hmac.digest(b"s3cret", f"{STAMP}.".encode() + BODY, hashlib.sha256).hex()
    headers = {"X-Sig": made, "X-Time": STAMP}
    assert check(scheme, ["s3cret"], headers, BODY) == "verified"
    assert (
        check(scheme, ["s3cret"], headers, BODY, NOW + timedelta(seconds=301))
        == "timestamp too old"
    )
    assert (
        check(scheme, ["s3cret"], headers, BODY, NOW - timedelta(seconds=301))
        == "timestamp in the future"
    )
    assert (
        check(scheme, ["s3cret"], {**headers, "X-Time": str(int(STAMP) + 1)}, BODY)
        == "signature does not match"
    )


def test_a_body_that_is_too_large_is_not_even_hashed() -> None:
    assert (
        check(standard_webhooks(), [SECRET], GOOD, b" " * (2 * 1024 * 1024 + 1)) == "body too large"
    )


@given(st.binary(max_size=60), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_one_changed_byte_anywhere_is_refused(body: bytes, at: int, change: int) -> None:
    headers = signed(SECRET, body)
    assert check(standard_webhooks(), [SECRET], headers, body) == "verified"
    if body:
        at %= len(body)
        changed = body[:at] + bytes([body[at] ^ change]) + body[at + 1 :]
        assert check(standard_webhooks(), [SECRET], headers, changed) == "signature does not match"


@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]),
        st.text(max_size=40),
    )
)
def test_headers_may_be_anything(headers: dict[str, str]) -> None:
    assert check(standard_webhooks(), [SECRET], headers, b"{}") != "verified"


def test_nothing_secret_is_shown() -> None:
    outcome = verify(hook(standard_webhooks()), [SecretStr(SECRET)], GOOD, BODY, NOW)
    assert "MfKQ" not in repr(outcome)
    assert (
        unusable(hook(standard_webhooks()), SecretStr("whsec_not base64"))
        == "it is not base64 (behind whsec_)"
    )
    assert unusable(hook(standard_webhooks()), SecretStr("whsec_AAAA")).startswith(
        "it has less than 16"
    )
    assert unusable(hook(plain_hmac("X")), SecretStr("")) == "it is empty"
    assert unusable(hook(plain_hmac("X")), SecretStr("anything")) == ""


def test_the_key_of_a_delivery() -> None:
    standard, xero = hook(standard_webhooks()), declared.WEBHOOKS["xero"]
    later = signed(SECRET, BODY, stamp=str(int(STAMP) + 60))
    assert (
        delivery_key(standard, GOOD, BODY, NOW)
        == delivery_key(standard, later, BODY, NOW)
        == "id:msg_1"
    )
    same = delivery_key(xero, {}, BODY, NOW)
    assert same == delivery_key(xero, {}, BODY, NOW + timedelta(seconds=2))
    # Paid, void, paid again: the same words at another time are news.
    assert same != delivery_key(xero, {}, BODY, NOW + timedelta(seconds=11))


def test_freshbooks_introduces_an_address() -> None:
    freshbooks = declared.WEBHOOKS["freshbooks"]
    found = handshake(
        freshbooks, {}, b"name=callback.verify&object_id=123&verifier=scADVVi5QuKuj5q"
    )
    assert found is not None
    assert found.verifier is not None
    assert (found.callback, found.verifier.get_secret_value()) == ("123", "scADVVi5QuKuj5q")
    assert "scADVV" not in repr(found)
    assert handshake(freshbooks, {}, b"name=invoice.create&object_id=1&account_id=a") is None
    for body in (
        b"",
        b"\xff",
        b"name=callback.verify",
        b"name=callback.verify&name=x&object_id=1",
        b"{}",
    ):
        assert handshake(freshbooks, {}, body) is None
