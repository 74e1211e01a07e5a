"""The company's branches: which of them sold a document, by which way, and where it went.

All of it is drawn from the document's number alone, so that nothing else in the books depends on
it. Of some documents nobody wrote it down.
"""

from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

from simulator.model import Document


@dataclass(frozen=True, slots=True)
class Branch:
    """A shop or a warehouse."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Address:
    """As much of an address as says where it is; `code` is that of the province."""

    city: str
    province: str
    code: str


@dataclass(frozen=True, slots=True)
class Sold:
    """Where a document was sold, and where it went. None: nobody wrote it down."""

    branch: Branch | None
    department: str | None
    channel: Literal["counter", "web"]
    delivery: Address | None
    billing: Address | None

    @property
    def address(self) -> Address | None:
        """Where it was brought, else where the customer is."""
        return self.delivery or self.billing


BRANCHES: Final = (
    Branch("1010", "Loja da Maianga"),
    Branch("1020", "Loja de Talatona"),
    Branch("1030", "Armazém de Viana"),
    Branch("2010", "Loja do Lobito"),
)
_ADDRESSES: Final = (
    Address("Luanda", "Luanda", "LUA"),
    Address("Lobito", "Benguela", "BGU"),
    Address("Lubango", "Huíla", "HUI"),
    Address("Cabinda", "Cabinda", "CAB"),
)
_DEPARTMENTS: Final = ("VENDAS", "ENTREGAS", None)


def sold(document: Document) -> Sold:
    """Where a document was sold, and where it went."""
    draw = _draw(document)
    branches, addresses = (*BRANCHES, None), (*_ADDRESSES, None)
    return Sold(
        branches[draw % 5],
        _DEPARTMENTS[draw // 5 % 3],
        "counter" if draw // 15 % 3 else "web",
        # Most is carried home from the shop.
        _ADDRESSES[draw // 45 % 4] if draw // 180 % 3 == 0 else None,
        addresses[draw // 540 % 5],
    )


def seller(document: Document, position: int) -> Branch | None:
    """Who sold the line at a position, from 1 on; of some documents another sold the second."""
    of_document = sold(document).branch
    if position != 2 or of_document is None or _draw(document) // 2700 % 4:
        return of_document
    return BRANCHES[BRANCHES.index(of_document) - 1]


def _draw(document: Document) -> int:
    return crc32(f"{document.entity}/{document.number}".encode())
