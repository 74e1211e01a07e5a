"""FreshBooks' JSON: money as {"amount": "12.50", "code": "AOA"}, integer ids, naive US/Eastern stamps."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from simulator.branches import sold
from simulator.model import ACCOUNTS, CURRENCY, LUANDA, Customer, Document, Payment, Product

EASTERN: Final = ZoneInfo("US/Eastern")
_PHONE_FIELDS: Final = ("mob_phone", "bus_phone", "home_phone")
ITEMS_UPDATED: Final = "2023-11-02 06:00:00"
ACCOUNT: Final = ACCOUNTS["freshbooks"]


def money(minor: int) -> dict[str, str]:
    """An amount; negative ones keep their sign."""
    sign, size = "-" if minor < 0 else "", abs(minor)
    return {"amount": f"{sign}{size // 100}.{size % 100:02d}", "code": CURRENCY}


def stamp(instant: datetime) -> str:
    """An instant on New York's wall clock, without saying so."""
    return instant.astimezone(EASTERN).strftime("%Y-%m-%d %H:%M:%S")


def _version(record: Document) -> str:
    return f"{stamp(record.updated_at)}.{(int(record.id) * 7919 + record.version) % 1_000_000:06d}"


def vis_state(record: Document | Payment | Customer) -> int:
    """0 active, 1 deleted, 2 archived."""
    if getattr(record, "deleted", False):
        return 1
    return 2 if getattr(record, "archived", False) else 0


def invoice_json(document: Document, *, lines: bool) -> dict[str, Any]:
    """An invoice; `paid` includes credits that were applied."""
    person, key, billed = document.customer.person, int(document.id), sold(document).billing
    paid = document.paid_minor + document.credited_minor
    code, v3, payment_status = _states(document, paid)
    settled_on = (
        max((p.day for p in document.payments if not p.deleted), default=None)
        if document.settled
        else None
    )
    body = {
        "id": key,
        "invoiceid": key,
        "accountid": ACCOUNT,
        "accounting_systemid": ACCOUNT,
        "invoice_number": document.number,
        "customerid": int(document.customer.id),
        "ownerid": 1,
        "create_date": document.day.isoformat(),
        "due_date": document.due.isoformat(),
        "date_paid": settled_on.isoformat() if settled_on else None,
        "fulfillment_date": document.day.isoformat(),
        "created_at": stamp(document.created_at),
        "updated": stamp(document.updated_at),
        "version": _version(document),
        "currency_code": CURRENCY,
        "language": "pt",
        "amount": money(document.total_minor),
        "paid": money(paid),
        "outstanding": money(document.total_minor - paid),
        "net_paid_amount": money(paid),
        "discount_value": f"{document.discount_bps / 100:g}" if document.discount_bps else "0",
        "discount_total": money(document.net_minor - document.gross_minor),
        "status": code,
        "v3_status": v3,
        "display_status": "draft" if v3 == "draft" else "paid" if v3 == "paid" else "sent",
        "payment_status": payment_status,
        "vis_state": vis_state(document),
        "fname": person.first,
        "lname": person.last,
        "organization": person.company or "",
        "current_organization": person.company or "",
        # The customer's address, as it was when the invoice was written.
        "street": "",
        "street2": "",
        "city": billed.city if billed else "",
        "province": billed.province if billed else "",
        "code": "",
        "country": "Angola" if billed else "",
        "po_number": None,
        "notes": "",
        "terms": "",
        "parent": 0,
        "sentid": 1,
    }
    if lines:
        body["lines"] = _lines(document)
    return body


def _states(document: Document, paid_minor: int) -> tuple[int, str, str]:
    """(status, v3_status, payment_status); a partly paid invoice keeps status 2, only v3_status tells."""
    if document.status == "draft":
        return 1, "draft", "unpaid"
    if document.settled:
        return 4, "paid", "paid"
    if paid_minor:
        return 2, "partial", "partial"
    viewed = int(document.id) % 3 == 0
    return (3, "viewed", "unpaid") if viewed else (2, "sent", "unpaid")


def _lines(document: Document) -> list[dict[str, Any]]:
    return [
        {
            "lineid": int(line.id),
            "name": line.product.name,
            "description": "",
            "qty": str(line.quantity),
            "unit_cost": money(line.unit_minor),
            "amount": money(line.gross_minor),
            "taxName1": "IVA" if document.tax_bps else None,
            "taxAmount1": f"{document.tax_bps / 100:g}",
            "taxName2": None,
            "taxAmount2": "0",
            "compounded_tax": False,
            "type": 0,
            "expenseid": 0,
            "updated": stamp(document.updated_at),
        }
        for line in document.lines
    ]


