"""The test of a connection: tries once everything that a synchronisation needs.

Each check that fails also says who can correct it.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from connectors import spec_for
from connectors.custom.connector import ApiFailed, RecordsElsewhere
from connectors.kit.errors import (
    ConnectorError,
    ContractBroken,
    CredentialsRejected,
    NeedsOperator,
    PermissionMissing,
    RateLimited,
    UnexpectedShape,
)
from connectors.kit.http.auth import Token
from connectors.kit.http.client import Client
from connectors.kit.http.probe import SKEW_SECONDS_MAX, Reached, Unreachable, reach
from connectors.kit.http.responses import Call
from connectors.kit.http.urls import base_url
from connectors.kit.mapping import map_lookup, map_pages, missing
from connectors.kit.read.look_up import look_up
from connectors.kit.read.pages import extract
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    Consent,
    Page,
    RequestAuth,
    RetryPolicy,
    Stream,
    TokenAuth,
    Window,
    of_account,
)
from panel.blocks import BillingConnection
from panel.blocks.settings_check import check_settings
from panel.markdown import table
from sql.tokens import TokenUnreadableError
from tasks.job import limited_client, token_rows
from tasks.run_report import percentile

#: Records asked for: enough to see whether the mapping fits.
_PAGE_SIZE = 10
#: Customers whose phone is looked up.
_CUSTOMERS_MAX = 5
#: Mapping problems that a failed check names.
_PROBLEMS_SHOWN = 3
#: A person waits for the result, so a vendor that fails is tried only twice.
_RETRY = RetryPolicy(attempts=2, total_seconds=60, longest_wait_seconds=30, garbled_limit=0)
NOBODY, OPERATOR, ADMINISTRATOR = "nobody", "operator: the block", "administrator of this machine"
_VENDOR_ADMIN = "administrator at the vendor: consent, scopes, account"
_DEVELOPER = "developer: the vendor's answer is not as documented, or the base URL is wrong"


@dataclass(frozen=True)
class Check:
    """The result of one thing that was tried."""

    #: What was tried, e.g. "read invoices".
    check: str
    #: Whether it works.
    ok: bool
    #: What was found, or what is wrong.
    detail: str
    #: Who must act where it failed.
    who: str = NOBODY
    #: What it took, in milliseconds.
    elapsed_ms: int | None = None


@dataclass
class CheckReport:
    """The result of a test: all checks in order, and the calls that were made."""

    #: Name of the connection.
    connection: str
    #: Key of its billing system.
    system: str
    #: Its account at the vendor.
    account: str
    #: What was tried, in that order.
    checks: list[Check] = field(default_factory=list)
    #: The calls that were made to the vendor.
    calls: list[Call] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything works."""
        return all(check.ok for check in self.checks)

    def headline(self) -> str:
        """One line: that all is well, or the first thing that is wrong."""
        failed = [check for check in self.checks if not check.ok]
        if not failed:
            return f"{self.connection}: all {len(self.checks)} checks passed"
        first = failed[0]
        return (
            f"{self.connection}: {len(failed)} of {len(self.checks)} checks failed; {first.check}: "
            f"{first.detail} ({first.who})"
        )

    def summary(self) -> str:
        """The headline without details: they stand below it on the page."""
        failed = [check.check for check in self.checks if not check.ok]
        return f"{self.connection}: failed: {', '.join(failed)}" if failed else self.headline()

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "connection": self.connection, "system": self.system, "account": self.account,
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "latency": [asdict(latency) for latency in self.latency()],
        }  # fmt: skip

    def latency(self) -> list["Latency"]:
        """How long the vendor took, per kind of call."""
        by_operation: dict[str, list[int]] = defaultdict(list)
        for call in self.calls:
            by_operation[call.operation].append(call.elapsed_ms)
        return [
            Latency(operation, len(times), percentile(times, 50), max(times))
            for operation, times in by_operation.items()
        ]

    def markdown(self) -> str:
        """The result as Prefect's UI shows it."""
        # Tables do not wrap: what is wrong, and who must act, stands above in full.
        failed = [
            f"**{check.check}** failed: {check.detail}\n\nWho must act: **{check.who}**."
            for check in self.checks
            if not check.ok
        ]
        rows = [
            [
                check.check,
                "ok" if check.ok else "**failed**",
                check.detail if check.ok else "see above",
                check.elapsed_ms,
            ]
            for check in self.checks
        ]
        calls = [
            [latency.call, latency.calls, latency.median_ms, latency.slowest_ms]
            for latency in self.latency()
        ]
        parts = [
            f"# Test of `{self.connection}`",
            *(failed or [self.headline() + "."]),
            table(["Check", "", "Found", "ms"], rows),
        ]
        if calls:
            parts.append(table(["API call", "Calls", "Median ms", "Slowest ms"], calls))
        parts.append("Nothing was stored but the renewed token.")
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Latency:
    """The calls of one kind."""

    #: The kind of call, as connectors name it.
    call: str
    #: How many there were.
    calls: int
    #: Half of them took at most this many milliseconds.
    median_ms: int | None
    #: The longest took this many milliseconds.
    slowest_ms: int


