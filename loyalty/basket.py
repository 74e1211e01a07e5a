"""A basket that nobody bought: what it would be worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from loyalty.authoring_problems import problem_lines
from loyalty.award import evaluate
from loyalty.currency import EXPONENTS
from loyalty.explain import ExplainedSale, Part, explained_sales
from loyalty.inputs import (
    CODES,
    GRANTS,
    HISTORY,
    LINES,
    LISTS,
    REFERRALS,
    SALE_PLACES,
    TIERS,
    Facts,
)
from loyalty.places import PLACES
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.promotions.codes import CodeName
from loyalty.schema import NEGATIVE_KINDS
from loyalty.types import (
    BEGINNING,
    HOME_CURRENCY,
    Currency,
    Frozen,
    ListName,
    PlaceName,
    TierName,
)

_MEMBER, _FRIEND = 1, 2
#: Who is no stored member, and a page that is none.
_FRIEND_OF_STORED, _PAGE = -2, -1
Amount = Annotated[Decimal, Field(ge=-(10**12), le=10**12, allow_inf_nan=False)]


class Item(Frozen):
    """One line: `amount` in whole currency units, or `quantity` times `unit_price`."""

    #: The product's code.
    sku: str | None = None
    #: What the line says.
    name: str | None = None
    quantity: Annotated[Decimal, Field(ge=0, le=10**9, decimal_places=6)] = Decimal(1)
    unit_price: Amount | None = None
    amount: Amount | None = None

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.amount is None and self.unit_price is None:
            message = "amount or unit_price is missing"
            raise ValueError(message)
        return self

    @property
    def worth(self) -> Decimal:
        """The line's amount."""
        return self.amount if self.amount is not None else self.quantity * (self.unit_price or 0)


class Basket(Frozen):
    """A sale to try.

    Amounts are in whole currency units; the total is that of the lines if it is not given.

    A `date` without an offset is local, in the program's time zone; without a time it is a whole
    day, as in a document that tells its day only. `tier` is the member's, set by the loyalty app;
    absent: none is set. It is the member's first purchase, unless `history` says what they bought
    before, or `member` names one who is stored.
    """

    date: datetime
    #: What a credit may call it.
    id: str | None = None
    #: Of a credit: the id of the basket that it returns; None: it does not say.
    returns: str | None = None
    #: Three letters of ISO 4217; if it is not named, the program's own.
    currency: Currency = HOME_CURRENCY
    tier: TierName | None = None
    #: As promotions may ask for it; so for the account and the kind.
    system: str = "try"
    account: str = "try"
    kind: Literal["invoice", "sale", "credit_note", "refund"] = "sale"
    #: Where it was made, as promotions may ask for it; None: not known.
    store: PlaceName | None = None
    channel: PlaceName | None = None
    city: PlaceName | None = None
    region: PlaceName | None = None
    #: `open`: not paid yet.
    status: Literal["open", "paid"] = "paid"
    #: With tax; None: the sum of the lines.
    total: Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)] | None = None
    #: Without tax; None: not known.
    subtotal: Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)] | None = None
    #: What was given back of it, with tax.
    refunded: Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)] = Decimal(0)
    #: A stored member, by number: their sales, tiers, referral and limits count.
    member: Annotated[int, Field(ge=1)] | None = None
    #: What a new member bought before.
    history: Annotated[tuple["Basket", ...], Field(max_length=1_000)] = ()
    #: When somebody referred the member; None: nobody did, or it is stored.
    referred_at: datetime | None = None
    #: Who did, a stored member by number; None: a new one.
    referrer: Annotated[int, Field(ge=1)] | None = None
    #: Codes that the member enters before this purchase.
    codes: Annotated[tuple[CodeName, ...], Field(max_length=50)] = ()
    #: Lists that the member is on, from this purchase on.
    lists: Annotated[tuple[ListName, ...], Field(max_length=50)] = ()
    #: What was bought, for product bonuses.
    lines: Annotated[tuple[Item, ...], Field(max_length=1_000)] = ()

    @model_validator(mode="after")
    def _one_past(self) -> Self:
        if self.member is not None and self.history:
            message = "history is of a new member: that of a stored member is known"
            raise ValueError(message)
        if any(basket.history or basket.member or basket.referred_at for basket in self.history):
            message = "history is a list of plain baskets: no member, referral or history in them"
            raise ValueError(message)
        if self.referrer is not None and (self.member is None or self.referred_at is None):
            message = "a stored referrer needs a stored member, and referred_at"
            raise ValueError(message)
        if self.referrer is not None and self.referrer == self.member:
            message = "referrer and member are the same"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.currency not in EXPONENTS:
            message = f"currency {self.currency!r} is not one of ISO 4217"
            raise ValueError(message)
        if self.total is None and not self.lines:
            message = "total or lines are missing"
            raise ValueError(message)
        for name, amount in (
            ("total", self.amount),
            ("subtotal", self.subtotal),
            ("refunded", self.refunded),
        ):
            if amount is not None and amount.scaleb(EXPONENTS[self.currency]) % 1:
                message = f"{name} {amount} has more decimals than {self.currency}"
                raise ValueError(message)
        if not 0 <= self.refunded <= self.amount:
            message = "refunded is more than the total, or the total is negative"
            raise ValueError(message)
        return self

    @property
    def amount(self) -> Decimal:
        """The total."""
        return (
            self.total
            if self.total is not None
            else sum((line.worth for line in self.lines), Decimal(0))
        )

    def minor(self, amount: Decimal | None) -> int | None:
        """In minor units of the currency."""
        return None if amount is None else int(amount.scaleb(EXPONENTS[self.currency]))


