"""QuickBooks' JSON: numbers for money, Pacific offsets in the stamps, company-local dates."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from simulator.branches import Address, sold
from simulator.model import CURRENCY, CURRENCY_NAME, Customer, Document, Payment, Product
from simulator.systems.quickbooks.query import Accessor
from simulator.wire import number

PACIFIC: Final = ZoneInfo("America/Los_Angeles")
TXN_ENTITIES: Final = ("Invoice", "SalesReceipt", "CreditMemo", "RefundReceipt")
_CURRENCY_REF: Final = {"value": CURRENCY, "name": CURRENCY_NAME}
_PHONE_FIELDS: Final = ("PrimaryPhone", "Mobile", "AlternatePhone")

Record = Document | Customer | Payment


def stamp(instant: datetime) -> str:
    """An instant as QuickBooks writes it, whatever the company's zone."""
    return instant.astimezone(PACIFIC).isoformat(timespec="seconds")


def meta(record: Record) -> dict[str, str]:
    """The stamps of a record."""
    return {"CreateTime": stamp(record.created_at), "LastUpdatedTime": stamp(record.updated_at)}


def _head(record: Record) -> dict[str, Any]:
    return {
        "domain": "QBO",
        "sparse": False,
        "Id": record.id,
        "SyncToken": str(record.version),
        "MetaData": meta(record),
    }


def customer_json(customer: Customer) -> dict[str, Any]:
    """A Customer; absent attributes are left out."""
    person = customer.person
    body = _head(customer) | {
        "GivenName": person.first,
        "FamilyName": person.last,
        "FullyQualifiedName": customer.name,
        "DisplayName": customer.name,
        "PrintOnCheckName": customer.name,
        "Active": customer.active,
        "Taxable": True,
        "Job": False,
        "BillWithParent": False,
        "Balance": 0,
        "BalanceWithJobs": 0,
        "CurrencyRef": _CURRENCY_REF,
        "PreferredDeliveryMethod": "Print",
    }
    if person.company:
        body["CompanyName"] = person.company
    if customer.phone:
        body[_PHONE_FIELDS[customer.phone_slot]] = {"FreeFormNumber": customer.phone}
    return body


def item_json(product: Product) -> dict[str, Any]:
    """An Item; services carry no Sku."""
    body: dict[str, Any] = {
        "Name": product.name,
        "FullyQualifiedName": product.name,
        "Active": True,
        "Taxable": True,
        "UnitPrice": number(product.unit_minor),
        "Type": "NonInventory" if product.sku else "Service",
        "PurchaseCost": 0,
        "TrackQtyOnHand": False,
        "domain": "QBO",
        "sparse": False,
        "Id": product.id,
        "SyncToken": "0",
        "MetaData": {
            "CreateTime": "2023-11-02T03:00:00-07:00",
            "LastUpdatedTime": "2023-11-02T03:00:00-07:00",
        },
    }
    if product.sku:
        body["Sku"] = product.sku
    return body


def document_json(document: Document) -> dict[str, Any]:
    """An Invoice, SalesReceipt, CreditMemo or RefundReceipt."""
    void = document.status == "void"
    body = _head(document) | {
        "DocNumber": document.number,
        "TxnDate": document.day.isoformat(),
        "CurrencyRef": _CURRENCY_REF,
        "CustomerRef": {"value": document.customer.id, "name": document.customer.name},
        "Line": _lines(document),
        "TxnTaxDetail": _tax(document),
        "ApplyTaxAfterDiscount": True,
        "PrintStatus": "NeedToPrint",
        "TotalAmt": number(document.total_minor),
        "CustomField": [],
    }
    if document.entity in ("Invoice", "SalesReceipt"):
        body["LinkedTxn"] = _links(document)
    body |= _where(document)
    if document.entity != "RefundReceipt":
        body["EmailStatus"] = "NotSet"
    if document.entity == "Invoice":
        body |= {"DueDate": document.due.isoformat(), "Balance": number(document.balance_minor)}
        body |= {"AllowIPNPayment": False, "AllowOnlinePayment": False}
    elif document.entity == "CreditMemo":
        body |= {
            "Balance": number(document.balance_minor),
            "RemainingCredit": number(document.balance_minor),
        }
    else:
        body |= {"Balance": 0, "PaymentMethodRef": {"value": "1", "name": "Cash"}}
        body["DepositToAccountRef"] = {"value": "35", "name": "Caixa"}
    if document.order:
        body["PrivateNote"] = f"Order {document.order.number}"
    if void:
        body["PrivateNote"] = "Voided"
    return body


def _where(document: Document) -> dict[str, Any]:
    """The location (a department here) and the addresses, as far as they are known."""
    where = sold(document)
    addresses = {"ShipAddr": where.delivery, "BillAddr": where.billing}
    body: dict[str, Any] = {
        name: _address(document, address) for name, address in addresses.items() if address
    }
    if where.branch:
        body["DepartmentRef"] = {"value": where.branch.id, "name": where.branch.name}
    return body


def _address(document: Document, address: Address) -> dict[str, str]:
    return {
        "Id": document.id,
        "Line1": document.customer.name,
        "City": address.city,
        "CountrySubDivisionCode": address.province,
        "Country": "Angola",
    }


