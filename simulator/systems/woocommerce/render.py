"""Orders, refunds and customers as WooCommerce writes them.

Amounts are texts with as many decimals as asked for; a line's `price` is a number. Times come
twice, on the shop's clock and in UTC (`_gmt`), both without an offset.
"""

from datetime import UTC, datetime
from typing import Any, Final

from simulator.model import CURRENCY, LUANDA, Customer, Document, Line
from simulator.subscriptions import Entry

_SITE: Final = "https://loja.aguatwezah.example/wp-json/wc/v3"


def amount(minor: int, decimals: int = 2) -> str:
    """Minor units as a text with so many decimals; fewer than two round half up."""
    sign, size = ("-" if minor < 0 else ""), abs(minor)
    if decimals < 2:
        step = 10 ** (2 - decimals)
        size = (2 * size + step) // (2 * step)
        scale = 10**decimals
    else:
        size, scale = size * 10 ** (decimals - 2), 10**decimals
    whole, rest = divmod(size, scale)
    return f"{sign}{whole}.{rest:0{decimals}d}" if decimals else f"{sign}{whole}"


def times(name: str, moment: datetime | None) -> dict[str, str | None]:
    """A time under its two names."""
    if moment is None:
        return {name: None, f"{name}_gmt": None}
    form = "%Y-%m-%dT%H:%M:%S"
    return {
        name: moment.astimezone(LUANDA).strftime(form),
        f"{name}_gmt": moment.astimezone(UTC).strftime(form),
    }


def status_of(order: Document) -> str:
    """The word for where an order stands."""
    if order.deleted:
        return "trash"
    if order.status == "void":
        return "cancelled"
    if order.status == "draft":
        return "pending" if int(order.id) % 2 else "on-hold"
    if order.refunded_minor and order.refunded_minor >= order.total_minor:
        return "refunded"
    # Cash on delivery is worked on before it is paid.
    return "completed" if order.settled and int(order.id) % 3 else "processing"


def paid_at(order: Document) -> datetime | None:
    """When an order was paid; a shop that completes one by hand may note nothing."""
    if not order.settled or (status_of(order) == "completed" and int(order.id) % 5 == 0):
        return None
    return max(payment.created_at for payment in order.payments if not payment.deleted)


def _payment_method(order: Document) -> str:
    if order.payment_id:
        return "ppcp-gateway"
    return "bacs" if order.settled else "cod"


def order_json(order: Document, decimals: int = 2) -> dict[str, Any]:
    """An order, as the list, the single call and webhooks have it."""
    discount = order.gross_minor - order.net_minor
    status = status_of(order)
    return {
        "id": int(order.id),
        "parent_id": 0,
        "number": order.number,
        "order_key": f"wc_order_{int(order.id):x}",
        "created_via": "checkout" if int(order.id) % 2 else "admin",
        "version": "9.4.2",
        "status": status,
        "currency": CURRENCY,
        **times("date_created", order.created_at),
        **times("date_modified", order.updated_at),
        "discount_total": amount(discount, decimals),
        "discount_tax": amount(0, decimals),
        "shipping_total": amount(0, decimals),
        "shipping_tax": amount(0, decimals),
        "cart_tax": amount(order.tax_minor, decimals),
        "total": amount(order.total_minor, decimals),
        "total_tax": amount(order.tax_minor, decimals),
        "prices_include_tax": False,
        "customer_id": int(order.customer.id),
        "customer_note": "",
        "billing": _billing(order.customer, by_staff=not int(order.id) % 2),
        "shipping": {},
        "payment_method": _payment_method(order),
        "payment_method_title": "",
        "transaction_id": order.payment_id,
        **times("date_paid", paid_at(order)),
        **times("date_completed", order.updated_at if status == "completed" else None),
        "meta_data": [{"id": 13106, "key": "_order_stock_reduced", "value": "yes"}],
        "line_items": [_line(order, line, decimals) for line in order.lines],
        "tax_lines": [],
        "shipping_lines": [],
        "fee_lines": [],
        "coupon_lines": [{"id": 1, "code": "agua", "discount": amount(discount, decimals)}]
        if discount
        else [],
        "refunds": [
            {"id": int(refund.id), "reason": "", "total": amount(-refund.total_minor, decimals)}
            for refund in reversed(order.refunds)
            if not refund.deleted
        ],
        "_links": {"self": [{"href": f"{_SITE}/orders/{order.id}"}]},
    }


def refund_json(refund: Document, decimals: int = 2) -> dict[str, Any]:
    """A refund: its amount is positive, its lines are negative."""
    parent = refund.source.id if refund.source else "0"
    return {
        "id": int(refund.id),
        "parent_id": int(parent),
        **times("date_created", refund.created_at),
        "amount": amount(refund.total_minor, decimals),
        "reason": "",
        "refunded_by": 1,
        "refunded_payment": False,
        "meta_data": [],
        "line_items": [_line(refund, line, decimals, sign=-1) for line in refund.lines],
        "_links": {"up": [{"href": f"{_SITE}/orders/{parent}"}]},
    }


def customer_json(customer: Customer) -> dict[str, Any]:
    """A registered customer."""
    return {
        "id": int(customer.id),
        **times("date_created", customer.created_at),
        **times("date_modified", customer.updated_at),
        "email": f"cliente{customer.id}@example.com",
        "first_name": customer.person.first,
        "last_name": customer.person.last,
        "role": "customer",
        "username": f"cliente{customer.id}",
        "billing": _billing(customer, by_staff=False),
        "shipping": {},
        "is_paying_customer": True,
        "meta_data": [],
    }


def _billing(customer: Customer, *, by_staff: bool) -> dict[str, str]:
    """The billing address; an order that staff entered for a customer may lack it."""
    person = customer.person
    return {
        "first_name": person.first,
        "last_name": person.last,
        "company": person.company or "",
        "city": "Luanda",
        "country": "" if by_staff else "AO",
        "email": f"cliente{customer.id}@example.com",
        "phone": "" if by_staff else customer.phone or "",
    }


def webhook_json(entry: Entry) -> dict[str, Any]:
    """A webhook, without its secret."""
    resource, _, event = entry.topics[0].partition(".")
    return {
        "id": int(entry.id),
        "name": entry.facts["name"],
        "status": entry.facts["status"],
        "topic": entry.topics[0],
        "resource": resource,
        "event": event,
        "hooks": [],
        "delivery_url": entry.url,
        "date_created_gmt": f"{entry.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
    }


def _line(document: Document, line: Line, decimals: int, *, sign: int = 1) -> dict[str, Any]:
    net, tax = document.line_net_minor(line), document.line_tax_minor(line)
    return {
        "id": int(f"{document.id}{line.id}"),
        "name": line.product.name.replace("pack de", "pack &ndash; de"),
        "product_id": int(line.product.id),
        "variation_id": 0,
        "quantity": sign * line.quantity,
        "tax_class": "",
        "subtotal": amount(sign * line.gross_minor, decimals),
        "subtotal_tax": amount(sign * tax, decimals),
        "total": amount(sign * net, decimals),
        "total_tax": amount(sign * tax, decimals),
        "taxes": [],
        "meta_data": [],
        "sku": line.product.sku or "",
        # Computed in floating point, with its noise.
        "price": sign * net / 100 / line.quantity if line.quantity else 0,
    }
