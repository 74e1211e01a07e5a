"""The typed blocks an operator fills in Prefect's UI: one class per billing system, one document per connected account."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, SecretStr

from connectors.file import FileSettings, FolderPath
from connectors.kit.configured_settings import CustomSettings
from connectors.kit.documents import DEFAULT_CURRENCY, named
from connectors.kit.errors import Misconfigured, block_name
from connectors.kit.spec import NO_SECRET, Connection
from sql.policy import Wanted as AwardPolicy


class NotConnectedError(RuntimeError):
    """There is no such block, or it is not complete. The message says what to do."""


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
    award_when: Literal["issued", "paid"] = Field(
        default="issued", title="Award when",
        description=(
            "issued: open and paid sales earn. paid: a sale earns once it is fully paid. A change is for sales dated from the next run on; "
            "the past stays as it is, unless *Award when, from* says otherwise."
        ),
    )  # fmt: skip
    award_from: date | None = Field(
        default=None, title="Award when, from",
        description="Only to let *Award when* count for earlier sales too: those dated from this day on are recomputed. Empty: from now on.",
    )  # fmt: skip
    field_mapping: dict[str, str] = Field(
        default_factory=dict, title="Field mapping",
        description=(
            "Other source paths than the usual ones, as JSON pointers, e.g. "
            '{"customer_phone": "/CustomField/0/StringValue"}. Try it first: twezah mapping try SYSTEM FILE.'
        ),
    )  # fmt: skip

    @property
    def name(self) -> str:
        """What operators call this connection: the name of the block, or the system's where it is the first of it."""
        found = self._block_document_name or self.system
        return self.system if found == block_name(self.system) else found

    @classmethod
    def load(cls, name: str, *more: Any, **options: Any) -> Any:
        """The block of a connection; names are spelled as Prefect takes them."""
        return super().load(block_name(name), *more, **options)

    @classmethod
    def delete(cls, name: str, *more: Any, **options: Any) -> Any:
        """Deletes the block of a connection."""
        return super().delete(block_name(name), *more, **options)

    def save(self, name: str | None = None, *more: Any, **options: Any) -> Any:
        """Saves the block under the name of a connection."""
        return super().save(block_name(name) if name else name, *more, **options)

    def account(self) -> str:
        """The account at the vendor: realm, tenant or shop."""
        raise NotImplementedError

    def missing(self) -> str:
        """What the block still lacks before it can be used, "" when it is complete."""
        return ""

    def award_policy(self) -> AwardPolicy:
        """When sales earn; a day begins at midnight in the account's time zone."""
        if self.award_from is None:
            return AwardPolicy(self.award_when)
        try:
            zone = ZoneInfo(self.timezone)
        except (ValueError, ZoneInfoNotFoundError):
            raise Misconfigured(self.system, "settings", 'field "Time zone": there is no such time zone') from None
        return AwardPolicy(self.award_when, datetime.combine(self.award_from, time(), zone).astimezone(UTC))

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
            name=self.name,
        )


class ConsentedApp(BaseModel):
    """Credentials of systems that someone consents to in a browser (OAuth 2, authorization code)."""

    client_id: str = Field(title="Client ID", description="Client ID of your app at the vendor's developer portal.")
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
        description="The one registered with the app, to the letter.",
    )


class ConsentedConnection(BillingConnection, ConsentedApp):
    """A connection that lives by a consent: its refresh token rotates."""

    def missing(self) -> str:
        """The consent, which gives the account and the refresh token."""
        if self.refresh_token.get_secret_value() and self.account():
            return ""
        return (
            f"the consent is missing: run `twezah connect {self.name}` or the deployment `connect` with {self.name!r}"
        )

    def connection(self) -> Connection:
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


class QuickBooksConnection(ConsentedConnection, QuickBooksAccount):
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


class XeroConnection(ConsentedConnection, XeroAccount):
    """An organisation of Xero. Name the block `xero`."""

    _block_type_name = "Xero Connection"
    _block_type_slug = "xero-connection"
    _description = "Connects an organisation of Xero. Name the block `xero`, a further one as you like (`xero-lisboa`). How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "xero"

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
        default="",
        pattern=r"^[^@|\s]*$",
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
    _description = "Connects a company of Sage Intacct. Name the block `sage-intacct`, a further one as you like (`sage-intacct-lisboa`). How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "sage_intacct"

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

    def missing(self) -> str:
        """The company, and the user or the consent."""
        if not self.company_id:
            return f"fill in the Company ID of the block {block_name(self.name)!r}"
        if self.login == "consent":
            return super().missing()
        return "" if self.web_services_user else f"fill in the Web Services user of the block {block_name(self.name)!r}"

    def connection(self) -> Connection:
        """The values the connector needs. Paths are dotted, as the query service writes names and takes them."""
        return replace(
            super().connection(),
            options={"login": self.login, "user": self.web_services_user, "deletions_hours": self.deletions_hours},
            paths={name: "/" + path.strip("/").replace("/", ".") for name, path in self.field_mapping.items()},
        )


