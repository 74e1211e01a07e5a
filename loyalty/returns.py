"""Credit documents brought home to the sales that they return.

A credit is the return of one sale or several: of the one that it names; else of the customer's
latest sales with its products; else of their latest sale of enough amount. What is returned is
taken off those sales, product by product, and they are evaluated again at their own dates. So the
credit itself takes no points: a sale gives less, and never less than nothing. What finds no sale
takes nothing, because the customer was given nothing for it.

All of it follows from the stored documents, in the order of `loyalty.days`, whenever they came.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import polars as pl

from loyalty.inputs import SALE
from loyalty.line_amounts import net_amounts
from loyalty.program import Program
from loyalty.schema import IDLE, NEGATIVE_KINDS

#: By what a credit found its sale. link: it names it. product: the sale has the product. amount: it
#: is the latest sale of enough amount. vendor: the billing system had counted the amount at the
#: sale that the credit names, and the credit says which products it was.
How = Literal["link", "product", "amount", "vendor"]
#: What of each document counts elsewhere.
COUNTED: Final = pl.Schema(
    {
        #: The document.
        "_row": pl.UInt32(),
        #: Of a sale what came back, of a credit all that is left; with tax, in minor units.
        "matched_minor": pl.Int64(),
        #: Of a sale: what came back of known products, with tax; counted by the vendor or by us.
        "by_product_minor": pl.Int64(),
    }
)
#: Which products of a sale came back.
PRODUCTS: Final = pl.Schema(
    {
        #: The sale.
        "_row": pl.UInt32(),
        "sku": pl.String(),
        "name": pl.String(),
        #: After discounts, in minor units.
        "returned_minor": pl.Int64(),
        #: The same product before anything came back.
        "sold_minor": pl.Int64(),
        "returned_micro": pl.Int64(),
    }
)
#: Which credit was brought home to which sale.
MATCHES: Final = pl.Schema(
    {
        "credit_row": pl.UInt32(),
        "sale_row": pl.UInt32(),
        #: One of `How`.
        "how": pl.String(),
        #: With tax, in minor units.
        "amount_minor": pl.Int64(),
    }
)
#: What is read of each document.
_READ: Final = (
    "_row", *SALE, "kind", "status", "invoice_number", "original_external_id", "issued_at",
    "latest_at", "total_minor", "amount_refunded_minor", "subtotal_minor", "left_minor",
)  # fmt: skip


@dataclass(frozen=True)
class Returns:
    """What came back of the sales of a history."""

    #: COUNTED; documents of which nothing counts elsewhere are left out.
    documents: pl.DataFrame = field(default_factory=COUNTED.to_frame)
    #: PRODUCTS.
    products: pl.DataFrame = field(default_factory=PRODUCTS.to_frame)
    #: MATCHES.
    matches: pl.DataFrame = field(default_factory=MATCHES.to_frame)


@dataclass(eq=False)
class _Product:
    """A product of a document: what is left of it, and what it was."""

    sku: str | None
    name: str | None
    amount: int
    quantity: int
    sold: int
    sold_quantity: int

    def take(self, amount: int, quantity: int) -> tuple[int, int]:
        """Takes as much as there is; returns the amount and the units (millionths) taken."""
        taken = min(amount, self.amount)
        if quantity > 0:
            units = min(quantity, self.quantity)
        else:
            units = min(self.quantity, self.sold_quantity * taken // max(self.sold, 1))
        self.amount, self.quantity = self.amount - taken, self.quantity - units
        return taken, units


@dataclass(eq=False)
class _Document:
    """A sale or a credit: what is left of it. Money is with tax, in minor units."""

    row: int
    account: tuple[str, str]
    takes: bool
    issued_at: datetime
    latest_at: datetime
    link: str | None
    total: int
    left: int
    #: What its lines are shares of.
    whole: int
    products: list[_Product]
    #: Of a credit: the billing system counts a part of it at sales, and says nothing of the rest.
    is_divided: bool
    #: Line amounts that came back, and the money that they are.
    returned: int = 0
    by_product: int = 0
    #: Money that came back and is on no line.
    unlisted: int = 0
    #: Of a sale what came back by us, of a credit what found its sale.
    matched: int = 0
    #: How many times something came back.
    times: int = 0

    def __post_init__(self) -> None:
        #: What the billing system counts as given back of a sale, or elsewhere of a credit.
        self.elsewhere = max(0, self.total - self.left)

    def worth_of(self, line_amount: int) -> int:
        """The money that so much of its lines stands for."""
        return self.total * line_amount // self.whole

    def unlisted_left(self) -> int:
        """The money that is on no line, as far as it did not come back."""
        listed = sum(product.sold for product in self.products)
        return max(0, self.total - self.worth_of(listed) - self.unlisted)

    def fitting(self, line: _Product) -> list[_Product]:
        """Its products that a line of a credit may be; the same name first."""
        same = [p for p in self.products if p.amount > 0 and _name(p) == _name(line)]
        return sorted(same, key=lambda product: product.name != line.name)

    def take_line(self, line: _Product, money: int) -> int:
        """Takes as much of a credit's line as there is; returns the money, at most `money`."""
        for product in self.fitting(line) if line.amount > 0 else ():
            taken, units = product.take(line.amount, line.quantity)
            line.amount, line.quantity = line.amount - taken, max(0, line.quantity - units)
            self.returned += taken
        worth = max(0, min(money, self.worth_of(self.returned) - self.by_product))
        self.by_product += worth
        return worth

    def take_the_rest(self) -> None:
        """Takes the last minor units of a sale of which all lines came back: taxes are rounded."""
        all_back = self.products and all(product.amount == 0 for product in self.products)
        if all_back and not self.takes and self.left <= self.times:
            self.matched, self.left = self.matched + self.left, 0


