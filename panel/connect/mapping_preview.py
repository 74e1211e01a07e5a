"""Maps a sample with the settings of a connection, for a page that people read.

Phone numbers in it are masked.
"""

from typing import Any, Final

from connectors import spec_for
from connectors.kit.mapping.parse import masked
from connectors.kit.mapping.sample import try_record
from connectors.kit.spec import Account
from loyalty.masking import identifier
from settings import settings
from sql import rejects
from sql.db import connect
from sql.sync import AccountKey

#: Records shown.
RECORDS_MAX: Final = 20
#: Fields that may hold a phone, where a shop uses phone numbers as document numbers.
_NUMBERS: Final = ("external_id", "invoice_number", "customer_external_id")


def preview(connection: Account, payload: str, document: str) -> list[dict[str, Any]]:
    """What the payload, or the stored document of that number or id, becomes.

    Returns:
        Per record (at most RECORDS_MAX): stream, ok, invoice, lines, problems, notes.

    Raises:
        Misconfigured: If a setting of the connection cannot work.
        LookupError: If no such document is stored; the message says what to do.
        psycopg.Error: Of the database.
    """
    spec = spec_for(connection)
    if not document:
        return [
            _masked(record)
            for record in try_record(spec, None, connection, payload.encode())[:RECORDS_MAX]
        ]
    with connect(settings().dsn()) as database:
        page = rejects.page_of(
            database, AccountKey(connection.system, connection.account), document
        )
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