class DescribedConnection(BillingConnection):
    """A system that the operator describes; its account is the block's name, so that there can be several."""

    default_currency: str = Field(
        default=DEFAULT_CURRENCY, pattern="^([A-Z]{3})?$", title="Default currency",
        description="Used where a document names none. Empty: such a document is rejected.",
    )  # fmt: skip
    field_mapping: dict[str, str] = Field(
        default_factory=dict, title="Field mapping",
        description=(
            "Where your fields are, if not at the usual places: JSON pointers or names, lines relative to the line, e.g. "
            '{"customer_phone": "/cliente/telemovel", "total_minor": "/valor", "lines.sku": "/codigo"}. Fields: docs/custom-systems.md. '
            "Try it first: twezah mapping try custom FILE --block NAME."
        ),
    )  # fmt: skip

    @classmethod
    def sample_values(cls) -> dict[str, Any]:
        """What a block must have and a sample does not need."""
        return {}

    def account(self) -> str:
        """The block's name."""
        return self.name

    def connection(self) -> Connection:
        """The values the connector needs."""
        paths = {name: named(path) for name, path in self.field_mapping.items()}
        return replace(super().connection(), paths=paths)


class CustomCredentials(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    base_url: str = Field(
        title="API base URL", description="Where your system's API is, e.g. https://erp.example.com/api/v1. https only."
    )
    api_key: SecretStr = Field(
        default=SecretStr(""), title="API key", description="For authentication bearer or api key. Kept encrypted."
    )
    password: SecretStr = Field(
        default=SecretStr(""), title="Password", description="For authentication basic. Kept encrypted."
    )
    client_id: str = Field(default="", title="Client ID", description="For authentication client credentials.")
    client_secret: SecretStr = Field(
        default=SecretStr(""),
        title="Client secret",
        description="For authentication client credentials. Kept encrypted.",
    )
    token_url: str = Field(default="", title="Token URL", description="For authentication client credentials.")


class CustomConnection(DescribedConnection, CustomSettings, CustomCredentials):
    """Any REST API. Name the block as you like: the name is the account in the ledger."""

    _block_type_name = "Custom Connection"
    _block_type_slug = "custom-connection"
    _description = (
        "Connects any system with a REST API, without code. The block's name becomes the account in the ledger; several are possible. "
        "The defaults fit our own contract. Guide: docs/custom-systems.md."
    )
    system: ClassVar[str] = "custom"

    @classmethod
    def sample_values(cls) -> dict[str, Any]:
        """No address is reached."""
        return {"base_url": "https://sample.invalid"}

    def connection(self) -> Connection:
        """The values the connector needs."""
        return replace(
            super().connection(),
            token_url=self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            secrets={"api_key": self.api_key, "password": self.password},
            options={name: getattr(self, name) for name in CustomSettings.model_fields},
        )


class FileDropConnection(DescribedConnection, FileSettings, FolderPath):
    """A folder of exports. Name the block as you like: the name is the account in the ledger."""

    _block_type_name = "File Drop Connection"
    _block_type_slug = "file-drop-connection"
    _description = (
        "Reads the sales of a system without an API from the files it leaves in a folder: CSV, JSON, one JSON document per line, Parquet. "
        "The block's name becomes the account in the ledger; several are possible. Guide: docs/custom-systems.md."
    )
    system: ClassVar[str] = "file"

    @classmethod
    def sample_values(cls) -> dict[str, Any]:
        """No folder is read."""
        return {"folder": "/"}

    def connection(self) -> Connection:
        """The values the connector needs."""
        names = (*FileSettings.model_fields, "folder")
        return replace(super().connection(), base_url="", options={name: getattr(self, name) for name in names})


def _clear(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


BLOCKS: dict[str, type[BillingConnection]] = {
    block.system: block
    for block in (
        QuickBooksConnection,
        XeroConnection,
        FreshBooksConnection,
        NetSuiteConnection,
        SageIntacctConnection,
        CustomConnection,
        FileDropConnection,
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


def account_field(system: str) -> str:
    """The field of the system's block that names the account."""
    return _ACCOUNT_FIELD[system]


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
    authorize_paths = {
        "quickbooks": "/connect/oauth2",
        "xero": "/identity/connect/authorize",
        "freshbooks": "/oauth/authorize",
        "sage_intacct": "/ia/api/v1/oauth2/authorize",
    }
    from tasks.connections import connections  # which needs the blocks above

    present = connections()
    for system, account in accounts.items():
        if system in present:
            continue
        values: dict[str, Any] = {"base_url": f"{base_url}/{system}", _ACCOUNT_FIELD[system]: account}
        if issubclass(BLOCKS[system], ConsentedConnection):
            values |= {
                "client_id": "sim-client",
                "client_secret": "sim-secret",
                "refresh_token": f"sim-refresh-{system}",
                "token_url": f"{base_url}/{system}{token_paths[system]}",
                "authorize_url": f"{base_url}/{system}{authorize_paths[system]}",
            }
        elif system == "netsuite":
            values |= {
                "login": "token_based",
                "consumer_key": "sim-consumer-key",
                "consumer_secret": "sim-consumer-secret",
                "token_id": "sim-token-id",
                "token_secret": "sim-token-secret",
            }
        BLOCKS[system](**values).save(system)
    if "custom" not in present:
        CustomConnection(base_url=f"{base_url}/custom", api_key=SecretStr("sim-secret")).save("custom")