class BadBasketsError(ValueError):
    """What was given is no basket. `problems` names every key at fault, and what to do."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def read_baskets(text: str) -> list[Basket]:
    """One basket, or a list of them, as JSON. Raises BadBasketsError."""
    try:
        return TypeAdapter(list[Basket]).validate_json(
            text if text.lstrip().startswith("[") else f"[{text}]"
        )
    except ValidationError as error:
        nested: dict[str, type[BaseModel]] = {"lines": Item, "history": Basket}
        raise BadBasketsError(problem_lines(error, Basket, "basket", nested)) from None


@dataclass(frozen=True)
class KnownMember:
    """A stored member, and whoever referred them: what their next sale is computed from."""

    #: Who earns for them.
    member_id: int
    #: Who is rewarded for them; None: nobody.
    referrer_id: int | None
    #: HISTORY.
    history: pl.DataFrame
    #: TIERS.
    tiers: pl.DataFrame
    facts: Facts
    #: What is left of the budget of each promotion and version.
    budgets_left: Mapping[tuple[str, int], int]


#: Whoever buys for the first time, and has a friend.
NEW_MEMBER: Final = KnownMember(
    _MEMBER, _FRIEND, HISTORY.to_frame(), TIERS.to_frame(), Facts(), MappingProxyType({})
)


def explain_history(
    baskets: Sequence[Basket],
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    fx: pl.DataFrame | None = None,
    known_of: Callable[[Basket], KnownMember] = lambda _: NEW_MEMBER,
) -> list[ExplainedSale]:
    """The points of each basket; with a credit among them each has those before as its history."""
    if any(basket.kind in NEGATIVE_KINDS for basket in baskets):
        baskets = [
            basket
            if basket.member is not None or basket.history
            else basket.model_copy(update={"history": tuple(baskets[:count])})
            for count, basket in enumerate(baskets)
        ]
    return [
        explain_basket(basket, programs, promotions, fx, known_of(basket)) for basket in baskets
    ]


def explain_basket(
    basket: Basket,
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    fx: pl.DataFrame | None = None,
    known: KnownMember = NEW_MEMBER,
) -> ExplainedSale:
    """The points of the basket by these rules; `fx` are exchange rates (loyalty.inputs.FX).

    For a new member budgets count as unused; for a stored one, as far as they are. A credit is
    worth what the points of the sales before it become less.
    """
    before = basket.history
    *sales, own = _explained(basket, (*before, basket), programs, promotions, fx, known)
    if basket.kind not in NEGATIVE_KINDS or own.due != 0:
        return own
    effect = sum(sale.due or 0 for sale in sales) - sum(
        sale.due or 0 for sale in _explained(basket, before, programs, promotions, fx, known)
    )
    if not effect:
        return own
    return replace(own, due=effect, parts=(Part("returned", effect, "the sale gives less"),))


def _explained(
    basket: Basket,
    baskets: Sequence[Basket],
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    fx: pl.DataFrame | None,
    known: KnownMember,
) -> list[ExplainedSale]:
    """All sales of the member with these baskets; the last of them comes last.

    `basket` says who referred the member.
    """
    if not baskets and known.history.is_empty():
        return []
    latest = max(programs, key=lambda p: p.version)
    baskets = [_with_currency(each, latest.currency) for each in baskets]
    rows = [_row(n, each, programs, known.member_id) for n, each in enumerate(baskets)]
    history = pl.concat([known.history, pl.DataFrame(rows, schema=HISTORY, orient="row")])
    tiers = pl.concat([known.tiers, _tiers(rows, baskets, known)])
    facts = known.facts if fx is None else replace(known.facts, fx=fx)
    lines = pl.concat([facts.lines, *(_lines(n, each) for n, each in enumerate(baskets))])
    facts = replace(
        facts, members=None, lines=lines, referrals=_referrals(basket, known, programs),
        grants=_grants(rows, known),
        codes=pl.concat([facts.codes, _entered(rows, baskets, known)]),
        lists=pl.concat([facts.lists, _listed(rows, baskets, known)]),
        places=pl.concat([facts.places, _places(rows, baskets)]),
    )  # fmt: skip
    evaluation = evaluate(history, tiers, programs, promotions, facts)
    explained = explained_sales(evaluation, tiers, programs, promotions)
    mine = [sale for sale in explained if sale.member_id == known.member_id]
    if not rows:
        return mine
    last = {_name(sale): sale for sale in mine}[_key(rows[-1])]
    rewards = [
        sale.due or 0
        for sale in explained
        if sale.member_id != known.member_id and _name(sale) == _name(last)
    ]
    told = replace(last, referrer_points=sum(rewards) if rewards else None)
    return [*(sale for sale in mine if sale is not last), told]


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["system"], row["account"], row["external_id"]


def _name(sale: ExplainedSale) -> tuple[str, str, str]:
    return sale.system, sale.account, sale.external_id


def _with_currency(basket: Basket, own: str) -> Basket:
    """In the program's own currency, where the basket names none."""
    named = "currency" in basket.model_fields_set
    return basket if named else basket.model_copy(update={"currency": own})


