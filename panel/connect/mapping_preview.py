"""Maps a sample with the settings of a connection, for a page that people read.

Phone numbers in it are masked.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connectors import spec_for
from connectors.kit.mapping.parse import masked
from connectors.kit.mapping.sample import try_record
from connectors.kit.spec import Account
from loyalty.masking import identifier
from panel.blocks import BillingConnection
from panel.markdown import plain, table
from settings import settings
from sql import audit, rejects
from sql.db import connect
from sql.sync import AccountKey

#: Records shown.
RECORDS_MAX: Final = 20
#: Lines of a record shown.
LINES_MAX: Final = 5
#: Fields that may hold a phone, where a shop uses phone numbers as document numbers.
_NUMBERS: Final = ("external_id", "invoice_number", "customer_external_id")
#: What no record says.
_OF_THE_ACCOUNT: Final = ("system", "account")
#: Where a line is stored: nothing to do with its mapping.
_PLACES: Final = ("line_no", "page_id", "record_no")


def preview(connection: Account, payload: str, document: str) -> list[dict[str, Any]]:
    """What the payload, or the stored document of that number or id, becomes.

    Without either, it is the stored document with the latest date.

    Returns:
        Per record (at most RECORDS_MAX): stream, ok, invoice, lines, sources, problems, notes.

    Raises:
        Misconfigured: If a setting of the connection cannot work.
        LookupError: If no such document is stored; the message says what to do.
        psycopg.Error: Of the database.
    """
    spec = spec_for(connection)
    if payload.strip():
        return [
            _masked(record)
            for record in try_record(spec, None, connection, payload.encode())[:RECORDS_MAX]
        ]
    key = AccountKey(connection.system, connection.account)
    with connect(settings().dsn()) as database:
        document = document or rejects.newest_document(database, key) or ""
        page = rejects.page_of(database, key, document) if document else None
    if not document:
        raise LookupError("nothing was fetched of this connection yet: paste a payload")
    if page is None:
        raise LookupError(
            f"no document {identifier(document)!r} was fetched of this connection: check the "
            "number, or paste a payload"
        )
    stream, body = page
    declared = next((candidate for candidate in spec.streams if candidate.name == stream), None)
    records = try_record(spec, declared, connection, body)
    of_it = [record for record in records if _is_document(record, document)]
    return [_masked(record) for record in (of_it or records)[:RECORDS_MAX]]


def _is_document(record: dict[str, Any], document: str) -> bool:
    invoice = record.get("invoice") or {}
    return document in (invoice.get("external_id"), invoice.get("invoice_number"))


def _masked(record: dict[str, Any]) -> dict[str, Any]:
    invoice = record.get("invoice")
    if not invoice:
        return record
    phone = invoice.get("customer_phone")
    numbers = {name: identifier(invoice[name]) for name in _NUMBERS if invoice.get(name)}
    return {
        **record,
        "invoice": {**invoice, **numbers, "customer_phone": masked(phone, personal=True)},
    }


def problems_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why records cannot be used, each reason once."""
    return list(
        dict.fromkeys(
            f"{problem['field']}, looked for at {problem['path']}: {problem['reason']}"
            for record in records
            for problem in record["problems"]
        )
    )


def chosen_paths(text: str) -> dict[str, str]:
    """The paths of a form's field, by our field: `customer_phone = /Reference, lines.sku = /Code`.

    Raises:
        ValueError: If a part is not of this form; the message says which.
    """
    paths: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in re.split(r"[,;\n]", text))):
        name, equals, path = part.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{part!r} does not say where a field is: customer_phone = /Reference")
        paths[name.strip()] = path.strip()
    return paths


def with_paths(block: BillingConnection, paths: Mapping[str, str]) -> BillingConnection:
    """The block with these paths in its field mapping; an empty path removes one."""
    mapping = {**block.field_mapping, **paths}
    return block.model_copy(
        update={"field_mapping": {name: path for name, path in mapping.items() if path}}
    )


def save_mapping(name: str, block: BillingConnection) -> None:
    """Saves the block with its field mapping; the audit log says whose run did it."""
    block.save(name, overwrite=True)
    with connect(settings().dsn()) as database:
        audit.record(
            database,
            "connection.mapping",
            name,
            system=block.system,
            details={"fields": sorted(block.field_mapping)},
        )
        database.commit()


def tried_to_markdown(paths: Mapping[str, str], *, is_saved: bool) -> str:
    """What was tried, and whether it is in the block now; empty where nothing was."""
    if not paths:
        return ""
    lines = [
        f"- `{name}` from `{path}`" if path else f"- `{name}` from its usual place"
        for name, path in paths.items()
    ]
    fate = (
        "Saved in *Field mapping* of the block. What is rejected is tried again by the next run; "
        "*replay* corrects sales that were read before."
        if is_saved
        else "Not saved: run it again with *save* to put this into the block."
    )
    return "\n".join(["Tried:", "", *lines, "", fate]) + "\n\n"


def to_markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """A table per record: each field, its value and the path it came from."""
    return "\n\n".join(_one(record) for record in records)


def _one(record: Mapping[str, Any]) -> str:
    invoice, sources = record["invoice"] or {}, record.get("sources") or {}
    number = invoice.get("invoice_number") or invoice.get("external_id") or "a record"
    parts = [f"## {plain(str(number))} ({record['stream'] or 'of no list'})"]
    told = [
        f"- **{plain(problem['field'])}**, looked for at `{problem['path']}`: "
        f"{plain(problem['reason'])}"
        for problem in record["problems"]
    ]
    told += [f"- {plain(note)}" for note in record["notes"]]
    if told:
        parts.append("\n".join(told))
    values = {name: value for name, value in invoice.items() if name not in _OF_THE_ACCOUNT}
    filled = [(name, value) for name, value in values.items() if value is not None]
    if filled:
        parts.append(_table(filled, sources))
    for position, line in enumerate(record["lines"][:LINES_MAX], 1):
        shown = [
            (f"lines.{name}", value)
            for name, value in line.items()
            if value is not None and name not in _PLACES
        ]
        parts.append(f"**Line {position}**")
        parts.append(_table(shown, sources if position == 1 else {}))
    empty = [f"`{name}`" for name, value in values.items() if value is None]
    if empty:
        parts.append(f"Empty: {', '.join(empty)}.")
    return "\n\n".join(parts)


def _table(values: Sequence[tuple[str, Any]], sources: Mapping[str, str]) -> str:
    return table(
        ("Field", "Value", "From"),
        [
            (f"`{name}`", plain(str(value)), f"`{sources[name]}`" if name in sources else "-")
            for name, value in values
        ],
    )
