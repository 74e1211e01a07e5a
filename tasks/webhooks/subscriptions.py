"""Keeps the webhooks of a connection subscribed at its billing system, where that has an API.

In: a job, and what the connection's block and this installation say. Out: subscriptions at the
vendor as they should be, their secrets stored with our addresses, and a row that says what came of
it. Nothing here fails a synchronisation: sales are polled in any case.

What the vendor lists decides, so that a round may be repeated, or killed at any place. Of two
processes one waits for the other, and then finds everything done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from pydantic import SecretStr

from connectors.kit.errors import (
    ConnectorError,
    ContractBroken,
    Misconfigured,
    NeedsOperator,
    Retriable,
    UnexpectedShape,
)
from connectors.kit.http.client import Client
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.spec import NO_SECRET, PageRequest
from connectors.kit.webhooks.scheme import Webhook
from connectors.kit.webhooks.subscriptions import (
    Ours,
    OwnAddress,
    Plan,
    Step,
    Subscription,
    Subscriptions,
    Wanted,
    new_secret,
    plan,
)
from sql import audit, endpoints, standby, webhooks
from sql import subscriptions as stored
from sql.db import DbConnection, connect
from sql.endpoints import EndpointRow, NewEndpoint
from sql.subscriptions import SubscriptionState
from sql.tokens import StandbyError
from tasks.job import Job, credentials_digest

T = TypeVar("T")
#: How often the vendor is asked while all is well.
CHECK_EVERY: Final = timedelta(hours=6)
#: And where somebody must act, or something unexpected was answered.
CHECK_AFTER_REFUSAL: Final = timedelta(hours=1)
#: And where waiting may be all that is needed.
CHECK_SOON: Final = timedelta(minutes=15)
#: How long another process is waited for.
WAIT_SECONDS: Final = 20.0
#: How long the secret before is still accepted: webhooks under way are signed with it.
_OVERLAP_SECONDS: Final = 86_400.0
#: Pages of a vendor's list that are read.
_PAGES_MAX: Final = 50
#: Characters of an address's id that tell it from others.
_SHOWN_OF_ID: Final = 8
_OPERATION: Final = "webhook subscription"
_GONE: Final = (404, 410)
#: States in which somebody must act.
NEEDS_SOMEBODY: Final = ("failed", "paused")
_JSON: Final = Decoder(Any)


@dataclass(frozen=True)
class Setting:
    """What this installation and the connection's block say."""

    #: Base URL of the HTTP API, as others reach it.
    http_url: str
    #: Whether that is an address that vendors can reach: https, and not only of this machine.
    is_public: bool
    #: Whether the program subscribes; False: it was switched off in the block.
    automatic: bool = True

    @property
    def root(self) -> str:
        """How the addresses begin."""
        return f"{self.http_url}/api/webhooks/billing/"


@dataclass
class _Round:
    """What one round knows and does."""

    job: Job
    hook: Webhook
    declared: Subscriptions
    setting: Setting
    key: bytes
    #: Ids of the subscriptions that the program made, and whose secret is stored.
    known: set[str]
    counts: dict[str, int] = field(default_factory=dict)
    expires_at: datetime | None = None

    @property
    def name(self) -> str:
        return connection_name(self.job)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class AddressRefused(Misconfigured):
    """The vendor does not subscribe our address."""

    advice = (
        "Who must act: whoever runs this server. The vendor must reach the address "
        "(TWEZAH_API_PUBLIC_URL) from the internet by https, with a certificate that browsers "
        "trust. If it does, look at the vendor's own list of webhooks: there may be too many."
    )


def connection_name(job: Job) -> str:
    """What operators call the job's connection."""
    return job.vendor.name or job.vendor.system


def basis(db: DbConnection, job: Job, hook: Webhook, setting: Setting) -> str:
    """What a check is about: with other settings or addresses, the next one is due at once."""
    declared = hook.subscriptions
    wanted = declared.wanted(job.vendor) if declared else ()
    parts = (
        job.vendor.account,
        setting.root if setting.is_public else "",
        "automatic" if setting.automatic else "off",
        credentials_digest(job.vendor),
        *(" ".join(topics) for topics in wanted),
        *(address[:_SHOWN_OF_ID] for address in stored.addresses(db, connection_name(job))),
    )
    return "\n".join(parts)


def is_due(job: Job, hook: Webhook, setting: Setting, now: datetime) -> bool:
    """Whether the vendor is to be asked again. Never on a restored copy."""
    with connect(job.dsn) as db:
        if standby.read(db) is not None:
            return False
        last = stored.read(db, connection_name(job))
        if last is None or last.next_at <= now:
            return True
        return last.basis != basis(db, job, hook, setting)


