"""Proofs made with keys: the published signature, keys as they are pasted, and what is said of those that cannot be used."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.errors import Misconfigured
from connectors.kit.http.auth import SignedSession
from connectors.kit.http.signing import assertion, oauth1_hmac_sha256, private_key
from connectors.kit.spec import Account, AssertionAuth, RequestAuth, of_account
from simulator.systems.netsuite.auth import signature
from tests.support.vendors import NETSUITE_TBA, key_pair

VECTORS = Path(__file__).parents[3] / "shared" / "samples" / "webhook_vectors_accounting.json"
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
SPEC = SYSTEMS["netsuite"]


def connection(**changes: Any) -> Account:
    return Account("netsuite", "7654321_SB1", **changes)


@pytest.mark.skipif(not VECTORS.is_file(), reason=f"no published vectors in {VECTORS}")
def test_the_published_signature() -> None:
    """Our signer and the simulator's own both give the one in the vendor's handbook."""
    (known,) = json.loads(VECTORS.read_bytes())["netsuite_oauth1_tba"]
    request = httpx.Request(known["method"], known["url"])
    oauth1_hmac_sha256(
        request,
        consumer=(known["consumer_key"], known["consumer_secret"]),
        token=(known["token"], known["token_secret"]),
        realm=known["realm"],
        now=datetime.fromtimestamp(int(known["timestamp"]), UTC),
        nonce=known["nonce"],
    )
    header = request.headers["authorization"]
    assert header.startswith(f'OAuth realm="{known["realm"]}"')
    assert f'oauth_signature="{quote(known["expected_signature"], safe="")}"' in header
    oauth = {
        "oauth_consumer_key": known["consumer_key"], "oauth_token": known["token"], "oauth_nonce": known["nonce"],
        "oauth_timestamp": known["timestamp"], "oauth_signature_method": "HMAC-SHA256", "oauth_version": "1.0",
    }  # fmt: skip
    secrets = {"consumer_secret": known["consumer_secret"], "token_secret": known["token_secret"]}
    assert (
        signature(httpx.Request(known["method"], known["url"]), oauth, **secrets)
        == known["expected_signature"]
    )


def test_the_realm_is_the_account_and_the_host_its_label() -> None:
    """1234567_SB1 in the realm is 1234567-sb1 in the host, however the operator wrote it."""
    for account in ("7654321_SB1", "7654321-sb1", "7654321_sb1"):
        one = Account("netsuite", account, secrets=NETSUITE_TBA)
        auth = SPEC.auth(one)
        assert isinstance(auth, RequestAuth)
        request = httpx.Request("POST", of_account(SPEC.base_url, one), content=b"{}")
        SignedSession(one, auth, lambda: NOW).sign(request)
        assert 'realm="7654321_SB1"' in request.headers["authorization"]
        assert request.url.host == "7654321-sb1.suitetalk.api.netsuite.com"
        assert "body_hash" not in request.headers["authorization"]


@pytest.mark.parametrize("kind", ["RSA", "P-256", "P-384", "P-521"])
def test_assertions_are_what_another_library_reads(kind: str) -> None:
    private, public = key_pair(kind)
    text = assertion(private_key(private), {"iss": "id"}, key_id="cert", now=datetime.now(UTC))
    algorithm = {"RSA": "PS256", "P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[kind]
    assert jwt.get_unverified_header(text) == {"alg": algorithm, "typ": "JWT", "kid": "cert"}
    claims = jwt.decode(text, public, algorithms=[algorithm])
    assert claims["iss"] == "id"
    assert 0 < claims["exp"] - claims["iat"] <= 3600


@pytest.mark.parametrize(
    "pasted",
    [
        lambda pem: pem,
        lambda pem: pem.replace("\n", " "),
        lambda pem: pem.replace("\n", ""),
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: f"  {pem.replace(chr(10), chr(13) + chr(10))}\n\n",
    ],
    ids=["as it is", "blanks", "one line", "escaped", "Windows"],
)
def test_keys_as_they_come_out_of_a_form(pasted: Any) -> None:
    private, _ = key_pair("P-256")
    assert private_key(pasted(private)).private_numbers() == private_key(private).private_numbers()  # type: ignore[union-attr]


def unusable() -> dict[str, tuple[str, str]]:
    private, public = key_pair("P-256")
    key = load_pem_private_key(private.encode(), None)
    locked = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    cut = private[:60] + private[100:]
    return {
        "public": (public, "not a private key"),
        "nothing": ("", "not a private key"),
        "locked": (locked.decode(), "protected by a password"),
        "cut": (cut, "missing or changed"),
        "Ed25519": (other.decode(), "neither an RSA key"),
    }


@pytest.mark.parametrize("name", unusable())
def test_a_key_that_cannot_be_used_is_named_and_not_shown(name: str) -> None:
    text, said = unusable()[name]
    secrets = {"private_key": SecretStr(text)}
    one = connection(
        client_id="id",
        options={"login": "machine_to_machine", "certificate_id": "c"},
        secrets=secrets,
    )
    with pytest.raises(Misconfigured, match=f'{said}.*block "netsuite"') as caught:
        SPEC.auth(one)
    assert caught.value.__cause__ is None
    parts = [line for line in text.splitlines() if line and "-----" not in line]
    assert not [part for part in parts if part in repr(caught.value) or part in str(caught.value)]


@pytest.mark.parametrize(
    ("options", "secrets", "said"),
    [
        (
            {"login": "token_based"},
            {},
            "fill in consumer key and consumer secret and token id and token secret",
        ),
        ({}, {**NETSUITE_TBA, "token_secret": SecretStr("")}, "fill in token secret"),
        ({"login": "machine_to_machine"}, {}, "fill in client id and certificate id"),
    ],
)
def test_what_is_missing_is_named(options: Any, secrets: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        SPEC.auth(connection(options=options, secrets=secrets))


def test_the_assertion_is_for_the_accounts_token_url() -> None:
    private, public = key_pair("P-256")
    options = {
        "login": "machine_to_machine",
        "certificate_id": "c",
        "scope": "rest_webservices restlets",
    }
    one = connection(client_id="id", options=options, secrets={"private_key": SecretStr(private)})
    auth = SPEC.auth(one)
    assert isinstance(auth, AssertionAuth)
    url = of_account(SPEC.token_url, one)
    request = auth.grant(one, url, datetime.now(UTC))
    sent = httpx.QueryParams(request.content.decode())
    claims = jwt.decode(sent["client_assertion"], public, algorithms=["ES256"], audience=url)
    assert (claims["scope"], claims["iss"]) == ("rest_webservices restlets", "id")
    assert request.url.host == "7654321-sb1.suitetalk.api.netsuite.com"
    assert private.splitlines()[1] not in repr(one)


def test_the_block_gives_the_connector_what_it_needs() -> None:
    """However the account is written; no secret shows; the shortest look back is a day."""
    from pydantic import ValidationError

    from panel.blocks import NetSuiteConnection

    values = {name: secret.get_secret_value() for name, secret in NETSUITE_TBA.items()}
    block = NetSuiteConnection(account_id="7654321-sb1", login="token_based", **values)
    one = block.connection()
    assert (one.account, one.timeout_seconds, block.overlap_minutes) == ("7654321_SB1", 120, 1500)
    assert isinstance(SPEC.auth(one), RequestAuth)
    assert not [value for value in values.values() if value in f"{block!r} {one!r}"]
    for wrong in ({"account_id": "1234567.evil.test/"}, {"account_id": "1", "overlap_minutes": 60}):
        with pytest.raises(ValidationError):
            NetSuiteConnection(**wrong)
