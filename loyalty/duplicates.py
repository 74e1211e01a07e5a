"""One sale told by several billing systems: which documents are of it, and which one counts.

A shop's order, its payment at a payment service and its invoice in the books are one sale. Nothing
is assumed about it until an operator declares a precedence: then the document of the first system
counts, and those of the others are worth nothing, because they are counted there ("settled").

Documents are recognised as one sale

1. by a payment's id, or by an id that is too long to be a running number: whoever's they are;
2. by a number that one names and the other has: same member, currency and amount, about one time;
3. by the rule, where it is on: same member, currency and amount, within some hours; each document
   once.

All of it is a function of the stored documents, so the order in which they arrive does not matter.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Final

import polars as pl
from pydantic import Field, field_validator

from loyalty.inputs import SALE, SETTLED
from loyalty.schema import IDLE, NEGATIVE_KINDS, UTC_US
from loyalty.types import BEGINNING, Frozen

#: What is asked of a document to recognise it elsewhere.
DOCUMENTS: Final = pl.Schema(
    {
        #: The key of a sale.
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        #: Whose sale it is, by our number; null: nobody's, as of some void ones.
        "member_id": pl.Int64(),
        #: One of `loyalty.schema.KINDS` and STATUSES.
        "kind": pl.String(),
        "status": pl.String(),
        #: ISO 4217.
        "currency": pl.String(),
        #: The whole amount, positive for credits too; and what was given back of it.
        "total_minor": pl.Int64(),
        "amount_refunded_minor": pl.Int64(),
        #: When the sale happened, as this document says.
        "issued_at": UTC_US,
        #: The number that people know it by.
        "invoice_number": pl.String(),
        #: What it names of other systems, as in `loyalty.schema.INVOICE`.
        "reference_ids": pl.String(),
        #: Of a credit document: id or number of the sale that it returns; null: it does not say.
        "original_external_id": pl.String(),
    }
)
#: Documents of which something counts elsewhere.
LEFT_OUT: Final = pl.Schema(
    {
        #: The document.
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        #: Who would earn for it.
        "member_id": pl.Int64(),
        #: How much of it counts elsewhere, in minor units.
        "settled_minor": pl.Int64(),
        #: The document that counts.
        "by_system": pl.String(),
        "by_account": pl.String(),
        "by_external_id": pl.String(),
        #: How the two were recognised, for people.
        "matched_by": pl.String(),
    }
)
#: How a breakdown names the document that counts; points of it are 0.
COUNTED_AT: Final = "counted at "
#: Ids of at least so many characters are no running numbers. (`loyalty.sale_counterparts` in the
#: database has the same number.)
LONG_ID: Final = 12
#: A number that is named in another system is of a document of about the same time.
NUMBER_DAYS: Final = 31
#: Numbers that are shorter say nothing.
_NUMBER_LENGTH: Final = 3
_PAYMENT, _ORDER = "payment:", "order:"


class Precedence(Frozen):
    """Which billing system's document counts where several tell one sale."""

    #: Systems, or one account of a system (`system/account`), the one that counts first. What is
    #: not listed takes no part.
    systems: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]
    #: The rule: sales of one member with the same amount within so many hours are one; None: off.
    within_hours: Annotated[int, Field(ge=1, le=168)] | None = None
    #: Documents dated earlier count as if nothing were declared.
    valid_from: datetime = BEGINNING

    @field_validator("systems")
    @classmethod
    def _several(cls, systems: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(systems)) != len(systems):
            raise ValueError("each system is named once")
        if len(systems) == 1:
            raise ValueError("name at least two systems, or none to declare nothing")
        return systems

    def rank(self, system: str, account: str) -> int | None:
        """The place of an account, from 0; None: it takes no part."""
        for name in (f"{system}/{account}", system):
            if name in self.systems:
                return self.systems.index(name)
        return None


@dataclass(frozen=True)
class _Match:
    """Two documents that are of one sale."""

    #: Rows of the documents.
    row: int
    other_row: int
    #: How they were recognised, for people.
    matched_by: str