def look_after(
    job: Job, hook: Webhook, setting: Setting, key: bytes, *, wait_seconds: float = WAIT_SECONDS
) -> SubscriptionState:
    """Makes what is missing, renews what ends, switches on what is off, removes what is too much.

    Args:
        job: The connection's job; its client asks the vendor.
        hook: How the connection's webhooks work; its `subscriptions` must be there.
        setting: What is wanted.
        key: Encrypts the secrets.
        wait_seconds: How long another process is waited for.

    Returns:
        What came of it, which is stored. Errors of the vendor are in it.

    Raises:
        StandbyError: On a restored copy: the subscriptions are the original's.
        SubscriptionsBusyError: Another process is at it.
    """
    assert hook.subscriptions is not None
    name = connection_name(job)
    lock = f"system {job.vendor.system}" if hook.subscriptions.serves_all else f"block {name}"
    with stored.exclusive(job.dsn, lock, wait_seconds=wait_seconds):
        with connect(job.dsn) as db:
            restored = standby.read(db)
            if restored is not None:
                raise StandbyError(restored.to_text())
            last = stored.read(db, name)
        known = set(last.vendor_ids) if last else set()
        at_work = _Round(job, hook, hook.subscriptions, setting, key, known)
        try:
            state, detail = _looked_after(at_work, last)
            wait = CHECK_SOON if state == "waiting" else CHECK_EVERY
        except ConnectorError as error:
            state, detail = "failed", _explained(at_work, error)
            wait = CHECK_SOON if isinstance(error, Retriable) else CHECK_AFTER_REFUSAL
        return _saved(at_work, state, detail, wait)


def _looked_after(at_work: _Round, last: SubscriptionState | None) -> tuple[str, str]:
    """The state, and what is wrong. Raises ConnectorError."""
    vendor, declared, setting = at_work.job.vendor, at_work.declared, at_work.setting
    wanted = list(declared.wanted(vendor)) if setting.automatic else []
    if not wanted:
        if at_work.known:
            _carried_out(at_work, [])
        return ("not needed" if setting.automatic else "off"), ""
    if reason := declared.by_hand(vendor):
        return "by hand", reason
    if not setting.is_public:
        return "no address", ""
    _begin(at_work, last)
    return _outcome(at_work, _carried_out(at_work, wanted))


def _outcome(at_work: _Round, done: Plan) -> tuple[str, str]:
    """The state after a plan was carried out, and what is wrong."""
    if done.served_by:
        return "elsewhere", f"the subscription of {done.served_by} tells of this account too"
    if any(step.what == "paused" for step in done.steps):
        detail = (
            f"A person paused it at {at_work.job.spec.title}: set it active there, or switch "
            f'*Webhook subscriptions* off in the block "{at_work.name}". Until then sales are '
            "polled."
        )
        return "paused", detail
    is_awaited = at_work.declared.signed_with == "handshake" and not all(
        address.confirmed for address in _ours(at_work).addresses
    )
    return ("waiting" if is_awaited else "subscribed"), ""


def _begin(at_work: _Round, last: SubscriptionState | None) -> None:
    """Makes the addresses that are missing, and stores the secret that is known beforehand."""
    with connect(at_work.job.dsn) as db:
        if last is None:
            stored.save(db, _state(at_work, db, "waiting", "", CHECK_SOON))
        in_use = _in_use(at_work, endpoints.endpoints(db))
        while len(in_use) < at_work.declared.addresses(at_work.job.vendor):
            handshake = "awaited" if at_work.hook.confirm else "none"
            wanted = NewEndpoint(at_work.job.vendor.system, at_work.name, handshake=handshake)
            endpoints.create_endpoint(db, wanted)
            in_use = _in_use(at_work, endpoints.endpoints(db))
        db.commit()  # also where the secret is missing: it is entered for an address
        if at_work.declared.signed_with == "account":
            _store_account_secret(at_work, db, in_use)
            db.commit()


def _store_account_secret(at_work: _Round, db: DbConnection, in_use: Sequence[EndpointRow]) -> None:
    secret = at_work.declared.secret_of(at_work.job.vendor)
    if secret.get_secret_value():
        for row in in_use:
            _store_secret(at_work, db, row.endpoint_no, row.endpoint_id, secret)
    elif not all(row.secrets for row in in_use):
        detail = "the secret that webhooks are signed with is missing (Webhook secret)"
        raise Misconfigured(at_work.job.spec.name, _OPERATION, detail)


