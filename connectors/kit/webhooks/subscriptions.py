"""Subscriptions of webhooks that are made, renewed and removed through the vendor's API.

A system says in values and small functions how its API is asked (`Subscriptions`). What is to be
done follows from what the vendor lists: `plan` compares that with what is wanted, and touches
nothing. A subscription belongs to us if it leads to one of our addresses, whose ids nobody guesses:
so nothing that other programs subscribed is ever changed.

    steps = plan(declared, account, listed, Ours(...), now)     pure
    ...                                                         tasks/webhooks/subscriptions.py
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from connectors.kit.spec import NO_SECRET, Account, PageRequest

#: A vendor's word for all of its events.
ALL_TOPICS: Final = "*"
#: With this word we mark what we make, at vendors that keep a name or a note.
MADE_BY: Final = "twezah-points"


@dataclass(frozen=True)
class Subscription:
    """A subscription as the vendor shows it."""

    #: The vendor's id.
    id: str
    #: Where its webhooks are sent to.
    url: str
    #: The events, or the lists, that it is about, in the vendor's words.
    topics: frozenset[str]
    #: off: the vendor switched it off, or it is not verified. paused: a person paused it there.
    state: Literal["active", "off", "paused"] = "active"
    #: When it ends unless it is renewed, UTC; None: it does not.
    expires_at: datetime | None = None
    #: The signing secret, where the vendor shows it.
    secret: SecretStr | None = field(default=None, repr=False)
    #: Whether it has our mark.
    marked: bool = False


@dataclass(frozen=True)
class Wanted:
    """A subscription to make, or what an existing one is to be."""

    url: str
    topics: tuple[str, ...]
    #: The secret that we give it; empty where the vendor makes it.
    secret: SecretStr = field(default=NO_SECRET, repr=False)


#: Where the signing secret comes from. returned: the vendor shows it once, in the answer to the
#: creation. shown: with every list. ours: we make it up. account: it is a secret of the account,
#: that of its application. handshake: the vendor sends it to the address (`Webhook.confirm`).
SecretSource = Literal["returned", "shown", "ours", "account", "handshake"]


def _by_program(_account: Account) -> str:
    return ""


def _no_secret(_account: Account) -> SecretStr:
    return NO_SECRET


def _last_page(_request: PageRequest, _body: Any) -> PageRequest | None:
    return None


@dataclass(frozen=True, eq=False)
class Subscriptions:
    """How a vendor's API lists, makes, changes and removes subscriptions.

    What reads JSON may raise LookupError, TypeError, ValueError or AttributeError, which means that
    the answer is not what the vendor documents.
    """

    #: The topics of each subscription that an account needs. None: webhooks are of no use to it.
    wanted: Callable[[Account], Sequence[tuple[str, ...]]]
    #: Asks for the list.
    first: Callable[[Account], PageRequest]
    #: Reads a page of the list.
    read: Callable[[Any], Iterable[Subscription]]
    #: Makes one; its answer is read by `made`.
    make: Callable[[Account, Wanted], PageRequest]
    #: Reads the answer to `make`. Where it says that nothing was made, it raises an error of the
    #: kit that says who must act.
    made: Callable[[Any], Subscription]
    remove: Callable[[Account, Subscription], PageRequest]
    signed_with: SecretSource
    #: What an account must be allowed at the vendor for all this, and what else can be done, as
    #: sentences for an operator.
    permission: str
    #: Renews one, switches it on, gives it the wanted topics and secret; or, with "handshake", has
    #: its code sent again. None: it is removed and made anew.
    change: Callable[[Account, Subscription, Wanted], PageRequest] | None = None
    #: The next page of the list; None: that was the last one.
    following: Callable[[PageRequest, Any], PageRequest | None] = _last_page
    #: Of "account": the secret; empty: the block does not hold it.
    secret_of: Callable[[Account], SecretStr] = _no_secret
    #: Why a person must subscribe for this account, as a sentence; "": the program does.
    by_hand: Callable[[Account], str] = _by_program
    #: Renewed when less than this is left of its life.
    renew_before: timedelta = timedelta(days=1)
    #: Whether each subscription needs an address of its own, because it signs with its own secret.
    own_addresses: bool = False
    #: Whether one subscription tells of all accounts that the same credentials open, so that one
    #: connection's is enough for all of them.
    serves_all: bool = False

    def addresses(self, account: Account) -> int:
        """How many addresses the account's subscriptions need."""
        return len(self.wanted(account)) if self.own_addresses else 1


@dataclass(frozen=True)
class OwnAddress:
    """An address of ours that is in use."""

    #: The unguessable part of it.
    endpoint_id: str
    url: str
    #: How many secrets are in force.
    secrets: int = 0
    #: Whether the vendor's handshake is over; True where there is none.
    confirmed: bool = True


@dataclass(frozen=True)
class Ours:
    """What is ours, before the vendor is asked."""

    #: The connection's addresses in use, the oldest first.
    addresses: Sequence[OwnAddress]
    #: Ids of the subscriptions that the program made, and whose secret is stored.
    known: Collection[str] = ()
    #: Ids of all addresses that the connection ever had.
    endpoint_ids: Collection[str] = ()
    #: Addresses in use of other connections of the system, by their ids: the connection's name.
    others: dict[str, str] = field(default_factory=dict)
    #: How addresses begin at present, as `https://points.example.com/api/webhooks/billing/`.
    root: str = ""


