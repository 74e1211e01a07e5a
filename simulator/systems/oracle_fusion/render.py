"""How Oracle Fusion writes transactions, their lines, and parties with their points of contact."""

from datetime import UTC, datetime
from typing import Any, Final

from simulator.branches import sold
from simulator.model import CURRENCY, Customer, Document, Line
from simulator.wire import number

#: The business unit of what none of the branches sold.
BUSINESS_UNIT: Final = "Vision Operations"
#: Where transactions come from: what somebody typed, and what a shop on the web sent.
_SOURCES: Final = {"counter": "Manual", "web": "AR_Trans Source_08"}
_STATES: Final = {"draft": "Incomplete", "submitted": "Pending approval", "open": "Complete"}
#: The name of a credit memo is another one for what an invoice has too.
_NAMES: Final = {
    "Invoice": ("InvoiceStatus", "InvoiceBalanceAmount"),
    "CreditMemo": ("CreditMemoStatus", "TransactionBalanceDue"),
}


def moment(at: datetime) -> str:
    """A moment: UTC, with milliseconds and an offset."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def transaction_json(document: Document) -> dict[str, Any]:
    """The header of an invoice or credit memo; a credit memo lowers what is owed."""
    state, balance = _NAMES[document.entity]
    sign, where = _sign(document), sold(document)
    return {
        "CustomerTransactionId": int(document.id),
        "TransactionNumber": document.number,
        "DocumentNumber": None,
        "TransactionDate": document.day.isoformat(),
        "DueDate": document.due.isoformat(),
        "AccountingDate": document.day.isoformat(),
        "BillingDate": document.day.isoformat(),
        "TransactionType": document.entity,
        "TransactionSource": _SOURCES[where.channel],
        "BusinessUnit": where.branch.name if where.branch else BUSINESS_UNIT,
        "InvoiceCurrencyCode": CURRENCY,
        "ConversionRate": None,
        "ConversionDate": None,
        "ConversionRateType": None,
        "EnteredAmount": number(sign * document.total_minor),
        balance: number(sign * document.balance_minor),
        "FreightAmount": None,
        state: _STATES[document.status],
        "PaymentTerms": "30 Net",
        "BillToCustomerNumber": account_number(document.customer),
        "BillToCustomerName": document.customer.name,
        "BillToPartyId": int(document.customer.id),
        "BillToSite": "Luanda (OPS)",
        "BillToContact": None,
        "ShipToCustomerName": document.customer.name,
        "ShipToCustomerNumber": account_number(document.customer),
        "Email": None,
        "CrossReference": None,
        "Comments": None,
        "SpecialInstructions": None,
        "PurchaseOrder": None,
        "LegalEntityIdentifier": "AOSYS12030",
        "CreationDate": moment(document.created_at),
        "CreatedBy": "SCMOPERATIONS",
        "LastUpdateDate": moment(document.updated_at),
        "LastUpdatedBy": "SCMOPERATIONS",
    }


def lines_json(document: Document) -> list[dict[str, Any]]:
    """The lines; a memo line has a description and no item."""
    return [_line_json(document, line, at) for at, line in enumerate(document.lines, 1)]


def _line_json(document: Document, line: Line, position: int) -> dict[str, Any]:
    return {
        "CustomerTransactionLineId": int(document.id) * 1000 + position,
        "LineNumber": position,
        "Description": line.product.name,
        "ItemNumber": line.product.sku,
        "Quantity": _sign(document) * line.quantity,
        "UnitSellingPrice": number(line.unit_minor),
        "TaxClassificationCode": "IVA14" if document.tax_bps else None,
    }


def taxes_json(document: Document, position: int) -> list[dict[str, Any]]:
    """The tax lines of a line."""
    tax_minor = document.line_tax_minor(document.lines[position - 1])
    if not tax_minor:
        return []
    amount = number(_sign(document) * tax_minor)
    return [{"TaxAmount": amount, "TaxRegimeCode": "IVA", "TaxRateCode": "IVA14"}]


def _sign(document: Document) -> int:
    return -1 if document.entity == "CreditMemo" else 1


def account_number(customer: Customer) -> str:
    """The number of the customer's account, which is not that of the party."""
    return str(int(customer.id) - 300_000_000 + 1000)


def party_json(customer: Customer) -> dict[str, Any]:
    """A party: an organisation or a person."""
    person = customer.person
    named = (
        {"OrganizationName": customer.name}
        if person.company
        else {"PersonFirstName": person.first, "PersonLastName": person.last}
    )
    return {
        "PartyId": int(customer.id),
        "PartyNumber": party_number(customer),
        **named,
        "LastUpdateDate": moment(customer.updated_at),
    }


def party_number(customer: Customer) -> str:
    """The number of the party, which is not its id."""
    return f"CDRM_{customer.id}"


def contact_points_json(customer: Customer) -> list[dict[str, Any]]:
    """The points of contact: an address for mail, and the phone where there is one."""
    mail = {
        "ContactPointId": int(customer.id) * 10,
        "ContactPointType": "EMAIL",
        "EmailAddress": "compras@example.com",
        **dict.fromkeys(
            ("PhoneCountryCode", "PhoneAreaCode", "PhoneNumber", "FormattedPhoneNumber")
        ),
    }
    if not customer.phone:
        return [mail]
    return [mail, {"ContactPointId": int(customer.id) * 10 + 1, **_phone_json(customer)}]


def _phone_json(customer: Customer) -> dict[str, Any]:
    """A phone as somebody typed it, or taken apart, or only as it is shown."""
    typed = str(customer.phone)
    phone: dict[str, Any] = {
        "ContactPointType": "PHONE",
        "EmailAddress": None,
        "PhoneCountryCode": None,
        "PhoneAreaCode": None,
        "PhoneNumber": None,
        "FormattedPhoneNumber": typed,
    }
    national = customer.person.national
    if customer.phone_slot == 1 and national:
        parts = ("244", national[:3], national[3:])
        phone |= zip(("PhoneCountryCode", "PhoneAreaCode", "PhoneNumber"), parts, strict=True)
    elif customer.phone_slot == 0:
        phone["PhoneNumber"] = typed
    return phone