def _carried_out(at_work: _Round, wanted: Sequence[tuple[str, ...]]) -> Plan:
    """Asks what there is, and does what is to be done. Returns the plan."""
    ours = _ours(at_work)
    with at_work.job.client() as client:
        listed = _listed(at_work, client)
        made = plan(at_work.declared, wanted, listed, ours, datetime.now(UTC))
        at_work.known &= {entry.id for entry in listed}
        for step in made.steps:
            _do(at_work, client, step)
    return made


def _ours(at_work: _Round) -> Ours:
    """Our addresses as they are now, and what is known of the vendor's side."""
    with connect(at_work.job.dsn) as db:
        rows = endpoints.endpoints(db)
    root, system = at_work.setting.root, at_work.job.vendor.system
    in_use = [
        OwnAddress(
            row.endpoint_id,
            root + row.endpoint_id,
            row.secrets,
            row.handshake in ("none", "confirmed"),
        )
        for row in _in_use(at_work, rows)
    ]
    ever = {row.endpoint_id for row in rows if row.connection == at_work.name}
    others = {
        row.endpoint_id: row.connection
        for row in rows
        if row.system == system
        and row.connection != at_work.name
        and row.disabled_at is None
        and row.secrets
    }
    return Ours(in_use, frozenset(at_work.known), ever, others, root)


def _in_use(at_work: _Round, rows: Sequence[EndpointRow]) -> list[EndpointRow]:
    return [
        row
        for row in rows
        if (row.system, row.connection) == (at_work.job.vendor.system, at_work.name)
        and row.disabled_at is None
    ]


def _listed(at_work: _Round, client: Client) -> list[Subscription]:
    """All subscriptions that the vendor lists."""
    request: PageRequest | None = at_work.declared.first(at_work.job.vendor)
    entries: list[Subscription] = []
    for _ in range(_PAGES_MAX):
        assert request is not None
        body = _sent(client, request)
        entries += _read(at_work, lambda page: list(at_work.declared.read(page)), body)
        request = _read(at_work, partial(at_work.declared.following, request), body)
        if request is None:
            return entries
    raise UnexpectedShape(at_work.job.spec.name, _OPERATION, "the list does not end")


def _do(at_work: _Round, client: Client, step: Step) -> None:
    entry = step.subscription
    if step.what in ("remove", "again"):
        assert entry is not None
        _remove(at_work, client, entry)
    if step.what in ("make", "again"):
        _make(at_work, client, step)
    if step.what == "change":
        _change(at_work, client, step)
    if step.what == "keep":
        assert entry is not None
        _keep(at_work, step, entry)


def _remove(at_work: _Round, client: Client, entry: Subscription) -> None:
    try:
        client.send(at_work.declared.remove(at_work.job.vendor, entry), _OPERATION)
    except ContractBroken as error:
        if error.status not in _GONE:
            raise
    at_work.known.discard(entry.id)
    at_work.count("removed")


def _make(at_work: _Round, client: Client, step: Step) -> None:
    wanted = _wanted(at_work, step)
    if at_work.declared.signed_with == "handshake":
        _await_handshake(at_work, step)
    request = at_work.declared.make(at_work.job.vendor, wanted)
    body = _taken(client, request)
    entry = _read(at_work, at_work.declared.made, body)
    if at_work.declared.signed_with in ("returned", "shown") and not entry.secret:
        detail = "the answer to the creation has no secret"
        raise UnexpectedShape(at_work.job.spec.name, _OPERATION, detail)
    _keep(at_work, step, entry)
    _remember(at_work, entry)
    at_work.count("made")


def _change(at_work: _Round, client: Client, step: Step) -> None:
    """Renews it, or switches it on; one that has gone meanwhile is made anew."""
    assert step.subscription is not None
    assert at_work.declared.change is not None
    if at_work.declared.signed_with == "handshake":
        _await_handshake(at_work, step)
    topics = tuple(sorted({*step.topics, *step.subscription.topics}))
    wanted = replace(_wanted(at_work, step), topics=topics)
    request = at_work.declared.change(at_work.job.vendor, step.subscription, wanted)
    try:
        body = _taken(client, request)
    except ConnectorError as error:
        if error.status not in _GONE:
            raise
        at_work.known.discard(step.subscription.id)
        _make(at_work, client, step)
        return
    entry = _read(at_work, at_work.declared.made, body)
    _keep(at_work, step, entry)
    _remember(at_work, replace(entry, id=step.subscription.id))
    at_work.count("changed")


def _keep(at_work: _Round, step: Step, entry: Subscription) -> None:
    """Stores the secret that came with it, and when it ends."""
    if entry.expires_at is not None:
        at_work.expires_at = min(at_work.expires_at or entry.expires_at, entry.expires_at)
    if entry.secret is None or at_work.declared.signed_with not in ("returned", "shown"):
        return
    assert step.address is not None
    with connect(at_work.job.dsn) as db:
        number = _endpoint_no(at_work, db, step.address)
        _store_secret(at_work, db, number, step.address.endpoint_id, entry.secret)
        if step.what != "keep":
            stored.add_id(db, at_work.name, entry.id)
        db.commit()