class Failed(Exception):
    """A check failed in a way of its own; `who` must act."""

    def __init__(self, detail: str, who: str) -> None:
        self.who = who
        super().__init__(detail)


def check_connection(block: BillingConnection, *, dsn: str, key: bytes) -> CheckReport:
    """Tries everything that a synchronisation of this connection needs.

    Never raises for anything that an operator can correct.

    Args:
        block: The connection, complete or not.
        dsn: The ledger database: tokens and the shared limit.
        key: Decrypts the stored token.
    """
    result = CheckReport(block.name, block.system, block.account())
    with _check(result, "settings") as say:
        if missing := block.missing():
            raise Failed(missing, OPERATOR)
        check_settings(block)
        vendor = replace(block.connection(), page_size=_PAGE_SIZE)
        spec = replace(spec_for(vendor), retry=_RETRY)
        say(f"account {vendor.account or 'none'} at {base_url(vendor, spec).host}")
    if result.ok and spec.transport is None:
        _check_reachable(result, vendor, spec)
    if result.ok:
        tokens = token_rows(dsn, block.connection(), key)
        with limited_client(dsn, vendor, spec, tokens, result.calls.append) as client:
            _check_api(result, client)
    return result


@contextmanager
def _check(result: CheckReport, name: str) -> Iterator[Callable[[str], None]]:
    """Times a check and turns its failure into a row of the report.

    The last text that the block hands over is the row's detail.
    """
    details = ["works"]
    started = time.monotonic()

    def add(detail: str, who: str = "") -> None:
        result.checks.append(
            Check(name, not who, detail, who or NOBODY, round((time.monotonic() - started) * 1000))
        )

    try:
        yield details.append
    except (Failed, Unreachable) as error:
        add(str(error), error.who)
    except ConnectorError as error:
        add(str(error.of_block(result.connection)), who_must_act(error))
    except TokenUnreadableError as error:
        add(str(error), ADMINISTRATOR)
    else:
        add(details[-1])


def who_must_act(error: ConnectorError) -> str:
    """Who must act where a check failed with this error."""
    if isinstance(error, PermissionMissing):
        return _VENDOR_ADMIN
    if isinstance(error, NeedsOperator):
        # Systems without a consent raise subclasses: for them a new consent is no remedy.
        consent = ", or a new consent" if type(error) is CredentialsRejected else ""
        return error.who or f"{OPERATOR}{consent}"
    if isinstance(error, RateLimited):
        return f"{NOBODY}: wait"
    if isinstance(error, RecordsElsewhere | ApiFailed):
        return f"{OPERATOR}, or whoever runs the API"
    if isinstance(error, ContractBroken):
        by_settings = isinstance(error, UnexpectedShape) and error.by_settings
        return OPERATOR if by_settings else _DEVELOPER
    return "nobody: try again; if it stays, whoever runs the network, or the vendor"


