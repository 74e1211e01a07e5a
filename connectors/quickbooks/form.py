"""The form of QuickBooks Online: a consent fills in the company."""

from typing import Final

from pydantic import BaseModel, Field

from connectors.kit.spec.form import Form


class QuickBooksAccount(BaseModel):
    """Which company."""

    realm_id: str = Field(
        default="",
        pattern=r"^\d*$",
        title="Company ID (realm)",
        description="Filled by the consent. (Settings, Account, Billing: Company ID; digits only.)",
    )


FORM: Final = Form(
    block="QuickBooks Connection",
    summary="A company of QuickBooks Online. Name the block `quickbooks`.",
    description=(
        "Connects a company of QuickBooks Online. Name the block `quickbooks`, a further one as "
        "you like (`quickbooks-lisboa`). How to get the values: README, Connecting a real account."
    ),
    fields=QuickBooksAccount,
    access="consent",
    account_field="realm_id",
    webhook_secret=True,
    webhook_steps=(
        "1. [developer.intuit.com](https://developer.intuit.com), your app, *Webhooks*: enter "
        "the address, choose *Invoice*, *SalesReceipt*, *CreditMemo* and *RefundReceipt*, save.\n"
        "2. *Show verifier token* there; enter it as *Webhook secret* in the {block}.\n"
        "3. Run this deployment again: it takes the secret."
    ),
    webhook_hint=(
        "developer.intuit.com, your app, Webhooks: enter the URL, choose Invoice, SalesReceipt, "
        "CreditMemo and RefundReceipt. Then show the verifier token there and enter it here: "
        "`twezah webhooks rotate {id}`."
    ),
    consent_idle_days=100,
    simulated={
        "realm_id": "9130350000000001",
        "token_url": "/oauth2/v1/tokens/bearer",
        "authorize_url": "/connect/oauth2",
    },
)
