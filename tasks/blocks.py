"""The typed blocks an operator fills in Prefect's UI: one class per billing system, one document per connected account."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, SecretStr, ValidationError

from connectors.kit.errors import block_name
from connectors.kit.spec import NO_SECRET, Connection
from twezah.settings import settings

SystemName = Literal["quickbooks", "xero", "freshbooks", "netsuite", "sage_intacct"]


class NotConnectedError(RuntimeError):
    """The system has no block. The message says which block to create."""


class BillingConnection(Block):
    """What all billing systems have in common."""

    _logo_url: ClassVar[Any] = None
    system: ClassVar[str]

    base_url: str = Field(
        default="", title="API base URL", description="Empty: the vendor's own. For a proxy, a sandbox or a simulator."
    )
    page_size: int = Field(
        default=0, ge=0, le=1000, title="Page size", description="Records per request. 0: the most the vendor allows."
    )
    timeout_seconds: float = Field(
        default=30, ge=1, le=300, title="Timeout (s)", description="How long to wait for an answer."
    )
    overlap_minutes: int = Field(
        default=15, ge=1, le=10_080, title="Overlap (minutes)",
        description="Each sync looks back this much further than the last one ended, for late changes. Nothing counts twice.",
    )  # fmt: skip
    reject_percent_max: int = Field(
        default=25, ge=0, le=100, title="Largest share of rejects (%)",
        description="A run that rejects more of its records than this fails, and nothing moves: the mapping is probably wrong.",
    )  # fmt: skip
    reject_records_min: int = Field(
        default=20,
        ge=1,
        title="Fewest records for that check",
        description="The share of rejects is looked at only in runs with at least this many records.",
    )
    region: str = Field(
        default="AO", pattern="^[A-Z]{2}$", title="Phone region",
        description="Country in which phone numbers without a country code are read (ISO 3166).",
    )  # fmt: skip
    timezone: str = Field(
        default="Africa/Luanda", title="Time zone", description="Zone of the account's dates, e.g. Africa/Luanda."
    )
    default_currency: str = Field(
        default="", pattern="^([A-Z]{3})?$", title="Default currency",
        description="Used where a document names none (accounts with a single currency). Empty: such a document is rejected.",
    )  # fmt: skip
    field_mapping: dict[str, str] = Field(
        default_factory=dict, title="Field mapping",
        description=(
            "Other source paths than the usual ones, as JSON pointers, e.g. "
            '{"customer_phone": "/CustomField/0/StringValue"}. Try it first: twezah mapping try SYSTEM FILE.'
        ),
    )  # fmt: skip

    def account(self) -> str:
        """The account at the vendor: realm, tenant or shop."""
        raise NotImplementedError

    def connection(self) -> Connection:
        """The values the connector needs."""
        return Connection(
            system=self.system,
            account=self.account(),
            base_url=self.base_url,
            page_size=self.page_size or None,
            region=self.region,
            timezone=self.timezone,
            timeout_seconds=self.timeout_seconds,
            paths=self.field_mapping,
            default_currency=self.default_currency or None,
        )


class ConsentedApp(BaseModel):
    """Credentials of systems that someone consents to in a browser (OAuth 2, authorization code)."""

    client_id: str = Field(title="Client ID", description="Client ID of your app at the vendor's developer portal.")
    client_secret: SecretStr = Field(
        title="Client secret", description="Client secret of the same app. Kept encrypted."
    )
    refresh_token: SecretStr = Field(
        title="Refresh token",
        description=(
            "The refresh token of the consent. Needed once: it is renewed and kept encrypted in the database from then on. "
            "Paste a new one here when a run says that the credentials were rejected."
        ),
    )
    token_url: str = Field(default="", title="Token URL", description="Empty: the vendor's own.")
    redirect_uri: str = Field(
        default="https://localhost/",
        title="Redirect URI",
        description="The one registered with the app (FreshBooks asks for it).",
    )


class ConsentedConnection(BillingConnection, ConsentedApp):
    """A connection that lives by a consent: its refresh token rotates."""

    def connection(self) -> Connection:
        """The values the connector needs."""
        return replace(
            super().connection(),
            token_url=self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            refresh_token=self.refresh_token,
            redirect_uri=self.redirect_uri,
        )


class QuickBooksAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    realm_id: str = Field(
        pattern=r"^\d+$", title="Company ID (realm)", description="Settings, Account, Billing: Company ID; digits only."
    )


class QuickBooksConnection(ConsentedConnection, QuickBooksAccount):
    """A company of QuickBooks Online. Name the block `quickbooks`."""

    _block_type_name = "QuickBooks Connection"
    _block_type_slug = "quickbooks-connection"
    _description = "Connects a company of QuickBooks Online. Name the block `quickbooks`. How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "quickbooks"

    def account(self) -> str:
        """The realm."""
        return self.realm_id


class XeroAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    tenant_id: str = Field(
        pattern=r"^[0-9a-fA-F-]{36}$",
        title="Tenant ID",
        description="tenantId as listed by https://api.xero.com/connections.",
    )


class XeroConnection(ConsentedConnection, XeroAccount):
    """An organisation of Xero. Name the block `xero`."""

    _block_type_name = "Xero Connection"
    _block_type_slug = "xero-connection"
    _description = "Connects an organisation of Xero. Name the block `xero`. How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "xero"

    def account(self) -> str:
        """The tenant."""
        return self.tenant_id


class FreshBooksAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    account_id: str = Field(
        pattern=r"^[A-Za-z0-9]+$",
        title="Account ID",
        description="account_id (letters and digits), not the numeric business id.",
    )


class FreshBooksConnection(ConsentedConnection, FreshBooksAccount):
    """An account of FreshBooks. Name the block `freshbooks`."""

    _block_type_name = "FreshBooks Connection"
    _block_type_slug = "freshbooks-connection"
    _description = "Connects an account of FreshBooks. Name the block `freshbooks`. How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "freshbooks"

    # FreshBooks filters by the day and its clock falls back an hour in autumn.
    overlap_minutes: int = Field(
        default=180, ge=120, le=10_080, title="Overlap (minutes)",
        description="Each sync looks back this much further than the last one ended, for late changes. Nothing counts twice.",
    )  # fmt: skip

    def account(self) -> str:
        """The accounting account."""
        return self.account_id


class NetSuiteLogin(BaseModel):
    """How NetSuite knows us; only the fields of the chosen way are needed."""

    consumer_key: SecretStr = Field(
        default=NO_SECRET, title="Consumer key", description="Token based: shown once when the integration is created."
    )
    consumer_secret: SecretStr = Field(default=NO_SECRET, title="Consumer secret", description="Token based: with it.")
    token_id: SecretStr = Field(
        default=NO_SECRET, title="Token ID", description="Token based: shown once when the access token is created."
    )
    token_secret: SecretStr = Field(default=NO_SECRET, title="Token secret", description="Token based: with it.")
    client_id: str = Field(default="", title="Client ID", description="Machine to machine: of the integration.")
    certificate_id: str = Field(
        default="", title="Certificate ID",
        description="Machine to machine: shown when the certificate is uploaded (Setup, Integration, OAuth 2.0 Client Credentials).",
    )  # fmt: skip
    private_key: SecretStr = Field(
        default=NO_SECRET, title="Private key",
        description="Machine to machine: the certificate's private key, PEM, RSA or elliptic curve, without password. Kept encrypted.",
    )  # fmt: skip
    scope: str = Field(default="rest_webservices", title="Scope", description="Machine to machine.")
    token_url: str = Field(default="", title="Token URL", description="Machine to machine. Empty: the vendor's own.")


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

    # NetSuite compares and writes times on a clock that only its own settings tell: a day covers every zone.
    overlap_minutes: int = Field(
        default=1_500, ge=1_440, le=10_080, title="Overlap (minutes)",
        description="Each sync looks back this much further than the last one ended, for late changes. Nothing counts twice.",
    )  # fmt: skip
    timeout_seconds: float = Field(
        default=120, ge=1, le=900, title="Timeout (s)", description="How long to wait for an answer."
    )
    timezone: str = Field(
        default="Africa/Luanda", title="Time zone",
        description="Zone of the account (Setup, Company, Company Information: Time Zone), e.g. Africa/Luanda.",
    )  # fmt: skip

    def account(self) -> str:
        """The account ID, with capitals and underscores."""
        return self.account_id.upper().replace("-", "_")

    def connection(self) -> Connection:
        """The values the connector needs."""
        names = ("consumer_key", "consumer_secret", "token_id", "token_secret", "private_key")
        return replace(
            super().connection(),
            token_url=self.token_url,
            client_id=self.client_id,
            options={"login": self.login, "certificate_id": self.certificate_id, "scope": self.scope},
            secrets={name: getattr(self, name) for name in names},
        )


class SageIntacctAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    company_id: str = Field(
        pattern=r"^[^@|\s]+$",
        title="Company ID",
        description="What you type under Company ID when you sign in, e.g. AguaTwezah-sandbox for a sandbox company.",
    )
    entity_id: str = Field(
        default="", pattern=r"^[^@|\s]*$", title="Entity ID",
        description="Of one entity of the company. Empty: the top level, which sees all entities.",
    )  # fmt: skip
    login: Literal["consent", "client_credentials"] = Field(
        default="consent", title="Way to log in",
        description="consent: a user allowed the app in a browser. client_credentials: the app acts for a Web Services user.",
    )  # fmt: skip
    web_services_user: str = Field(
        default="", pattern=r"^[^@|\s]*$", title="Web Services user", description="Client credentials: the user's ID."
    )


class SageIntacctConnection(ConsentedConnection, SageIntacctAccount):
    """A company of Sage Intacct, or one entity of it. Name the block `sage-intacct`."""

    _block_type_name = "Sage Intacct Connection"
    _block_type_slug = "sage-intacct-connection"
    _description = "Connects a company of Sage Intacct. Name the block `sage-intacct`. How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "sage_intacct"

    refresh_token: SecretStr = Field(
        default=NO_SECRET, title="Refresh token",
        description=(
            "Consent: the refresh token. Needed once: it is renewed and kept encrypted in the database from then on. "
            "Paste a new one here when a run says that the credentials were rejected."
        ),
    )  # fmt: skip
    page_size: int = Field(
        default=0,
        ge=0,
        le=2000,
        title="Page size",
        description="Records per request. 0: 2000. Each page is billed as one.",
    )
    deletions_hours: int = Field(
        default=6, ge=0, le=168, title="Look for deletions every (hours)",
        description=(
            "Deleted documents leave no trace: the ids of all documents are listed and compared, 2000 a request. 0: in every run."
        ),
    )  # fmt: skip

    def account(self) -> str:
        """The company, and the entity behind a bar."""
        return f"{self.company_id}|{self.entity_id}" if self.entity_id else self.company_id

    def connection(self) -> Connection:
        """The values the connector needs. Paths are dotted, as the query service writes names and takes them."""
        return replace(
            super().connection(),
            options={"login": self.login, "user": self.web_services_user, "deletions_hours": self.deletions_hours},
            paths={name: "/" + path.strip("/").replace("/", ".") for name, path in self.field_mapping.items()},
        )


BLOCKS: dict[str, type[BillingConnection]] = {
    block.system: block
    for block in (
        QuickBooksConnection,
        XeroConnection,
        FreshBooksConnection,
        NetSuiteConnection,
        SageIntacctConnection,
    )
}
_ACCOUNT_FIELD = {
    "quickbooks": "realm_id",
    "xero": "tenant_id",
    "freshbooks": "account_id",
    "netsuite": "account_id",
    "sage_intacct": "company_id",
}


def register_blocks() -> None:
    """Makes the block types appear in Prefect's catalogue."""
    for block in BLOCKS.values():
        block.register_type_and_schema()