def bring_home(frame: pl.DataFrame, programs: Sequence[Program], lines: pl.DataFrame) -> Returns:
    """What came back of each sale.

    Args:
        frame: HISTORY with `_row`, program_version, ordered_at, latest_at, and `left_minor`: what
            of the document is not counted elsewhere, with tax; nothing of drafts and voids.
        programs: All versions; those with `unlinked_credits = "returned_sales"` at the credit's
            date ask for it.
        lines: LINES.
    """
    asking = [p.version for p in programs if p.unlinked_credits == "returned_sales"]
    takes = pl.col("kind").is_in(NEGATIVE_KINDS)
    credit_notes = frame.filter(
        takes & pl.col("program_version").is_in(asking) & ~pl.col("status").is_in(IDLE)
    )
    if credit_notes.is_empty():
        return Returns()
    whose = ["member_id", "currency"]
    # Sales of nothing are left out: nothing can come back of them.
    sold = frame.filter(~takes & (pl.col("total_minor") > 0))
    sales = sold.join(credit_notes.select(whose).unique(), on=whose, how="semi")
    both = pl.concat([sales, credit_notes]).sort(*whose, "ordered_at", *SALE)
    products, found = _products(both, lines), _Found()
    for customer in both.select(*whose, *_READ).partition_by(whose):
        _Customer.of(customer, products, found).bring_home()
    return found.returns()


def _products(documents: pl.DataFrame, lines: pl.DataFrame) -> dict[int, list[_Product]]:
    """The products of each document after discounts, by row."""
    rows = lines.join(documents.select("_row", "page_id", "record_no"), on=["page_id", "record_no"])
    sums = rows.group_by("_row", "sku", "name").agg(
        pl.col("amount_minor").fill_null(0).sum(),
        pl.col("quantity_micro").fill_null(0).sum().clip(lower_bound=0),
    )
    net = net_amounts(sums, documents).sort("_row", "sku", "name", nulls_last=True)
    products: dict[int, list[_Product]] = {}
    for row, sku, name, amount, quantity in net.select(
        "_row", "sku", "name", "amount_minor", "quantity_micro"
    ).iter_rows():
        if amount > 0:
            product = _Product(sku, name, amount, quantity, amount, quantity)
            products.setdefault(row, []).append(product)
    return products


def _document(row: dict[str, Any], products: list[_Product]) -> _Document:
    total, subtotal = row["total_minor"], row["subtotal_minor"]
    listed = sum(product.amount for product in products)
    takes, left = row["kind"] in NEGATIVE_KINDS, row["left_minor"]
    for line in products if takes and left < total else ():  # the rest counts elsewhere
        line.amount = line.amount * left // max(total, 1)
        line.quantity = line.quantity * left // max(total, 1)
    return _Document(
        row["_row"], (row["system"], row["account"]), takes,
        row["issued_at"], row["latest_at"], row["original_external_id"], total, left,
        max(listed, total if subtotal is None else subtotal, 1), products,
        takes and (row["amount_refunded_minor"] or 0) > 0,
    )  # fmt: skip


