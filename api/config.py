"""What the API needs to know, taken from the settings once."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from settings import Settings

#: No endpoint may take more.
BODY_BYTES_LIMIT: Final = 16 * 2**20


@dataclass(frozen=True)
class Config:
    """Settings of one process of the API."""

    #: The ledger database, in libpq's form.
    dsn: str = field(repr=False)
    #: The installation's key.
    key: bytes = field(repr=False)
    ui_url: str
    #: Region of phone numbers without a country code.
    region: str
    #: Address under which others reach the API.
    public_url: str
    #: `user:password` of the front page, which is that of Prefect's pages; None: there is no such
    #: page.
    front_login: str | None = field(default=None, repr=False)
    #: Names under which browsers may open the front page, besides addresses.
    front_names: frozenset[str] = frozenset()
    #: Whether plain HTTP from other machines is answered.
    plain_http: bool = False
    #: Requests of one client address per minute.
    source_per_minute: int = 60_000
    #: Months for which the audit of requests is kept.
    attempt_months: int = 12
    body_bytes_max: int = BODY_BYTES_LIMIT
    #: Connections for what is read.
    readers: int = 6
    #: Deployment that claims stored events; None: nobody is started.
    events_deployment: str | None = "webhooks"

    @classmethod
    def of(cls, settings: Settings) -> "Config":
        """The settings of an installation. Raises DatabaseNotRunning."""
        return cls(
            dsn=settings.dsn(),
            key=settings.fernet_key(),
            ui_url=settings.ui_url,
            region=settings.region,
            public_url=settings.http_url,
            front_login=settings.prefect_auth_string(),
            front_names=_own_names(settings),
            plain_http=settings.api_plain_http,
            source_per_minute=settings.api_source_per_minute,
            attempt_months=settings.api_attempt_months,
        )


def _own_names(settings: Settings) -> frozenset[str]:
    names = ("localhost", settings.api_host, urlsplit(settings.http_url).hostname)
    return frozenset(name.lower() for name in names if name)
