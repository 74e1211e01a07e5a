"""The form of SAP S/4HANA: a communication user, or a client of the token server."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET
from connectors.kit.spec.form import Form


class S4HanaSystem(BaseModel):
    """Which system, which part of it, and who lets us in."""

    host: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        title="API host",
        description="The host with -api, e.g. my300000-api.s4hana.cloud.sap, without https://.",
    )
    sales_organization: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9]{0,4}$",
        title="Sales organization",
        description="Only the documents of this one, e.g. 1010. Empty: those of all.",
    )
    login: Literal["communication_user", "oauth_client"] = Field(
        default="communication_user",
        title="Way to log in",
        description=(
            "communication_user: user name and password of a communication arrangement. "
            "oauth_client: client ID and secret (private cloud, on premises)."
        ),
    )
    username: str = Field(
        default="", title="User name", description="communication_user: its name."
    )
    password: SecretStr = Field(
        default=NO_SECRET,
        title="Password",
        description="communication_user: its password. Kept encrypted.",
    )
    client_id: str = Field(
        default="", title="Client ID", description="oauth_client: the OAuth 2.0 client."
    )
    client_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Client secret",
        description="oauth_client: its secret. Kept encrypted.",
    )
    token_url: str = Field(
        default="",
        title="Token URL",
        description="oauth_client. Empty: /sap/bc/sec/oauth2/token of the API host.",
    )
    sap_client: str = Field(
        default="",
        pattern=r"^[0-9]{0,3}$",
        title="SAP client",
        description="Private cloud and on premises only, e.g. 100.",
    )


class S4HanaChanges(BaseModel):
    """Answers may take long."""

    timeout_seconds: float = Field(
        default=120,
        ge=1,
        le=900,
        title="Timeout (s)",
        description="How long to wait for an answer.",
    )


def _account(form: S4HanaSystem) -> str:
    """The host, and the sales organization behind a bar."""
    host = form.host.lower()
    return f"{host}|{form.sales_organization}" if form.sales_organization else host


def _missing(form: Any) -> str:
    """The fields of the chosen way to log in."""
    if form.login == "oauth_client":
        needed = {
            "Client ID": form.client_id,
            "Client secret": form.client_secret.get_secret_value(),
        }
    else:
        needed = {"User name": form.username, "Password": form.password.get_secret_value()}
    empty = [title for title, value in needed.items() if not value]
    return f"for {form.login} it still lacks {', '.join(empty)}" if empty else ""


def _values(form: Any) -> Mapping[str, Any]:
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "client_secret": form.client_secret,
        "options": {
            "host": form.host,
            "login": form.login,
            "username": form.username,
            "sales_organization": form.sales_organization,
            "sap_client": form.sap_client,
        },
        "secrets": {"password": form.password},
    }


FORM: Final = Form(
    block="SAP S4HANA Connection",
    summary="A system of SAP S/4HANA. Name the block `sap-s4hana`.",
    description=(
        "Connects a system of SAP S/4HANA, or one sales organization of it. Name the block "
        "`sap-s4hana`, a further one as you like (`sap-s4hana-1010`). How to get the values: "
        "README, Connecting a real account."
    ),
    fields=S4HanaSystem,
    account_field="host",
    account=_account,
    changed=S4HanaChanges,
    refusals=("UserRejected",),
    missing=_missing,
    values=_values,
    mapping_example='{"invoice_number": "/DocumentReferenceID"}',
    simulated={
        "host": "my300000-api.s4hana.cloud.sap",
        "username": "sim-client",
        "password": "sim-secret",
        "token_url": "/sap/bc/sec/oauth2/token",
    },
)
