"""Square's JSON: amounts in the smallest unit, absent keys instead of nulls, RFC 3339 in UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from simulator.model import CURRENCY, Customer, Document, Product
from simulator.subscriptions import Entry
from simulator.systems.square.system import MERCHANT, SYSTEM

#: Orders of the till whose number is a multiple of this have a tip.
_TIPPED: Final = 7


@dataclass(frozen=True)
class Order:
    """What Square calls an order: a sale, what was brought back, or both (an exchange)."""

    sale: Document | None
    returned: Document | None

    @property
    def documents(self) -> Sequence[Document]:
        """Its parts."""
        return [part for part in (self.sale, self.returned) if part is not None]

    @property
    def id(self) -> str:
        """Its id."""
        return self.sale.id if self.sale else self.documents[0].record_key

    @property
    def customer(self) -> Customer:
        """Who bought, or brought back."""
        return self.documents[0].customer

    @property
    def updated_at(self) -> datetime:
        """When it was changed last."""
        return max(part.updated_at for part in self.documents)

    @property
    def created_at(self) -> datetime:
        """When it was begun."""
        return min(part.created_at for part in self.documents)

    @property
    def closed_at(self) -> datetime | None:
        """When it was completed or cancelled; None while it is open."""
        return self.updated_at if self.state in ("COMPLETED", "CANCELED") else None

    @property
    def version(self) -> int:
        """Counts its changes."""
        return 1 + sum(part.version for part in self.documents)

    @property
    def state(self) -> str:
        """OPEN, COMPLETED or CANCELED: drafts of invoices have an open order from the start."""
        sale = self.sale
        if sale is None or sale.entity == "SalesReceipt":
            return "COMPLETED"
        if sale.status == "void":
            return "CANCELED"
        return "COMPLETED" if sale.settled else "OPEN"


def stamp(instant: datetime) -> str:
    """An instant with milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def money(minor: int) -> dict[str, Any]:
    """An amount."""
    return {"amount": minor, "currency": CURRENCY}


def tip_minor(order: Order) -> int:
    """The tip on an order."""
    sale = order.sale
    if sale is None or sale.entity != "SalesReceipt" or int(sale.id) % _TIPPED:
        return 0
    return sale.total_minor // 10


def order_json(order: Order) -> dict[str, Any]:
    """An order with all its parts."""
    sale, returned = order.sale, order.returned
    sold_minor = sale.total_minor if sale else 0
    tip, tax = tip_minor(order), sale.tax_minor if sale else 0
    discount = sale.gross_minor - sale.net_minor if sale else 0
    back = returned.total_minor if returned else 0
    back_tax = returned.tax_minor if returned else 0
    body: dict[str, Any] = {
        "id": order.id,
        "location_id": SYSTEM.account,
        "source": {"name": _source(order)},
        "created_at": stamp(order.created_at),
        "updated_at": stamp(order.updated_at),
        "state": order.state,
        "version": order.version,
        "total_money": money(sold_minor + tip),
        "total_tax_money": money(tax),
        "total_discount_money": money(discount),
        "total_tip_money": money(tip),
        "total_service_charge_money": money(0),
        "net_amounts": {
            "total_money": money(sold_minor + tip - back),
            "tax_money": money(tax - back_tax),
            "discount_money": money(discount),
            "tip_money": money(tip),
            "service_charge_money": money(0),
        },
    }
    if order.closed_at:
        body["closed_at"] = stamp(order.closed_at)
    # Who brings something back is often not written down; the sale's order says who bought it.
    if sale or int(order.id) % 2:
        body["customer_id"] = order.customer.id
    if sale:
        body |= {"reference_id": sale.number, "line_items": _lines(sale)}
        body |= {"tenders": _tenders(order, sale, sold_minor + tip)} if sale.paid_minor else {}
    if returned:
        body |= {
            "returns": [_return(returned)],
            **({} if sale else {"reference_id": returned.number}),
        }
        if int(order.id) % 3:
            body["return_amounts"] = _return_amounts(returned)
    return body