def _check_reachable(result: CheckReport, vendor: Account, spec: ConnectorSpec) -> None:
    """Tries to reach both servers, and compares their clock with ours."""
    answers: list[Reached] = []
    base, token_url = str(base_url(vendor, spec)), _token_server(vendor, spec)
    for name, url in (("reach the API", base), ("reach the token server", token_url)):
        if not url or (answers and urlsplit(url).netloc == urlsplit(base).netloc):
            continue
        with _check(result, name) as say:
            answers.append(reach(url, timeout_seconds=vendor.timeout_seconds))
            say(f"{urlsplit(url).hostname} answers")
    skews = [answer.skew_seconds for answer in answers if answer.skew_seconds is not None]
    if not skews:
        return
    with _check(result, "clock") as say:
        seconds = skews[0]
        if abs(seconds) > SKEW_SECONDS_MAX:
            way = "ahead of" if seconds > 0 else "behind"
            detail = (
                f"this machine's clock is {abs(seconds):.0f} s {way} the vendor's: tokens and "
                "signatures may be refused"
            )
            raise Failed(f"{detail}; switch on time synchronisation (NTP)", ADMINISTRATOR)
        say(f"within {max(1, round(abs(seconds)))} s of the vendor's")


def _token_server(vendor: Account, spec: ConnectorSpec) -> str:
    """Where tokens are renewed; "" where each request is signed and there is no such server."""
    try:
        auth = spec.auth(vendor)
    except ConnectorError:  # the check of the credentials says what is wrong with them
        auth = None
    if isinstance(auth, RequestAuth):
        return ""
    return (vendor.token_url or of_account(spec.token_url, vendor)).strip()


def _check_api(result: CheckReport, client: Client) -> None:
    token: Token | None = None
    with _check(result, "credentials") as say:
        token = client.token(renew=True)
        say(
            f"the token was renewed, good until {token.expires_at:%Y-%m-%d %H:%M} UTC"
            if token
            else "present; the first read shows whether the vendor accepts them"
        )
    if not result.ok:
        return
    if token is not None and token.scope and client.spec.consent is not None:
        with _check(result, "scopes") as say:
            _require_scopes(token.scope.replace(",", " ").split(), client.spec.consent)
            say("as asked for")
    auth = client.spec.auth(client.account)
    if token is not None and token.scope and isinstance(auth, TokenAuth) and auth.scopes:
        with _check(result, "scopes") as say:
            _require_one_of_each(token.scope.replace(",", " ").split(), auth)
            say("all that are needed")
    customers: set[str] = set()
    phones = 0
    for stream in client.spec.streams:
        page = _check_read(result, client, stream)
        if page is not None and page.record_count:
            phones += _check_mapping(result, client, stream, page, customers)
    if any(lookup.name == "customers" for lookup in client.spec.lookups) and customers:
        with _check(result, "look up phones") as say:
            say(_usable_phones(client, sorted(customers)[:_CUSTOMERS_MAX], phones))


def _require_scopes(granted: Sequence[str], consent: Consent) -> None:
    """Raises Failed where the consent lacks a scope.

    The scope to write, and the broader scope of an older consent, also allow reading.
    """
    missing = []
    for scope in consent.scopes:
        broader = consent.older.get(scope, scope)
        enough = {form for name in (scope, broader) for form in (name, name.removesuffix(".read"))}
        if not enough & set(granted):
            missing.append(scope)
    if missing:
        raise Failed(
            f"the consent lacks {', '.join(missing)}; add them to the application and consent anew",
            _VENDOR_ADMIN,
        )


