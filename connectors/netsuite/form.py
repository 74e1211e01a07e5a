"""The form of NetSuite: a certificate or a token, no consent."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET
from connectors.kit.spec.form import Form, overlap

#: Fields that each way to log in needs.
_NEEDED: Final = {
    "token_based": ("consumer_key", "consumer_secret", "token_id", "token_secret"),
    "machine_to_machine": ("client_id", "certificate_id", "private_key"),
}
_SECRETS: Final = ("consumer_key", "consumer_secret", "token_id", "token_secret", "private_key")


class NetSuiteLogin(BaseModel):
    """The account, and how it knows us; only the fields of the chosen way are needed."""

    account_id: str = Field(
        pattern=r"^[A-Za-z0-9]+([_-][A-Za-z0-9]+)*$",
        title="Account ID",
        description=(
            "Setup, Company, Company Information: Account ID, e.g. 1234567, or 1234567_SB1 for a "
            "sandbox."
        ),
    )
    login: Literal["token_based", "machine_to_machine"] = Field(
        default="machine_to_machine",
        title="Way to log in",
        description=(
            "machine_to_machine: OAuth 2.0 with a certificate. token_based: OAuth 1.0 with a token "
            "(no new ones from 2027 on)."
        ),
    )
    consumer_key: SecretStr = Field(
        default=NO_SECRET,
        title="Consumer key",
        description="Token based: shown once when the integration is created.",
    )
    consumer_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Consumer secret",
        description="Token based: shown beside it, once.",
    )
    token_id: SecretStr = Field(
        default=NO_SECRET,
        title="Token ID",
        description="Token based: shown once when the access token is created.",
    )
    token_secret: SecretStr = Field(
        default=NO_SECRET, title="Token secret", description="Token based: shown beside it, once."
    )
    client_id: str = Field(
        default="",
        title="Client ID",
        description="Machine to machine: shown once when the integration is created.",
    )
    certificate_id: str = Field(
        default="",
        title="Certificate ID",
        description=(
            "Machine to machine: shown when the certificate is uploaded (Setup, Integration, "
            "OAuth 2.0 Client Credentials)."
        ),
    )
    private_key: SecretStr = Field(
        default=NO_SECRET,
        title="Private key",
        description=(
            "Machine to machine: the certificate's private key, PEM, RSA or elliptic curve, "
            "without password. Kept encrypted."
        ),
    )
    scope: str = Field(
        default="rest_webservices",
        title="Scope",
        description="Machine to machine: leave it as it is.",
    )
    token_url: str = Field(
        default="", title="Token URL", description="Machine to machine. Empty: the vendor's own."
    )
    locations: bool = Field(
        default=False,
        title="Read locations",
        description=(
            "Reads which location sold something. Only where the feature Locations is on: other "
            "accounts refuse the question, and nothing is read."
        ),
    )


class NetSuiteChanges(BaseModel):
    """NetSuite compares and writes times on a clock that only its own settings tell.

    A day of overlap covers every time zone.
    """

    overlap_minutes: int = overlap(1_500, least=1_440)
    timeout_seconds: float = Field(
        default=120,
        ge=1,
        le=900,
        title="Timeout (s)",
        description="How long to wait for an answer.",
    )
    timezone: str = Field(
        default="Africa/Luanda",
        title="Time zone",
        description=(
            "Zone of the account (Setup, Company, Company Information: Time Zone), "
            "e.g. Africa/Luanda."
        ),
    )


def _account(form: NetSuiteLogin) -> str:
    """The account ID, with capitals and underscores."""
    return form.account_id.upper().replace("-", "_")


def _missing(form: NetSuiteLogin) -> str:
    """The secrets of the chosen way to log in."""
    empty = [name for name in _NEEDED[form.login] if not _clear_text(getattr(form, name))]
    return f"for {form.login} it still lacks {', '.join(empty)}" if empty else ""


def _clear_text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _values(form: NetSuiteLogin) -> Mapping[str, Any]:
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "options": {
            "login": form.login,
            "certificate_id": form.certificate_id,
            "scope": form.scope,
            "locations": form.locations,
        },
        "secrets": {name: getattr(form, name) for name in _SECRETS},
    }


FORM: Final = Form(
    block="NetSuite Connection",
    summary="An account of NetSuite. Name the block `netsuite`.",
    description=(
        "Connects an account of NetSuite. Name the block `netsuite`. How to get the values: "
        "README, Connecting a real account."
    ),
    fields=NetSuiteLogin,
    account_field="account_id",
    account=_account,
    changed=NetSuiteChanges,
    refusals=("LoginRejected", "AssertionRejected"),
    missing=_missing,
    values=_values,
    simulated={
        "account_id": "7654321_SB1",
        "login": "token_based",
        "consumer_key": "sim-consumer-key",
        "consumer_secret": "sim-consumer-secret",
        "token_id": "sim-token-id",
        "token_secret": "sim-token-secret",
    },
)
