"""Everything an installation can set, read from the environment (`TWEZAH_*`) once per process."""

import json
import os
import secrets
import shlex
import subprocess
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote, urlencode, urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

#: The checkout: the folder that holds prefect.yaml, flows/ and this package.
PROJECT_ROOT = Path(__file__).resolve().parent
#: What Prefect's clients read as authorities where its server is reached by plain HTTP: reading the
#: real ones costs 30 ms of CPU for each client, and a run makes a dozen.
NO_AUTHORITY = PROJECT_ROOT / "twezah" / "stack" / "no_authority.pem"

Port = Annotated[int, Field(ge=1, le=65535)]
#: Length of the keys that seal stored bodies.
DATA_KEY_BYTES = 32
#: A week at least: interrupted reads are continued, and failures looked at, within days.
Days = Annotated[int, Field(ge=7, le=36_500)]


class DatabaseNotRunning(RuntimeError):
    """The embedded database is configured but nobody has started it.

    `twezah up` or `twezah psql` does.
    """


def _default_home() -> Path:
    base = PROJECT_ROOT if (PROJECT_ROOT / "prefect.yaml").exists() else Path.cwd()
    return base / ".twezah"


class KeysUnusableError(RuntimeError):
    """The keys that seal stored data cannot be had. The message says what to do."""


