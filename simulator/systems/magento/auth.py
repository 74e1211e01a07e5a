"""How a shop lets requests in: integrations (OAuth 1.0a), admins, and Adobe's own login."""

import hmac
import re
from datetime import datetime
from typing import Final
from urllib.parse import unquote

import httpx

from simulator.model import CLIENT_ID
from simulator.oauth import Grants
from simulator.systems.netsuite.auth import signature

IMS_PATH: Final = "/ims/token/v3"
TENANT: Final = "twezah-sandbox"
ORGANIZATION: Final = "C0FFEE@AdobeOrg"
CONSUMER: Final = ("sim-magento-consumer-key", "sim-magento-consumer-secret")
TOKEN: Final = ("sim-magento-access-token", "sim-magento-access-token-secret")
#: Scopes without which a token opens no shop.
IMS_SCOPES: Final = {"openid", "AdobeID", "commerce.accs"}
#: An admin of the shop.
ADMIN: Final = {"username": "sim-admin", "password": "sim-password-1"}


def refusal(request: httpx.Request, grants: Grants, *, at_adobe: bool) -> str | None:
    """Why a request is not let in: a message of the shop; None: it is."""
    header = request.headers.get("authorization", "")
    if at_adobe:
        is_ours = (
            request.headers.get("x-api-key") == CLIENT_ID
            and request.headers.get("x-gw-ims-org-id") == ORGANIZATION
        )
        valid = grants.check(request) == "valid"
        return None if is_ours and valid else "The consumer isn't authorized to access %resources."
    if header.startswith("OAuth "):
        return _oauth_refusal(request, header, grants)
    if grants.check(request) == "valid":
        return None
    return "The consumer isn't authorized to access %resources."


def _oauth_refusal(request: httpx.Request, header: str, grants: Grants) -> str | None:
    oauth = {name: unquote(value) for name, value in re.findall(r'\s*(\w+)="([^"]*)"', header)}
    oauth.pop("realm", None)
    if oauth.get("oauth_consumer_key") != CONSUMER[0]:
        return "A consumer with the provided key does not exist. Verify the key and try again."
    if oauth.get("oauth_token") != TOKEN[0]:
        return "The token is invalid. Verify the token and try again."
    if oauth.get("oauth_signature_method") != "HMAC-SHA256":
        return "Signature method %1 is not supported"
    stamp, nonce = oauth.get("oauth_timestamp", ""), oauth.get("oauth_nonce", "")
    if not stamp.isdigit() or not nonce or (stamp, nonce) in grants.nonces:
        return "The nonce is already being used by the consumer with the provided ID."
    sent = oauth.pop("oauth_signature", "")
    expected = signature(request, oauth, consumer_secret=CONSUMER[1], token_secret=TOKEN[1])
    if not hmac.compare_digest(sent, expected):
        return "The signature is invalid. Verify and try again."
    grants.nonces.add((stamp, nonce))
    return None


def utc(moment: datetime) -> str:
    """A time as the API writes it: UTC, without a zone."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")
