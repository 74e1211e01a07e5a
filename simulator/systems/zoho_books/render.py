"""The JSON of Zoho Books: numbers for money, "" for nothing, times with the offset of Luanda."""

from datetime import date, datetime
from typing import Any, Final

from simulator.branches import Address, sold
from simulator.model import CURRENCY, LUANDA, Customer, Document, Payment, Product
from simulator.wire import number

_CURRENCY_ID: Final = "260815000000000097"
#: Which of a customer's phones somebody wrote the number into; the last one is that of a second
#: contact person, whom the list does not show.
_MOBILE, _PHONE, _PERSON = range(3)


def stamp(moment: datetime) -> str:
    """A moment by the organization's clock; the offset has no colon."""
    return moment.astimezone(LUANDA).strftime("%Y-%m-%dT%H:%M:%S%z")


def invoice_status(document: Document, today: date) -> str:
    """Overdue comes by time, without a change of the document."""
    if document.status in ("draft", "void"):
        return document.status
    if document.settled:
        return "paid"
    if document.due < today:
        return "overdue"
    return "partially_paid" if document.paid_minor or document.credited_minor else "sent"


def credit_status(document: Document) -> str:
    """Closed: nothing is left of it."""
    if document.status in ("draft", "void"):
        return document.status
    return "closed" if document.settled else "open"


def _shared(document: Document) -> dict[str, Any]:
    """What lists and single documents have in common. A void document keeps its amounts."""
    return {
        "customer_id": document.customer.id,
        "customer_name": document.customer.name,
        "company_name": document.customer.person.company or "",
        "email": "",
        "phone": "",
        "date": document.day.isoformat(),
        "reference_number": "",
        "currency_id": _CURRENCY_ID,
        "currency_code": CURRENCY,
        "exchange_rate": 1,
        "total": number(document.total_minor),
        "balance": number(document.balance_minor),
        "created_time": stamp(document.created_at),
        "last_modified_time": stamp(document.updated_at),
        "updated_time": stamp(document.updated_at),
        "custom_fields": [],
        "tags": [],
        "billing_address": _address(sold(document).billing),
    }


def _address(address: Address | None) -> dict[str, str]:
    return {
        "address": "",
        "city": address.city if address else "",
        "state": address.province if address else "",
        "country": "Angola" if address else "",
        "phone": "",
    }


def _detail(document: Document) -> dict[str, Any]:
    where = sold(document)
    lists_minor = sum(line.gross_minor for line in document.lines)
    discount_minor = lists_minor - document.net_minor
    return {
        "price_precision": 2,
        "is_inclusive_tax": False,
        "is_discount_before_tax": True,
        "discount_type": "entity_level",
        "discount": f"{document.discount_bps / 100:.2f}%" if document.discount_bps else 0,
        "discount_total": number(discount_minor),
        "sub_total": number(lists_minor),
        "tax_total": number(document.tax_minor),
        "taxes": [{"tax_name": "IVA", "tax_amount": number(document.tax_minor)}],
        "bcy_total": number(document.total_minor),
        "line_items": [
            {
                "line_item_id": f"{document.id}{line.id:>02}",
                "item_id": line.product.id,
                "name": line.product.name,
                "description": "",
                "quantity": line.quantity,
                "rate": number(line.unit_minor),
                "bcy_rate": number(line.unit_minor),
                "unit": "",
                "discount": 0,
                "discount_amount": 0,
                "tax_id": "",
                "tax_name": "IVA" if document.tax_bps else "",
                "tax_percentage": number(document.tax_bps),
                "item_total": number(line.gross_minor),
                "item_type": "sales",
                "line_item_taxes": [],
            }
            for line in document.lines
        ],
        "contact_persons_associated": [],
        "shipping_address": _address(where.delivery),
        "location_id": f"46000000000{where.branch.id}" if where.branch else "",
        "location_name": where.branch.name if where.branch else "",
        "sales_channel": "direct_sales" if where.channel == "counter" else "",
    }


