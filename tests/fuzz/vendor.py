"""The billing system of the fuzzed world: what it has, what it had, and its answers."""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.fuzz.events import State
from tests.fuzz.oracle import DIGITS

BEGINNING = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAGE_SIZE = 3


def phone_of(customer: int) -> str:
    """The phone of a customer."""
    return f"+24492300000{customer}"


def instant(minute: int) -> datetime:
    """The time so many minutes after the beginning."""
    return BEGINNING + timedelta(minutes=minute)


def record(document: int, minute: int, state: State | None) -> dict[str, Any]:
    """A version of a document as the billing system writes it."""
    key = {"id": f"D{document}", "updated_at": _text(instant(minute))}
    if state is None:
        return key | {"deleted_at": _text(instant(minute))}
    digits = DIGITS[state.currency]
    phone = {} if state.customer is None else {"customer_phone": phone_of(state.customer)}
    original = {} if state.original is None else {"original_invoice": f"D{state.original}"}
    return key | phone | original | {
        "number": f"N-{document}",
        "kind": state.kind,
        "currency": state.currency,
        "status": state.status,
        "total": _amount(state.total, digits),
        "amount_refunded": _amount(state.refunded, digits),
        "issued_at": _text(BEGINNING + timedelta(hours=state.hour)),
    }  # fmt: skip


@dataclass
class Vendor:
    """One account. `versions`: per document its states, with the minute of each."""

    versions: dict[int, list[tuple[int, State | None]]] = field(default_factory=dict)
    minute: int = 0
    noise: int = 0
    _lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def change(self, document: int, minute: int, state: State | None) -> bool:
        """Whether there is such a document to change."""
        if state is None and document not in self.versions:
            return False
        self.versions.setdefault(document, []).append((minute, state))
        return True

    def answer(self, request: httpx.Request) -> httpx.Response:
        """A page of what changed since, or one document, with the time by its own clock."""
        last = request.url.path.rpartition("/")[2]
        if last.startswith("D"):
            return self._answered(self._one(int(last[1:])))
        asked = dict(request.url.params)
        token, _, begin = asked.get("cursor", "").partition(":")
        if not token:
            token, begin = str(len(self._lists)), "0"
            self._lists[token] = self._listed(asked.get("updated_since"))
        at, listed = int(begin), self._lists[token]
        more = at + PAGE_SIZE < len(listed)
        page = {
            "data": listed[at : at + PAGE_SIZE],
            "next_cursor": f"{token}:{at + PAGE_SIZE}" if more else None,
            "has_more": more,
        }
        return self._answered(page)

    def _answered(self, body: dict[str, Any] | None) -> httpx.Response:
        date = instant(self.minute).strftime("%a, %d %b %Y %H:%M:%S GMT")
        status = 200 if body is not None else 404
        return httpx.Response(status, json=body or {"error": "not found"}, headers={"date": date})

    def _one(self, document: int) -> dict[str, Any] | None:
        """A document as it is now; None: it was deleted, or never was."""
        known = self.versions.get(document)
        if not known or known[-1][1] is None:
            return None
        return record(document, *known[-1])

    def _listed(self, since: str | None) -> list[dict[str, Any]]:
        """What changed since; in disorder: some twice, some with an outdated version beside."""
        begin = datetime.fromisoformat(since) if since else BEGINNING
        found = [
            (document, known)
            for document, known in sorted(self.versions.items())
            if instant(known[-1][0]) >= begin
        ]
        listed = [record(document, *known[-1]) for document, known in found]
        if not self.noise:
            return sorted(listed, key=lambda one: (one["updated_at"], one["id"]))
        draw = random.Random(self.noise)
        outdated = [record(document, *draw.choice(known)) for document, known in found]
        listed += draw.sample(outdated, k=len(outdated) // 2) + draw.choices(listed or [{}], k=1)
        listed = [one for one in listed if one]
        draw.shuffle(listed)
        return listed


def body(records: list[dict[str, Any]]) -> bytes:
    """A page of the list."""
    return json.dumps({"data": records}).encode()


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _amount(minor: int, digits: int) -> str:
    whole, part = divmod(minor, 10**digits)
    return f"{whole}.{part:0{digits}}" if digits else str(whole)
