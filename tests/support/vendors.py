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
from simulator.systems.magento import auth as magento

#: NetSuite's signed requests, as `Connection.secrets`.
NETSUITE_TBA = {
    "consumer_key": SecretStr(simulator.NETSUITE_CONSUMER[0]),
    "consumer_secret": SecretStr(simulator.NETSUITE_CONSUMER[1]),
    "token_id": SecretStr(simulator.NETSUITE_TOKEN[0]),
    "token_secret": SecretStr(simulator.NETSUITE_TOKEN[1]),
}
#: Magento's signed requests, in the same way.
MAGENTO_INTEGRATION = {
    "consumer_key": SecretStr(magento.CONSUMER[0]),
    "consumer_secret": SecretStr(magento.CONSUMER[1]),
    "token_id": SecretStr(magento.TOKEN[0]),
    "token_secret": SecretStr(magento.TOKEN[1]),
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


#: What a system is connected with besides a consent, or in its place. Lists of what still exists
#: are read in every run.
OWN: dict[str, dict[str, Any]] = {
    "custom": {"secrets": {"api_key": SecretStr(simulator.CLIENT_SECRET)}},
    "sage_intacct": {"options": {"deletions_hours": 0}},
    "zoho_books": {"options": {"deletions_hours": 0}},
    # Late changes are looked for in every run.
    "paypal": {"options": {"look_back_hours": 0, "look_back_days": 10}},
    "wave": {"options": {"deletions_hours": 0, "recheck_days": 0}},
    "stripe": {"secrets": {"api_key": SecretStr("sk_live_simulated")}},
    "woocommerce": {
        "options": {"deletions_hours": 0},
        "secrets": {
            "consumer_key": SecretStr("ck_simulated"),
            "consumer_secret": SecretStr("cs_simulated"),
        },
    },
    "business_central": {
        "options": {
            "deletions_hours": 0,
            "tenant_id": "aguatwezah.onmicrosoft.com",
            "environment": "Production",
        }
    },
    "sap_s4hana": {
        "options": {"login": "oauth_client", "host": simulator.ACCOUNTS["sap_s4hana"]},
    },
    "oracle_fusion": {
        "options": {
            "host": simulator.ACCOUNTS["oracle_fusion"],
            "login": "client_credentials",
            "scope": "urn:opc:resource:consumer::all",
            "changed_by": "LastUpdateDate",
            "reread_days": 0,
            "deletions_hours": 0,
        },
    },
    "magento": {
        "options": {
            "login": "adobe_ims",
            "tenant_id": magento.TENANT,
            "organization_id": magento.ORGANIZATION,
        },
    },
}
#: What signs requests instead of tokens, where a system has both.
SIGNED: dict[str, dict[str, Any]] = {
    "netsuite": {"options": {"login": "token_based"}, "secrets": NETSUITE_TBA},
    "magento": {"options": {"login": "integration"}, "secrets": MAGENTO_INTEGRATION},
}


def credentials(
    world: simulator.World, system: str, *, login: str = "machine_to_machine"
) -> dict[str, Any]:
    """Values of `Connection` for one system.

    `login`: machine_to_machine, or token_based where a system has both (`SIGNED`).
    """
    if login == "token_based" and system in SIGNED:
        return SIGNED[system]
    if system == "netsuite":
        private, public = key_pair("P-256")
        certificate = world.grants[system].upload_certificate(public)
        return {
            "client_id": simulator.CLIENT_ID,
            "options": {"login": login, "certificate_id": certificate},
            "secrets": {"private_key": SecretStr(private)},
        }
    return {
        "client_id": simulator.CLIENT_ID,
        "client_secret": SecretStr(simulator.CLIENT_SECRET),
        "refresh_token": SecretStr(simulator.seed_refresh_token(system)),
        **OWN.get(system, {}),
    }