def invoice_json(document: Document, today: date, *, whole: bool) -> dict[str, Any]:
    """An invoice as in the list, or alone with its lines."""
    paid = [payment.day for payment in document.payments if not payment.deleted]
    body = {
        "invoice_id": document.id,
        "invoice_number": document.number,
        "status": invoice_status(document, today),
        "due_date": document.due.isoformat(),
        "shipping_charge": 0,
        "adjustment": 0,
        "write_off_amount": 0,
        **_shared(document),
    }
    if not whole:
        return body
    return body | {
        **_detail(document),
        "payment_made": number(document.paid_minor),
        "credits_applied": number(document.credited_minor),
        "last_payment_date": max(paid).isoformat() if paid else "",
        "invoice_url": f"https://books.zoho.com/SecurePayment?CInvoiceID={document.id}",
    }


def credit_json(document: Document, _today: date, *, whole: bool) -> dict[str, Any]:
    """A credit note as in the list, or alone with its lines and what it was applied to."""
    body = {
        "creditnote_id": document.id,
        "creditnote_number": document.number,
        "status": credit_status(document),
        **_shared(document),
    }
    if not whole:
        return body
    return body | {
        **_detail(document),
        "invoices_credited": [
            {
                "creditnote_id": document.id,
                "invoice_id": payment.document.id,
                "invoice_number": payment.document.number,
                "credited_amount": number(payment.amount_minor),
            }
            for payment in document.payments
        ],
    }


def contact_json(customer: Customer, _today: date, *, whole: bool) -> dict[str, Any]:
    """A customer; the contact persons are told of a single one only."""
    phones = [customer.phone or "" if customer.phone_slot == slot else "" for slot in range(3)]
    body = {
        "contact_id": customer.id,
        "contact_name": customer.name,
        "company_name": customer.person.company or "",
        "contact_type": "customer",
        "status": "active" if customer.active else "inactive",
        "currency_code": CURRENCY,
        "first_name": customer.person.first,
        "last_name": customer.person.last,
        "email": "",
        "phone": phones[_PHONE],
        "mobile": phones[_MOBILE],
        "created_time": stamp(customer.created_at),
        "last_modified_time": stamp(customer.updated_at),
    }
    if not whole:
        return body
    persons = [
        {
            "contact_person_id": f"{customer.id}{number}",
            "first_name": customer.person.first,
            "last_name": customer.person.last,
            "email": "",
            "phone": phone,
            "mobile": mobile,
            "is_primary_contact": number == 0,
        }
        for number, (phone, mobile) in enumerate(
            ((phones[_PHONE], phones[_MOBILE]), ("", phones[_PERSON]))
        )
    ]
    address = {"address": "", "city": "Luanda", "country": "Angola", "phone": ""}
    return body | {"contact_persons": persons, "billing_address": address}


def payment_json(payment: Payment, _today: date, *, whole: bool) -> dict[str, Any]:
    """A payment; which invoices it paid is told of a single one only."""
    body = {
        "payment_id": payment.id,
        "payment_number": payment.id[-6:],
        "invoice_numbers": payment.document.number,
        "date": payment.day.isoformat(),
        "payment_mode": "cash",
        "amount": number(payment.amount_minor),
        "bcy_amount": number(payment.amount_minor),
        "unused_amount": 0,
        "customer_id": payment.customer.id,
        "customer_name": payment.customer.name,
        "currency_code": CURRENCY,
        "created_time": stamp(payment.created_at),
        "last_modified_time": stamp(payment.updated_at),
    }
    if not whole:
        return body
    applied = {
        "invoice_payment_id": f"{payment.id}1",
        "invoice_id": payment.document.id,
        "invoice_number": payment.document.number,
        "amount_applied": number(payment.amount_minor),
    }
    return body | {"invoices": [applied]}


def item_json(product: Product, _today: date, *, whole: bool) -> dict[str, Any]:
    """A product; services have no SKU."""
    body = {
        "item_id": product.id,
        "name": product.name,
        "sku": product.sku or "",
        "status": "active",
        "rate": number(product.unit_minor),
        "description": "",
        "product_type": "goods" if product.sku else "service",
        "created_time": "2023-11-02T09:00:00+0100",
        "last_modified_time": "2023-11-02T09:00:00+0100",
    }
    return body | {"item_type": "sales"} if whole else body