def load_block(system: str) -> BillingConnection:
    """The operator's block of a system.

    Raises NotConnectedError if there is none.
    """
    block = BLOCKS[system]
    try:
        return block.load(block_name(system))  # type: ignore[return-value]
    except (RuntimeError, ValidationError) as error:
        message = (
            f"the block {block_name(system)!r} holds a value that is not valid any more, or belongs to another version: open it "
            f"({settings().ui_url}/blocks), correct it and save it"
        )
        raise NotConnectedError(message) from error
    except ValueError as error:
        if "Unable to find block document" not in str(error):
            raise
        message = (
            f"{system} is not connected: create a {block._block_type_name!r} block named {block_name(system)!r} "
            f"({settings().ui_url}/blocks/catalog/{block._block_type_slug}/create) and start the run again"
        )
        raise NotConnectedError(message) from None


def connected_systems() -> list[str]:
    """The systems that have a block."""
    found = []
    for system in BLOCKS:
        try:
            load_block(system)
        except NotConnectedError:
            continue
        found.append(system)
    return found


def connect_simulator(base_url: str) -> None:
    """Connects every system that has no block yet to the simulator at `base_url`. Its credentials are public constants."""
    accounts = {
        "quickbooks": "9130350000000001",
        "xero": "b0a5c0de-0000-4000-8000-000000000001",
        "freshbooks": "TwZh01",
        "netsuite": "7654321_SB1",
        "sage_intacct": "AguaTwezah",
    }
    token_paths = {
        "quickbooks": "/oauth2/v1/tokens/bearer",
        "xero": "/connect/token",
        "freshbooks": "/auth/oauth/token",
        "sage_intacct": "/ia/api/v1/oauth2/token",
    }
    connected = set(connected_systems())
    for system, block in BLOCKS.items():
        if system in connected:
            continue
        values: dict[str, Any] = {"base_url": f"{base_url}/{system}", _ACCOUNT_FIELD[system]: accounts[system]}
        if issubclass(block, ConsentedConnection):
            values |= {
                "client_id": "sim-client",
                "client_secret": "sim-secret",
                "refresh_token": f"sim-refresh-{system}",
                "token_url": f"{base_url}/{system}{token_paths[system]}",
            }
        elif system == "netsuite":
            values |= {
                "login": "token_based",
                "consumer_key": "sim-consumer-key",
                "consumer_secret": "sim-consumer-secret",
            }
            values |= {"token_id": "sim-token-id", "token_secret": "sim-token-secret"}
        block(**values).save(block_name(system))