@dataclass(frozen=True, slots=True)
class _Document:
    row: int
    key: tuple[str, str, str]
    member_id: int | None
    takes: bool
    is_alive: bool
    currency: str
    total_minor: int
    refunded_minor: int
    issued_at: datetime
    #: The number that people know it by; "": none.
    number: str
    #: What it names: numbers and ids of other documents, and ids of payments.
    orders: frozenset[str]
    payments: frozenset[str]
    #: Of a credit: the sale that it returns, by id or number; None: it does not say.
    returns: str | None
    rank: int

    @property
    def names(self) -> frozenset[str]:
        """By what others may name it, where they may mean another document as well."""
        return frozenset({self.number, plain_number(self.key[2])} - {""})

    @property
    def like(self) -> tuple[object, ...]:
        """What two documents of one sale have in common where no id proves it."""
        return self.member_id, self.takes, self.currency, self.total_minor


@dataclass
class _Sales:
    """Documents in groups, each of which is one sale."""

    documents: list[_Document]
    matches: list[_Match] = field(default_factory=list)
    _parent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._parent = list(range(len(self.documents)))

    def join(self, one: _Document, other: _Document, matched_by: str) -> None:
        """The two are of one sale."""
        self.matches.append(_Match(one.row, other.row, matched_by))
        self._parent[self.root(one.row)] = self.root(other.row)

    def root(self, row: int) -> int:
        """What all documents of a sale have in common."""
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def groups(self) -> list[list[_Document]]:
        """Documents of sales that have more than one, in the order of their rows."""
        by_root: dict[int, list[_Document]] = defaultdict(list)
        for match in self.matches:
            by_root.setdefault(self.root(match.row), [])
        for document in self.documents:
            if (root := self.root(document.row)) in by_root:
                by_root[root].append(document)
        return list(by_root.values())


def left_out(documents: pl.DataFrame, precedence: Precedence) -> pl.DataFrame:
    """The documents (DOCUMENTS) of which something counts elsewhere: LEFT_OUT.

    A void document counts for nothing, so it leaves none out: what other systems say then counts.
    """
    sales = _sales(documents, precedence)
    groups = sales.groups()
    rows: list[tuple[object, ...]] = []
    losers: _Losers = []
    for group in groups:
        alive = [document for document in group if document.is_alive]
        first = min((document.rank for document in alive), default=0)
        winners = [document for document in alive if document.rank == first]
        losers += [
            (document, winners)
            for document in alive
            if document.rank > first and document.issued_at >= precedence.valid_from
        ]
    how = _directly(sales.matches)
    for loser, winners in losers:
        winner, matched_by = _winner_of(loser, winners, how)
        rows.append(_row(loser, loser.total_minor, winner, matched_by))
    rows += _credits(sales.documents, losers)
    return pl.DataFrame(rows, schema=LEFT_OUT, orient="row")


def settled(left_out_sales: pl.DataFrame) -> pl.DataFrame:
    """SETTLED of LEFT_OUT: the amounts that are counted elsewhere, and where."""
    where = pl.format(
        "{}/{}: {} ({})", "by_system", "by_account", "by_external_id", "matched_by"
    ).str.replace_all(r"[\x00-\x1f]", "")
    return left_out_sales.select(*SALE, "settled_minor", where.alias("counted_at")).cast(SETTLED)


def _sales(documents: pl.DataFrame, precedence: Precedence) -> _Sales:
    sales = _Sales(list(_read(documents, precedence)))
    _by_id(sales)
    _by_number(sales)
    if precedence.within_hours is not None:
        _by_rule(sales, timedelta(hours=precedence.within_hours))
    return sales


def _read(documents: pl.DataFrame, precedence: Precedence) -> Iterator[_Document]:
    row = 0
    ranks: dict[tuple[str, str], int | None] = {}
    for (
        system, account, external_id, member_id, kind, status, currency, total, refunded, issued_at,
        number, references, returns,
    ) in documents.select(DOCUMENTS.names()).sort(SALE).iter_rows():  # fmt: skip
        if (system, account) not in ranks:
            ranks[system, account] = precedence.rank(system, account)
        rank = ranks[system, account]
        if rank is None:
            continue
        tokens = (references or "").split()
        payments = frozenset(t.removeprefix(_PAYMENT) for t in tokens if t.startswith(_PAYMENT))
        orders = frozenset(t.removeprefix(_ORDER) for t in tokens if t.startswith(_ORDER))
        yield _Document(
            row, (system, account, external_id), member_id, kind in NEGATIVE_KINDS,
            status not in IDLE and member_id is not None, currency, total, refunded or 0, issued_at,
            plain_number(number or ""), orders, payments, returns, rank,
        )  # fmt: skip
        row += 1