def _row(
    number: int, basket: Basket, programs: Sequence[Program], member_id: int
) -> dict[str, Any]:
    name = basket.id or (f"basket {number + 1}" if number else "basket")
    return {
        "system": basket.system, "account": basket.account, "external_id": name,
        "member_id": member_id, "kind": basket.kind,
        "status": basket.status, "currency": basket.currency,
        "total_minor": basket.minor(basket.amount),
        "subtotal_minor": basket.minor(basket.subtotal),
        "amount_refunded_minor": basket.minor(basket.refunded),
        "issued_at": _instant(basket.date, programs), "page_id": _PAGE, "record_no": number,
        "time_known": basket.date.time() != time.min, "original_external_id": basket.returns,
    }  # fmt: skip


def _tiers(
    rows: Sequence[Mapping[str, Any]], baskets: Sequence[Basket], known: KnownMember
) -> pl.DataFrame:
    """The tiers that baskets name: a new member's first one holds since ever."""
    held = {
        row["issued_at"]: basket.tier
        for row, basket in zip(rows, baskets, strict=True)
        if basket.tier
    }
    since = [
        (known.member_id, at if number or known is not NEW_MEMBER else BEGINNING, tier)
        for number, (at, tier) in enumerate(sorted(held.items()))
    ]
    return pl.DataFrame(since, schema=TIERS, orient="row")


def _places(rows: Sequence[Mapping[str, Any]], baskets: Sequence[Basket]) -> pl.DataFrame:
    said = [
        (row["page_id"], row["record_no"], *(getattr(basket, place) for place in PLACES))
        for row, basket in zip(rows, baskets, strict=True)
    ]
    return pl.DataFrame(said, schema=SALE_PLACES, orient="row")


def _entered(
    rows: Sequence[Mapping[str, Any]], baskets: Sequence[Basket], known: KnownMember
) -> pl.DataFrame:
    """Codes that baskets name: entered at the instant of their purchase."""
    entered = [
        (known.member_id, code, row["issued_at"])
        for row, basket in zip(rows, baskets, strict=True)
        for code in basket.codes
    ]
    return pl.DataFrame(entered, schema=CODES, orient="row")


def _listed(
    rows: Sequence[Mapping[str, Any]], baskets: Sequence[Basket], known: KnownMember
) -> pl.DataFrame:
    """Lists that baskets name: the member is on them from their purchase on."""
    listed = [
        (known.member_id, name, row["issued_at"], None)
        for row, basket in zip(rows, baskets, strict=True)
        for name in basket.lists
    ]
    return pl.DataFrame(listed, schema=LISTS, orient="row")


def _referrals(basket: Basket, known: KnownMember, programs: Sequence[Program]) -> pl.DataFrame:
    """What is stored, or the referral that the basket names instead."""
    stored = known.facts.referrals
    if basket.referred_at is None:
        return stored
    referrer = known.referrer_id if known.referrer_id is not None else _FRIEND_OF_STORED
    row = (known.member_id, referrer, _instant(basket.referred_at, programs))
    others = stored.filter(pl.col("friend_id") != known.member_id)
    return pl.concat([others, pl.DataFrame([row], schema=REFERRALS, orient="row")])


def _grants(rows: Sequence[Mapping[str, Any]], known: KnownMember) -> pl.DataFrame | None:
    """What budgets granted so far, and what is left of them for the last basket."""
    if known.facts.grants is None or not rows:
        return known.facts.grants
    left = [
        (name, version, *_key(rows[-1]), member, points)
        for (name, version), points in known.budgets_left.items()
        for member in (known.member_id, known.referrer_id)
        if member is not None
    ]
    return pl.concat([known.facts.grants, pl.DataFrame(left, schema=GRANTS, orient="row")])


def _instant(moment: datetime, programs: Sequence[Program]) -> datetime:
    local = moment.replace(tzinfo=ZoneInfo(max(programs, key=lambda p: p.version).timezone))
    return (moment if moment.tzinfo is not None else local).astimezone(UTC)


def _lines(record_no: int, basket: Basket) -> pl.DataFrame:
    rows = [
        (
            _PAGE,
            record_no,
            number,
            item.sku,
            item.name,
            int(item.quantity * 1_000_000),
            basket.minor(item.worth),
        )
        for number, item in enumerate(basket.lines, 1)
    ]
    return pl.DataFrame(rows, schema=LINES, orient="row")