def _remember(at_work: _Round, entry: Subscription) -> None:
    """Marks it as ours. A secret that came with it is stored before."""
    at_work.known.add(entry.id)
    with connect(at_work.job.dsn) as db:
        stored.add_id(db, at_work.name, entry.id)
        db.commit()


def _wanted(at_work: _Round, step: Step) -> Wanted:
    """What is to be made; a secret of our own is stored before the vendor gets it."""
    assert step.address is not None
    secret = NO_SECRET
    if at_work.declared.signed_with == "ours":
        with connect(at_work.job.dsn) as db:
            endpoint = webhooks.endpoint(db, step.address.endpoint_id, at_work.key)
            assert endpoint is not None
            secret = SecretStr(endpoint.secrets[0]) if endpoint.secrets else new_secret()
            _store_secret(at_work, db, endpoint.endpoint_no, endpoint.endpoint_id, secret)
            db.commit()
    return Wanted(step.address.url, step.topics, secret)


def _store_secret(
    at_work: _Round, db: DbConnection, endpoint_no: int, endpoint_id: str, secret: SecretStr
) -> None:
    """Makes it the address's current secret, unless it is; the caller commits."""
    endpoint = webhooks.endpoint(db, endpoint_id, at_work.key)
    value = secret.get_secret_value()
    if endpoint is None or list(endpoint.secrets[:1]) == [value]:
        return
    webhooks.add_secret(db, endpoint_no, value, at_work.key, overlap_seconds=_OVERLAP_SECONDS)


def _await_handshake(at_work: _Round, step: Step) -> None:
    assert step.address is not None
    with connect(at_work.job.dsn) as db:
        endpoints.await_handshake(db, _endpoint_no(at_work, db, step.address))
        db.commit()


def _endpoint_no(at_work: _Round, db: DbConnection, address: OwnAddress) -> int:
    endpoint = webhooks.endpoint(db, address.endpoint_id, at_work.key)
    assert endpoint is not None
    return endpoint.endpoint_no


def _taken(client: Client, request: PageRequest) -> bytes:
    """The answer to a request that gives the vendor our address. Raises AddressRefused."""
    try:
        return _sent(client, request)
    except UnexpectedShape as error:
        if error.status is None or not 400 <= error.status < 500 or error.status in _GONE:
            raise
        raise AddressRefused(
            error.system,
            error.operation,
            f"the vendor refuses to subscribe the address, {error.detail}",
            call=error.call,
            status=error.status,
            request_id=error.request_id,
        ) from None


def _sent(client: Client, request: PageRequest) -> bytes:
    return client.send(request, _OPERATION).body


def _read(at_work: _Round, read: Callable[[Any], T], body: bytes) -> T:
    """What an answer says. Raises UnexpectedShape, which holds nothing of the answer's text."""
    try:
        return read(_JSON.decode(body))
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
        detail = f"the answer cannot be read ({type(error).__name__})"
        raise UnexpectedShape(at_work.job.spec.name, _OPERATION, detail) from None


def _explained(at_work: _Round, error: ConnectorError) -> str:
    """What is wrong, and who must act."""
    text = str(error.of_block(at_work.name))
    if isinstance(error, NeedsOperator) and not isinstance(error, AddressRefused):
        text = f"{text} {at_work.declared.permission}"
    return f"{text} Sales are polled in any case."


def _state(
    at_work: _Round, db: DbConnection, state: str, detail: str, wait: timedelta
) -> SubscriptionState:
    now = datetime.now(UTC)
    next_at = now + wait
    if at_work.expires_at is not None:
        next_at = min(next_at, max(now + CHECK_SOON, at_work.expires_at))
    return SubscriptionState(
        at_work.name,
        at_work.job.vendor.system,
        state,
        detail,
        sorted(at_work.known),
        at_work.expires_at,
        basis(db, at_work.job, at_work.hook, at_work.setting),
        now,
        next_at,
    )


def _saved(at_work: _Round, state: str, detail: str, wait: timedelta) -> SubscriptionState:
    job = at_work.job
    with connect(job.dsn) as db:
        result = _state(at_work, db, state, detail, wait)
        stored.save(db, result)
        if at_work.counts:
            audit.record(
                db,
                "webhooks.subscriptions",
                at_work.name,
                system=job.account.system,
                account=job.account.account,
                details=at_work.counts,
                run_id=job.run_id,
            )
        db.commit()
    return result
