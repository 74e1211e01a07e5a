"""What the vendors' webhooks send: deliveries about changes in the books, signed as each vendor signs them.

    announcer = Announcer(world, {"custom": "whsec_..."})
    world.evolve(steps=10)
    for delivery in announcer.changes():
        httpx.post(url, content=delivery.body, headers=delivery.headers(now))

Written from the vendors' documentation alone. Deliveries may be repeated and overtake each other,
as the vendors warn they do.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

import httpx

from simulator.model import ACCOUNTS, Document
from simulator.systems.custom import api as custom_api
from simulator.wire import encode
from simulator.world import World

SYSTEMS: Final = ("quickbooks", "xero", "freshbooks", "custom")
#: QuickBooks puts up to so many into one delivery; Xero collects as well.
BATCH_MAX: Final = 100
_QUICKBOOKS: Final = ("Invoice", "SalesReceipt", "CreditMemo", "RefundReceipt")
_XERO: Final = {
    "Invoice": "INVOICE",
    "Bill": "INVOICE",
    "CreditNote": "CREDITNOTE",
    "SupplierCredit": "CREDITNOTE",
}
_FRESHBOOKS: Final = {"Invoice": "invoice", "CreditNote": "credit_note"}

What = Literal["created", "updated", "deleted", "voided"]
Sign = Callable[[bytes, datetime], dict[str, str]]


@dataclass(frozen=True)
class Delivery:
    """One POST. The signature is made when it is sent: some schemes sign the time."""

    system: str
    body: bytes
    content_type: str
    sign: Sign = field(repr=False)

    def headers(self, now: datetime) -> dict[str, str]:
        """The headers of an attempt."""
        return {"content-type": self.content_type, **self.sign(self.body, now)}


@dataclass(frozen=True)
class Disorder:
    """How unreliable the delivery is: shares of deliveries that come twice, and that are overtaken by later ones."""

    seed: int = 0
    repeated: float = 0
    overtaken: float = 0
    lost: float = 0


class Announcer:
    """Notices what changes in the books of a world and writes the vendors' deliveries about it.

    Args:
        world: The books.
        secrets: The signing secret per system: verifier token, webhook key, callback verifier,
            `whsec_...`.
        full: Whether custom deliveries hold the whole document, or its id only.
        cloud_events: Whether QuickBooks writes the form it has been using since 2026.
        disorder: What goes wrong on the way.
    """

    def __init__(
        self,
        world: World,
        secrets: Mapping[str, str],
        *,
        full: bool = True,
        cloud_events: bool = True,
        disorder: Disorder | None = None,
    ) -> None:
        self._world, self._secrets, self._full, self._cloud = (
            world,
            dict(secrets),
            full,
            cloud_events,
        )
        self._disorder = disorder or Disorder()
        self._random = Random(f"{self._disorder.seed}/webhooks")
        self._numbers = count(1)
        self._seen: dict[tuple[str, str, str], int] = {}
        for system, document in self._documents():
            self._seen[system, document.entity, document.id] = document.version

    def _documents(self) -> Iterator[tuple[str, Document]]:
        for system in self._secrets:
            for document in self._world.books[system].all():
                yield system, document

    def changes(self) -> list[Delivery]:
        """Deliveries about everything that changed since the last call, in the order in which they arrive."""
        with self._world.lock:
            changed: dict[str, list[tuple[Document, What]]] = {
                system: [] for system in self._secrets
            }
            for system, document in self._documents():
                key = (system, document.entity, document.id)
                before = self._seen.get(key)
                if before != document.version:
                    self._seen[key] = document.version
                    changed[system].append((document, _what(document, new=before is None)))
            found = [one for system, about in changed.items() for one in self.about(system, about)]
        return self._disordered(found)

    def about(self, system: str, changed: Sequence[tuple[Document, What]]) -> list[Delivery]:
        """Deliveries of one vendor about these documents."""
        ordered = sorted(changed, key=lambda one: one[0].updated_at)
        match system:
            case "quickbooks":
                return self._quickbooks([one for one in ordered if one[0].entity in _QUICKBOOKS])
            case "xero":
                return self._xero([one for one in ordered if one[0].entity in _XERO])
            case "freshbooks":
                return [self._freshbooks(*one) for one in ordered if one[0].entity in _FRESHBOOKS]
            case _:
                return [delivery for one in ordered for delivery in self._custom(*one)]

    def _disordered(self, found: list[Delivery]) -> list[Delivery]:
        disorder, random = self._disorder, self._random
        kept = [one for one in found if random.random() >= disorder.lost]
        kept = [one for one in kept for _ in range(2 if random.random() < disorder.repeated else 1)]
        for at in range(len(kept)):
            if random.random() < disorder.overtaken:
                other = random.randrange(len(kept))
                kept[at], kept[other] = kept[other], kept[at]
        return kept

    def _quickbooks(self, changed: Sequence[tuple[Document, What]]) -> list[Delivery]:
        realm, secret = ACCOUNTS["quickbooks"], self._secrets["quickbooks"]
        sign = _plain("intuit-signature", secret)
        found = []
        for batch in _batches(changed):
            if self._cloud:
                events = [self._cloud_event(realm, *one) for one in batch]
                found.append(
                    Delivery(
                        "quickbooks", _json(events), "application/cloudevents-batch+json", sign
                    )
                )
                continue
            verbs = {
                "created": "Create",
                "updated": "Update",
                "deleted": "Delete",
                "voided": "Void",
            }
            entities = [
                {
                    "name": d.entity,
                    "id": d.id,
                    "operation": verbs[what],
                    "lastUpdated": _zulu(d.updated_at),
                }
                for d, what in batch
            ]
            notification = {"realmId": realm, "dataChangeEvent": {"entities": entities}}
            found.append(
                Delivery(
                    "quickbooks",
                    _json({"eventNotifications": [notification]}),
                    "application/json",
                    sign,
                )
            )
        return found

    def _cloud_event(self, realm: str, document: Document, what: What) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": f"{self._random.getrandbits(64):016x}",
            "source": "intuit.c2ltdWxhdG9y",
            "type": f"qbo.{document.entity.lower()}.{what}.v1",
            "datacontenttype": "application/json",
            "time": _zulu(document.updated_at),
            "intuitentityid": document.id,
            "intuitaccountid": realm,
            "data": {},
        }

    def _xero(self, changed: Sequence[tuple[Document, What]]) -> list[Delivery]:
        """Voids and deletions are updates; supplier bills come as invoices too."""
        tenant, found = ACCOUNTS["xero"], []
        for batch in _batches(changed):
            numbers = [next(self._numbers) for _ in batch]
            events = [
                {
                    "resourceUrl": f"https://api.xero.com/api.xro/2.0/{_XERO[d.entity].title()}s/{d.id}",
                    "resourceId": d.id,
                    "eventDateUtc": d.updated_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[
                        :-3
                    ],
                    "eventType": "CREATE" if what == "created" else "UPDATE",
                    "eventCategory": _XERO[d.entity],
                    "tenantId": tenant,
                    "tenantType": "ORGANISATION",
                }
                for d, what in batch
            ]
            body = {
                "events": events, "firstEventSequence": numbers[0], "lastEventSequence": numbers[-1],
                "entropy": f"{self._random.getrandbits(80):020X}",
            }  # fmt: skip
            found.append(
                Delivery(
                    "xero",
                    _json(body),
                    "application/json",
                    _plain("x-xero-signature", self._secrets["xero"]),
                )
            )
        return found

    def xero_intent(self) -> list[tuple[Delivery, int]]:
        """What Xero sends while an address is introduced, and the status it wants for each: some are signed wrongly."""
        found = []
        for good in (True, False, True, False):
            entropy = f"{self._random.getrandbits(80):020X}"
            body = _json(
                {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": entropy}
            )
            sign = _plain("x-xero-signature", self._secrets["xero"] if good else "another key")
            found.append((Delivery("xero", body, "application/json", sign), 200 if good else 401))
        return found

    def _freshbooks(self, document: Document, what: What) -> Delivery:
        verbs = {"created": "create", "updated": "update", "deleted": "delete", "voided": "delete"}
        name = f"{_FRESHBOOKS[document.entity]}.{verbs[what]}"
        form = {
            "name": name, "object_id": document.id, "account_id": ACCOUNTS["freshbooks"], "business_id": "6543",
            "identity_id": "1234", "user_id": "1",
        }  # fmt: skip
        return Delivery(
            "freshbooks", urlencode(form).encode(), _FORM, _over_fields(self._secrets["freshbooks"])
        )

    def freshbooks_verify(self, callback: str, code: str) -> Delivery:
        """What FreshBooks sends to introduce an address; whether it is signed is not documented, so it is not."""
        form = {"name": "callback.verify", "object_id": callback, "verifier": code}
        return Delivery("freshbooks", urlencode(form).encode(), _FORM, lambda _body, _now: {})

    def _custom(self, document: Document, what: What) -> list[Delivery]:
        """A new sale is told by two names, and a third when it is paid."""
        names = {"created": ["invoice.created", "sale.completed"], "deleted": ["invoice.deleted"]}
        said = names.get(what, ["invoice.updated"])
        if document.settled:
            said = [*said, "payment.received"]
        data = custom_api.document_json(document) if self._full else {"id": document.id}
        found = []
        for name in said:
            body = _json({"type": name, "timestamp": _zulu(document.updated_at), "data": data})
            message_id = f"msg_{self._world.seed}_{next(self._numbers)}"
            found.append(
                Delivery(
                    "custom",
                    body,
                    "application/json",
                    _standard(message_id, self._secrets["custom"]),
                )
            )
        return found


def post(
    client: httpx.Client,
    url: str,
    delivery: Delivery,
    *,
    attempts: int = 5,
    wait_seconds: float = 0.2,
) -> httpx.Response:
    """Sends a delivery, again after every answer but 2xx and 410; the last answer.

    Raises:
        httpx.TransportError: If no attempt got an answer.
    """
    for attempt in range(attempts):
        last = attempt == attempts - 1
        try:
            answer = client.post(
                url, content=delivery.body, headers=delivery.headers(datetime.now(UTC))
            )
        except httpx.TransportError:
            if last:
                raise
        else:
            if answer.is_success or answer.status_code == 410 or last:
                return answer
        time.sleep(wait_seconds * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


_FORM: Final = "application/x-www-form-urlencoded"


def _what(document: Document, *, new: bool) -> What:
    if document.deleted:
        return "deleted"
    if new:
        return "created"
    return "voided" if document.status == "void" else "updated"


def _batches(changed: Sequence[tuple[Document, What]]) -> Iterable[Sequence[tuple[Document, What]]]:
    return (changed[at : at + BATCH_MAX] for at in range(0, len(changed), BATCH_MAX))


def _json(value: object) -> bytes:
    return encode(value).encode()


def _zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _mac(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _plain(header: str, secret: str) -> Sign:
    """base64(HMAC-SHA256(secret, body))."""
    return lambda body, _now: {header: _mac(secret.encode(), body)}


def _over_fields(verifier: str) -> Sign:
    """Over the form's fields as Python's json.dumps writes them, in their order."""

    def sign(body: bytes, _now: datetime) -> dict[str, str]:
        fields = ", ".join(
            f"{_quoted(name)}: {_quoted(value)}"
            for name, value in parse_qsl(body.decode(), keep_blank_values=True)
        )
        return {"X-FreshBooks-Hmac-SHA256": _mac(verifier.encode(), f"{{{fields}}}".encode())}

    return sign


def _quoted(value: str) -> str:
    """ASCII only, as json.dumps does by default."""
    return (
        '"'
        + "".join(
            char if 32 <= ord(char) < 127 and char not in '"\\' else f"\\u{ord(char):04x}"
            for char in value
        )
        + '"'
    )


def _standard(message_id: str, secret: str) -> Sign:
    """Standard Webhooks: id and time are signed with the body, and stay the same and change with every attempt."""
    text = secret.removeprefix("whsec_")
    key = base64.b64decode(text + "=" * (-len(text) % 4))

    def sign(body: bytes, now: datetime) -> dict[str, str]:
        stamp = str(int(now.timestamp()))
        signature = _mac(key, f"{message_id}.{stamp}.".encode() + body)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        }

    return sign