def _links(document: Document) -> list[dict[str, str]]:
    return [{"TxnId": p.id, "TxnType": "Payment"} for p in document.payments if not p.deleted]


def _lines(document: Document) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for position, line in enumerate(document.lines, start=1):
        detail = {
            "ItemRef": {"value": line.product.id, "name": line.product.name},
            "UnitPrice": number(line.unit_minor),
            "Qty": line.quantity,
            "TaxCodeRef": {"value": "TAX" if document.tax_bps else "NON"},
        }
        lines.append(
            {
                "Id": line.id,
                "LineNum": position,
                "Description": line.product.name,
                "Amount": number(line.gross_minor),
                "DetailType": "SalesItemLineDetail",
                "SalesItemLineDetail": detail,
            }
        )
    lines.append(
        {
            "Amount": number(document.gross_minor),
            "DetailType": "SubTotalLineDetail",
            "SubTotalLineDetail": {},
        }
    )
    if document.discount_bps:
        detail = {"PercentBased": True, "DiscountPercent": number(document.discount_bps)}
        amount = number(document.gross_minor - document.net_minor)
        lines.append(
            {"Amount": amount, "DetailType": "DiscountLineDetail", "DiscountLineDetail": detail}
        )
    return lines


def _tax(document: Document) -> dict[str, Any]:
    body: dict[str, Any] = {"TotalTax": number(document.tax_minor)}
    if document.tax_bps and document.tax_minor:
        detail = {
            "TaxRateRef": {"value": "3"},
            "PercentBased": True,
            "TaxPercent": number(document.tax_bps),
            "NetAmountTaxable": number(document.net_minor),
        }
        body["TaxLine"] = [
            {
                "Amount": number(document.tax_minor),
                "DetailType": "TaxLineDetail",
                "TaxLineDetail": detail,
            }
        ]
    return body


def payment_json(payment: Payment) -> dict[str, Any]:
    """A Payment; one that only applies a credit memo has a TotalAmt of 0 and links both."""
    amount = number(payment.amount_minor)
    lines = [
        {"Amount": amount, "LinkedTxn": [{"TxnId": payment.document.id, "TxnType": "Invoice"}]}
    ]
    if payment.credit is not None:
        lines.append(
            {"Amount": amount, "LinkedTxn": [{"TxnId": payment.credit.id, "TxnType": "CreditMemo"}]}
        )
    return _head(payment) | {
        "CustomerRef": {"value": payment.customer.id, "name": payment.customer.name},
        "TxnDate": payment.day.isoformat(),
        "CurrencyRef": _CURRENCY_REF,
        "TotalAmt": 0 if payment.credit is not None else amount,
        "UnappliedAmt": 0,
        "ProcessPayment": False,
        "Line": lines,
    }


def tombstone(record: Record) -> dict[str, Any]:
    """How change data capture reports a deletion."""
    return {
        "domain": "QBO",
        "status": "Deleted",
        "Id": record.id,
        "MetaData": {"LastUpdatedTime": stamp(record.updated_at)},
    }


def _money(minor: int) -> Decimal:
    return Decimal(minor).scaleb(-2)


_COMMON: Final[dict[str, Accessor]] = {
    "Id": lambda row: int(row.id),
    "SyncToken": lambda row: row.version,
    "MetaData.CreateTime": lambda row: row.created_at,
    "MetaData.LastUpdatedTime": lambda row: row.updated_at,
}
_TXN: Final[dict[str, Accessor]] = _COMMON | {
    "DocNumber": lambda row: row.number,
    "TxnDate": lambda row: row.day.isoformat(),
    "DueDate": lambda row: row.due.isoformat(),
    "TotalAmt": lambda row: _money(row.total_minor),
    "Balance": lambda row: _money(row.balance_minor),
    "CustomerRef": lambda row: row.customer.id,
    "CurrencyRef": lambda _row: CURRENCY,
}
_CUSTOMER: Final[dict[str, Accessor]] = _COMMON | {
    "Active": lambda row: row.active,
    "DisplayName": lambda row: row.name,
    "FullyQualifiedName": lambda row: row.name,
    "GivenName": lambda row: row.person.first,
    "FamilyName": lambda row: row.person.last,
    "CompanyName": lambda row: row.person.company,
    "PrimaryPhone": lambda row: row.phone if row.phone_slot == 0 else None,
}
_PAYMENT: Final[dict[str, Accessor]] = _COMMON | {
    "TxnDate": lambda row: row.day.isoformat(),
    "TotalAmt": lambda row: _money(0 if row.credit is not None else row.amount_minor),
    "CustomerRef": lambda row: row.customer.id,
}
_ITEM: Final[dict[str, Accessor]] = {
    "Id": lambda row: int(row.id),
    "Name": lambda row: row.name,
    "FullyQualifiedName": lambda row: row.name,
    "Sku": lambda row: row.sku,
    "Active": lambda _row: True,
    "Type": lambda row: "NonInventory" if row.sku else "Service",
    "UnitPrice": lambda row: _money(row.unit_minor),
}
#: What a query can filter and order by, per entity.
ACCESSORS: Final = dict.fromkeys(TXN_ENTITIES, _TXN) | {
    "Customer": _CUSTOMER,
    "Payment": _PAYMENT,
    "Item": _ITEM,
}
