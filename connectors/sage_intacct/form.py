"""The form of Sage Intacct: a consent, or a Web Services user."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from connectors.kit.errors import block_name
from connectors.kit.spec.form import Form, deletions_every


class SageIntacctAccount(BaseModel):
    """Which company, which entity of it, and who lets us in."""

    company_id: str = Field(
        default="",
        pattern=r"^[^@|\s]*$",
        title="Company ID",
        description=(
            "Always needed: what you type under Company ID when you sign in, "
            "e.g. AguaTwezah-sandbox for a sandbox company."
        ),
    )
    entity_id: str = Field(
        default="",
        pattern=r"^[^@|\s]*$",
        title="Entity ID",
        description="Of one entity of the company. Empty: the top level, which sees all entities.",
    )
    login: Literal["consent", "client_credentials"] = Field(
        default="consent",
        title="Way to log in",
        description=(
            "consent: a user allowed the app in a browser. "
            "client_credentials: the app acts for a Web Services user."
        ),
    )
    web_services_user: str = Field(
        default="",
        pattern=r"^[^@|\s]*$",
        title="Web Services user",
        description=(
            "For client_credentials: the user's ID, e.g. ws_twezah. Leave it empty for consent."
        ),
    )


class SageIntacctChanges(BaseModel):
    """Sage bills by the request: large pages, and deletions are looked for every few hours."""

    page_size: int = Field(
        default=0,
        ge=0,
        le=2000,
        title="Page size",
        description="Records per request. 0: 2000. Each page is billed as one.",
    )
    deletions_hours: int = deletions_every(
        6,
        "Deleted documents leave no trace: the ids of all documents are listed and compared, "
        "2000 a request.",
    )


def _account(form: SageIntacctAccount) -> str:
    """The company, and the entity behind a bar."""
    return f"{form.company_id}|{form.entity_id}" if form.entity_id else form.company_id


def _missing(form: Any) -> str:
    """The company, and the user of client credentials."""
    block = repr(block_name(form.name))
    if not form.company_id:
        return f"fill in the Company ID of the block {block}"
    if form.login != "consent" and not form.web_services_user:
        return f"fill in the Web Services user of the block {block}"
    return ""


def _needs_consent(form: SageIntacctAccount) -> bool:
    return form.login == "consent"


def _values(form: Any) -> Mapping[str, Any]:
    """Paths are dotted, as the query service writes names and takes them."""
    return {
        "options": {
            "login": form.login,
            "user": form.web_services_user,
            "deletions_hours": form.deletions_hours,
        },
        "paths": {
            name: "/" + path.strip("/").replace("/", ".")
            for name, path in form.field_mapping.items()
        },
    }


FORM: Final = Form(
    block="Sage Intacct Connection",
    summary="A company of Sage Intacct, or one entity of it. Name the block `sage-intacct`.",
    description=(
        "Connects a company of Sage Intacct. Name the block `sage-intacct`, a further one as you "
        "like (`sage-intacct-lisboa`). How to get the values: README, Connecting a real account."
    ),
    fields=SageIntacctAccount,
    access="consent",
    account_field="company_id",
    account=_account,
    changed=SageIntacctChanges,
    missing=_missing,
    needs_consent=_needs_consent,
    values=_values,
    mapping_example='{"invoice_number": "/referenceNumber"}',
    simulated={
        "company_id": "AguaTwezah",
        "token_url": "/ia/api/v1/oauth2/token",
        "authorize_url": "/ia/api/v1/oauth2/authorize",
    },
)
