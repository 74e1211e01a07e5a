"""Xero's JSON: numbers for money, /Date(ms+0000)/ stamps, calendar days at UTC midnight."""

from datetime import UTC, date, datetime
from typing import Any, Final

from simulator.model import CURRENCY, Customer, Document, Payment, Product
from simulator.wire import number

TYPES: Final = {
    "Invoice": "ACCREC",
    "Bill": "ACCPAY",
    "CreditNote": "ACCRECCREDIT",
    "SupplierCredit": "ACCPAYCREDIT",
}
_PHONETYPES: Final = ("DEFAULT", "MOBILE", "DDI", "FAX")


def stamp(instant: datetime) -> str:
    """An instant; the milliseconds are UTC already, the offset says nothing."""
    return f"/Date({int(instant.timestamp() * 1000)}+0000)/"


def midnight(day: date) -> datetime:
    """A calendar day as Xero stamps it."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _dated(name: str, day: date) -> dict[str, str]:
    return {f"{name}String": f"{day.isoformat()}T00:00:00", name: stamp(midnight(day))}


def status_of(document: Document) -> str:
    """DRAFT, SUBMITTED, DELETED, AUTHORISED, PAID or VOIDED."""
    if document.deleted:
        return "DELETED"
    if document.settled:
        return "PAID"
    return {"draft": "DRAFT", "submitted": "SUBMITTED", "void": "VOIDED"}.get(
        document.status, "AUTHORISED"
    )


def _contact_ref(customer: Customer) -> dict[str, Any]:
    return {
        "ContactID": customer.id,
        "Name": customer.name,
        "Addresses": [],
        "Phones": [],
        "ContactGroups": [],
        "ContactPersons": [],
        "HasValidationErrors": False,
    }


def _money(document: Document) -> dict[str, Any]:
    return {
        "SubTotal": number(document.net_minor),
        "TotalTax": number(document.tax_minor),
        "Total": number(document.total_minor),
        "UpdatedDateUTC": stamp(document.updated_at),
        "CurrencyCode": CURRENCY,
    }


def _finished(document: Document) -> dict[str, str]:
    paid = [payment.day for payment in document.payments if not payment.deleted]
    return {"FullyPaidOnDate": stamp(midnight(max(paid)))} if document.settled and paid else {}


def invoice_json(document: Document, *, lines: bool) -> dict[str, Any]:
    """A sales invoice (ACCREC) or a bill (ACCPAY)."""
    dead = document.status == "void" or document.deleted
    due = 0 if dead else document.balance_minor
    money = [
        payment for payment in document.payments if not payment.deleted and payment.credit is None
    ]
    applied = [payment for payment in document.payments if payment.credit is not None]
    return {
        "Type": TYPES[document.entity],
        "InvoiceID": document.id,
        "InvoiceNumber": document.number,
        "Reference": "",
        "Payments": [
            {
                "PaymentID": p.id,
                "Date": stamp(midnight(p.day)),
                "Amount": number(p.amount_minor),
                "HasAccount": False,
            }
            for p in money
        ],
        "CreditNotes": [_applied(payment) for payment in applied],
        "Prepayments": [],
        "Overpayments": [],
        "AmountDue": number(due),
        "AmountPaid": number(document.paid_minor),
        "AmountCredited": number(document.credited_minor),
        "SentToContact": document.status == "open",
        "IsDiscounted": document.discount_bps > 0,
        "HasAttachments": False,
        "HasErrors": False,
        "Contact": _contact_ref(document.customer),
        **_dated("Date", document.day),
        **_dated("DueDate", document.due),
        "Status": status_of(document),
        "LineAmountTypes": "Exclusive" if document.tax_bps else "NoTax",
        "LineItems": _lines(document) if lines else [],
        **_money(document),
        **_finished(document),
    }


def _applied(payment: Payment) -> dict[str, Any]:
    credit = payment.credit
    if credit is None:
        raise ValueError("not a credit")
    return {
        "CreditNoteID": credit.id,
        "CreditNoteNumber": credit.number,
        "ID": credit.id,
        "HasErrors": False,
        "AppliedAmount": number(payment.amount_minor),
        **_dated("Date", payment.day),
        "Total": number(credit.total_minor),
        "LineItems": [],
    }


def credit_note_json(document: Document, *, lines: bool) -> dict[str, Any]:
    """A credit note of either side, with its allocations."""
    dead = document.status == "void" or document.deleted
    return {
        "CreditNoteID": document.id,
        "CreditNoteNumber": document.number,
        "ID": document.id,
        "Type": TYPES[document.entity],
        "Reference": document.source.number if document.source else "",
        "RemainingCredit": number(0 if dead else document.balance_minor),
        "Allocations": [_allocation(payment) for payment in document.payments],
        "HasAttachments": False,
        "HasErrors": False,
        "SentToContact": False,
        "Contact": _contact_ref(document.customer),
        **_dated("Date", document.day),
        **_dated("DueDate", document.due),
        "Status": status_of(document),
        "LineAmountTypes": "Exclusive" if document.tax_bps else "NoTax",
        "LineItems": _lines(document) if lines else [],
        **_money(document),
        **_finished(document),
    }


def _allocation(payment: Payment) -> dict[str, Any]:
    invoice = {
        "InvoiceID": payment.document.id,
        "InvoiceNumber": payment.document.number,
        "HasErrors": False,
    }
    return {
        "AllocationID": payment.id,
        "Amount": number(payment.amount_minor),
        "Date": stamp(midnight(payment.day)),
        "Invoice": invoice,
    }


def _lines(document: Document) -> list[dict[str, Any]]:
    lines = []
    for line in document.lines:
        body: dict[str, Any] = {
            "Description": line.product.name,
            "UnitAmount": number(line.unit_minor),
            "TaxType": "OUTPUT" if document.tax_bps else "NONE",
            "TaxAmount": number(document.line_tax_minor(line)),
            "LineAmount": number(document.line_net_minor(line)),
            "AccountCode": "200",
            "Tracking": [],
            "Quantity": line.quantity,
            "LineItemID": line.id,
        }
        if line.product.sku:
            body["ItemCode"] = line.product.sku
            body["Item"] = {
                "ItemID": line.product.id,
                "Name": line.product.name,
                "Code": line.product.sku,
            }
        if document.discount_bps:
            body["DiscountRate"] = number(document.discount_bps)
        lines.append(body)
    return lines


def contact_json(customer: Customer) -> dict[str, Any]:
    """A contact with its four phone entries, most of them empty."""
    phones: list[dict[str, str]] = [{"PhoneType": kind} for kind in _PHONETYPES]
    if customer.phone:
        phones[customer.phone_slot] |= _phone(customer)
    return {
        "ContactID": customer.id,
        "ContactStatus": "ACTIVE" if customer.active else "ARCHIVED",
        "Name": customer.name,
        "FirstName": customer.person.first,
        "LastName": customer.person.last,
        "EmailAddress": "",
        "BankAccountDetails": "",
        "Addresses": [
            {"AddressType": "POBOX", "City": "Luanda", "Country": "Angola"},
            {"AddressType": "STREET"},
        ],
        "Phones": phones,
        "UpdatedDateUTC": stamp(customer.updated_at),
        "ContactGroups": [],
        "IsSupplier": customer.supplier,
        "IsCustomer": not customer.supplier,
        "DefaultCurrency": CURRENCY,
        "ContactPersons": [],
        "HasAttachments": False,
        "HasValidationErrors": False,
    }


def _phone(customer: Customer) -> dict[str, str]:
    """Either in three parts, or all of it in the number's field, as people do."""
    written = customer.phone or ""
    if written.startswith("+244 ") and (customer.version + len(customer.name)) % 2:
        rest = written.removeprefix("+244 ")
        if len(rest.split()) == 1:
            return {"PhoneNumber": rest, "PhoneAreaCode": "", "PhoneCountryCode": "244"}
        area, _, local = rest.partition(" ")
        return {"PhoneNumber": local, "PhoneAreaCode": area, "PhoneCountryCode": "+244"}
    return {"PhoneNumber": written, "PhoneAreaCode": "", "PhoneCountryCode": ""}