@dataclass(frozen=True)
class Step:
    """Something to do at the vendor, or to keep as it is."""

    #: again: the vendor removes it, and it is made anew, because its secret is not known here.
    what: Literal["keep", "paused", "change", "make", "again", "remove"]
    subscription: Subscription | None = None
    address: OwnAddress | None = None
    topics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order."""

    steps: Sequence[Step]
    #: The connection whose subscription serves this one too; "": none does.
    served_by: str = ""


def endpoint_id_of(url: str) -> str:
    """The unguessable part of an address of ours; of any other address, its last part."""
    return urlsplit(url).path.rpartition("/")[2]


def new_secret() -> SecretStr:
    """A signing secret of our own: hex, which no vendor changes on the way."""
    return SecretStr(secrets.token_hex(32))


def plan(
    declared: Subscriptions,
    wanted: Sequence[tuple[str, ...]],
    listed: Sequence[Subscription],
    ours: Ours,
    now: datetime,
) -> Plan:
    """What is to be done so that each wanted subscription exists once, is alive and is verifiable.

    Args:
        declared: How the vendor works.
        wanted: The topics of each subscription; empty: none is to be left.
        listed: All subscriptions that the vendor lists.
        ours: Our addresses, and what we know.
        now: UTC.
    """
    if declared.serves_all and (other := _served_by(wanted, listed, ours)):
        return Plan(_removals(listed, ours, keep=()), other)
    here = {address.url: address for address in ours.addresses}
    candidates = [entry for entry in listed if entry.url in here]
    taken: list[Subscription] = []
    steps: list[Step] = []
    for topics in wanted:
        entry = _best(topics, [one for one in candidates if one not in taken], ours)
        if entry is None:
            continue
        taken.append(entry)
        address = here[entry.url]
        steps.append(_step(declared, entry, address, topics, ours, now))
    done = {step.topics for step in steps}
    used = {entry.url for entry in candidates}
    for topics in [topics for topics in wanted if topics not in done]:
        free = [address for address in ours.addresses if address.url not in used]
        address = free[0] if declared.own_addresses and free else ours.addresses[0]
        used.add(address.url)
        steps.append(Step("make", None, address, topics))
    # What is in the way goes first: vendors limit how many there may be.
    return Plan([*_removals(listed, ours, keep=taken), *steps])


def _served_by(
    wanted: Sequence[tuple[str, ...]], listed: Sequence[Subscription], ours: Ours
) -> str:
    """The other connection whose subscriptions are enough; the oldest address keeps its own."""
    names: set[str] = set()
    for topics in wanted:
        good = [
            ours.others.get(endpoint_id_of(entry.url), "")
            for entry in listed
            if entry.state == "active" and _covers(entry, topics) and _is_current(entry, ours)
        ]
        if not good or "" in good[:1]:
            return ""
        names.add(good[0])
    return names.pop() if len(names) == 1 else ""


def _is_current(entry: Subscription, ours: Ours) -> bool:
    """Whether it leads to an address in use: of this connection, or of another one."""
    endpoint_id = endpoint_id_of(entry.url)
    known = {*ours.others, *(address.endpoint_id for address in ours.addresses)}
    return endpoint_id in known and entry.url == ours.root + endpoint_id


def _covers(entry: Subscription, topics: Collection[str]) -> bool:
    return ALL_TOPICS in entry.topics or set(topics) <= entry.topics


def _best(
    topics: tuple[str, ...], candidates: Sequence[Subscription], ours: Ours
) -> Subscription | None:
    """The subscription to go on with: what is whole before what is not, ours before others'."""
    fitting = [
        entry for entry in candidates if _covers(entry, topics) or entry.topics & set(topics)
    ]
    fitting.sort(
        key=lambda entry: (
            not _covers(entry, topics),
            entry.id not in ours.known,
            entry.state != "active",
        )
    )
    return fitting[0] if fitting else None


def _step(
    declared: Subscriptions,
    entry: Subscription,
    address: OwnAddress,
    topics: tuple[str, ...],
    ours: Ours,
    now: datetime,
) -> Step:
    if _secret_is_lost(declared, entry, address, ours):
        return Step("again", entry, address, topics)
    if entry.state == "paused":
        return Step("paused", entry, address, topics)
    ends_soon = entry.expires_at is not None and entry.expires_at - now <= declared.renew_before
    has_our_secret = declared.signed_with != "ours" or address.secrets > 0
    if entry.state == "active" and not ends_soon and has_our_secret and _covers(entry, topics):
        return Step("keep", entry, address, topics)
    return Step("again" if declared.change is None else "change", entry, address, topics)


def _secret_is_lost(
    declared: Subscriptions, entry: Subscription, address: OwnAddress, ours: Ours
) -> bool:
    """Whether its webhooks can never be verified here.

    Between the creation and the storing of the secret the program was killed, or the subscription
    is older than this ledger. One that a person made, who entered its secret, is left alone.
    """
    if declared.signed_with == "returned":
        forgotten = entry.marked and entry.id not in ours.known
        return forgotten or not address.secrets
    if declared.signed_with == "handshake":
        return entry.state == "active" and not address.confirmed
    return False


def _removals(
    listed: Sequence[Subscription], ours: Ours, *, keep: Sequence[Subscription]
) -> list[Step]:
    """What the program subscribed and needs no more: twice the same, or to an address of before."""
    own = {*ours.endpoint_ids, *(address.endpoint_id for address in ours.addresses)}
    return [
        Step("remove", entry)
        for entry in listed
        if entry not in keep
        and endpoint_id_of(entry.url) in own
        and (entry.marked or entry.id in ours.known)
    ]
