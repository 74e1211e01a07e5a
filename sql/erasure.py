"""Removing a member's personal data: the phone, wherever it is stored, and what raw records say beside it. Sales and points stay."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import zstandard

from loyalty.corrections import Decision
from sql.corrections import CorrectionRefusedError, find_member
from sql.db import Connection
from sql.named import query

ERASED: Final = "(erased)"
#: Bodies read at a time.
_AT_ONCE: Final = 50
_NUMBER: Final = "\ue000"
#: Keys whose texts may name a person, in the records of whoever is erased.
_PERSONAL: Final = re.compile(
    r"name|phone|mobile|cell|fax|mail|addr|street|line\d|city|town|postal|post_?code|zip|region|province|contact|"
    r"memo|note|comment|message|attention|birth|tax_?(id|number)|vat_?number|nif",
    re.IGNORECASE,
)
#: Below these keys is what was sold: product names are nobody's.
_SOLD: Final = re.compile(r"^(line|lines|line_?items|items|products)$", re.IGNORECASE)


@dataclass
class Erased:
    """What was (in a dry run: would be) removed. `unreadable`: bodies with the phone that are no text and were left as they are."""

    member_id: int
    members: list[int]
    phones: int = 0
    customers: int = 0
    pages: int = 0
    events: int = 0
    unreadable: list[int] = field(default_factory=list)
    dry_run: bool = True

    def to_text(self) -> str:
        """One line, without the phone."""
        if not self.phones:
            return f"Member {self.member_id} has no personal data here (any more)."
        what = f"{self.phones} phone numbers, {self.customers} customers' phones, records in {self.pages} stored pages and {self.events} webhooks"
        left = (
            f" {len(self.unreadable)} stored files hold the phone and could not be changed." if self.unreadable else ""
        )
        also = f" (with {len(self.members) - 1} merged members)" if len(self.members) > 1 else ""
        return f"Member {self.member_id}{also}: {what} {'would be' if self.dry_run else 'were'} erased; sales and points stay.{left}"


def erase(connection: Connection, member_id: int, decision: Decision, run_id: str, *, dry_run: bool) -> Erased:
    """Removes the member's personal data, and that of whoever was merged into them. One transaction; the caller commits.

    Raises CorrectionRefusedError if there is no such member.
    """
    owner = find_member(connection, member_id).owner_id
    connection.execute(query("corrections", "lock_merges"))
    rows = connection.execute(query("erasure", "group"), {"owner_id": owner}).fetchall()
    if not rows:
        message = f"there is no member {member_id}"
        raise CorrectionRefusedError(message)
    phones = [phone for _, phone in rows if phone]
    done = Erased(owner, [number for number, _ in rows], len(phones), dry_run=dry_run)
    if phones:
        row = connection.execute(query("erasure", "count_customers"), {"phones": phones}).fetchone()
        done.customers = row[0] if row else 0
        said = said_in(phones)
        done.pages = _rewrite(connection, "page", said, done)
        done.events = _rewrite(connection, "event", said, done)
    if not dry_run:
        connection.execute(query("erasure", "customers"), {"phones": phones})
        connection.execute(query("erasure", "forget_phones"), {"members": done.members})
        parameters = decision.model_dump() | {"members": done.members, "run_id": run_id}
        connection.execute(query("erasure", "record"), parameters)
    return done


def said_in(phones: Sequence[str]) -> "re.Pattern[str]":
    """Finds the phones (E.164), with or without country code, however they are written."""
    parts = []
    for phone in phones:
        digits = phone.lstrip("+")
        # The longest country code has three digits; what follows is told without it at home.
        national = r"[\s().\-/]{0,3}".join(digits[3:] if len(digits) > 9 else digits)
        parts.append(rf"(?<![0-9])(?:(?:\+|00)?[\s(]{{0,2}}{digits[:3]}[\s().\-/]{{0,3}})?0?{national}(?![0-9])")
    return re.compile("|".join(parts))


def _rewrite(connection: Connection, what: str, said: "re.Pattern[str]", done: Erased) -> int:
    changed = 0
    for number, body in _bodies(connection, what):
        text = _decoded(body)
        if text is None:
            continue
        if "\x00" in text:  # not a text: it cannot be rewritten without destroying it
            if said.search(text):
                done.unreadable.append(number)
            continue
        redacted = redact(text, said)
        if redacted is None:
            continue
        changed += 1
        if not done.dry_run:
            raw = redacted.encode()
            parameters = {"body": zstandard.compress(raw, level=1), "size": len(raw), "number": number}
            connection.execute(query("erasure", f"replace_{what}"), parameters)
    return changed


def _bodies(connection: Connection, what: str) -> Iterator[tuple[int, bytes]]:
    after, decompress = 0, zstandard.ZstdDecompressor()
    while True:
        parameters = {"after": after, "limit": _AT_ONCE}
        rows = connection.execute(query("erasure", f"{what}s"), parameters, binary=True).fetchall()
        for number, _, body in rows:
            yield number, decompress.decompress(body)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1][0]


def _decoded(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def redact(text: str, said: "re.Pattern[str]") -> str | None:
    """The text without what it says of whoever has the phone; None where it says nothing. Numbers stay as they were written."""
    try:
        document = _load(text)
    except (ValueError, RecursionError):
        lines = text.splitlines(keepends=True)
        found = [_line(line, said) for line in lines]
        return None if found == lines else "".join(found)
    cleaned = _cleaned(document, said)
    if cleaned == document:
        return None
    written = json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))
    return re.sub(rf'"{_NUMBER}([^"]*)"', r"\1", written)


def _line(line: str, said: "re.Pattern[str]") -> str:
    """A line of a file: a record of its own, of which the phone goes, and, where it is JSON, the rest of the person."""
    if not said.search(line):
        return line
    try:
        cleaned = _cleaned(_load(line), said)
    except (ValueError, RecursionError):
        return said.sub(ERASED, line)
    written = json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))
    return re.sub(rf'"{_NUMBER}([^"]*)"', r"\1", written) + line[len(line.rstrip("\r\n")) :]


def _load(text: str) -> Any:
    return json.loads(text, parse_float=lambda number: _NUMBER + number)


def _cleaned(value: Any, said: "re.Pattern[str]") -> Any:
    """Lists are looked through for records: the smallest that mentions the phone and is an element of a list is the person's."""
    if not _mentions(value, said):
        return value
    if isinstance(value, dict):
        lists = {k: v for k, v in value.items() if _has_records(v) and _mentions(v, said)}
        beside = {k: v for k, v in value.items() if k not in lists}
        if lists and not _mentions(beside, said) and not any(_of_a_person(k) for k in lists):
            return {k: _cleaned(v, said) if k in lists else v for k, v in value.items()}
        nested = [k for k, v in value.items() if isinstance(v, dict) and _mentions(v, said)]
        if len(value) == 1 and nested:
            return {nested[0]: _cleaned(value[nested[0]], said)}
        return _blank(value, said)
    if isinstance(value, list):
        return [_cleaned(one, said) for one in value]
    return _blank(value, said)


def _of_a_person(key: str) -> bool:
    return bool(_PERSONAL.search(key)) or bool(_SOLD.match(key))


def _has_records(value: Any) -> bool:
    return (isinstance(value, list) and any(isinstance(one, dict) for one in value)) or (
        isinstance(value, dict) and any(_has_records(one) for one in value.values())
    )


def _mentions(value: Any, said: "re.Pattern[str]") -> bool:
    if isinstance(value, dict):
        return any(_mentions(one, said) for one in value.values())
    if isinstance(value, list):
        return any(_mentions(one, said) for one in value)
    if isinstance(value, bool) or value is None:
        return False
    return said.search(str(value)) is not None


def _blank(value: Any, said: "re.Pattern[str]", key: str = "", *, sold: bool = False) -> Any:
    """A record without texts that may be of a person; amounts, dates, ids and products stay."""
    if isinstance(value, dict):
        return {
            k: _blank(v, said, k if not key or not _PERSONAL.search(key) else key, sold=sold or bool(_SOLD.match(k)))
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_blank(one, said, key, sold=sold) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if said.search(str(value)):
        return ERASED
    personal = isinstance(value, str) and not value.startswith(_NUMBER) and not sold and _PERSONAL.search(key)
    return ERASED if personal and value else value
