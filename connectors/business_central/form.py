"""The form of Business Central: an application in Microsoft Entra, or a user of a server."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET
from connectors.kit.spec.form import Form, deletions_every


class BusinessCentralCompany(BaseModel):
    """Which company, and who lets us in."""

    company_id: str = Field(
        pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
        title="Company ID",
        description=(
            "The id in the list of companies (guide, step 4), "
            "e.g. b18aed47-c385-49d2-b954-dbdf8ad71780."
        ),
    )
    login: Literal["entra_app", "web_service_key"] = Field(
        default="entra_app",
        title="Way to log in",
        description=(
            "entra_app: Business Central online, with an application of Microsoft Entra. "
            "web_service_key: a server on premises, with a user's key."
        ),
    )
    tenant_id: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?$",
        title="Tenant ID",
        description=(
            "entra_app: Microsoft Entra, Overview: Tenant ID, or the domain "
            "(aguatwezah.onmicrosoft.com)."
        ),
    )
    environment: str = Field(
        default="Production",
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        title="Environment",
        description="entra_app: the name in the admin center, e.g. Production or Sandbox.",
    )
    client_id: str = Field(
        default="",
        title="Client ID",
        description="entra_app: Application (client) ID of the app in Microsoft Entra.",
    )
    client_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Client secret",
        description="entra_app: the *value* of a secret of that app. Kept encrypted.",
    )
    username: str = Field(
        default="", title="User name", description="web_service_key: the user the key belongs to."
    )
    web_service_key: SecretStr = Field(
        default=NO_SECRET,
        title="Web service access key",
        description="web_service_key: on the user's card in Business Central. Kept encrypted.",
    )
    token_url: str = Field(
        default="", title="Token URL", description="entra_app. Empty: Microsoft's own."
    )


class BusinessCentralChanges(BaseModel):
    """Answers may take long; deletions are looked for every few hours."""

    timeout_seconds: float = Field(
        default=120,
        ge=1,
        le=900,
        title="Timeout (s)",
        description="How long to wait for an answer. Business Central may take minutes.",
    )
    deletions_hours: int = deletions_every(
        6,
        "Deleted documents leave no trace: the ids of all documents are listed and compared, "
        "20 000 a request.",
    )


def _account(form: BusinessCentralCompany) -> str:
    """The company, in lower case as webhooks are compared."""
    return form.company_id.lower()


def _missing(form: Any) -> str:
    """The fields of the chosen way to log in."""
    if form.login == "web_service_key":
        needed = {
            "User name": form.username,
            "Web service access key": form.web_service_key.get_secret_value(),
            "API base URL (https://server:7048/BC)": form.base_url,
        }
    else:
        needed = {
            "Tenant ID": form.tenant_id,
            "Client ID": form.client_id,
            "Client secret": form.client_secret.get_secret_value(),
        }
    empty = [title for title, value in needed.items() if not value]
    return f"for {form.login} it still lacks {', '.join(empty)}" if empty else ""


def _values(form: Any) -> Mapping[str, Any]:
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "client_secret": form.client_secret,
        "options": {
            "login": form.login,
            "tenant_id": form.tenant_id,
            "environment": form.environment,
            "username": form.username,
            "deletions_hours": form.deletions_hours,
        },
        "secrets": {"web_service_key": form.web_service_key},
    }


FORM: Final = Form(
    block="Business Central Connection",
    summary="A company of Business Central. Name the block `business-central`.",
    description=(
        "Connects a company of Microsoft Dynamics 365 Business Central. Name the block "
        "`business-central`, a further one as you like (`business-central-lisboa`). How to get the "
        "values: README, Connecting a real account."
    ),
    fields=BusinessCentralCompany,
    account_field="company_id",
    account=_account,
    changed=BusinessCentralChanges,
    webhook_secret=True,
    webhook_steps=(
        "1. Make up a secret of at least 16 characters (`openssl rand -hex 32`) and enter it as "
        "*Webhook secret* in the {block}.\n"
        "2. Run this deployment again: it takes the secret.\n"
        "3. Make two subscriptions at Business Central with that secret as *clientState*, one for "
        "`salesInvoices`, one for `salesCreditMemos` (the guide has the two calls).\n"
        "4. **They end after three days**: renew them daily (the guide has the call). What is "
        "missed in between, the next synchronisation reads."
    ),
    webhook_hint=(
        "Enter a made-up secret of at least 16 characters here, `twezah webhooks rotate {id}`, "
        "then make subscriptions for salesInvoices and salesCreditMemos at Business Central with "
        "the URL and that secret as clientState, and renew them before three days are over (guide)."
    ),
    refusals=("AppRejected", "KeyRejected"),
    missing=_missing,
    values=_values,
    mapping_example='{"invoice_number": "/externalDocumentNumber"}',
    simulated={
        "company_id": "7dbba574-5f69-4167-a43e-fb975045de15",
        "tenant_id": "aguatwezah.onmicrosoft.com",
        "environment": "Production",
        "client_id": "sim-client",
        "client_secret": "sim-secret",
        "token_url": "/aguatwezah.onmicrosoft.com/oauth2/v2.0/token",
    },
)
