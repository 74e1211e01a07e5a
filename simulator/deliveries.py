"""What every vendor's deliveries of webhooks have in common; each has its own in `announce.py`.

`systems/<name>/announce.py` gives `deliveries(sender, changed)`: one vendor's deliveries about the
documents that changed, oldest change first.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final, Literal

from simulator.books import Books
from simulator.model import Document
from simulator.wire import encode

#: Vendors that collect put up to so many events into one delivery.
BATCH_MAX: Final = 100

What = Literal["created", "updated", "deleted", "voided"]
#: One changed document, and what happened to it.
Change = tuple[Document, What]
#: The headers that sign a body, at a time: some schemes sign the time.
Sign = Callable[[bytes, datetime], dict[str, str]]


@dataclass(frozen=True)
class Delivery:
    """One POST. The signature is made when it is sent: some schemes sign the time."""

    system: str
    body: bytes
    content_type: str
    sign: Sign = field(repr=False)
    #: What it is about, in the words that subscriptions are made with.
    topic: str = ""
    #: Signs the address and the body, of vendors that sign both.
    sign_address: Callable[[str, bytes], dict[str, str]] | None = field(default=None, repr=False)

    def headers(self, now: datetime, url: str = "") -> dict[str, str]:
        """The headers of an attempt; `url` is the address it goes to."""
        headers = {"content-type": self.content_type, **self.sign(self.body, now)}
        return headers | (self.sign_address(url, self.body) if self.sign_address else {})


@dataclass(frozen=True)
class Sender:
    """What a vendor's deliveries are made with."""

    #: The signing secret: verifier token, webhook key, callback verifier, `whsec_...`.
    secret: str = field(repr=False)
    #: The seed of the world.
    seed: int
    #: Where ids are drawn from, shared by all vendors of a world.
    random: Random
    #: Counts events, shared by all vendors of a world.
    numbers: Iterator[int]
    #: Whether deliveries hold the whole document, where a vendor can be told to.
    full: bool = True
    #: The vendor's books, for deliveries that hold more than the document.
    books: Books | None = None
    #: What the receiver subscribed to, of vendors that put several lists into one delivery; empty:
    #: all.
    topics: tuple[str, ...] = ()
    #: Whether QuickBooks writes the form it has been using since 2026.
    cloud_events: bool = True


def batches(changed: Sequence[Change]) -> Iterable[Sequence[Change]]:
    """As many changes at a time as one delivery takes."""
    return (changed[at : at + BATCH_MAX] for at in range(0, len(changed), BATCH_MAX))


def json_body(value: object) -> bytes:
    """A body of JSON."""
    return encode(value).encode()


def zulu(moment: datetime) -> str:
    """A moment as most vendors write it: UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def mac(key: bytes, content: bytes) -> str:
    """base64(HMAC-SHA256(key, content))."""
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def plain_signature(header: str, secret: str) -> Sign:
    """The mac of the body in a header, the secret's text as key."""
    return lambda body, _now: {header: mac(secret.encode(), body)}
