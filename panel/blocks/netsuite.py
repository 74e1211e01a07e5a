"""The block of NetSuite."""

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET, Account
from panel.blocks.base import BillingConnection


class NetSuiteLogin(BaseModel):
    """How NetSuite knows us; only the fields of the chosen way are needed."""

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
        default="", title="Certificate ID",
        description="Machine to machine: shown when the certificate is uploaded (Setup, Integration, OAuth 2.0 Client Credentials).",
    )  # fmt: skip
    private_key: SecretStr = Field(
        default=NO_SECRET, title="Private key",
        description="Machine to machine: the certificate's private key, PEM, RSA or elliptic curve, without password. Kept encrypted.",
    )  # fmt: skip
    scope: str = Field(
        default="rest_webservices",
        title="Scope",
        description="Machine to machine: leave it as it is.",
    )
    token_url: str = Field(
        default="", title="Token URL", description="Machine to machine. Empty: the vendor's own."
    )


class NetSuiteAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    account_id: str = Field(
        pattern=r"^[A-Za-z0-9]+([_-][A-Za-z0-9]+)*$",
        title="Account ID",
        description="Setup, Company, Company Information: Account ID, e.g. 1234567, or 1234567_SB1 for a sandbox.",
    )
    login: Literal["token_based", "machine_to_machine"] = Field(
        default="machine_to_machine", title="Way to log in",
        description="machine_to_machine: OAuth 2.0 with a certificate. token_based: OAuth 1.0 with a token (no new ones from 2027 on).",
    )  # fmt: skip


class NetSuiteConnection(BillingConnection, NetSuiteLogin, NetSuiteAccount):
    """An account of NetSuite. Name the block `netsuite`."""

    _block_type_name = "NetSuite Connection"
    _block_type_slug = "netsuite-connection"
    _description = "Connects an account of NetSuite. Name the block `netsuite`. How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "netsuite"

    # NetSuite compares and writes times on a clock that only its own settings tell: a day covers
    # every zone.
    overlap_minutes: int = Field(
        default=1_500, ge=1_440, le=10_080, title="Overlap (minutes)",
        description="Each sync looks back this much further than the last one ended, for late changes. Nothing counts twice.",
    )  # fmt: skip
    timeout_seconds: float = Field(
        default=120,
        ge=1,
        le=900,
        title="Timeout (s)",
        description="How long to wait for an answer.",
    )
    timezone: str = Field(
        default="Africa/Luanda", title="Time zone",
        description="Zone of the account (Setup, Company, Company Information: Time Zone), e.g. Africa/Luanda.",
    )  # fmt: skip

    def missing(self) -> str:
        """The secrets of the chosen way to log in."""
        needed = {
            "token_based": ("consumer_key", "consumer_secret", "token_id", "token_secret"),
            "machine_to_machine": ("client_id", "certificate_id", "private_key"),
        }[self.login]
        empty = [name for name in needed if not _clear(getattr(self, name))]
        return f"for {self.login} it still lacks {', '.join(empty)}" if empty else ""

    def account(self) -> str:
        """The account ID, with capitals and underscores."""
        return self.account_id.upper().replace("-", "_")

    def connection(self) -> Account:
        """The values the connector needs."""
        names = ("consumer_key", "consumer_secret", "token_id", "token_secret", "private_key")
        return replace(
            super().connection(),
            token_url=self.token_url,
            client_id=self.client_id,
            options={
                "login": self.login,
                "certificate_id": self.certificate_id,
                "scope": self.scope,
            },
            secrets={name: getattr(self, name) for name in names},
        )


def _clear(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
