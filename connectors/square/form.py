"""The form of Square: a consent fills in the location, or the owner of an app has a token."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.errors import block_name
from connectors.kit.spec.account import NO_SECRET
from connectors.kit.spec.form import Form


class SquareAccount(BaseModel):
    """Which location, and who lets us in."""

    location_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]*$",
        title="Location ID",
        description=(
            "Filled by the consent. (Developer Console, your app, Locations: e.g. L88917AVBK2S5.) "
            "Each location is a block of its own."
        ),
    )
    login: Literal["consent", "access_token"] = Field(
        default="consent",
        title="Way to log in",
        description=(
            "consent: somebody of the business allowed the app in a browser. "
            "access_token: the business has an app of its own, and its token is entered here."
        ),
    )
    access_token: SecretStr = Field(
        default=NO_SECRET,
        title="Access token",
        description=(
            "For access_token: Developer Console, your app, Credentials, Production. "
            "Kept encrypted. Leave it empty for consent."
        ),
    )


class SquareChanges(BaseModel):
    """An app that logs in with its token has neither an id nor a secret."""

    client_id: str = Field(
        default="",
        title="Application ID",
        description="Developer Console, your app, OAuth, Production. Not for access_token.",
    )
    client_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Application secret",
        description="On the same page. Kept encrypted. Not for access_token.",
    )


def _missing(form: Any) -> str:
    """The token and the location, where nobody consents."""
    block = repr(block_name(form.name))
    if form.login != "access_token":
        return ""
    if not form.access_token.get_secret_value():
        return f"fill in the Access token of the block {block}"
    return "" if form.location_id else f"fill in the Location ID of the block {block}"


def _needs_consent(form: SquareAccount) -> bool:
    return form.login == "consent"


def _values(form: Any) -> Mapping[str, Any]:
    return {"options": {"login": form.login}, "secrets": {"access_token": form.access_token}}


FORM: Final = Form(
    block="Square Connection",
    summary="A location of a business at Square. Name the block `square`.",
    description=(
        "Connects a location of Square. Name the block `square`, a further one as you like "
        "(`square-talatona`). How to get the values: README, Connecting a real account."
    ),
    fields=SquareAccount,
    access="consent",
    account_field="location_id",
    changed=SquareChanges,
    missing=_missing,
    needs_consent=_needs_consent,
    values=_values,
    webhook_secret=True,
    mapping_example='{"invoice_number": "/tenders/0/payment_id"}',
    webhook_steps=(
        "1. [Developer Console](https://developer.squareup.com/apps), your app, *Webhooks*, "
        "*Subscriptions*, Production: *Add subscription*. Enter the address to the letter, and "
        "choose *order.created*, *order.updated*, *payment.updated* and *refund.updated*.\n"
        "2. Copy the *Signature key* of the subscription; enter it as *Webhook secret* in the "
        "{block}.\n"
        "3. Run this deployment again: it takes the secret.\n"
        "4. *Send test event* there must be answered with 200."
    ),
    webhook_hint=(
        "developer.squareup.com/apps, your app, Webhooks, Subscriptions: add one with the URL and "
        "order.created, order.updated, payment.updated, refund.updated. Then enter its signature "
        "key here, `twezah webhooks rotate {id}`."
    ),
    simulated={
        "location_id": "L6KTWEZAH0001",
        "token_url": "/oauth2/token",
        "authorize_url": "/oauth2/authorize",
    },
)