@dataclass
class _Found:
    """What was found for all customers."""

    documents: list[tuple[int, int, int]] = field(default_factory=list)
    products: list[tuple[Any, ...]] = field(default_factory=list)
    matches: dict[tuple[int, int, str], int] = field(default_factory=dict)

    def match(self, credit: _Document, sale: _Document, how: How, amount: int) -> None:
        key = (credit.row, sale.row, how)
        self.matches[key] = self.matches.get(key, 0) + amount
        sale.times += 1

    def close(self, documents: Iterable[_Document]) -> None:
        """Notes what came back of the documents of a customer."""
        for document in documents:
            document.take_the_rest()
            # What of a credit found no sale takes nothing.
            counted = document.matched + (document.left if document.takes else 0)
            if counted or document.by_product:
                self.documents.append((document.row, counted, document.by_product))
            self.products += [
                (document.row, product.sku, product.name, product.sold - product.amount,
                 product.sold, product.sold_quantity - product.quantity)
                for product in (() if document.takes else document.products)
                if product.sold > product.amount or product.sold_quantity > product.quantity
            ]  # fmt: skip

    def returns(self) -> Returns:
        matches = [(*key, amount) for key, amount in self.matches.items() if amount]
        return Returns(
            pl.DataFrame(self.documents, schema=COUNTED, orient="row"),
            pl.DataFrame(self.products, schema=PRODUCTS, orient="row"),
            pl.DataFrame(matches, schema=MATCHES, orient="row"),
        )


@dataclass
class _Stacks:
    """The sales of an account before an instant, the latest last: all, and by product."""

    sales: list[_Document] = field(default_factory=list)
    by_product: dict[tuple[str, str | None], list[_Document]] = field(default_factory=dict)
    #: No sale has more left than this.
    largest: int = 0

    def push(self, sale: _Document) -> None:
        self.sales.append(sale)
        self.largest = max(self.largest, sale.left)
        for name in {_name(product) for product in sale.products}:
            self.by_product.setdefault(name, []).append(sale)

    def of_product(self, line: _Product) -> Iterator[_Document]:
        """The sales that still have the product, the latest first."""
        stack = self.by_product.get(_name(line), [])
        return _latest_first(stack, lambda sale: bool(sale.fitting(line)))

    def latest(self) -> Iterator[_Document]:
        """The sales that are worth something, the latest first."""
        return _latest_first(self.sales, lambda _: True)


def _latest_first(stack: list[_Document], fits: Callable[[_Document], bool]) -> Iterator[_Document]:
    """Those of the stack that fit. Used up ones at its end are dropped for good."""
    while stack and not (stack[-1].left > 0 and fits(stack[-1])):
        stack.pop()
    yield from (sale for sale in reversed(stack) if sale.left > 0 and fits(sale))


def _name(product: _Product) -> tuple[str, str | None]:
    """What makes a product the same one: its SKU, or its name if it has none."""
    return ("sku", product.sku) if product.sku else ("name", product.name)


