"""The form of Stripe: a key, and which sales count."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec.form import Form


class StripeAccount(BaseModel):
    """Which account, and its key."""

    account_id: str = Field(
        pattern=r"^acct_[A-Za-z0-9]+$",
        title="Account ID",
        description="Settings, Account details: the ID that begins with acct_.",
    )
    api_key: SecretStr = Field(
        title="API key",
        description=(
            "Developers, API keys: a restricted key (rk_live_...) that may read invoices, credit "
            "notes, charges, refunds, customers, products and events. Kept encrypted."
        ),
    )
    payments: bool = Field(
        default=True,
        title="Payments without an invoice",
        description=(
            "Whether they are sales as well: Checkout, payment links, terminals. Switch it off "
            "where another connected system has these sales."
        ),
    )
    test_data: bool = Field(
        default=False,
        title="Test data",
        description="For trying out only: allows a test key, whose sales nobody made.",
    )
    connected: bool = Field(
        default=False,
        title="Connected account",
        description=(
            "Only if the key is that of a platform (Stripe Connect), and the account ID that of a "
            "shop connected to it."
        ),
    )


def _missing(form: StripeAccount) -> str:
    key = form.api_key.get_secret_value().strip()
    if key.startswith("pk_"):
        return "the key is a publishable one (pk_...): it takes a restricted or secret key"
    if not form.test_data and key.startswith(("sk_test_", "rk_test_")):
        return "the key is one of test mode: enter a live key, or tick Test data"
    return ""


def _values(form: StripeAccount) -> Mapping[str, Any]:
    return {
        "secrets": {"api_key": SecretStr(form.api_key.get_secret_value().strip())},
        "options": {"payments": form.payments, "connected": form.connected},
    }


FORM: Final = Form(
    block="Stripe Connection",
    summary="An account of Stripe. Name the block `stripe`.",
    description=(
        "Connects an account of Stripe. Name the block `stripe`, a further one as you like "
        "(`stripe-lisboa`). How to get the values: README, Connecting a real account."
    ),
    fields=StripeAccount,
    account_field="account_id",
    webhook_secret=True,
    webhook_steps=(
        "1. [dashboard.stripe.com](https://dashboard.stripe.com/webhooks), *Add destination*: "
        "choose the events *invoice* (all but *invoice.upcoming*), *credit_note*, *charge* and "
        "*refund*, then *Webhook endpoint*, and enter the address.\n"
        "2. *Reveal* the signing secret there (`whsec_...`); enter it as *Webhook secret* in the "
        "{block}.\n"
        "3. Run this deployment again: it takes the secret."
    ),
    webhook_hint=(
        "dashboard.stripe.com, Webhooks, Add destination: choose the events of invoice, "
        "credit_note, charge and refund, enter the URL. Then reveal the signing secret there and "
        "enter it here: `twezah webhooks rotate {id}`."
    ),
    refusals=("KeyRejected",),
    missing=_missing,
    values=_values,
    mapping_example='{"lines.sku": "/pricing/price_details/product"}',
    simulated={"account_id": "acct_1TwezahSim", "api_key": "sk_live_simulated"},
)
