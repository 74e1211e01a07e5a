"""The form of PayPal: an application's ID and secret, and which of the two lists is read.

Its secret of webhooks is the id of the webhook.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec.form import Form, overlap


class PayPalAccount(BaseModel):
    """Which account, and the application that reads it."""

    merchant_id: str = Field(
        pattern=r"^[A-Za-z0-9]+$",
        title="Merchant ID",
        description="Account Settings, Business information: PayPal Merchant ID.",
    )
    client_id: str = Field(
        title="Client ID", description="developer.paypal.com, Apps & Credentials, your app, Live."
    )
    client_secret: SecretStr = Field(
        title="Secret", description="On the same page. Kept encrypted."
    )
    environment: Literal["live", "sandbox"] = Field(
        default="live",
        title="Environment",
        description="sandbox: PayPal's own test accounts, with the ID and secret of Sandbox.",
    )
    reads: Literal["transactions", "invoices"] = Field(
        default="transactions",
        title="What is read",
        description=(
            "transactions: all money that comes in, also for invoices. invoices: PayPal's invoices "
            "only, also those that were paid in cash. Never change it once sales were read: they "
            "would count twice."
        ),
    )
    slice_days: int = Field(
        default=31,
        ge=1,
        le=31,
        title="Days in one question",
        description=(
            "PayPal refuses questions with more than 10,000 transactions (RESULTSET_TOO_LARGE): "
            "then enter fewer days."
        ),
    )
    look_back_days: int = Field(
        default=120,
        ge=1,
        le=1_000,
        title="Look back (days)",
        description=(
            "PayPal does not say what changed. So payments of so many days are read again from "
            "time to time, for a payment that was pending or the refund of an invoice."
        ),
    )
    look_back_hours: int = Field(
        default=24,
        ge=0,
        le=168,
        title="Look back every (hours)",
        description="How often that is done. 0: in every run.",
    )
    token_url: str = Field(
        default="", title="Token URL", description="Empty: PayPal's own. For a simulator."
    )


class PayPalChanges(BaseModel):
    """PayPal shows transactions some hours late."""

    overlap_minutes: int = overlap(1_500, least=360)


#: Where each environment is.
_HOSTS: Final = {"live": "paypal.com", "sandbox": "sandbox.paypal.com"}


def _values(form: Any) -> Mapping[str, Any]:
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "client_secret": form.client_secret,
        "options": {
            "environment": _HOSTS[form.environment],
            "reads": form.reads,
            "slice_days": form.slice_days,
            "look_back_days": form.look_back_days,
            "look_back_hours": form.look_back_hours,
            "overlap_minutes": form.overlap_minutes,
        },
    }


FORM: Final = Form(
    block="PayPal Connection",
    summary="A business account of PayPal. Name the block `paypal`.",
    description=(
        "Connects a business account of PayPal. Name the block `paypal`, a further one as you like "
        "(`paypal-loja`). How to get the values: README, Connecting a real account."
    ),
    fields=PayPalAccount,
    account_field="merchant_id",
    changed=PayPalChanges,
    refusals=("AppRejected",),
    values=_values,
    webhook_secret=True,
    webhook_steps=(
        "1. They are of use where *What is read* is `invoices`.\n"
        "2. [developer.paypal.com](https://developer.paypal.com/dashboard/), *Apps & Credentials*, "
        "Live, your app, *Add Webhook*: enter the address, and choose *Invoicing invoice* "
        "*cancelled*, *created*, *paid*, *refunded* and *updated*.\n"
        "3. Copy the *Webhook ID* that it shows then; enter it as *Webhook secret* in the "
        "{block}.\n"
        "4. Run this deployment again: it takes the ID."
    ),
    webhook_hint=(
        "For accounts that read invoices: developer.paypal.com, Apps & Credentials, your app, Add "
        "Webhook with the URL and the events of invoices. Then enter its Webhook ID here, `twezah "
        "webhooks rotate {id}`."
    ),
    mapping_example='{"invoice_number": "/transaction_info/custom_field"}',
    simulated={
        "merchant_id": "TWEZAHPAY0001",
        "client_id": "sim-client",
        "client_secret": "sim-secret",
        "token_url": "/v1/oauth2/token",
    },
)
