"""The form of Xero: a consent fills in the organisation."""

from typing import Final

from pydantic import BaseModel, Field

from connectors.kit.spec.form import Form


class XeroAccount(BaseModel):
    """Which organisation."""

    tenant_id: str = Field(
        default="",
        pattern=r"^([0-9a-fA-F-]{36})?$",
        title="Tenant ID",
        description=(
            "Filled by the consent. (tenantId as listed by https://api.xero.com/connections.)"
        ),
    )


FORM: Final = Form(
    block="Xero Connection",
    summary="An organisation of Xero. Name the block `xero`.",
    description=(
        "Connects an organisation of Xero. Name the block `xero`, a further one as you like "
        "(`xero-lisboa`). How to get the values: README, Connecting a real account."
    ),
    fields=XeroAccount,
    access="consent",
    account_field="tenant_id",
    webhook_secret=True,
    mapping_example='{"invoice_number": "/Reference"}',
    webhook_steps=(
        "1. [developer.xero.com](https://developer.xero.com/app/manage), your app, *Webhooks*: "
        "choose *Invoices* and *Credit Notes*, enter the address, save.\n"
        "2. Copy the *webhooks key* there; enter it as *Webhook secret* in the {block}.\n"
        "3. Run this deployment again: it takes the secret.\n"
        "4. *Send 'Intent to receive'* there. Its status turns to *OK* within a minute."
    ),
    webhook_hint=(
        "developer.xero.com/app/manage, your app, Webhooks: choose Invoices and Credit Notes, "
        "enter the URL, save. Then enter the webhooks key here, `twezah webhooks rotate {id}`, "
        "and press Send 'Intent to receive' there."
    ),
    consent_idle_days=60,
    simulated={
        "tenant_id": "b0a5c0de-0000-4000-8000-000000000001",
        "token_url": "/connect/token",
        "authorize_url": "/identity/connect/authorize",
    },
)
