"""The form of Oracle Fusion: a user of the pod, or an application of its identity domain."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET
from connectors.kit.spec.form import Form, deletions_every, overlap

#: Fields that each way to log in needs.
_NEEDED: Final = {
    "basic": ("user", "password"),
    "client_credentials": ("client_id", "client_secret", "scope", "token_url"),
}


class OracleFusionPod(BaseModel):
    """The pod, and how it knows us; only the fields of the chosen way are needed."""

    host: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        title="Host",
        description=(
            "Of your pod, as in the browser, without https://, e.g. abcd.fa.em2.oraclecloud.com. "
            "A test pod has a host of its own."
        ),
    )
    login: Literal["basic", "client_credentials"] = Field(
        default="basic",
        title="Way to log in",
        description=(
            "basic: a user of the pod with a password. client_credentials: an application of the "
            "OCI identity domain."
        ),
    )
    user: str = Field(
        default="", title="User", description="Basic: a user for integrations, not a person's."
    )
    password: SecretStr = Field(
        default=NO_SECRET, title="Password", description="Basic: of that user. Kept encrypted."
    )
    client_id: str = Field(
        default="",
        title="Client ID",
        description="Client credentials: of the confidential application in the identity domain.",
    )
    client_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Client secret",
        description="Client credentials: of the same application. Kept encrypted.",
    )
    scope: str = Field(
        default="",
        title="Scope",
        description=(
            "Client credentials: of the Fusion instance, e.g. "
            "urn:opc:resource:fa:instanceid=12345urn:opc:resource:consumer::all."
        ),
    )
    token_url: str = Field(
        default="",
        title="Token URL",
        description=(
            "Client credentials: e.g. https://idcs-0123.identity.oraclecloud.com/oauth2/v1/token."
        ),
    )
    business_unit: str = Field(
        default="",
        title="Business unit",
        description="Its name, where only one is to be read. Empty: all that the user may see.",
    )
    changed_by: Literal["CreationDate", "LastUpdateDate"] = Field(
        default="CreationDate",
        title="Changes are found by",
        description=(
            "LastUpdateDate where your pod can search by it (the guide says how to see that): the "
            "last weeks are then read again when deletions are looked for. CreationDate: in each "
            "run."
        ),
    )
    reread_days: int = Field(
        default=31,
        ge=0,
        le=400,
        title="Read again (days)",
        description=(
            "Documents dated within so many days are read again, for payments and other late "
            "changes. Longer than your customers take to pay. 0, with LastUpdateDate only: none."
        ),
    )
    deletions_hours: int = deletions_every(
        6,
        description=(
            "Deleted documents leave no trace: the ids of all documents are listed and compared, "
            "499 a request."
        ),
    )


class OracleFusionChanges(BaseModel):
    """Each document costs a request of its own for its lines."""

    overlap_minutes: int = overlap(60, least=15)
    page_size: int = Field(
        default=0,
        ge=0,
        le=499,
        title="Page size",
        description="Records per request. 0: 499, the most that Oracle gives.",
    )


def _missing(form: OracleFusionPod) -> str:
    """The values of the chosen way to log in, and of that to find changes."""
    empty = [name for name in _NEEDED[form.login] if not _clear_text(getattr(form, name))]
    if empty:
        return f"for {form.login} it still lacks {', '.join(empty)}"
    if form.changed_by == "CreationDate" and not form.reread_days:
        return "with CreationDate it needs Read again (days): nothing else tells of changes"
    return ""


def _clear_text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _values(form: OracleFusionPod) -> Mapping[str, Any]:
    names = (
        "host", "login", "user", "scope", "business_unit", "changed_by", "reread_days",
        "deletions_hours",
    )  # fmt: skip
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "client_secret": form.client_secret,
        "options": {name: getattr(form, name) for name in names},
        "secrets": {"password": form.password},
    }


FORM: Final = Form(
    block="Oracle Fusion Connection",
    summary="A pod of Oracle Fusion Cloud ERP. Name the block `oracle-fusion`.",
    description=(
        "Connects a pod of Oracle Fusion Cloud ERP. Name the block `oracle-fusion`. How to get the "
        "values: README, Connecting a real account."
    ),
    fields=OracleFusionPod,
    account_field="host",
    account=lambda form: form.host.lower(),
    changed=OracleFusionChanges,
    refusals=("UserRefused",),
    missing=_missing,
    values=_values,
    simulated={
        "host": "abcd.fa.em2.oraclecloud.com",
        "user": "sim-client",
        "password": "sim-secret",
        "token_url": "/oauth2/v1/token",
    },
)
