"""HTTPS, proxies, and what happens without them."""

import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from api.exposure_check import UnsafeError, require_safe
from tests.api.office import Office, office_on, sale, served, settings_for, signed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            issuer_name=name, subject_name=name, public_key=key.public_key(), serial_number=1
        )
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "tls.crt", folder / "tls.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@contextmanager
def another(office: Office, home: Path, **more: Any) -> Iterator[str]:
    settings = settings_for(home, office.dsn, secret_key=office.config.key.decode(), **more)
    with served(office_on(settings)[0], settings) as url:
        yield url


def test_served_with_a_certificate(
    office: Office, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    at, body = office.endpoint(), sale("INV-1")
    with another(
        office, tmp_path, api_tls_certificate=certificate[0], api_tls_key=certificate[1]
    ) as url:
        with httpx.Client(
            base_url=url, verify=ssl.create_default_context(cafile=str(certificate[0]))
        ) as http:
            answer = http.post(
                f"/api/webhooks/billing/{at}", content=body, headers=signed(body, "m")
            )
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"].startswith("max-age=")
        old = ssl.create_default_context(cafile=str(certificate[0]))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # that it is out of date is the point
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError), httpx.Client(base_url=url, verify=old) as http:
            http.get("/health")


def test_a_trusted_proxy_says_who_asks_and_how(office: Office, tmp_path: Path) -> None:
    at, body = office.endpoint(allowed_networks=["203.0.113.0/24"]), sale("INV-1")
    with (
        another(office, tmp_path, api_trusted_proxies="127.0.0.1") as url,
        httpx.Client(base_url=url) as http,
    ):

        def post(**forwarded: str) -> int:
            headers = {
                **signed(body, "m"),
                **{name.replace("_", "-"): value for name, value in forwarded.items()},
            }
            return http.post(
                f"/api/webhooks/billing/{at}", content=body, headers=headers
            ).status_code

        assert post(x_forwarded_for="203.0.113.7", x_forwarded_proto="https") == 200
        assert post(x_forwarded_for="203.0.113.7", x_forwarded_proto="http") == 403, (
            "plain HTTP on the way"
        )
        assert (
            post(x_forwarded_for="203.0.113.7, 198.51.100.1", x_forwarded_proto="https") == 403
        ), "what the sender itself wrote into the header counts for nothing"
        assert post() == 403, "the proxy itself is not in the list"
        for nobody in ("unknown", "203.0.113.7 ; drop", "_hidden"):
            answer = http.get(
                "/metrics", headers={"x-forwarded-for": nobody, "x-forwarded-proto": "http"}
            )
            assert answer.json()["type"].endswith(":https_required"), (
                "who has no address that can be read is not this machine"
            )


def test_only_its_health_is_told_without_https(office: Office, tmp_path: Path) -> None:
    """As the probes of Kubernetes ask: from another machine, past the proxy that speaks HTTPS."""
    plain = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "http"}
    with (
        another(office, tmp_path, api_trusted_proxies="127.0.0.1") as url,
        httpx.Client(base_url=url, headers=plain) as http,
    ):
        for path in ("/health", "/health/live", "/health/ready"):
            answer = http.get(path)
            assert answer.status_code == 200, path
            assert set(answer.json()) <= {"status", "database"}, "nothing private"
        for path in ("/metrics", "/health/", "/health/ready/x", "/", "/api/members/m", "/docs"):
            answer = http.get(path)
            assert answer.status_code == 403, path
            assert answer.json()["type"].endswith(":https_required"), path


def test_nobody_else_says_so(office: Office) -> None:
    at, body = office.endpoint(allowed_networks=["203.0.113.0/24"]), sale("INV-1")
    headers = {**signed(body, "m"), "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    assert office.post(at, body, headers).status_code == 403


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ({}, True),
        ({"api_host": "::1"}, True),
        ({"api_host": "0.0.0.0"}, False),
        ({"api_host": "10.1.2.3"}, False),
        ({"api_host": "0.0.0.0", "api_plain_http": True}, True),
        ({"api_host": "0.0.0.0", "api_trusted_proxies": "10.0.0.0/8"}, True),
        ({"api_host": "0.0.0.0", "api_tls_certificate": "a", "api_tls_key": "b"}, True),
    ],
)
def test_plain_http_beyond_this_machine_must_be_asked_for(
    given: dict[str, Any], safe: bool, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, "postgresql://x/y", **given)
    if safe:
        require_safe(settings)
    else:
        with pytest.raises(UnsafeError, match="TWEZAH_API_PLAIN_HTTP"):
            require_safe(settings)


@pytest.mark.parametrize(
    "given",
    [
        {"api_tls_certificate": "a"},
        {"api_trusted_proxies": "proxy"},
        {"api_port": 4200},
        {"api_public_url": "x"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        settings_for(tmp_path, "postgresql://x/y", **given)
