"""The form of Wave: a consent, or a full access token of one's own."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.errors import block_name
from connectors.kit.spec import NO_SECRET
from connectors.kit.spec.form import Form, deletions_every


class WaveBusiness(BaseModel):
    """Which business, and who lets us in."""

    business_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9+/=_-]*$",
        title="Business ID",
        description=(
            "Filled by the consent. With a full access token: the id of the business as Wave's "
            "API writes it, e.g. QnVzaW5lc3M6MTIz."
        ),
    )
    login: Literal["consent", "full_access_token"] = Field(
        default="consent",
        title="Way to log in",
        description=(
            "consent: a user of the business allowed the app in a browser. "
            "full_access_token: a token of the app's page, which opens all your businesses."
        ),
    )
    full_access_token: SecretStr = Field(
        default=NO_SECRET,
        title="Full access token",
        description=(
            "For full_access_token: made at developer.waveapps.com, your app. Kept encrypted."
        ),
    )


class WaveChanges(BaseModel):
    """Deletions leave no trace."""

    page_size: int = Field(
        default=0, ge=0, le=50, title="Page size", description="Invoices per request. 0: 50."
    )
    deletions_hours: int = deletions_every(
        6,
        "Deleted invoices leave no trace: the ids of all invoices are listed and compared, "
        "and recent ones are read again.",
    )
    recheck_days: int = Field(
        default=120,
        ge=0,
        le=3660,
        title="Read again (days)",
        description=(
            "Invoices dated within so many days are read again each time: whether Wave notes a "
            "payment as a change is not known. 0: none."
        ),
    )


def _missing(form: Any) -> str:
    """What a full access token needs."""
    if form.login == "consent":
        return ""
    block = repr(block_name(form.name))
    if not form.full_access_token.get_secret_value():
        return f"fill in the Full access token of the block {block}"
    return "" if form.business_id else f"fill in the Business ID of the block {block}"


def _needs_consent(form: Any) -> bool:
    return bool(form.login == "consent")


def _values(form: Any) -> Mapping[str, Any]:
    return {
        "options": {
            name: getattr(form, name) for name in ("login", "deletions_hours", "recheck_days")
        },
        "secrets": {"full_access_token": form.full_access_token},
    }


FORM: Final = Form(
    block="Wave Connection",
    summary="A business in Wave. Name the block `wave`.",
    description=(
        "Connects a business in Wave (waveapps.com). Name the block `wave`, a further one as you "
        "like (`wave-lobito`). How to get the values: README, Connecting a real account."
    ),
    fields=WaveBusiness,
    access="consent",
    account_field="business_id",
    changed=WaveChanges,
    missing=_missing,
    needs_consent=_needs_consent,
    values=_values,
    mapping_example='{"invoice_number": "/node/poNumber"}',
    simulated={
        "business_id": "QnVzaW5lc3M6MQ==",
        "token_url": "/oauth2/token/",
        "authorize_url": "/oauth2/authorize/",
    },
)
