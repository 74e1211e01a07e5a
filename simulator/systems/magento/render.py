"""Orders, invoices and credit memos as Magento writes them: keys without a value are left out."""

from typing import Any, Final

from simulator.model import CURRENCY, Customer, Document, Line
from simulator.systems.magento.auth import utc
from simulator.truth import is_guest
from simulator.wire import number

#: What some customers see prices in, and how much of it a kwanza is.
_SEEN: Final = "USD"
_SEEN_PER_BASE: Final = 0.0011
_SEES_OTHERS_EVERY: Final = 7
#: Ids of invoices begin behind those of orders: each kind has its own.
_INVOICES_FROM: Final = 500_000
#: Products with an even id have variants: their rows come in pairs.
_VARIANTS_EVERY: Final = 2
#: What a database of decimals with four places gives.
Amounts = dict[str, int | float]


def invoice_id(order: Document) -> int:
    """Id of the order's invoice."""
    return _INVOICES_FROM + int(order.id)


def is_invoiced(order: Document) -> bool:
    """Whether the order has an invoice: one that waits has none, a cancelled one none any more."""
    return order.status == "open"


def _sees_dollars(customer: Customer) -> bool:
    return int(customer.id) % _SEES_OTHERS_EVERY == 0


def _money(minor: int, name: str, customer: Customer) -> Amounts:
    """An amount twice: in the shop's currency, and as the customer saw it."""
    seen: int | float = number(minor)
    if _sees_dollars(customer):
        seen = round(minor / 100 * _SEEN_PER_BASE, 4)
    return {f"base_{name}": number(minor), name: seen}


def _currencies(customer: Customer) -> dict[str, Any]:
    dollars = _sees_dollars(customer)
    return {
        "base_currency_code": CURRENCY,
        "global_currency_code": CURRENCY,
        "store_currency_code": CURRENCY,
        "order_currency_code": _SEEN if dollars else CURRENCY,
        "base_to_order_rate": _SEEN_PER_BASE if dollars else 1,
    }


def _state(order: Document) -> tuple[str, str]:
    """State, and the status that this shop gives it."""
    if order.status == "void":
        return "canceled", "canceled"
    if order.status == "draft":
        return "new", "pending"
    if order.credited_minor >= order.total_minor > 0:
        return "closed", "closed"
    return ("complete", "entregue") if order.settled else ("processing", "a_caminho")


def order_json(order: Document) -> dict[str, Any]:
    """An order with its rows and addresses."""
    customer = order.customer
    state, status = _state(order)
    discount = order.gross_minor - order.net_minor
    amounts: Amounts = {}
    for name, minor in (
        ("grand_total", order.total_minor),
        ("subtotal", order.gross_minor),
        ("discount_amount", -discount),
        ("tax_amount", order.tax_minor),
        ("shipping_amount", 0),
    ):
        amounts |= _money(minor, name, customer)
    if is_invoiced(order):
        amounts |= _money(order.total_minor, "total_invoiced", customer)
        amounts |= _money(order.net_minor, "subtotal_invoiced", customer)
        amounts |= _money(order.tax_minor, "tax_invoiced", customer)
        amounts |= _money(order.total_minor - order.paid_minor, "total_due", customer)
    if order.paid_minor:
        amounts |= _money(order.paid_minor, "total_paid", customer)
    if order.credited_minor:
        amounts |= _money(order.credited_minor, "total_refunded", customer)
    if order.status == "void":
        amounts |= _money(order.total_minor, "total_canceled", customer)
    return {
        "entity_id": int(order.id),
        "increment_id": order.number,
        "state": state,
        "status": status,
        "store_id": 1,
        "created_at": utc(order.created_at),
        "updated_at": utc(order.updated_at),
        **_buyer(order),
        **_currencies(customer),
        **amounts,
        "total_item_count": len(order.lines),
        "items": [row for line in order.lines for row in _rows(order, line)],
        "payment": {"method": "checkmo", "amount_ordered": number(order.total_minor)},
        "status_histories": [],
    }


