"""The form of Zoho Books: a consent fills in the organization."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from connectors.kit.spec.form import Form, deletions_every

#: Where accounts of a data centre sign in, where that is not `zoho.` and its name.
_ACCOUNTS_DOMAINS: Final = {"ca": "zohocloud.ca"}


class ZohoBooksAccount(BaseModel):
    """Which data centre, and which organization there."""

    data_centre: Literal["com", "eu", "in", "com.au", "jp", "ca", "com.cn", "sa"] = Field(
        default="com",
        title="Data centre",
        description=(
            "What follows `books.zoho.` in the address bar when you are signed in: com, eu, in, "
            "com.au, jp, com.cn, sa; ca for zohocloud.ca. The application must be registered there."
        ),
    )
    organization_id: str = Field(
        default="",
        pattern=r"^[0-9]*$",
        title="Organization ID",
        description="Filled by the consent. (Settings, Organization Profile: digits only.)",
    )
    sales_receipts: bool = Field(
        default=False,
        title="Read sales receipts",
        description=(
            "Whether sales receipts (cash sales) earn points too. Zoho lists all of them in every "
            "run, 200 a call."
        ),
    )


class ZohoBooksChanges(BaseModel):
    """Zoho counts calls, so pages are large and deletions are looked for once a day."""

    page_size: int = Field(
        default=0,
        ge=0,
        le=200,
        title="Page size",
        description=(
            "Records per request. 0: 200. Each changed document costs a call besides, and a page "
            "is kept when all of its documents are there."
        ),
    )
    deletions_hours: int = deletions_every(
        24,
        "Deleted documents leave no trace: the ids of all documents are listed and compared, "
        "200 a call.",
    )


def _values(form: Any) -> Mapping[str, Any]:
    centre = form.data_centre
    return {
        "options": {
            "data_centre": centre,
            "accounts_domain": _ACCOUNTS_DOMAINS.get(centre, f"zoho.{centre}"),
            "deletions_hours": form.deletions_hours,
            "sales_receipts": form.sales_receipts,
        }
    }


FORM: Final = Form(
    block="Zoho Books Connection",
    summary="An organization of Zoho Books. Name the block `zoho-books`.",
    description=(
        "Connects an organization of Zoho Books. Name the block `zoho-books`, a further one as you "
        "like (`zoho-books-lisboa`). How to get the values: README, Connecting a real account."
    ),
    fields=ZohoBooksAccount,
    access="consent",
    account_field="organization_id",
    changed=ZohoBooksChanges,
    webhook_secret=True,
    webhook_steps=(
        "1. Zoho Books, *Settings*, *Automation*, *Workflow Actions*, *Webhooks*: a new webhook "
        "for *Invoices*, and another one for *Credit Notes*. Method POST, the address above, "
        "*Default payload*. Tick *Secure this webhook* and choose a secret token of 12 to 50 "
        "letters and digits.\n"
        "2. Enter the same token as *Webhook secret* in the {block}.\n"
        "3. Run this deployment again: it takes the secret.\n"
        "4. *Workflow Rules*: one rule per module, *created or edited*, with that webhook as its "
        "immediate action."
    ),
    webhook_hint=(
        "Zoho Books, Settings, Automation: a webhook with the URL for Invoices and one for Credit "
        "Notes, default payload, secured with a token of 12 to 50 letters and digits; a workflow "
        "rule (created or edited) for each. Then enter the token here: `twezah webhooks rotate "
        "{id}`."
    ),
    values=_values,
    mapping_example='{"customer_phone": "/cf_telemovel"}',
    simulated={
        "organization_id": "60000000001",
        "token_url": "/oauth/v2/token",
        "authorize_url": "/oauth/v2/auth",
    },
)
