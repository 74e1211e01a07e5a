"""What one synchronisation works with: the account, the request, and the database."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from connectors import spec_for
from connectors.kit.http.auth import Token
from connectors.kit.http.client import Client, open_client
from connectors.kit.http.responses import Call
from connectors.kit.mapping import mapping_digest
from connectors.kit.spec import Account, ConnectorSpec
from sql.limits import shared_limit
from sql.policy import Wanted as AwardPolicy
from sql.sync import AccountKey
from sql.tokens import TokenRows
from tasks.run_database import RunDatabase


class NotConnectedError(RuntimeError):
    """There is no such block, or it is not complete. The message says what to do."""


@dataclass(frozen=True)
class Policy:
    """The settings of an account that decide about a whole synchronisation."""

    #: How far before the last read's time the next one begins, for changes that show late.
    overlap: timedelta = timedelta(minutes=15)
    #: A run in which more records than this share are rejected stores nothing.
    reject_percent_max: int = 25
    #: With fewer records than this the share is not judged.
    reject_records_min: int = 20
    #: When sales earn; None: as it was set last.
    award: AwardPolicy | None = None


#: Opens the client of a job; replaced in tests and benchmarks.
Open = Callable[
    [Account, ConnectorSpec, Any, Callable[[Call], None]], AbstractContextManager[Client]
]


class Job(RunDatabase):
    """One synchronisation: what was asked for, and what it works with.

    Args:
        dsn: The ledger.
        vendor: The billing account, with its credentials and its field mapping.
        key: Encrypts the account's tokens in the database.
        run_id: The flow run, kept with what it posts.
        policy: The account's settings for a whole synchronisation.
        since: Read changes from this time on; None: from where the last run ended.
        until: Read changes up to this time; None: all.
        dry_run: Do everything, and keep nothing.
        replay: Map the stored pages again instead of asking the vendor.
        rejects: The same, only for records that are rejected.
        pushed: The sales were announced by webhooks.
        open_vendor: Opens the vendor's client; another one in tests.
    """

    def __init__(  # noqa: PLR0913  one for each thing that may be asked for
        self,
        dsn: str,
        vendor: Account,
        *,
        key: bytes,
        run_id: str,
        policy: Policy | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
        replay: bool = False,
        rejects: bool = False,
        pushed: bool = False,
        open_vendor: Open | None = None,
    ) -> None:
        super().__init__(dsn, run_id, dry_run=dry_run)
        self.vendor = vendor
        self.spec = spec_for(vendor)
        self.account = AccountKey(vendor.system, vendor.account)
        self.policy = policy or Policy()
        self.since = since
        self.until = until
        self.replay = replay or rejects
        self.rejects = rejects
        self.pushed = pushed
        #: Changes with the field mapping, so that rejects are tried again after it was corrected.
        self.mapping_digest = mapping_digest(vendor)
        #: The vendor's answers, with their times.
        self.calls: list[Call] = []
        self._key = key
        self._open_vendor = open_vendor or self._open

    @property
    def by_hand(self) -> bool:
        """Whether the cursors stay where they are.

        So it is where a window or a replay was asked for, or sales were announced by webhooks.
        """
        return self.replay or self.pushed or self.since is not None or self.until is not None

    def client(self) -> AbstractContextManager[Client]:
        """The vendor's client, with tokens kept in the database.

        Also in a dry run: a rotated token must not be lost.
        """
        tokens = token_rows(self.dsn, self.vendor, self._key)
        return self._open_vendor(self.vendor, self.spec, tokens, self.calls.append)

    def _open(
        self, vendor: Account, spec: ConnectorSpec, tokens: Any, on_call: Callable[[Call], None]
    ) -> AbstractContextManager[Client]:
        return limited_client(self.dsn, vendor, spec, tokens, on_call)


@contextmanager
def limited_client(
    dsn: str, vendor: Account, spec: ConnectorSpec, tokens: Any, on_call: Callable[[Call], None]
) -> Iterator[Client]:
    """A client that keeps within the account's limits together with all other workers."""
    lease_seconds = 5 * vendor.timeout_seconds + 30  # an answer takes four timeouts at most
    account = AccountKey(vendor.system, vendor.account)
    with (
        shared_limit(
            dsn,
            account,
            spec.rate.windows,
            at_once=spec.rate.concurrency,
            lease_seconds=lease_seconds,
        ) as shared,
        open_client(vendor, spec, tokens, on_call=on_call, shared_limit=shared) as client,
    ):
        yield client


def token_rows(dsn: str, vendor: Account, key: bytes) -> TokenRows[Token]:
    """Where the connection's live token is kept, encrypted with `key`."""
    account = AccountKey(vendor.system, vendor.account)
    return TokenRows[Token](dsn, account, key, _seed(vendor), _pack, _unpack)


def credentials_digest(vendor: Account) -> str:
    """Changes with the account's credentials, and does not tell them."""
    return hashlib.sha256(b"twezah credentials " + _seed(vendor).encode()).hexdigest()[:16]


def _seed(vendor: Account) -> str:
    secrets = [
        vendor.client_secret,
        vendor.refresh_token,
        *(vendor.secrets[name] for name in sorted(vendor.secrets)),
    ]
    return " ".join([vendor.client_id, *(secret.get_secret_value() for secret in secrets)])


def _pack(token: Token) -> Mapping[str, Any]:
    return {**asdict(token), "expires_at": token.expires_at.isoformat()}


def _unpack(values: Mapping[str, Any]) -> Token:
    return Token(**{**values, "expires_at": datetime.fromisoformat(values["expires_at"])})