def payment_json(payment: Payment) -> dict[str, Any]:
    """A payment of an invoice or bill."""
    kind = TYPES[payment.document.entity]
    return {
        "PaymentID": payment.id,
        "Date": stamp(midnight(payment.day)),
        "BankAmount": number(payment.amount_minor),
        "Amount": number(payment.amount_minor),
        "CurrencyRate": 1,
        "PaymentType": f"{kind}PAYMENT",
        "Status": "DELETED" if payment.deleted else "AUTHORISED",
        "UpdatedDateUTC": stamp(payment.updated_at),
        "HasAccount": True,
        "IsReconciled": False,
        "Account": {"AccountID": "5f9c0000-0000-4000-8000-000000000090", "Code": "090"},
        "Invoice": {
            "Type": kind,
            "InvoiceID": payment.document.id,
            "InvoiceNumber": payment.document.number,
            "Contact": {"ContactID": payment.customer.id, "Name": payment.customer.name},
            "CurrencyCode": CURRENCY,
        },
        "HasValidationErrors": False,
    }


def item_json(product: Product) -> dict[str, Any]:
    """A product; services that carry no SKU are no items in Xero."""
    return {
        "ItemID": product.id,
        "Code": product.sku,
        "Name": product.name,
        "Description": product.name,
        "UpdatedDateUTC": "/Date(1698919200000+0000)/",
        "PurchaseDetails": {},
        "SalesDetails": {
            "UnitPrice": number(product.unit_minor),
            "AccountCode": "200",
            "TaxType": "OUTPUT",
        },
        "IsTrackedAsInventory": False,
        "IsSold": True,
        "IsPurchased": False,
    }
