"""How Business Central writes invoices, credit memos, their lines, customers and items.

The fields are those of the vendor's published samples of API v2.0.
"""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from simulator.branches import Address, sold
from simulator.model import CURRENCY, Customer, Document, Line, Product
from simulator.odata import day_text
from simulator.wire import number

NOTHING: Final = "00000000-0000-0000-0000-000000000000"
#: Lines of a document are numbered in steps, so that others can be put between them.
_STEP: Final = 10_000


def moment(at: datetime) -> str:
    """A moment: UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def derived_id(*parts: str) -> str:
    """A GUID that is always the same for the same parts."""
    return str(UUID(bytes=sha256("/".join(parts).encode()).digest()[:16], version=4))


def etag(key: str, version: int) -> str:
    """The mark of a version of a record."""
    return f'W/"{sha256(f"{key}/{version}".encode()).hexdigest()[:40]}"'


def status_of(document: Document) -> str:
    """The status, as names of options are encoded."""
    if document.status == "void":
        source = document.source
        return "Corrective" if source is not None and source.status == "void" else "Canceled"
    if document.status in ("draft", "submitted"):
        return "Draft" if document.status == "draft" else "In_x0020_Review"
    return "Paid" if document.settled else "Open"


def invoice_json(document: Document) -> dict[str, Any]:
    """A sales invoice."""
    customer, where = document.customer, sold(document)
    left_minor = document.balance_minor if document.status == "open" else 0
    return {
        "@odata.etag": etag(document.id, document.version),
        "id": document.id,
        "number": document.number,
        "externalDocumentNumber": "",
        "invoiceDate": day_text(document.day),
        "postingDate": day_text(document.day),
        "dueDate": day_text(document.due),
        "customerPurchaseOrderReference": "",
        "customerId": customer.id,
        "customerNumber": _number_of(customer),
        "customerName": customer.name,
        "billToName": customer.name,
        "billToCustomerId": customer.id,
        "billToCustomerNumber": _number_of(customer),
        "shipToName": customer.name,
        "shipToContact": "",
        **_address("sellTo", where.billing),
        **_address("billTo", where.billing),
        **_address("shipTo", where.delivery),
        "currencyId": NOTHING,
        "currencyCode": CURRENCY,
        "orderId": NOTHING,
        "orderNumber": "",
        "paymentTermsId": NOTHING,
        "shipmentMethodId": NOTHING,
        "salesperson": "",
        "pricesIncludeTax": False,
        "remainingAmount": number(left_minor),
        **_totals(document),
        "status": status_of(document),
        "lastModifiedDateTime": moment(document.updated_at),
        # The phone of the sell-to address, which is mostly empty.
        "phoneNumber": "",
        "email": "",
    }


def _address(prefix: str, address: Address | None) -> dict[str, str]:
    return {
        f"{prefix}AddressLine1": "",
        f"{prefix}AddressLine2": "",
        f"{prefix}City": address.city if address else "",
        f"{prefix}Country": "AO" if address else "",
        f"{prefix}State": address.province if address else "",
        f"{prefix}PostCode": "",
    }


def credit_memo_json(document: Document) -> dict[str, Any]:
    """A sales credit memo; its amounts are positive."""
    customer, source, billed = document.customer, document.source, sold(document).billing
    return {
        "@odata.etag": etag(document.id, document.version),
        "id": document.id,
        "number": document.number,
        "externalDocumentNumber": "",
        "creditMemoDate": day_text(document.day),
        "postingDate": day_text(document.day),
        "dueDate": day_text(document.due),
        "customerId": customer.id,
        "customerNumber": _number_of(customer),
        "customerName": customer.name,
        "billToName": customer.name,
        "billToCustomerId": customer.id,
        "billToCustomerNumber": _number_of(customer),
        "billingPostalAddress": {
            "street": "",
            "city": billed.city if billed else "",
            "state": billed.province if billed else "",
            "countryLetterCode": "AO" if billed else "",
            "postalCode": "",
        },
        "currencyId": NOTHING,
        "currencyCode": CURRENCY,
        "paymentTermsId": NOTHING,
        "shipmentMethodId": NOTHING,
        "salesperson": "",
        "pricesIncludeTax": False,
        **_totals(document),
        "status": status_of(document),
        "lastModifiedDateTime": moment(document.updated_at),
        "invoiceId": source.id if source else NOTHING,
        "invoiceNumber": source.number if source else "",
        "phoneNumber": "",
        "email": "",
    }


def lines_json(document: Document) -> list[dict[str, Any]]:
    """The lines; some documents have a comment among them."""
    lines = [_line_json(document, line, at) for at, line in enumerate(document.lines, 1)]
    if int(document.id[:2], 16) % 3 == 0:
        lines.insert(1, _comment_json(document, _STEP + 1))
    return lines


def _line_json(document: Document, line: Line, position: int) -> dict[str, Any]:
    net, tax = document.line_net_minor(line), document.line_tax_minor(line)
    # A discount is one of the line, or the line's share of one of the document.
    off = line.gross_minor - net
    of_line = 0 if _discounts_document(document) else off
    listed, is_item = line.gross_minor - of_line, line.product.sku is not None
    return {
        "@odata.etag": etag(f"{document.id}/{line.id}", document.version),
        "id": derived_id(document.id, line.id),
        "documentId": document.id,
        "sequence": position * _STEP,
        "itemId": line.product.id if is_item else NOTHING,
        "accountId": NOTHING,
        "lineType": "Item" if is_item else "Resource",
        "lineObjectNumber": line.product.sku or "ENTREGA",
        "description": line.product.name,
        "unitOfMeasureId": NOTHING,
        "unitOfMeasureCode": "PCS",
        "unitPrice": number(line.unit_minor),
        "quantity": line.quantity,
        "discountAmount": number(of_line),
        "discountPercent": document.discount_bps / 100 if of_line else 0,
        "discountAppliedBeforeTax": False,
        "amountExcludingTax": number(listed),
        "taxCode": "IVA14" if document.tax_bps else "",
        "taxPercent": document.tax_bps / 100,
        "totalTaxAmount": number(tax),
        "amountIncludingTax": number(listed + tax),
        "invoiceDiscountAllocation": number(off - of_line),
        "netAmount": number(net),
        "netTaxAmount": number(tax),
        "netAmountIncludingTax": number(net + tax),
        "shipmentDate": day_text(document.day),
        "itemVariantId": NOTHING,
    }


def _comment_json(document: Document, sequence: int) -> dict[str, Any]:
    amounts = (
        "unitPrice", "quantity", "discountAmount", "discountPercent", "amountExcludingTax",
        "taxPercent", "totalTaxAmount", "amountIncludingTax", "invoiceDiscountAllocation",
        "netAmount", "netTaxAmount", "netAmountIncludingTax",
    )  # fmt: skip
    return {
        "@odata.etag": etag(f"{document.id}/comment", document.version),
        "id": derived_id(document.id, "comment"),
        "documentId": document.id,
        "sequence": sequence,
        "itemId": NOTHING,
        "accountId": NOTHING,
        "lineType": "Comment",
        "lineObjectNumber": "",
        "description": "Obrigado pela preferência",
        "unitOfMeasureId": NOTHING,
        "unitOfMeasureCode": "",
        **dict.fromkeys(amounts, 0),
        "discountAppliedBeforeTax": False,
        "taxCode": "",
        "shipmentDate": "0001-01-01",
        "itemVariantId": NOTHING,
    }


def _discounts_document(document: Document) -> bool:
    return int(document.id[2:4], 16) % 2 == 0


def _totals(document: Document) -> dict[str, Any]:
    off = document.gross_minor - document.net_minor if _discounts_document(document) else 0
    return {
        "discountAmount": number(off),
        "discountAppliedBeforeTax": True,
        "totalAmountExcludingTax": number(document.net_minor),
        "totalTaxAmount": number(document.tax_minor),
        "totalAmountIncludingTax": number(document.total_minor),
    }


def _number_of(customer: Customer) -> str:
    return f"C{int(customer.id[:6], 16) % 100_000:05d}"


def customer_json(customer: Customer) -> dict[str, Any]:
    """A customer; only the phone says who it is."""
    return {
        "@odata.etag": etag(customer.id, customer.version),
        "id": customer.id,
        "number": _number_of(customer),
        "displayName": customer.name,
        "type": "Company" if customer.person.company else "Person",
        "addressLine1": "",
        "addressLine2": "",
        "city": "Luanda",
        "state": "",
        "country": "AO",
        "postalCode": "",
        "phoneNumber": customer.phone or "",
        "email": "",
        "website": "",
        "taxLiable": True,
        "taxAreaId": NOTHING,
        "taxAreaDisplayName": "",
        "taxRegistrationNumber": "",
        "currencyId": NOTHING,
        "currencyCode": CURRENCY,
        "paymentTermsId": NOTHING,
        "shipmentMethodId": NOTHING,
        "paymentMethodId": NOTHING,
        "blocked": "_x0020_" if customer.active else "All",
        "lastModifiedDateTime": moment(customer.updated_at),
    }


def item_json(product: Product) -> dict[str, Any]:
    """An item that is sold by its number."""
    return {
        "@odata.etag": etag(product.id, 0),
        "id": product.id,
        "number": product.sku,
        "displayName": product.name,
        "type": "Inventory",
        "blocked": False,
        "unitPrice": number(product.unit_minor),
        "lastModifiedDateTime": "2024-01-02T09:00:00.000Z",
    }
