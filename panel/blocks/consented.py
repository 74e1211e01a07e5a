"""The blocks of systems that someone lets us into in a browser: QuickBooks, Xero, FreshBooks."""

from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import Account
from panel.blocks.announced import Announced
from panel.blocks.base import BillingConnection


class ConsentedApp(BaseModel):
    """Credentials of systems that someone consents to in a browser (OAuth 2, authorization code)."""

    client_id: str = Field(
        title="Client ID", description="Client ID of your app at the vendor's developer portal."
    )
    client_secret: SecretStr = Field(
        title="Client secret", description="Client secret of the same app. Kept encrypted."
    )
    refresh_token: SecretStr = Field(
        default=SecretStr(""),
        title="Refresh token",
        description=(
            "Leave it empty and run the deployment *connect* (or `twezah connect`): it fills this and the account after the consent in "
            "the browser. The token is renewed and kept encrypted in the database from then on."
        ),
    )
    token_url: str = Field(default="", title="Token URL", description="Empty: the vendor's own.")
    authorize_url: str = Field(
        default="", title="Consent page", description="Empty: the vendor's own. For a simulator."
    )
    redirect_uri: str = Field(
        default="https://localhost/",
        title="Redirect URI",
        description=(
            "The one registered with the app, to the letter. Left as it is, *connect* takes http://localhost:8912/callback where the vendor allows that."
        ),
    )


class ConsentedConnection(BillingConnection, ConsentedApp):
    """A connection that lives by a consent: its refresh token rotates."""

    def missing(self) -> str:
        """The consent, which gives the account and the refresh token."""
        if self.refresh_token.get_secret_value() and self.account():
            return ""
        return f"the consent is missing: run `twezah connect {self.name}` or the deployment `connect` with {self.name!r}"

    def connection(self) -> Account:
        """The values the connector needs."""
        return replace(
            super().connection(),
            token_url=self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            refresh_token=self.refresh_token,
            redirect_uri=self.redirect_uri,
            authorize_url=self.authorize_url,
        )


class QuickBooksAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    realm_id: str = Field(
        default="",
        pattern=r"^\d*$",
        title="Company ID (realm)",
        description="Filled by the consent. (Settings, Account, Billing: Company ID; digits only.)",
    )


class QuickBooksConnection(Announced, ConsentedConnection, QuickBooksAccount):
    """A company of QuickBooks Online. Name the block `quickbooks`."""

    _block_type_name = "QuickBooks Connection"
    _block_type_slug = "quickbooks-connection"
    _description = "Connects a company of QuickBooks Online. Name the block `quickbooks`, a further one as you like (`quickbooks-lisboa`). How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "quickbooks"

    def account(self) -> str:
        """The realm."""
        return self.realm_id


class XeroAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    tenant_id: str = Field(
        default="",
        pattern=r"^([0-9a-fA-F-]{36})?$",
        title="Tenant ID",
        description="Filled by the consent. (tenantId as listed by https://api.xero.com/connections.)",
    )


class XeroConnection(Announced, ConsentedConnection, XeroAccount):
    """An organisation of Xero. Name the block `xero`."""

    _block_type_name = "Xero Connection"
    _block_type_slug = "xero-connection"
    _description = "Connects an organisation of Xero. Name the block `xero`, a further one as you like (`xero-lisboa`). How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "xero"
    mapping_example: ClassVar[str] = '{"invoice_number": "/Reference"}'

    def account(self) -> str:
        """The tenant."""
        return self.tenant_id


class FreshBooksAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    account_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9]*$",
        title="Account ID",
        description="Filled by the consent. (account_id, letters and digits, not the numeric business id.)",
    )


class FreshBooksConnection(ConsentedConnection, FreshBooksAccount):
    """An account of FreshBooks. Name the block `freshbooks`."""

    _block_type_name = "FreshBooks Connection"
    _block_type_slug = "freshbooks-connection"
    _description = "Connects an account of FreshBooks. Name the block `freshbooks`, a further one as you like (`freshbooks-lisboa`). How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "freshbooks"
    mapping_example: ClassVar[str] = '{"invoice_number": "/po_number"}'

    # FreshBooks filters by the day and its clock falls back an hour in autumn.
    overlap_minutes: int = Field(
        default=180, ge=120, le=10_080, title="Overlap (minutes)",
        description="Each sync looks back this much further than the last one ended, for late changes. Nothing counts twice.",
    )  # fmt: skip

    def account(self) -> str:
        """The accounting account."""
        return self.account_id
