"""The form of FreshBooks: a consent fills in the account."""

from typing import Final

from pydantic import BaseModel, Field

from connectors.kit.spec.form import Form, overlap


class FreshBooksAccount(BaseModel):
    """Which account."""

    account_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9]*$",
        title="Account ID",
        description=(
            "Filled by the consent. (account_id, letters and digits, not the numeric business id.)"
        ),
    )


class FreshBooksChanges(BaseModel):
    """FreshBooks filters by the day, and its clock falls back an hour in autumn."""

    overlap_minutes: int = overlap(180, least=120)


FORM: Final = Form(
    block="FreshBooks Connection",
    summary="An account of FreshBooks. Name the block `freshbooks`.",
    description=(
        "Connects an account of FreshBooks. Name the block `freshbooks`, a further one as you like "
        "(`freshbooks-lisboa`). How to get the values: README, Connecting a real account."
    ),
    fields=FreshBooksAccount,
    access="consent",
    account_field="account_id",
    changed=FreshBooksChanges,
    mapping_example='{"invoice_number": "/po_number"}',
    webhook_steps=(
        "1. Register one address for the event `invoice` and the other for `credit_note`: `POST "
        "/events/account/ACCOUNT/events/callbacks`, docs/webhooks.md has the command.\n"
        "2. FreshBooks sends a verification, which is answered by itself; its code becomes the "
        "secret."
    ),
    webhook_hint=(
        "Register the URL for invoice and credit_note events (POST "
        "/events/account/ACCOUNT/events/callbacks). FreshBooks then sends a verification, which "
        "is answered by itself; its code becomes the secret."
    ),
    # FreshBooks signs the events of each callback with a code of its own: invoices and credit
    # notes need an address each.
    webhook_addresses=2,
    simulated={
        "account_id": "TwZh01",
        "token_url": "/auth/oauth/token",
        "authorize_url": "/oauth/authorize",
    },
)
