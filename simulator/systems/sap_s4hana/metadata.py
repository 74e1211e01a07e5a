"""The description of a service (`$metadata`), which clients of OData 2 read first.

Its types are those of the values that the service sends.
"""

from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import quoteattr

_KEYS: Final = {
    "A_BillingDocument": ("BillingDocument",),
    "A_BillingDocumentItem": ("BillingDocument", "BillingDocumentItem"),
    "A_BusinessPartner": ("BusinessPartner",),
    "A_BusinessPartnerAddress": ("BusinessPartner", "AddressID"),
    "A_AddressPhoneNumber": ("AddressID", "OrdinalNumber"),
}


def metadata(
    service: str, records: Mapping[str, Mapping[str, Any]], links: Mapping[str, str]
) -> str:
    """The document.

    Args:
        service: The service's name, which is that of its schema too.
        records: One record of each entity set, without what it links to.
        links: Entity sets by what links to them, as `A_BillingDocument/to_Item`.
    """
    types = "".join(_type(service, name, record, links) for name, record in records.items())
    pairs = "".join(_association(service, link, target) for link, target in links.items())
    sets = "".join(
        f'<EntitySet Name="{name}" EntityType="{service}.{name}Type"/>' for name in records
    )
    ends = "".join(_association_set(service, link, target) for link, target in links.items())
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx" '
        'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">'
        '<edmx:DataServices m:DataServiceVersion="2.0">'
        f'<Schema Namespace="{service}" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">'
        f'{types}{pairs}<EntityContainer Name="{service}_Entities" '
        f'm:IsDefaultEntityContainer="true">{sets}{ends}</EntityContainer></Schema>'
        "</edmx:DataServices></edmx:Edmx>"
    )


def _type(service: str, name: str, record: Mapping[str, Any], links: Mapping[str, str]) -> str:
    keys = "".join(f'<PropertyRef Name="{key}"/>' for key in _KEYS[name])
    properties = "".join(
        f"<Property Name={quoteattr(field)} {_kind(field, value)}"
        f' Nullable="{"false" if field in _KEYS[name] else "true"}"/>'
        for field, value in record.items()
    )
    navigation = "".join(
        f'<NavigationProperty Name="{link}" Relationship="{service}.{owner}_{link}" '
        f'FromRole="From" ToRole="To"/>'
        for owner, link in (link.split("/") for link in links)
        if owner == name
    )
    return f'<EntityType Name="{name}Type"><Key>{keys}</Key>{properties}{navigation}</EntityType>'


def _kind(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return 'Type="Edm.Boolean"'
    if field.endswith("DateTime"):
        return 'Type="Edm.DateTimeOffset" Precision="7"'
    if field.endswith("Date"):
        return 'Type="Edm.DateTime" Precision="0"'
    if field.endswith("Time"):
        return 'Type="Edm.Time" Precision="0"'
    if field.endswith("Amount"):
        return 'Type="Edm.Decimal" Precision="16" Scale="3"'
    if field.endswith("Quantity"):
        return 'Type="Edm.Decimal" Precision="13" Scale="3"'
    return 'Type="Edm.String"'


def _association(service: str, link: str, target: str) -> str:
    owner, name = link.split("/")
    return (
        f'<Association Name="{owner}_{name}">'
        f'<End Type="{service}.{owner}Type" Multiplicity="1" Role="From"/>'
        f'<End Type="{service}.{target}Type" Multiplicity="*" Role="To"/></Association>'
    )


def _association_set(service: str, link: str, target: str) -> str:
    owner, name = link.split("/")
    return (
        f'<AssociationSet Name="{owner}_{name}Set" Association="{service}.{owner}_{name}">'
        f'<End EntitySet="{owner}" Role="From"/><End EntitySet="{target}" Role="To"/>'
        "</AssociationSet>"
    )