def plain_number(number: str) -> str:
    """A document's number as two systems may write it differently: without `#`, in lower case."""
    return number.strip().removeprefix("#").strip().lower()


def _pairs(
    document: _Document, others: Iterable[_Document], seen: set[tuple[int, int]]
) -> Iterator[_Document]:
    """Documents of other ranks and of the same sign that were not compared with this one yet."""
    for other in others:
        pair = (min(document.row, other.row), max(document.row, other.row))
        if other.rank != document.rank and other.takes == document.takes and pair not in seen:
            seen.add(pair)
            yield other


def _by_id(sales: _Sales) -> None:
    """By payments that both name, or that one names and the other is; and by long ids."""
    by_payment: dict[str, list[_Document]] = defaultdict(list)
    by_own_id: dict[str, list[_Document]] = defaultdict(list)
    for document in sales.documents:
        by_own_id[document.key[2]].append(document)
        for payment in document.payments:
            by_payment[payment].append(document)
    seen: set[tuple[int, int]] = set()
    for document in sales.documents:
        for payment in sorted(document.payments):
            for other in _pairs(document, (*by_payment[payment], *by_own_id[payment]), seen):
                sales.join(document, other, f"payment {payment}")
        for name in sorted(document.orders):
            if len(name) >= LONG_ID:
                for other in _pairs(document, by_own_id.get(name, ()), seen):
                    sales.join(document, other, f"id {name}")


def _by_number(sales: _Sales) -> None:
    """By a number that both have, or that one names and the other has."""
    numbered: dict[tuple[object, ...], list[_Document]] = defaultdict(list)
    named: dict[tuple[object, ...], list[_Document]] = defaultdict(list)
    of_members = [document for document in sales.documents if document.member_id is not None]
    for document in of_members:
        numbered[*document.like, document.number].append(document)
        for name in document.names:
            named[*document.like, name].append(document)
    seen: set[tuple[int, int]] = set()
    for document in of_members:
        wanted = [(numbered, document.number)]
        wanted += [(named, name) for name in sorted(map(plain_number, document.orders))]
        for having, number in wanted:
            if len(number) < _NUMBER_LENGTH:
                continue
            for other in _pairs(document, having.get((*document.like, number), ()), seen):
                near = abs(document.issued_at - other.issued_at) <= timedelta(days=NUMBER_DAYS)
                if near and sales.root(document.row) != sales.root(other.row):
                    sales.join(document, other, f"number {number}")


def _by_rule(sales: _Sales, within: timedelta) -> None:
    """By amount and time: each account's documents against the sales of those before it.

    The nearest in time go together. A sale takes at most one document of an account.
    """
    by_rank: dict[int, list[_Document]] = defaultdict(list)
    for document in sales.documents:
        if document.is_alive and document.total_minor > 0:
            by_rank[document.rank].append(document)
    before: dict[tuple[object, ...], list[_Document]] = defaultdict(list)
    for rank in sorted(by_rank):
        members_of_group: dict[int, set[int]] = defaultdict(set)
        for document in sales.documents:
            members_of_group[sales.root(document.row)].add(document.rank)
        candidates = [
            (abs(document.issued_at - other.issued_at), document.key, other.key, document, other)
            for document in by_rank[rank]
            if min(members_of_group[sales.root(document.row)]) == rank
            for other in before[document.like]
            if abs(document.issued_at - other.issued_at) <= within
            and rank not in members_of_group[sales.root(other.row)]
        ]
        taken: set[int] = set()
        for _, _, _, document, other in sorted(candidates, key=lambda pair: pair[:3]):
            roots = {sales.root(document.row), sales.root(other.row)}
            if not roots & taken:
                sales.join(document, other, "same customer, amount and time")
                taken |= roots | {sales.root(other.row)}
        for document in by_rank[rank]:
            before[document.like].append(document)