def _buyer(order: Document) -> dict[str, Any]:
    customer = order.customer
    guest = is_guest("magento", customer)
    name = {"firstname": customer.person.first, "lastname": customer.person.last}
    phone = {"telephone": customer.phone} if customer.phone else {}
    billing = {"address_type": "billing", "country_id": "AO", "city": "Luanda", **name}
    shipping = {"address_type": "shipping", "country_id": "AO", "city": "Luanda", **name, **phone}
    if customer.phone_slot == 0:
        billing |= phone
    return {
        **({} if guest else {"customer_id": int(customer.id)}),
        "customer_is_guest": int(guest),
        "customer_email": f"c{customer.id}@example.com",
        "customer_firstname": customer.person.first,
        "customer_lastname": customer.person.last,
        "billing_address": billing,
        "extension_attributes": {
            "shipping_assignments": [
                {"shipping": {"address": shipping, "method": "flatrate_flatrate"}, "items": []}
            ]
        },
    }


def _rows(order: Document, line: Line) -> list[dict[str, Any]]:
    """A product's row; with variants a second one below it, without money."""
    item_id = int(order.id) * 100 + 2 * int(line.id)
    sku = {"sku": line.product.sku, "name": line.product.name}
    has_variants = int(line.product.id) % _VARIANTS_EVERY == 0
    net, tax = order.line_net_minor(line), order.line_tax_minor(line)
    amounts: Amounts = {}
    for name, minor in (
        ("price", line.unit_minor),
        ("row_total", line.gross_minor),
        ("discount_amount", line.gross_minor - net),
        ("tax_amount", tax),
        ("row_total_incl_tax", line.gross_minor + tax),
    ):
        amounts |= _money(minor, name, order.customer)
    invoiced = is_invoiced(order)
    if invoiced:
        amounts |= _money(line.gross_minor, "row_invoiced", order.customer)
        amounts |= _money(line.gross_minor - net, "discount_invoiced", order.customer)
    counts = {
        "qty_ordered": line.quantity,
        "qty_invoiced": line.quantity if invoiced else 0,
        "qty_canceled": line.quantity if order.status == "void" else 0,
    }
    row = {
        "item_id": item_id,
        "order_id": int(order.id),
        "product_id": int(line.product.id),
        "product_type": "configurable" if has_variants else "simple",
        **sku,
        **counts,
        **amounts,
    }
    if not has_variants:
        return [row]
    part = {
        "item_id": item_id + 1,
        "parent_item_id": item_id,
        "order_id": int(order.id),
        "product_id": 1000 + int(line.product.id),
        "product_type": "simple",
        **sku,
        **counts,
        "price": 0,
        "base_price": 0,
        "row_total": 0,
        "base_row_total": 0,
    }
    return [row, part | {"parent_item": row}]


def invoice_json(order: Document) -> dict[str, Any]:
    """The invoice of an order; it names no customer and no phone."""
    return {
        "entity_id": invoice_id(order),
        "increment_id": f"F{order.number}",
        "order_id": int(order.id),
        "store_id": 1,
        "state": 2 if order.paid_minor >= order.total_minor else 1,
        "created_at": utc(order.created_at),
        "updated_at": utc(order.updated_at),
        "base_currency_code": CURRENCY,
        "order_currency_code": _currencies(order.customer)["order_currency_code"],
        **_money(order.total_minor, "grand_total", order.customer),
        **_money(order.tax_minor, "tax_amount", order.customer),
        "items": _document_rows(order, invoice_id(order)),
    }


def credit_memo_json(memo: Document, order: Document) -> dict[str, Any]:
    """A credit memo, which takes back rows of an order."""
    return {
        "entity_id": int(memo.id),
        "increment_id": memo.number,
        "order_id": int(order.id),
        "invoice_id": invoice_id(order),
        "store_id": 1,
        "state": 2,
        "created_at": utc(memo.created_at),
        "updated_at": utc(memo.updated_at),
        "base_currency_code": CURRENCY,
        "order_currency_code": _currencies(order.customer)["order_currency_code"],
        "adjustment_positive": 0,
        "adjustment_negative": 0,
        **_money(memo.total_minor, "grand_total", order.customer),
        **_money(memo.tax_minor, "tax_amount", order.customer),
        "items": _document_rows(memo, int(memo.id)),
    }


def _document_rows(document: Document, parent_id: int) -> list[dict[str, Any]]:
    return [
        {
            "entity_id": parent_id * 100 + int(line.id),
            "parent_id": parent_id,
            "sku": line.product.sku,
            "name": line.product.name,
            "qty": line.quantity,
            **_money(line.unit_minor, "price", document.customer),
            **_money(line.gross_minor, "row_total", document.customer),
            **_money(document.line_tax_minor(line), "tax_amount", document.customer),
        }
        for line in document.lines
    ]