def credit_note_json(document: Document, *, lines: bool) -> dict[str, Any]:
    """A credit note: its customer is `clientid`, its amounts are positive."""
    person, key = document.customer.person, int(document.id)
    body = {
        "id": key,
        "creditid": key,
        "accounting_systemid": ACCOUNT,
        "credit_number": document.number,
        "clientid": int(document.customer.id),
        "ownerid": 1,
        "create_date": document.day.isoformat(),
        "created_at": stamp(document.created_at),
        "updated": stamp(document.updated_at),
        "version": _version(document),
        "currency_code": CURRENCY,
        "language": "pt",
        "amount": money(document.total_minor),
        "paid": money(document.credited_minor),
        "discount_value": f"{document.discount_bps / 100:g}" if document.discount_bps else "0",
        "discount_total": money(document.net_minor - document.gross_minor),
        "credit_type": "goodwill",
        "status": 2,
        "display_status": "sent",
        "payment_status": "paid"
        if document.settled
        else "partial"
        if document.credited_minor
        else "unpaid",
        "vis_state": vis_state(document),
        "fname": person.first,
        "lname": person.last,
        "organization": person.company or "",
        "current_organization": person.company or "",
        "notes": "",
    }
    if lines:
        body["lines"] = _lines(document)
    return body


def client_json(customer: Customer) -> dict[str, Any]:
    """A client; `signup_date` alone is UTC."""
    person, key = customer.person, int(customer.id)
    phones: dict[str, str | None] = {
        "mob_phone": "",
        "bus_phone": "",
        "home_phone": None,
        "fax": "",
    }
    if customer.phone:
        phones[_PHONE_FIELDS[customer.phone_slot]] = customer.phone
    return {
        "accounting_systemid": ACCOUNT,
        "allow_email_include_pdf": False,
        "allow_late_fees": True,
        "allow_late_notifications": True,
        **phones,
        "company_industry": None,
        "company_size": None,
        "currency_code": CURRENCY,
        "email": "",
        "fname": person.first,
        "lname": person.last,
        "id": key,
        "userid": key,
        "language": "pt",
        "last_activity": None,
        "level": 0,
        "note": None,
        "notified": False,
        "num_logins": 0,
        "organization": person.company or "",
        "p_city": "Luanda",
        "p_code": "",
        "p_country": "Angola",
        "p_province": "",
        "p_street": "",
        "p_street2": "",
        "pref_email": True,
        "role": "client",
        "signup_date": customer.created_at.strftime("%Y-%m-%d %H:%M:%S"),
        "updated": stamp(customer.updated_at),
        "username": f"client{key}",
        "vat_name": None,
        "vat_number": None,
        "vis_state": 0,
        "uuid": f"c11e0000-0000-4000-8000-{key:012d}",
        "pref_gmail": False,
        **dict.fromkeys(
            (
                "direct_link_token",
                "has_retainer",
                "last_login",
                "retainer_id",
                "statement_token",
                "subdomain",
            )
        ),
        **dict.fromkeys(
            ("s_city", "s_code", "s_country", "s_province", "s_street", "s_street2"), ""
        ),
    }


def payment_json(payment: Payment) -> dict[str, Any]:
    """A payment; one made from a credit note has type Credit and a creditid."""
    key = int(payment.id)
    return {
        "id": key,
        "logid": key,
        "accounting_systemid": ACCOUNT,
        "invoiceid": int(payment.document.id),
        "clientid": int(payment.customer.id),
        "creditid": int(payment.credit.id) if payment.credit else None,
        "amount": money(payment.amount_minor),
        "date": payment.day.isoformat(),
        "type": "Credit" if payment.credit else "Cash",
        "note": "",
        "gateway": None,
        "overpaymentid": None,
        "from_credit": payment.credit is not None,
        "send_client_notification": False,
        "updated": stamp(payment.updated_at),
        "vis_state": vis_state(payment),
    }


def item_json(product: Product) -> dict[str, Any]:
    """An item; invoice lines refer to it by name only."""
    return {
        "id": int(product.id),
        "itemid": int(product.id),
        "accounting_systemid": ACCOUNT,
        "name": product.name,
        "description": "",
        "sku": product.sku or "",
        "unit_cost": money(product.unit_minor),
        "qty": "1",
        "inventory": None,
        "tax1": 0,
        "tax2": 0,
        "updated": ITEMS_UPDATED,
        "vis_state": 0,
    }


def _membership(number: int, account: str) -> dict[str, Any]:
    business = {
        "id": 439_001 + number,
        "business_uuid": f"6f0d7c52-1111-4222-8333-9444559{number:05}",
        "name": f"Água Twezah {number + 1}" if number else "Água Twezah, Lda",
        "account_id": account,
        "date_format": "dd/mm/yyyy",
        "address": {
            "id": 76_433,
            "street": "",
            "city": "Luanda",
            "province": "",
            "country": "Angola",
            "postal_code": "",
        },
        "phone_number": None,
        "business_clients": [],
    }
    return {
        "id": 140_130 + number,
        "role": "owner",
        "unacknowledged_change": False,
        "business": business,
    }


def identity_json(created_at: datetime, accounts: Sequence[str]) -> dict[str, Any]:
    """Who is asking: `account_id` is for accounting, the numeric business id for projects."""
    return {
        "id": 12_345,
        "identity_id": 12_345,
        "identity_uuid": "0b6f4e7a-0000-4000-8000-000000012345",
        "first_name": "Água",
        "last_name": "Twezah",
        "email": "owner@example.com",
        "language": "pt",
        "confirmed_at": created_at.astimezone(LUANDA).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "setup_complete": True,
        "business_memberships": [_membership(n, account) for n, account in enumerate(accounts)],
        "roles": [
            {"id": 61_270, "role": "admin", "systemid": 654_654, "userid": 1, "accountid": ACCOUNT}
        ],
    }