def _directly(found: Sequence[_Match]) -> dict[tuple[int, int], str]:
    both = {(match.row, match.other_row): match.matched_by for match in found}
    return both | {(other, row): how for (row, other), how in both.items()}


def _winner_of(
    loser: _Document, winners: Sequence[_Document], how: dict[tuple[int, int], str]
) -> tuple[_Document, str]:
    """The document that counts in place of another one, and how that is known."""
    ordered = sorted(winners, key=lambda winner: (winner.issued_at, winner.key))
    for winner in ordered:
        if matched_by := how.get((loser.row, winner.row)):
            return winner, matched_by
    own = sorted(matched_by for (row, _), matched_by in how.items() if row == loser.row)
    return ordered[0], f"by way of a third document, {own[0]}"


def _row(
    document: _Document, settled_minor: int, by: _Document, matched_by: str
) -> tuple[object, ...]:
    return (*document.key, document.member_id, settled_minor, *by.key, matched_by)


#: Documents left out, each with those that count.
_Losers = list[tuple[_Document, list[_Document]]]


def _credits(documents: Sequence[_Document], losers: _Losers) -> Iterator[tuple[object, ...]]:
    """Credits of the systems that do not count, so that nothing is taken back twice.

    A credit that names a sale which was left out takes nothing. Others take nothing as far as the
    documents that count gave back themselves.
    """
    sold: dict[tuple[object, ...], _Losers] = defaultdict(list)
    for loser, winners in losers:
        if not loser.takes:
            sold[_books(loser)].append((loser, winners))
    left = {loser.row for loser, _ in losers}
    taking: dict[tuple[object, ...], list[_Document]] = defaultdict(list)
    for document in documents:
        if document.takes and document.is_alive and document.row not in left:
            taking[_books(document)].append(document)
    for books in sorted(sold.keys() & taking.keys(), key=str):
        yield from _absorbed(taking[books], sold[books])


def _books(document: _Document) -> tuple[object, ...]:
    """What a credit and the sale that it takes back have in common."""
    return *document.key[:2], document.member_id, document.currency


def _absorbed(credit_documents: Sequence[_Document], sold: _Losers) -> Iterator[tuple[object, ...]]:
    """Of the credits of one account, member and currency what counts elsewhere."""
    by_sale: dict[tuple[int, ...], _Losers] = defaultdict(list)
    for loser, winners in sorted(sold, key=lambda pair: (pair[0].issued_at, pair[0].key)):
        by_sale[tuple(winner.row for winner in winners)].append((loser, winners))
    #: Per sale the amount that was given back where it counts, and may stand for a credit here.
    given_back = {
        sale: min(
            sum(winner.refunded_minor for winner in parts[0][1]),
            sum(loser.total_minor - loser.refunded_minor for loser, _ in parts),
        )
        for sale, parts in by_sale.items()
    }
    for document in sorted(credit_documents, key=lambda credit: (credit.issued_at, credit.key)):
        named = _named_by(document, sold)
        if named is not None:
            loser, winners = named
            how = f"takes back {loser.key[2]}, which counts there"
            yield _row(document, document.total_minor, winners[0], how)
            continue
        wanted, winner = document.total_minor, None
        for sale, parts in by_sale.items():
            part = min(wanted, given_back[sale])
            # A credit of a day without a time is of its midnight.
            if part and parts[0][0].issued_at < document.issued_at + timedelta(days=1):
                given_back[sale], wanted = given_back[sale] - part, wanted - part
                winner = winner or parts[0][1][0]
        if winner is not None:
            settled_minor = document.total_minor - wanted
            yield _row(document, settled_minor, winner, "the refund is in the one that counts")


def _named_by(credit: _Document, sold: _Losers) -> tuple[_Document, list[_Document]] | None:
    """The sale that a credit names: by its document left out, or by one that counts."""
    named = credit.orders | ({credit.returns} if credit.returns else set())
    names = named | set(map(plain_number, named))
    for loser, winners in sold:
        if any(names & {document.key[2], *document.names} for document in (loser, *winners)):
            return loser, winners
    return None
