"""What Xero's `where` and `order` can name, per resource, and how each name is read from the books."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from simulator.systems.xero.render import TYPES, midnight, status_of
from simulator.systems.xero.where import Accessor


def _decimal(minor: int) -> Decimal:
    return Decimal(minor).scaleb(-2)


_DOCUMENT: Final[Mapping[str, Accessor]] = {
    "Type": lambda row: TYPES[row.entity],
    "Status": status_of,
    "Date": lambda row: midnight(row.day),
    "DueDate": lambda row: midnight(row.due),
    "UpdatedDateUTC": lambda row: row.updated_at,
    "Total": lambda row: _decimal(row.total_minor),
    "AmountDue": lambda row: _decimal(row.balance_minor),
    "Contact.ContactID": lambda row: row.customer.id,
    "Contact.Name": lambda row: row.customer.name,
}
ACCESSORS: Final[Mapping[str, Mapping[str, Accessor]]] = {
    "Invoices": {
        **_DOCUMENT,
        "InvoiceID": lambda row: row.id,
        "InvoiceNumber": lambda row: row.number,
    },
    "CreditNotes": {
        **_DOCUMENT,
        "CreditNoteID": lambda row: row.id,
        "CreditNoteNumber": lambda row: row.number,
    },
    "Contacts": {
        "ContactID": lambda row: row.id,
        "Name": lambda row: row.name,
        "UpdatedDateUTC": lambda row: row.updated_at,
        "ContactStatus": lambda row: "ACTIVE" if row.active else "ARCHIVED",
        "IsCustomer": lambda row: not row.supplier,
        "IsSupplier": lambda row: row.supplier,
    },
    "Payments": {
        "PaymentID": lambda row: row.id,
        "PaymentType": lambda row: f"{TYPES[row.document.entity]}PAYMENT",
        "Status": lambda row: "DELETED" if row.deleted else "AUTHORISED",
        "Date": lambda row: midnight(row.day),
        "UpdatedDateUTC": lambda row: row.updated_at,
    },
    "Items": {
        "ItemID": lambda row: row.id,
        "Code": lambda row: row.sku,
        "Name": lambda row: row.name,
    },
}
