"""What a connection to a simulated vendor proves itself with."""

from functools import cache
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import SecretStr

import simulator
from connectors import DESCRIBED, SYSTEMS
from connectors.forms import forms

#: NetSuite's signed requests, as `Connection.secrets`.
NETSUITE_TBA = {
    "consumer_key": SecretStr(simulator.NETSUITE_CONSUMER[0]),
    "consumer_secret": SecretStr(simulator.NETSUITE_CONSUMER[1]),
    "token_id": SecretStr(simulator.NETSUITE_TOKEN[0]),
    "token_secret": SecretStr(simulator.NETSUITE_TOKEN[1]),
}


def token_path(system: str) -> str:
    """Where a simulated vendor gives tokens, with the places of its address filled in."""
    if system in DESCRIBED:
        return "/oauth/token"
    simulated = forms()[system].simulated or {}
    return simulated.get("token_url") or httpx.URL(SYSTEMS[system].token_url).path


@cache
def key_pair(kind: str) -> tuple[str, str]:
    """Private and public key (PEM): RSA, or the curve P-256, P-384 or P-521."""
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    key: Any = (
        rsa.generate_private_key(65_537, 2048)
        if kind == "RSA"
        else ec.generate_private_key(curves[kind])
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def credentials(
    world: simulator.World, system: str, *, login: str = "machine_to_machine"
) -> dict[str, Any]:
    """Values of `Connection` for one system; NetSuite's `login` is machine_to_machine or token_based."""
    if system == "netsuite" and login == "token_based":
        return {"options": {"login": login}, "secrets": NETSUITE_TBA}
    if system == "netsuite":
        private, public = key_pair("P-256")
        certificate = world.grants[system].upload_certificate(public)
        return {
            "client_id": simulator.CLIENT_ID,
            "options": {"login": login, "certificate_id": certificate},
            "secrets": {"private_key": SecretStr(private)},
        }
    options = {"options": {"deletions_hours": 0}} if system == "sage_intacct" else {}
    if system == "paypal":  # late changes are looked for in every run
        options = {"options": {"look_back_hours": 0, "look_back_days": 10}}
    return options | {
        "client_id": simulator.CLIENT_ID,
        "client_secret": SecretStr(simulator.CLIENT_SECRET),
        "refresh_token": SecretStr(simulator.seed_refresh_token(system)),
        **(
            {"secrets": {"api_key": SecretStr(simulator.CLIENT_SECRET)}}
            if system == "custom"
            else {}
        ),
    }