def _source(order: Order) -> str:
    is_invoice = order.sale is not None and order.sale.entity == "Invoice"
    return "Invoices" if is_invoice else "Point of Sale"


def _tenders(order: Order, sale: Document, amount_minor: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"T{order.id}",
            "location_id": SYSTEM.account,
            "transaction_id": order.id,
            "created_at": stamp(order.created_at),
            "amount_money": money(min(amount_minor, sale.paid_minor)),
            "customer_id": order.customer.id,
            "type": "CARD",
            "payment_id": f"P{order.id}",
        }
    ]


def _lines(document: Document) -> list[dict[str, Any]]:
    return [
        {
            "uid": f"{document.id}-{line.id}",
            "catalog_object_id": line.product.id,
            "name": line.product.name,
            "variation_name": "Regular",
            "quantity": str(line.quantity),
            "item_type": "ITEM",
            "base_price_money": money(line.unit_minor),
            "gross_sales_money": money(line.gross_minor),
            "total_discount_money": money(line.gross_minor - document.line_net_minor(line)),
            "total_tax_money": money(document.line_tax_minor(line)),
            "total_money": money(document.line_net_minor(line) + document.line_tax_minor(line)),
        }
        for line in document.lines
    ]


def _return(returned: Document) -> dict[str, Any]:
    source = returned.source
    lines = [
        {**line, "source_line_item_uid": line["uid"], "uid": f"R{line['uid']}"}
        for line in _lines(returned)
    ]
    return {
        "uid": f"U{returned.id}",
        **({"source_order_id": source.id} if source else {}),
        "return_line_items": lines,
    }


def _return_amounts(returned: Document) -> dict[str, Any]:
    return {
        "total_money": money(returned.total_minor),
        "tax_money": money(returned.tax_minor),
        "discount_money": money(returned.gross_minor - returned.net_minor),
        "tip_money": money(0),
        "service_charge_money": money(0),
    }


def customer_json(customer: Customer) -> dict[str, Any]:
    """A customer of the directory."""
    person = customer.person
    return {
        "id": customer.id,
        "created_at": stamp(customer.created_at),
        "updated_at": stamp(customer.updated_at),
        "given_name": person.first,
        "family_name": person.last,
        **({"company_name": person.company} if person.company else {}),
        **({"phone_number": customer.phone} if customer.phone else {}),
        "preferences": {"email_unsubscribed": False},
        "creation_source": "DIRECTORY",
        "version": customer.version,
    }


def variation_json(product: Product) -> dict[str, Any]:
    """A variation in the catalogue, which is what orders name."""
    return {
        "type": "ITEM_VARIATION",
        "id": product.id,
        "version": 1_700_000_000_000,
        "is_deleted": False,
        "item_variation_data": {
            "item_id": f"I{product.id}",
            "name": "Regular",
            **({"sku": product.sku} if product.sku else {}),
            "price_money": money(product.unit_minor),
            "pricing_type": "FIXED_PRICING",
        },
    }


def subscription_json(entry: Entry) -> dict[str, Any]:
    """A webhook subscription, with its key."""
    return {
        "id": entry.id,
        "name": entry.facts["name"],
        "enabled": entry.enabled,
        "event_types": list(entry.topics),
        "notification_url": entry.url,
        "api_version": entry.facts["api_version"],
        "signature_key": entry.secret,
        "created_at": stamp(entry.created_at),
    }


def location_json(location: str, number: int, created_at: datetime) -> dict[str, Any]:
    """A location of the business."""
    return {
        "id": location,
        "name": f"Água Twezah {number + 1}" if number else "Água Twezah",
        "merchant_id": MERCHANT,
        "country": "AO",
        "currency": CURRENCY,
        "status": "ACTIVE",
        "timezone": "Africa/Luanda",
        "created_at": stamp(created_at),
    }