def _require_one_of_each(granted: Sequence[str], auth: TokenAuth) -> None:
    """Raises Failed where the application lacks a scope."""
    missing = [entry[0] for entry in auth.scopes if not set(entry) & set(granted)]
    if missing:
        raise Failed(
            f"the application lacks {', '.join(missing)}: give it these scopes at the vendor, or "
            "lists are refused or cut short",
            _VENDOR_ADMIN,
        )


def _check_read(result: CheckReport, client: Client, stream: Stream) -> Page | None:
    page: Page | None = None
    since = client.timing.now() - timedelta(days=1) if stream.deleted else None
    with _check(result, f"read {stream.name}") as say:
        try:
            page = next(extract(client.spec, stream, client, Window(since)), None)
            if page is not None and not page.record_count and page.next_request is not None:
                # Lists in slices of time begin with empty ones: those of the last day say more.
                day = Window(client.timing.now() - timedelta(days=1))
                page = next(extract(client.spec, stream, client, day), page)
        except UnexpectedShape as error:
            if error.body is not None and error.body.lstrip()[:1] == b"<":
                detail = (
                    "the answer is a web page or XML instead of JSON: a proxy in between, or the "
                    "base URL is wrong"
                )
                raise Failed(
                    f"{detail} ({error.call})", f"{OPERATOR}, or whoever runs the network"
                ) from None
            raise
        say(f"{page.record_count if page else 0} records on the first page{_paging_hint(page)}")
    return page


def _paging_hint(page: Page | None) -> str:
    """A hint about a full first page without a next one: wrong paging would look the same."""
    if page is None or page.next_request is not None or page.record_count < _PAGE_SIZE:
        return ""
    return (
        "; it is full, and no next page is named: if there are more records than these, the paging "
        "is not set up right"
    )


def _check_mapping(
    result: CheckReport, client: Client, stream: Stream, page: Page, customers: set[str]
) -> int:
    """Tries the mapping; returns how many documents name a phone themselves.

    The customers of the others are added to `customers`.
    """
    phones = 0
    with _check(result, f"map {stream.name}") as say:
        mapped = map_pages(client.spec, stream, client.account, [(1, page.body)])
        customers |= missing(client.spec, mapped).get("customers", set())
        phones = mapped.invoices["customer_phone"].drop_nulls().len()
        rejected = mapped.problems["record_no"].n_unique()
        if rejected:
            problems = mapped.problems.unique(
                ["field", "path", "reason"], maintain_order=True
            ).head(_PROBLEMS_SHOWN)
            text = "; ".join(
                f"{row['field']}, from {row['path']}: {row['reason']}"
                for row in problems.to_dicts()
            )
            raise Failed(
                f"{rejected} of {page.record_count} records: {text}", f"{OPERATOR}: field mapping"
            )
        nobodys = mapped.walk_ins.height
        say(
            f"{mapped.invoices.height} of {page.record_count} records are sales, "
            f"{mapped.lines.height} lines"
            + (f"; {nobodys} are to nobody: no customer and no phone" if nobodys else "")
        )
    return phones


def _usable_phones(client: Client, ids: Sequence[str], phones: int) -> str:
    """How many of these customers have a phone; `phones`: documents that name one themselves."""
    lookup = client.spec.lookup("customers")
    usable = 0
    for page in look_up(client.spec, lookup, client, ids):
        usable += (
            map_lookup(client.spec, lookup, client.account, page.body)["phone"].drop_nulls().len()
        )
    if not usable and phones:
        return f"{phones} documents name a phone; none of {len(ids)} other customers has one"
    if not usable:
        detail = (
            f"none of {len(ids)} customers has a phone number that can be read: their sales give "
            "nobody points"
        )
        raise Failed(
            f"{detail}; enter phones at the vendor, or correct the phone region or the field "
            "mapping",
            OPERATOR,
        )
    return f"{usable} of {len(ids)} customers have a usable phone number"