@dataclass
class _Customer:
    """The documents of one customer in one currency, in order of time."""

    sales: list[_Document]
    credit_notes: list[_Document]
    #: The sales by what a credit may call them: account, and id or number.
    by_name: dict[tuple[tuple[str, str], str], _Document]
    found: _Found

    @classmethod
    def of(
        cls, frame: pl.DataFrame, products: dict[int, list[_Product]], found: _Found
    ) -> "_Customer":
        """From documents in order of time."""
        customer = cls([], [], {}, found)
        ids: dict[tuple[tuple[str, str], str], _Document] = {}
        numbers: dict[tuple[tuple[str, str], str], _Document] = {}
        # What did not happen is named by its number only where nothing that happened has it. A
        # system of one's own may have announced a sale by its number, which is void since the list
        # told its id.
        idle: dict[tuple[tuple[str, str], str], _Document] = {}
        for row in frame.iter_rows(named=True):
            document = _document(row, products.get(row["_row"], []))
            if document.takes:
                customer.credit_notes.append(document)
                continue
            customer.sales.append(document)
            is_idle, number = row["status"] in IDLE, row["invoice_number"]
            by_number = is_idle and number in (None, row["external_id"])
            (idle if by_number else ids)[document.account, row["external_id"]] = document
            if number:
                (idle if is_idle else numbers)[document.account, number] = document
        customer.by_name = idle | numbers | ids
        return customer

    def bring_home(self) -> None:
        """What is named is certain, so it comes first; then the credits in order of time.

        What a billing system left over when it divided a credit among sales is of none of them.
        """
        for credit in self.credit_notes:
            if (sale := self._named(credit)) is not None:
                self._counted_by_vendor(credit, sale)
                if not credit.is_divided:
                    self._return(credit, [sale])
        open_sales: dict[tuple[str, str], _Stacks] = {}
        at = 0
        for credit in sorted(self.credit_notes, key=lambda document: document.latest_at):
            if credit.left <= 0 or (self._named(credit) is not None and not credit.is_divided):
                continue
            while at < len(self.sales) and self.sales[at].issued_at <= credit.latest_at:
                sale, at = self.sales[at], at + 1
                open_sales.setdefault(sale.account, _Stacks()).push(sale)
            # At another shop of the same company only what this one never sold.
            ordered = sorted(open_sales, key=lambda account: (account != credit.account, account))
            self._search(credit, [open_sales[account] for account in ordered])
        self.found.close([*self.sales, *self.credit_notes])

    def _named(self, credit: _Document) -> _Document | None:
        return self.by_name.get((credit.account, credit.link)) if credit.link else None

    def _counted_by_vendor(self, credit: _Document, sale: _Document) -> None:
        """The amount is off the sale already; the credit says which products it was."""
        counted = min(credit.elsewhere, sale.elsewhere - sale.by_product)
        if counted <= 0:
            return
        money = _Money(counted, sum(line.sold for line in credit.products))
        whole = max(credit.total, 1)
        for line in credit.products:
            part = _Product(
                line.sku, line.name, line.sold * counted // whole,
                line.sold_quantity * counted // whole, 0, 0,
            )  # fmt: skip
            money.add(line.sold)
            taken = sale.take_line(part, money.free)
            money.spend(taken)
            self.found.match(credit, sale, "vendor", taken)

    def _return(self, credit: _Document, sales: Sequence[_Document]) -> None:
        """Brings a credit home to the sale that it names, and to no other."""
        if credit.left <= 0:
            return
        money, homeless = _money_of(credit)
        for line in credit.products:
            homeless += self._line(credit, line, money, sales, "link")
        for sale in sales:
            self._lower(credit, sale, min(homeless, sale.left), "link")

    def _search(self, credit: _Document, stacks: Sequence[_Stacks]) -> None:
        """Product by product at the latest sales that have it, and the rest by its amount."""
        money, homeless = _money_of(credit)
        for line in credit.products:
            sales = (sale for stack in stacks for sale in stack.of_product(line))
            homeless += self._line(credit, line, money, sales, "product")
        for sale in _of_enough(homeless, stacks):
            part = min(homeless, sale.left)
            self._lower(credit, sale, part, "amount")
            homeless -= part
            if not homeless:
                break

    def _line(
        self, credit: _Document, line: _Product, money: "_Money", sales: Iterable[_Document],
        how: How,
    ) -> int:  # fmt: skip
        """Brings a line home to these sales; returns the money that found no such product."""
        before, counted, homes = line.amount, line.quantity > 0, []
        share = money.add(line.amount)
        for sale in sales:
            worth = min(sale.take_line(line, min(money.free, sale.left)), sale.left)
            money.spend(worth)
            self._lower(credit, sale, worth, how)
            homes.append(sale)
            if line.amount == 0 or (counted and line.quantity == 0):
                # All units are home: what is left of the amount is a difference of prices.
                line.amount = 0
                break
        homeless = share * line.amount // max(before, 1)
        money.spend(homeless)
        for sale in homes:  # tax and the like, which the sale has on no line either
            part = min(money.free, sale.unlisted_left(), sale.left)
            sale.unlisted += part
            money.spend(part)
            self._lower(credit, sale, part, how)
        return homeless

    def _lower(self, credit: _Document, sale: _Document, amount: int, how: How) -> None:
        if amount <= 0:
            return
        sale.left, sale.matched = sale.left - amount, sale.matched + amount
        credit.left, credit.matched = credit.left - amount, credit.matched + amount
        self.found.match(credit, sale, how, amount)


class _Money:
    """Divides an amount over the lines of a credit; the parts sum to it exactly."""

    def __init__(self, amount: int, listed: int) -> None:
        self._amount, self._reached, self._listed = amount, 0, max(listed, 1)
        #: What of the lines so far is not spent yet.
        self.free = 0

    def add(self, line_amount: int) -> int:
        """The share of the next line, which is free from now on."""
        before = self._amount * self._reached // self._listed
        self._reached += line_amount
        share = self._amount * self._reached // self._listed - before
        self.free += share
        return share

    def spend(self, amount: int) -> None:
        self.free -= amount


def _money_of(credit: _Document) -> tuple[_Money, int]:
    """What is left of a credit, for its lines; and what it has on no line at all."""
    listed = sum(line.amount for line in credit.products)
    return _Money(credit.left, listed), 0 if listed else credit.left


def _of_enough(amount: int, stacks: Sequence[_Stacks]) -> Iterator[_Document]:
    """The latest sale of enough amount; where there is none, the latest sales."""
    if amount <= 0:
        return
    for stack in stacks:
        if stack.largest >= amount:
            enough = next((sale for sale in stack.latest() if sale.left >= amount), None)
            if enough is not None:
                yield enough
                return
    for stack in stacks:
        yield from stack.latest()
