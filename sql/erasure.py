"""Removes a member's personal data.

The phone goes wherever it is stored, and so does what raw records say about the person. Sales and
points stay.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import sql
from psycopg.errors import InvalidTextRepresentation

from loyalty.corrections import Decision
from sql import member_events
from sql.corrections import CorrectionRefusedError, find_member
from sql.db import DbConnection
from sql.holds import require_none
from sql.named_queries import query
from sql.redaction import ERASED, Person, person_with, records_of, redact
from sql.sealing import KeyMissingError, keyring

__all__ = [
    "ERASED",
    "Erased",
    "Said",
    "erase",
    "person_with",
    "redact",
    "said_of",
    "scrub",
    "texts_of",
]
#: Bodies read at a time.
_AT_ONCE: Final = 50
#: Texts that a run or a reject may quote from a record, and that may be changed afterwards.
QUOTING: Final = {
    "billing.reject": ("record_key", "reason", "problems"),
    "billing.webhook_event": ("reason", "first_reason", "headers"),
    "billing.sync_run": ("error", "summary"),
}
#: Schemas that are looked through for what remains.
_SCHEMAS: Final = ("billing", "loyalty", "audit")


@dataclass
class Erased:
    """What was removed; in a dry run, what would be."""

    #: Number of the member.
    member_id: int
    #: The member and everybody who was merged into them.
    members: list[int]
    #: Phone numbers that were taken off members.
    phones: int = 0
    #: Birthdays that were removed.
    birthdays: int = 0
    #: Cached customers that were deleted.
    customers: int = 0
    #: Raw pages that were rewritten.
    pages: int = 0
    #: Webhook events that were rewritten.
    events: int = 0
    #: Rows with messages that quoted the person.
    texts: int = 0
    #: Messages that quoted the person, per other place: Prefect's tables, log files.
    elsewhere: dict[str, int] = field(default_factory=dict)
    #: Rows per table, and bodies, that still name the person and are not changed.
    remains: dict[str, int] = field(default_factory=dict)
    #: Places that could not be looked through.
    unreached: list[str] = field(default_factory=list)
    #: Numbers of bodies that hold the phone, are no text, and were left as they are.
    unreadable: list[int] = field(default_factory=list)
    #: Whether all was only counted, and nothing changed.
    dry_run: bool = True
    #: Number of the certificate; None: nothing was changed.
    certificate_no: int | None = None

    def __post_init__(self) -> None:
        #: What names them; for the other places. No field: it is not to be printed.
        self.person: Person | None = None

    def to_text(self) -> str:
        """A few sentences, without the phone."""
        counts = (
            self.phones,
            self.birthdays,
            self.customers,
            self.pages,
            self.events,
            self.texts,
            *self.elsewhere.values(),
        )
        if not any(counts):
            return f"Member {self.member_id} has no personal data here (any more)."
        what = (
            f"{self.phones} phone numbers, {self.customers} customers' phones, "
            f"records in {self.pages} stored "
            f"pages and {self.events} webhooks, {self.texts} messages"
        )
        if self.birthdays:
            what += f", {self.birthdays} birthdays"
        if self.elsewhere:
            what += ", " + ", ".join(
                f"{count} in {place}" for place, count in sorted(self.elsewhere.items())
            )
        also = f" (with {len(self.members) - 1} merged members)" if len(self.members) > 1 else ""
        verb = "would be" if self.dry_run else "were"
        return (
            f"Member {self.member_id}{also}: {what} {verb} erased; "
            f"sales and points stay.{self._left()}"
        )

    def not_reached(self) -> list[str]:
        """What could not be looked through or cleaned: for the certificate."""
        files = f"{len(self.unreadable)} stored files that hold the phone and are no text"
        return [*self.unreached, *([files] if self.unreadable else [])]

    def places(self) -> dict[str, int]:
        """What was removed, per place: for the certificate."""
        return {
            "phone numbers of members": self.phones,
            "customers' phones that were looked up": self.customers,
            "stored pages": self.pages,
            "webhooks": self.events,
            "messages of rejects, runs and webhooks": self.texts,
            **({"birthdays": self.birthdays} if self.birthdays else {}),
            **self.elsewhere,
        }

    def _left(self) -> str:
        parts = [] if self.certificate_no is None else [f"Certificate {self.certificate_no}."]
        if self.unreadable:
            parts.append(
                f"{len(self.unreadable)} stored files hold the phone and could not be changed."
            )
        if self.remains:
            rows = ", ".join(
                f"{count} rows of {table}" for table, count in sorted(self.remains.items())
            )
            parts.append(f"They are still named in {rows}: see docs/audit.md.")
        parts += [f"{place} could not be looked through." for place in self.unreached]
        return "".join(f" {part}" for part in parts)


def erase(
    connection: DbConnection, member_id: int, decision: Decision, run_id: str, *, dry_run: bool
) -> Erased:
    """Removes the member's personal data, and that of whoever was merged into them.

    One transaction; the caller commits.

    Records are theirs that name a phone of theirs, an e-mail address of theirs, or their customer
    number at the billing system. Raises CorrectionRefusedError if there is no such member, or a
    legal hold forbids it.
    """
    owner = find_member(connection, member_id).owner_id
    connection.execute(query("corrections", "lock_merges"))
    rows = connection.execute(query("erasure", "group"), {"owner_id": owner}).fetchall()
    if not rows:
        message = f"there is no member {member_id}"
        raise CorrectionRefusedError(message)
    require_none(connection, [number for number, _ in rows])
    phones = [phone for _, phone in rows if phone]
    erased = Erased(owner, [number for number, _ in rows], len(phones), dry_run=dry_run)
    erased.birthdays = member_events.count_birthdays(connection, erased.members)
    theirs = _customers(connection, erased.members, phones)
    if phones or theirs:  # (without a phone: records that were read again after an erasure)
        row = connection.execute(
            query("erasure", "count_customers"), _cached(phones, theirs)
        ).fetchone()
        erased.customers = row[0] if row else 0
        # (Twice: e-mail addresses found in the person's records lead to records with nothing
        # else.)
        person = person_with(phones)
        _rewrite(connection, "page", person, theirs, Erased(owner, erased.members))
        person = person.with_mails()
        erased.pages = _rewrite(connection, "page", person, theirs, erased)
        erased.events = _rewrite(connection, "event", person, theirs, erased)
        erased.person = person
    if not dry_run:
        connection.execute(query("erasure", "customers"), _cached(phones, theirs))
        connection.execute(query("erasure", "forget_phones"), {"members": erased.members})
        connection.execute(query("erasure", "forget_places"), {"members": erased.members})
        member_events.forget_birthdays(connection, erased.members)
        parameters = decision.model_dump() | {"members": erased.members, "run_id": run_id}
        connection.execute(query("erasure", "record"), parameters)
    if erased.person is not None:
        _messages(connection, erased.person, erased)
        erased.remains |= _remaining(connection, erased.person, erased)
    return erased


@dataclass(frozen=True)
class Said:
    """What one stored page or webhook says of a person."""

    #: The billing system that sent it, and its list ("": a webhook).
    system: str
    stream: str
    #: The records, as JSON or as lines of a file. Personal data.
    records: list[str] = field(repr=False)


def said_of(connection: DbConnection, member_id: int) -> Iterator[Said]:
    """What stored pages and webhooks say of a member, and of whoever was merged into them.

    Records are theirs by the same rules by which they are erased. Raises CorrectionRefusedError if
    there is no such member.
    """
    owner = find_member(connection, member_id).owner_id
    rows = connection.execute(query("erasure", "phones"), {"owner_id": owner}).fetchall()
    phones = [phone for _, phone in rows if phone]
    theirs = _customers(connection, [number for number, _ in rows], phones)
    person = person_with(phones)
    for what in ("page", "event"):
        for _, system, account, stream, body in _bodies(connection, what):
            if body is None or "\x00" in (text := _decoded(body)):
                continue
            known = person.at(_known_at(theirs, system, account), listed=stream == "customers")
            if records := records_of(text, known, enveloped=what == "page"):
                yield Said(system, stream, records)


def _customers(
    connection: DbConnection, members: list[int], phones: list[str]
) -> dict[tuple[str, str], set[str]]:
    """The person's customer numbers per account.

    Leaves out numbers that documents of other members have as well (a till's `walk-in`).
    """
    numbers: dict[tuple[str, str], set[str]] = defaultdict(set)
    parameters = {"members": members, "phones": phones}
    for system, account, customer in connection.execute(
        query("erasure", "their_customers"), parameters
    ):
        numbers[system, account].add(customer)
    return numbers


def _cached(phones: list[str], theirs: dict[tuple[str, str], set[str]]) -> dict[str, Any]:
    keys = [(*account, number) for account, ids in theirs.items() for number in ids]
    names = ("systems", "accounts", "ids")
    return {"phones": phones} | {name: [key[at] for key in keys] for at, name in enumerate(names)}


def _rewrite(
    connection: DbConnection,
    what: str,
    person: Person,
    theirs: dict[tuple[str, str], set[str]],
    erased: Erased,
) -> int:
    changed = closed = 0
    for number, system, account, stream, body in _bodies(connection, what):
        if body is None:
            closed += 1
            continue
        text = _decoded(body)
        if "\x00" in text:  # not a text: it cannot be rewritten without destroying it
            if person.search(text):
                erased.unreadable.append(number)
            continue
        ids = _known_at(theirs, system, account)
        redacted = redact(
            text, person.at(ids, listed=stream == "customers"), enveloped=what == "page"
        )
        if redacted is None:
            continue
        changed += 1
        if not erased.dry_run:
            raw = redacted.encode()
            parameters = {
                "body": keyring().pack(raw),
                "size": len(raw),
                "number": number,
            }
            connection.execute(query("erasure", f"replace_{what}"), parameters)
    if closed:
        erased.unreached.append(f"{closed} stored {what}s, sealed with a key that is not here,")
    return changed


def _known_at(
    theirs: dict[tuple[str, str], set[str]], system: str, account: str | None
) -> set[str]:
    """The person's customer numbers at an account.

    A webhook's address may be for any account of the system: then the numbers at all of them.
    """
    if account is not None:
        return theirs.get((system, account), set())
    return set().union(*(ids for (system_of, _), ids in theirs.items() if system_of == system))


def _bodies(
    connection: DbConnection, what: str
) -> Iterator[tuple[int, str, str | None, str, bytes | None]]:
    """Stored bodies and what they are of; None for a body that no key opens."""
    after = 0
    while True:
        parameters = {"after": after, "limit": _AT_ONCE}
        rows = connection.execute(query("erasure", f"{what}s"), parameters, binary=True).fetchall()
        for number, system, account, stream, body in rows:
            try:
                yield number, system, account, stream, keyring().unpack(body)
            except KeyMissingError:
                yield number, system, account, stream, None
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1][0]


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _messages(connection: DbConnection, person: Person, erased: Erased) -> None:
    """Replaces what rejects, runs and webhooks quoted of the person."""
    for table, columns in QUOTING.items():
        schema, _, name = table.partition(".")
        counts = scrub(connection, schema, name, columns, person, dry_run=erased.dry_run)
        erased.texts += counts


def scrub(
    connection: DbConnection,
    schema: str,
    table: str,
    columns: tuple[str, ...],
    person: Person,
    *,
    dry_run: bool,
) -> int:
    """Replaces what names the person in texts (or JSON) of a table; how many rows.

    The caller commits.
    """
    pattern = person.everywhere()
    where = sql.SQL(" || ' ' || ").join(
        sql.SQL("coalesce({}::text, '')").format(sql.Identifier(column)) for column in columns
    )
    place = sql.Identifier(schema, table)
    condition = sql.SQL("{} ~ %(pattern)s").format(where)
    if dry_run:
        statement = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(place, condition)
        row = connection.execute(statement, {"pattern": pattern}).fetchone()
        return int(row[0]) if row else 0
    statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(
        place, _replacing(connection, schema, table, columns), condition
    )
    try:
        with connection.transaction():
            return connection.execute(statement, {"pattern": pattern, "erased": ERASED}).rowcount
    except (
        InvalidTextRepresentation
    ):  # the phone is a number in JSON: it is replaced by another number
        return connection.execute(statement, {"pattern": pattern, "erased": "0"}).rowcount


def _replacing(
    connection: DbConnection, schema: str, table: str, columns: tuple[str, ...]
) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{0} = regexp_replace({0}::text, %(pattern)s, %(erased)s, 'g')::{1}").format(
            sql.Identifier(column), sql.SQL(_type_of(connection, schema, table, column))
        )
        for column in columns
    )


def _type_of(connection: DbConnection, schema: str, table: str, column: str) -> Any:
    row = connection.execute(
        query("erasure", "type_of"), {"schema": schema, "table": table, "column": column}
    ).fetchone()
    return row[0] if row else "text"


def texts_of(connection: DbConnection, schemas: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """Per table of the schemas the columns that hold text."""
    columns: dict[tuple[str, str], list[str]] = defaultdict(list)
    for schema, table, column in connection.execute(
        query("erasure", "texts"), {"schemas": list(schemas)}
    ):
        columns[schema, table].append(column)
    return columns


def _remaining(connection: DbConnection, person: Person, erased: Erased) -> dict[str, int]:
    """Rows per table that still name the person, and are kept on purpose.

    These are keys of the ledger, and the audit log.
    """
    counts: Counter[str] = Counter()
    skipped = {*QUOTING, "loyalty.member", "billing.customer"} if erased.dry_run else set()
    for (schema, table), names in texts_of(connection, _SCHEMAS).items():
        if f"{schema}.{table}" not in skipped:
            counts[f"{schema}.{table}"] = scrub(
                connection, schema, table, tuple(names), person, dry_run=True
            )
    return {table: count for table, count in counts.items() if count}
