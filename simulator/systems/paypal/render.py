"""PayPal's JSON: amounts as decimal text, RFC 3339 in UTC, phones in parts."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from simulator.model import CURRENCY, Customer, Document
from simulator.systems.paypal.books import PayPalBooks

_SALE: Final = {"SalesReceipt": "T0006", "Payment": "T0007", "RefundReceipt": "T1107"}
#: Every so many payments, there is something beside it that is no sale.
_BESIDE: Final = {8: ("T0400", -1), 15: ("T0013", 1), 20: ("T0000", -1)}


def stamp(moment: datetime) -> str:
    """A moment, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def money(minor: int) -> dict[str, str]:
    """An amount."""
    sign, whole = "-" if minor < 0 else "", abs(minor)
    return {"currency_code": CURRENCY, "value": f"{sign}{whole // 100}.{whole % 100:02d}"}


def is_given_back(document: Document, books: PayPalBooks) -> bool:
    """Whether all of a payment was given back."""
    if not document.taken_back:
        return False
    refunds = (refund for refund in books.all("RefundReceipt") if refund.source is document)
    return sum(refund.total_minor for refund in refunds) >= document.total_minor > 0


def transaction_json(document: Document, books: PayPalBooks) -> dict[str, Any]:
    """A payment or a refund, with all fields."""
    back = document.entity == "RefundReceipt"
    states = {"draft": "P", "void": "D"}
    state = states.get(document.status) or ("V" if is_given_back(document, books) else "S")
    info = {
        "paypal_account_id": document.customer.id,
        "transaction_id": document.id,
        "transaction_event_code": _SALE[document.entity],
        "transaction_initiation_date": stamp(document.created_at),
        "transaction_updated_date": stamp(document.updated_at),
        "transaction_amount": money(-document.total_minor if back else document.total_minor),
        "fee_amount": money(0 if back else -(document.total_minor * 34 // 1000)),
        "transaction_status": state,
        "invoice_id": document.number,
        "protection_eligibility": "01",
    }
    if back and document.source:
        info |= {"paypal_reference_id": document.source.id, "paypal_reference_id_type": "TXN"}
    return {
        "transaction_info": info,
        "payer_info": _payer(document.customer),
        "shipping_info": {},
        "cart_info": _cart(document),
        "store_info": {},
        "auction_info": {},
        "incentive_info": {},
    }


def beside_json(document: Document) -> Iterable[dict[str, Any]]:
    """What happened on the account beside a payment: withdrawals, donations, what we paid."""
    number = int(document.id.removeprefix("5E"))
    for every, (code, sign) in _BESIDE.items():
        if number % every == 0 and document.entity == "SalesReceipt":
            info = {
                "transaction_id": f"{every}W{number:015d}",
                "transaction_event_code": code,
                "transaction_initiation_date": stamp(document.created_at),
                "transaction_updated_date": stamp(document.created_at),
                "transaction_amount": money(sign * document.total_minor),
                "transaction_status": "S",
            }
            yield {
                "transaction_info": info,
                "payer_info": _payer(document.customer) if sign > 0 else {},
                "cart_info": {},
            }


def _payer(customer: Customer) -> dict[str, Any]:
    person = customer.person
    phone = {"country_code": "244", "national_number": person.national}
    return {
        "account_id": customer.id,
        "email_address": _email(customer),
        "payer_status": "Y",
        "payer_name": {
            "given_name": person.first,
            "surname": person.last,
            "alternate_full_name": person.display,
        },
        "country_code": "AO",
        **({"phone_number": phone} if person.national else {}),
    }


def _email(customer: Customer) -> str:
    return f"buyer{customer.id}@example.com"


def _cart(document: Document) -> dict[str, Any]:
    if document.entity == "Payment":
        invoice_id = document.source.id if document.source else ""
        return {"paypal_invoice_id": invoice_id}
    items = [
        {
            **({"item_code": line.product.sku} if line.product.sku else {}),
            "item_name": line.product.name,
            "item_quantity": str(line.quantity),
            "item_unit_price": money(line.unit_minor),
            "item_amount": money(document.line_net_minor(line)),
            "tax_amounts": [{"tax_amount": money(document.line_tax_minor(line))}],
        }
        for line in document.lines
    ]
    return {"item_details": items, "tax_inclusive": False}


def invoice_state(invoice: Document) -> str:
    """The word for an invoice's state."""
    in_cash = any(payment.id.startswith("EXTR-") for payment in invoice.payments)
    if invoice.refunds:
        whole = invoice.refunded_minor >= invoice.total_minor
        return "REFUNDED" if whole else "PARTIALLY_REFUNDED"
    if invoice.status != "open":
        return {"draft": "DRAFT", "void": "CANCELLED"}[invoice.status]
    if invoice.settled:
        return "MARKED_AS_PAID" if in_cash else "PAID"
    return "PARTIALLY_PAID" if invoice.paid_minor else "SENT"


def listed_json(invoice: Document) -> dict[str, Any]:
    """An invoice as lists show it: without items, the time of change and the payments."""
    return {
        "id": invoice.id,
        "status": invoice_state(invoice),
        "detail": {
            "currency_code": CURRENCY,
            "invoice_number": invoice.number,
            "invoice_date": invoice.day.isoformat(),
            "payment_term": {"due_date": invoice.due.isoformat()},
            "viewed_by_recipient": False,
            "group_draft": False,
            "metadata": {"create_time": stamp(invoice.created_at)},
        },
        "primary_recipients": [{"billing_info": {"email_address": _email(invoice.customer)}}],
        "amount": money(invoice.total_minor),
        "due_amount": money(invoice.balance_minor),
        **({"payments": {"paid_amount": money(invoice.paid_minor)}} if invoice.payments else {}),
        "links": [_link(invoice)],
        "unilateral": False,
    }


def invoice_json(invoice: Document, books: PayPalBooks) -> dict[str, Any]:
    """An invoice as it is answered alone, and in webhooks."""
    listed = listed_json(invoice)
    cancelled_at, changed_at = books.cancelled.get(invoice.id, (None, invoice.updated_at))
    times = {
        "create_time": stamp(invoice.created_at),
        "last_update_time": stamp(changed_at),
        "created_by_flow": "REGULAR_SINGLE",
        # A cancellation does not move the time of the last update.
        **({"cancel_time": stamp(cancelled_at)} if cancelled_at else {}),
    }
    person = invoice.customer.person
    phones = [{"country_code": "244", "national_number": person.national, "phone_type": "MOBILE"}]
    billing = {
        "name": {"given_name": person.first, "surname": person.last},
        "email_address": _email(invoice.customer),
        **({"phones": phones} if person.national else {}),
    }
    return listed | {
        "detail": listed["detail"] | {"metadata": times, "archived": invoice.archived},
        "invoicer": {},
        "primary_recipients": [{"billing_info": billing}],
        "items": [_item(invoice, number) for number in range(len(invoice.lines))],
        "amount": listed["amount"] | {"breakdown": _breakdown(invoice)},
        **({"payments": _payments(invoice)} if invoice.payments else {}),
        **({"refunds": _refunds(invoice)} if invoice.refunds else {}),
    }


def _item(invoice: Document, number: int) -> dict[str, Any]:
    line = invoice.lines[number]
    return {
        "id": f"ITEM-{invoice.id[5:]}{number}",
        "name": line.product.name,
        "quantity": str(line.quantity),
        "unit_amount": money(line.unit_minor),
        "tax": {"name": "IVA", "percent": "14", "amount": money(invoice.line_tax_minor(line))},
        "unit_of_measure": "QUANTITY",
    }


def _breakdown(invoice: Document) -> dict[str, Any]:
    discount = money(invoice.gross_minor - invoice.net_minor)
    return {
        "item_total": money(invoice.gross_minor),
        "discount": {"invoice_discount": {"amount": discount}, "item_discount": money(0)},
        "tax_total": money(invoice.tax_minor),
    }


def _payments(invoice: Document) -> dict[str, Any]:
    entries = []
    for payment in invoice.payments:
        in_cash = payment.id.startswith("EXTR-")
        entries.append(
            {
                "type": "EXTERNAL" if in_cash else "PAYPAL",
                "payment_id": payment.id,
                "transaction_type": "SALE",
                "payment_date": payment.day.isoformat(),
                "method": "CASH" if in_cash else "PAYPAL",
                "amount": money(payment.amount_minor),
                "transaction_status": "SUCCESS",
            }
        )
    return {"paid_amount": money(invoice.paid_minor), "transactions": entries}


def _refunds(invoice: Document) -> dict[str, Any]:
    entries = [
        {
            "type": "PAYPAL",
            "recipient_transaction_id": refund.id,
            "refund_date": refund.day.isoformat(),
            "amount": money(refund.total_minor),
        }
        for refund in invoice.refunds
    ]
    return {"refund_amount": money(invoice.refunded_minor), "transactions": entries}


def _link(invoice: Document) -> dict[str, str]:
    href = f"https://api.paypal.com/v2/invoicing/invoices/{invoice.id}"
    return {"href": href, "rel": "self", "method": "GET"}
