"""What a company's books hold, before any vendor's spelling: customers, documents, payments.

Money is integer minor units (centimos), instants are aware UTC, days are the company's own
(Luanda).
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from simulator.registry import VENDORS

CURRENCY: Final = "AOA"
CURRENCY_NAME: Final = "Angolan Kwanza"
LUANDA: Final = ZoneInfo("Africa/Luanda")
#: IVA, Angola's value added tax.
IVA_BPS: Final = 1400

#: The simulated vendors, in their order.
SYSTEMS: Final = tuple(VENDORS)
CLIENT_ID: Final = "sim-client"
CLIENT_SECRET: Final = "sim-secret"
#: The account of each vendor: its realm, tenant, company or account id.
ACCOUNTS: Final = {name: system.account for name, system in VENDORS.items()}


@dataclass(frozen=True, slots=True)
class Product:
    """A thing that is sold. `sku` is None for services."""

    id: str
    sku: str | None
    name: str
    unit_minor: int


@dataclass(slots=True, eq=False)
class Person:
    """Somebody who buys; the same person can be a customer in several systems."""

    first: str
    last: str
    company: str | None
    national: str | None  # nine digits, None when nobody ever wrote the number down

    @property
    def display(self) -> str:
        """Name as shown in lists."""
        return self.company or f"{self.first} {self.last}"


@dataclass(slots=True, eq=False)
class Customer:
    """A person as one system knows them; `phone` is written as somebody typed it."""

    id: str
    person: Person
    phone: str | None
    phone_slot: int  # which of the vendor's phone fields holds it
    created_at: datetime
    updated_at: datetime
    active: bool = True
    supplier: bool = False
    version: int = 0
    name: str = ""
    cache: dict[str, bytes] = field(default_factory=dict)

    def touch(self, at: datetime) -> None:
        """Records a change."""
        self.updated_at = max(at, self.updated_at)
        self.version += 1
        self.cache.clear()


@dataclass(slots=True, eq=False)
class Line:
    """One line: `quantity` whole units at `unit_minor`."""

    id: str
    product: Product
    quantity: int
    unit_minor: int

    @property
    def gross_minor(self) -> int:
        """Before discount and tax."""
        return self.quantity * self.unit_minor


@dataclass(slots=True, eq=False)
class Payment:
    """Money, or a credit, applied to one document."""

    id: str
    document: "Document"
    amount_minor: int
    day: date
    created_at: datetime
    updated_at: datetime
    credit: "Document | None" = None
    deleted: bool = False
    version: int = 0
    cache: dict[str, bytes] = field(default_factory=dict)

    @property
    def customer(self) -> Customer:
        """Who paid."""
        return self.document.customer

    def touch(self, at: datetime) -> None:
        """Records a change."""
        self.updated_at = max(at, self.updated_at)
        self.version += 1
        self.cache.clear()


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a shop, as other systems name it."""

    system: str
    id: str
    number: str


@dataclass(slots=True, eq=False)
class Document:
    """An invoice, receipt, bill or credit.

    `entity` is the simulator's name of its type, see `books`.
    """

    entity: str
    id: str
    number: str
    customer: Customer
    lines: list[Line]
    day: date
    due: date
    created_at: datetime
    updated_at: datetime
    tax_bps: int = IVA_BPS
    discount_bps: int = 0
    status: str = "open"  # draft | submitted | open | void
    deleted: bool = False
    archived: bool = False
    paid_minor: int = 0
    credited_minor: int = (
        0  # of an invoice: credits applied to it; of a credit: how much of it was applied
    )
    version: int = 0
    payments: list[Payment] = field(default_factory=list)
    source: "Document | None" = None  # what a credit or refund takes back
    taken_back: bool = False
    amount_minor: int = 0  # of documents without lines (NetSuite's customer refund)
    record_key: str = (
        ""  # Sage Intacct: a re-created record gets another key, its sales document stays
    )
    refunds: list["Document"] = field(default_factory=list)  # in shops: given back of a sale
    gross_minor: int = 0
    net_minor: int = 0
    tax_minor: int = 0
    cache: dict[str, bytes] = field(default_factory=dict)
    #: The order of a shop that this document pays or books: all of it is one sale.
    order: Order | None = None
    #: Of a shop's order: the id that a payment service gave its payment.
    payment_id: str = ""
    #: Lines that were swapped for others, where the document keeps them (Shopify).
    removed: list[Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recompute()

    def line_net_minor(self, line: Line) -> int:
        """A line after discount, rounded half up."""
        return half_up(line.gross_minor * (10_000 - self.discount_bps), 10_000)

    def line_tax_minor(self, line: Line) -> int:
        """A line's tax, rounded half up per line."""
        return half_up(self.line_net_minor(line) * self.tax_bps, 10_000)

    def recompute(self) -> None:
        """Brings the totals up to date with the lines."""
        self.gross_minor = sum(line.gross_minor for line in self.lines)
        self.net_minor = sum(map(self.line_net_minor, self.lines)) + self.amount_minor
        self.tax_minor = sum(map(self.line_tax_minor, self.lines))

    @property
    def total_minor(self) -> int:
        """With tax, after discount."""
        return self.net_minor + self.tax_minor

    @property
    def balance_minor(self) -> int:
        """What is still due, or still to be given for a credit."""
        return self.total_minor - self.paid_minor - self.credited_minor

    @property
    def refunded_minor(self) -> int:
        """What a shop gave back of a sale."""
        return sum(refund.total_minor for refund in self.refunds if not refund.deleted)

    @property
    def settled(self) -> bool:
        """Nothing left to pay or to give; what was paid may have been given back."""
        return self.status == "open" and self.balance_minor <= 0 and self.total_minor > 0

    def touch(self, at: datetime) -> None:
        """Records a change: the vendor's updated stamp and version move, never back."""
        self.recompute()
        self.updated_at = max(at, self.updated_at)
        self.version += 1
        self.cache.clear()


def half_up(numerator: int, denominator: int) -> int:
    """Exact integer division of non-negative numbers, halves upward."""
    return (2 * numerator + denominator) // (2 * denominator)