class Settings(BaseSettings):
    """One installation.

    All times are UTC unless a name says otherwise; secrets never show in `repr`.
    """

    model_config = SettingsConfigDict(
        env_prefix="TWEZAH_",
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
        frozen=True,
    )

    #: State folder: embedded database, logs, generated secret key, Prefect's files.
    home: Path = Field(default_factory=_default_home)
    #: Ledger database. Unset: the embedded PostgreSQL under `home`.
    database_url: SecretStr | None = None
    #: Whether the API, the worker and the panel take roles of their own at `database_url`, too. At the
    #: embedded database they always do.
    database_roles: bool = False
    #: The role of this process; the stack sets it for those it starts. None: the owner.
    database_role: Annotated[str, Field(pattern=r"^twezah_[a-z]+$")] | None = None
    #: How analysts log in to the ledger database, where the role cannot be given a password.
    analyst_database_url: SecretStr | None = None
    #: A session of an analyst on the bundled database is ended when its transaction is older.
    analyst_transaction_minutes_max: Annotated[int, Field(ge=1, le=1440)] = 60
    #: A Prefect server to use instead of starting one.
    prefect_api_url: str | None = Field(
        default=None, validation_alias=AliasChoices("PREFECT_API_URL", "prefect_api_url")
    )
    #: Where our own Prefect server listens. Beyond this machine only with a certificate, behind
    #: trusted proxies, or if plain HTTP is allowed.
    prefect_host: str = "127.0.0.1"
    #: Port of our own Prefect server.
    prefect_port: Port = 4200
    #: How browsers and other machines reach our Prefect server: https://prefect.example.com
    prefect_public_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$")] | None = None
    #: Certificate (PEM) and key of our Prefect server, where it speaks HTTPS itself.
    prefect_tls_certificate: Path | None = None
    prefect_tls_key: Path | None = None
    #: Addresses or networks, separated by commas, of proxies that speak HTTPS for Prefect's server.
    prefect_trusted_proxies: str = ""
    #: Allows plain HTTP to other machines, password included.
    prefect_plain_http: bool = False
    #: Redis through which several Prefect servers and one set of services work together:
    #: rediss://user:password@host:6379/0. Unset: one server does all.
    prefect_redis_url: SecretStr | None = None
    #: Port of the simulated billing systems on this machine.
    simulator_port: Port = 8765
    #: Where the HTTP API listens. Beyond this machine only with a certificate, behind trusted
    #: proxies, or if plain HTTP is allowed.
    api_host: str = "127.0.0.1"
    #: Port of the HTTP API.
    api_port: Port = 8080
    #: How others reach the API, for the addresses it prints: https://points.example.com
    api_public_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")] | None = (
        None
    )
    #: Certificate (PEM) and key of the HTTP API, where it speaks HTTPS itself.
    api_tls_certificate: Path | None = None
    api_tls_key: Path | None = None
    #: Addresses or networks, separated by commas, of proxies whose X-Forwarded-For and -Proto are
    #: believed.
    api_trusted_proxies: str = ""
    #: Allows plain HTTP to other machines, keys included.
    api_plain_http: bool = False
    #: Requests that one client address may make per minute, of any kind.
    api_source_per_minute: Annotated[int, Field(ge=60, le=10_000_000)] = 60_000
    #: Connections that one client address may hold at once; in IPv6, one /64 network. Trusted
    #: proxies have no limit.
    api_source_connections: Annotated[int, Field(ge=8, le=1_000)] = 256
    #: For how many months the log of API requests (billing.http_attempt) is kept.
    api_attempt_months: Annotated[int, Field(ge=1, le=120)] = 12
    #: Networks, separated by commas, to which webhooks for the loyalty app may be sent although they
    #: are not public; plain HTTP goes only there. Empty: public addresses with HTTPS alone.
    webhook_receiver_networks: str = ""
    #: For how many days bodies of stored pages are kept; unset: for good. A replay reaches no
    #: further back.
    keep_raw_pages_days: Days | None = None
    #: The same of bodies and senders of webhooks.
    keep_webhooks_days: Days | None = None
    #: The same of the log of API requests, beside TWEZAH_API_ATTEMPT_MONTHS.
    keep_attempts_days: Days | None = None
    #: The same of log files of the state folder.
    keep_logs_days: Days | None = None
    #: The same of runs in Prefect's UI, with their logs and reports.
    keep_runs_days: Days = 90
    #: The same, after an erasure, of the billing system's customer numbers at the member's sales.
    keep_erased_members_days: Days | None = None
    #: Prefect's work pool in which our deployments run.
    work_pool: str = "billing"
    #: Fernet key that encrypts OAuth tokens in the database. Unset: `<home>/secret.key`, made on
    #: first use.
    secret_key: SecretStr | None = None
    #: Public keys of age (age1...), divided by commas or blanks: backups are encrypted to them.
    backup_recipients: str = ""
    #: Keys that seal stored bodies, divided by blanks or commas, the one in use first.
    data_key: SecretStr | None = None
    #: A command that prints them, one a line: for a vault or a key management service.
    data_key_command: str | None = None
    #: The file that holds them, one a line. Unset: `<home>/data.keys`, made on first use.
    data_key_file: Path | None = None
    #: ISO 3166 region in which phone numbers without a country prefix are read.
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "AO"
    #: IANA zone of date-only vendor fields.
    timezone: str = "Africa/Luanda"

    #: A change of the rules that moves more points of past sales, or a larger share of them, must
    #: be confirmed.
    change_points_max: Annotated[int, Field(ge=0)] = 1_000_000
    change_percent_max: Annotated[int, Field(ge=0, le=100)] = 5
    #: Where exchange rates are downloaded from, as CSV; may hold a key.
    fx_url: SecretStr | None = None

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return (home.expanduser() if str(home).startswith("~") else home).absolute()

    @field_validator("database_url", "analyst_database_url")
    @classmethod
    def _postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(
            ("postgresql://", "postgres://")
        ):
            raise ValueError("must be a postgresql:// URL")
        return url

    @field_validator("prefect_redis_url")
    @classmethod
    def _redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://")
        if url is not None and not url.get_secret_value().startswith(schemes):
            raise ValueError(f"must begin with one of {', '.join(schemes)}")
        return url

    @field_validator("api_trusted_proxies", "prefect_trusted_proxies", "webhook_receiver_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for part in filter(None, (entry.strip() for entry in text.split(","))):
            try:
                ip_network(part)
            except ValueError:
                raise ValueError(f"{part!r} is no address and no network") from None
        return text

    @field_validator("prefect_api_url")
    @classmethod
    def _without_credentials(cls, url: str | None) -> str | None:
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("holds a user or a password: set PREFECT_API_AUTH_STRING instead")
        return url

    @field_validator("fx_url")
    @classmethod
    def _http_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must be an http(s) URL")
        return url

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prefect_port == self.simulator_port:
            raise ValueError("TWEZAH_PREFECT_PORT and TWEZAH_SIMULATOR_PORT must differ")
        if self.api_port in (self.prefect_port, self.simulator_port):
            raise ValueError(
                "TWEZAH_API_PORT must differ from TWEZAH_PREFECT_PORT and TWEZAH_SIMULATOR_PORT"
            )
        if (self.api_tls_certificate is None) != (self.api_tls_key is None):
            raise ValueError("TWEZAH_API_TLS_CERTIFICATE and TWEZAH_API_TLS_KEY belong together")
        if (self.prefect_tls_certificate is None) != (self.prefect_tls_key is None):
            raise ValueError(
                "TWEZAH_PREFECT_TLS_CERTIFICATE and TWEZAH_PREFECT_TLS_KEY belong together"
            )
        if self.prefect_tls_certificate and not (self.prefect_public_url or "").startswith(
            "https:"
        ):
            raise ValueError(
                "TWEZAH_PREFECT_TLS_CERTIFICATE needs TWEZAH_PREFECT_PUBLIC_URL: an https address "
                "with the name and the port that the certificate is for"
            )
        return self

    @property
    def is_embedded(self) -> bool:
        """True when the ledger lives in the embedded PostgreSQL."""
        return self.database_url is None

    @property
    def starts_prefect(self) -> bool:
        """True when the stack runs its own Prefect server."""
        return self.prefect_api_url is None

    @property
    def own_api_url(self) -> str:
        """URL at which the processes of this machine reach the Prefect server that we start."""
        if self.prefect_tls_certificate is not None and self.prefect_public_url is not None:
            return f"{self.prefect_public_url.rstrip('/')}/api"  # the name in the certificate
        any_address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = any_address.get(self.prefect_host, self.prefect_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.prefect_port}/api"

    @property
    def api_url(self) -> str:
        """URL of Prefect's API, ours or the configured one."""
        return self.prefect_api_url or self.own_api_url

    @property
    def ui_url(self) -> str:
        """URL of Prefect's user interface, as browsers reach it."""
        if self.prefect_public_url is not None and self.is_own_prefect:
            return self.prefect_public_url.rstrip("/")
        return self.api_url.removesuffix("/").removesuffix("/api")

    @property
    def is_own_prefect(self) -> bool:
        """True when Prefect's API is the one of this state folder, also in its child processes."""
        return self.api_url == self.own_api_url

    @property
    def simulator_url(self) -> str:
        """Where the simulated billing systems are, if they run."""
        return f"http://127.0.0.1:{self.simulator_port}"

    @property
    def trusted_proxies(self) -> list[str]:
        """Proxies whose forwarded headers the API believes."""
        return [entry.strip() for entry in self.api_trusted_proxies.split(",") if entry.strip()]

    @property
    def http_url(self) -> str:
        """Base URL of the HTTP API, as others reach it."""
        if self.api_public_url is not None:
            return self.api_public_url.rstrip("/")
        scheme = "http" if self.api_tls_certificate is None else "https"
        host = f"[{self.api_host}]" if ":" in self.api_host else self.api_host
        return f"{scheme}://{host}:{self.api_port}"

    @property
    def has_public_api(self) -> bool:
        """True when billing systems can reach the API: a public address, by https."""
        return (self.api_public_url or "").startswith("https://")

    @property
    def logs(self) -> Path:
        """Folder of the children's log files."""
        return self.home / "logs"

    def retention_days(self) -> dict[str, int | None]:
        """For how many days each kind of `sql.retention.KINDS` is kept; None: for good."""
        return {
            "raw_pages": self.keep_raw_pages_days,
            "webhooks": self.keep_webhooks_days,
            "attempts": self.keep_attempts_days,
            "erased_members": self.keep_erased_members_days,
        }

    def dsn(self) -> str:
        """Connection URL of the ledger database; contains the password if there is one.

        Raises:
            DatabaseNotRunning: the embedded database is configured and not running.

        """
        if self.database_url is None:
            return embedded_dsn(self.home, "twezah", role=self.database_role)
        url = self.database_url.get_secret_value()
        if self.database_role is None:
            return url
        option = quote(f"-c role={self.database_role}")
        return f"{url}{'&' if urlsplit(url).query else '?'}options={option}"

    def fernet_key(self) -> bytes:
        """The key that encrypts stored tokens; made once, readable by the owner only."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value().encode()
        return _read_or_make(self.home / "secret.key", _new_fernet_key)

    def data_keys(self) -> list[bytes]:
        """The keys of 32 bytes that seal stored bodies, the one in use first.

        Raises:
            KeysUnusableError: the command fails, or what it prints (or the variable, or the file
                holds) is no key.
        """
        if self.data_key is not None:
            text = self.data_key.get_secret_value()
        elif self.data_key_command is not None:
            text = _output_of(self.data_key_command)
        else:
            text = _read_or_make(self.data_key_path, new_data_key).decode()
        try:
            keys = [urlsafe_b64decode(part) for part in text.replace(",", " ").split()]
        except ValueError:
            keys = []
        if not keys or any(len(key) != DATA_KEY_BYTES for key in keys):
            raise KeysUnusableError(
                "The keys for stored data are no keys of 32 bytes in URL-safe base64: see "
                "TWEZAH_DATA_KEY, TWEZAH_DATA_KEY_COMMAND and TWEZAH_DATA_KEY_FILE."
            )
        return keys

    @property
    def data_key_path(self) -> Path:
        """Where the keys that seal stored bodies are kept, unless elsewhere."""
        return self.data_key_file or self.home / "data.keys"

    def prefect_auth_string(self, environment: Mapping[str, str] | None = None) -> str | None:
        """The `user:password` that Prefect's API asks for; None for another server without one.

        An operator's own variables win. For our own server it is made once, and kept in a file of
        the state folder that only its owner can read.

        Args:
            environment: Where the operator's variables are, `os.environ` by default.
        """
        variables = os.environ if environment is None else environment
        own_server = self.is_own_prefect
        names = (
            "PREFECT_API_AUTH_STRING",
            *(("PREFECT_SERVER_API_AUTH_STRING",) if own_server else ()),
        )
        for name in names:
            if variables.get(name):
                return variables[name]
        if not own_server:
            return None
        return _read_or_make(self.prefect_auth_file, _new_auth_string).decode()

    @property
    def has_front_page(self) -> bool:
        """True when the API has a page for operators: its password is that of Prefect's pages."""
        return self.prefect_auth_string() is not None

    @property
    def prefect_auth_file(self) -> Path:
        """Where the `user:password` of our own Prefect server is kept."""
        return self.home / "prefect.password"

    @property
    def prefect_proxies(self) -> list[str]:
        """Proxies in front of Prefect's server whose forwarded headers it believes."""
        return [part.strip() for part in self.prefect_trusted_proxies.split(",") if part.strip()]

    def child_environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment of the processes we start: our state folder and our Prefect.

        Telemetry is off in it, and logs are short.

        Args:
            base: The environment to extend, `os.environ` by default.
        """
        environment = dict(os.environ if base is None else base)
        environment.update(
            TWEZAH_HOME=str(self.home),
            PREFECT_HOME=str(self.home / "prefect"),
            PREFECT_PROFILES_PATH=str(self.home / "prefect" / "profiles.toml"),
            PREFECT_API_URL=self.api_url,
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
            GX_ANALYTICS_ENABLED="false",
            PYTHONUNBUFFERED="1",
        )
        auth_string = self.prefect_auth_string(environment)
        if auth_string is not None:
            environment["PREFECT_API_AUTH_STRING"] = auth_string
        if self.api_url.startswith("http://"):
            environment.setdefault("PREFECT_API_SSL_CERT_FILE", str(NO_AUTHORITY))
        for name, value in (_CHILD_DEFAULTS | self._server_defaults(environment)).items():
            environment.setdefault(name, value)
        return environment

    def _server_defaults(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What clients need not ask a server that this project's own command has started.

        It is of their release, and has no CSRF tokens unless its operator wants them. Each process
        of a run, and each of its clients, would ask for both first.
        """
        if not self.is_own_prefect:
            return {}
        defaults = {"PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false"}
        if not any(name.endswith("CSRF_PROTECTION_ENABLED") for name in environment):
            defaults["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = "false"
        return defaults


#: Defaults for child processes, which operators may override.
_CHILD_DEFAULTS = {
    # By default 2 s: most of a short run would be waiting for its last log lines.
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    # A run reports that it lives. Without that, a run whose machine died would stay Running for
    # ever. (30 s is the shortest interval that Prefect allows.)
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_CLI_COLORS": "false",
}


def embedded_dsn(home: Path, database: str, *, role: str | None = None) -> str:
    """Connection URL of a database in the embedded PostgreSQL that runs under `home`.

    `role`: who logs in; the server's owner by default.

    Raises:
        DatabaseNotRunning: nobody has started it.

    """
    try:
        record: dict[str, Any] = json.loads((home / "postgres.json").read_text())
    except (OSError, ValueError):
        raise DatabaseNotRunning(
            f"The embedded database under {home} is not running. Start it with `twezah up`, "
            "or name another PostgreSQL in TWEZAH_DATABASE_URL."
        ) from None
    query = urlencode({"host": record["socket_dir"], "port": record["port"]}, quote_via=quote)
    return f"postgresql://{role or record['user']}@/{database}?{query}"


def new_data_key() -> bytes:
    """A new key that seals stored bodies, in base64."""
    return urlsafe_b64encode(secrets.token_bytes(DATA_KEY_BYTES))


def _output_of(command: str) -> str:
    try:
        return subprocess.run(  # noqa: S603  the operator's own command
            shlex.split(command), capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # (Not its output, which may hold a key.)
        raise KeysUnusableError(
            f"TWEZAH_DATA_KEY_COMMAND failed ({type(error).__name__}); run it by hand."
        ) from None


def _new_fernet_key() -> bytes:
    from cryptography.fernet import Fernet

    return Fernet.generate_key()


def _new_auth_string() -> bytes:
    return f"admin:{secrets.token_urlsafe(24)}".encode()


def _read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """The secret in a file that only its owner can read; made by whoever asks first."""
    try:
        return path.read_bytes().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(make() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # Fails if another process was first: then its secret is the one that counts.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()
    return path.read_bytes().strip()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """This process's settings.

    Tests call `settings.cache_clear()` after changing the environment.
    """
    return Settings()
