"""How SAP S/4HANA writes billing documents, their items, and business partners with their phones.

OData 2: amounts are texts, days and moments are `/Date(ms)/`, what was not asked for is deferred.
"""

from datetime import UTC, date, datetime, time
from typing import Any, Final

from simulator.branches import seller, sold
from simulator.model import CURRENCY, LUANDA, Customer, Document, Line

BILLING: Final = "/sap/opu/odata/sap/API_BILLING_DOCUMENT_SRV"
PARTNERS: Final = "/sap/opu/odata/sap/API_BUSINESS_PARTNER"
SALES_ORGANIZATION: Final = "1010"
#: Category and type, by entity and whether the document cancels another.
_CATEGORIES: Final = {
    ("Invoice", False): ("M", "F2"),
    ("CreditMemo", False): ("O", "G2"),
    ("CreditMemo", True): ("N", "S1"),
    ("Invoice", True): ("S", "S2"),
}


def amount(minor: int) -> str:
    """An amount, a text with two decimals."""
    return f"{minor // 100}.{minor % 100:02d}"


def day_text(value: date) -> str:
    """A day: midnight UTC, in milliseconds."""
    return f"/Date({_milliseconds(datetime.combine(value, time(), UTC))})/"


def moment_text(value: datetime) -> str:
    """A moment, with the offset in minutes."""
    return f"/Date({_milliseconds(value)}+0000)/"


def _milliseconds(value: datetime) -> int:
    return int(value.timestamp() * 1000)


def cancels(document: Document) -> bool:
    """Whether the document cancels another one."""
    return document.source is not None and document.source.status == "void"


def document_json(document: Document) -> dict[str, Any]:
    """The header of a billing document."""
    category, kind = _CATEGORIES[document.entity, cancels(document)]
    created = document.created_at.astimezone(LUANDA)
    cancelled = document.status == "void" and not cancels(document)
    path = f"{BILLING}/A_BillingDocument('{document.id}')"
    changed, where = document.version > 0, sold(document)
    return {
        "__metadata": {"uri": path, "type": "API_BILLING_DOCUMENT_SRV.A_BillingDocumentType"},
        "BillingDocument": document.id,
        "SDDocumentCategory": category,
        "BillingDocumentCategory": "",
        "BillingDocumentType": kind,
        "CreationDate": day_text(created.date()),
        "CreationTime": f"PT{created:%H}H{created:%M}M{created:%S}S",
        "LastChangeDate": day_text(document.updated_at.date()) if changed else None,
        "LastChangeDateTime": moment_text(document.updated_at),
        "SalesOrganization": SALES_ORGANIZATION,
        "DistributionChannel": "20" if where.channel == "web" else "10",
        "Division": "00",
        "BillingDocumentDate": day_text(document.day),
        "BillingDocumentIsCancelled": cancelled,
        "CancelledBillingDocument": document.source.id
        if document.source is not None and cancels(document)
        else "",
        "TotalNetAmount": amount(document.net_minor),
        "TransactionCurrency": CURRENCY,
        "TaxAmount": amount(document.tax_minor),
        "TotalGrossAmount": amount(document.total_minor),
        "CustomerPaymentTerms": "0001",
        "CompanyCode": "1010",
        "AccountingDocument": "",
        "DocumentReferenceID": "",
        # With leading zeros here, and without them at the business partner.
        "SoldToParty": document.customer.id.zfill(10),
        "PayerParty": document.customer.id.zfill(10),
        "PurchaseOrderByCustomer": "",
        "Country": "AO",
        "CityCode": "",
        "Region": where.address.code if where.address else "",
        "OverallBillingStatus": "",
        "AccountingPostingStatus": "C",
        "InvoiceClearingStatus": "C" if document.settled else "A",
        "to_Item": _deferred(f"{path}/to_Item"),
        "to_Partner": _deferred(f"{path}/to_Partner"),
    }


def items_json(document: Document) -> list[dict[str, Any]]:
    """The items, numbered in tens."""
    return [_item_json(document, line, at * 10) for at, line in enumerate(document.lines, 1)]


def _item_json(document: Document, line: Line, number: int) -> dict[str, Any]:
    net, tax = document.line_net_minor(line), document.line_tax_minor(line)
    key = f"BillingDocument='{document.id}',BillingDocumentItem='{number}'"
    path = f"{BILLING}/A_BillingDocumentItem({key})"
    branch = seller(document, number // 10) if line.product.sku else None
    return {
        "__metadata": {"uri": path, "type": "API_BILLING_DOCUMENT_SRV.A_BillingDocumentItemType"},
        "BillingDocument": document.id,
        "BillingDocumentItem": str(number),
        "SalesDocumentItemCategory": "TAN" if line.product.sku else "TAD",
        "Material": line.product.sku or "",
        "Plant": branch.id if branch else "",
        "BillingDocumentItemText": line.product.name[:40],
        "BillingQuantity": str(line.quantity),
        "BillingQuantityUnit": "PC",
        "NetAmount": amount(net),
        "TransactionCurrency": CURRENCY,
        "GrossAmount": amount(net + tax),
        "TaxAmount": amount(tax),
        "SalesDocument": "",
        "ReferenceSDDocument": document.source.id
        if document.source is not None and not cancels(document)
        else "",
        "to_PricingElement": _deferred(f"{path}/to_PricingElement"),
    }


def partner_json(customer: Customer) -> dict[str, Any]:
    """A business partner, which is a customer under another number."""
    key = partner_of(customer)
    path = f"{PARTNERS}/A_BusinessPartner('{key}')"
    return {
        "__metadata": {"uri": path, "type": "API_BUSINESS_PARTNER.A_BusinessPartnerType"},
        "BusinessPartner": key,
        "Customer": customer.id,
        "BusinessPartnerFullName": customer.name,
        "BusinessPartnerIsBlocked": not customer.active,
        "LastChangeDate": day_text(customer.updated_at.date()),
        "to_BusinessPartnerAddress": _deferred(f"{path}/to_BusinessPartnerAddress"),
    }


def partner_of(customer: Customer) -> str:
    """The number of the business partner."""
    return f"2{int(customer.id) % 1_000_000:06d}"


def addresses_json(customer: Customer, expanded: frozenset[str]) -> list[dict[str, Any]]:
    """The one address of a business partner, with the phones that were asked for."""
    key = partner_of(customer)
    path = f"{PARTNERS}/A_BusinessPartnerAddress(BusinessPartner='{key}',AddressID='1')"
    address: dict[str, Any] = {
        "__metadata": {
            "uri": path,
            "type": "API_BUSINESS_PARTNER.A_BusinessPartnerAddressType",
        },
        "BusinessPartner": key,
        "AddressID": "1",
        "Country": "AO",
    }
    held = "to_PhoneNumber" if customer.phone_slot == 0 else "to_MobilePhoneNumber"
    for name in ("to_PhoneNumber", "to_MobilePhoneNumber"):
        phones = [_phone_json(customer)] if name == held and customer.phone else []
        address[name] = {"results": phones} if name in expanded else _deferred(f"{path}/{name}")
    return [address]


def _phone_json(customer: Customer) -> dict[str, Any]:
    return {
        "AddressID": "1",
        "OrdinalNumber": "1",
        "DestinationLocationCountry": "AO",
        "IsDefaultPhoneNumber": True,
        "PhoneNumber": customer.phone,
        "InternationalPhoneNumber": customer.phone if (customer.phone or "")[:1] == "+" else "",
        "PhoneNumberType": "1" if customer.phone_slot == 0 else "3",
    }


def _deferred(path: str) -> dict[str, Any]:
    return {"__deferred": {"uri": path}}
