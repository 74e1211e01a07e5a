"""A basket that nobody bought: what it would be worth."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from loyalty.authoring_problems import problem_lines
from loyalty.award import evaluate
from loyalty.currency import EXPONENTS
from loyalty.explain import ExplainedSale, Part, explained_sales
from loyalty.inputs import HISTORY, LINES, TIERS, Facts
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.schema import NEGATIVE_KINDS
from loyalty.types import BEGINNING, Currency, Frozen, TierName

_MEMBER = 1
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
    absent: none is set. It is the member's first purchase.
    """

    date: datetime
    #: What a credit may call it.
    id: str | None = None
    #: Of a credit: the id of the basket that it returns; None: it does not say.
    returns: str | None = None
    #: Three letters of ISO 4217.
    currency: Currency = "AOA"
    tier: TierName | None = None
    #: As promotions may ask for it; so for the account and the kind.
    system: str = "try"
    account: str = "try"
    kind: Literal["invoice", "sale", "credit_note", "refund"] = "sale"
    #: `open`: not paid yet.
    status: Literal["open", "paid"] = "paid"
    #: With tax; None: the sum of the lines.
    total: Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)] | None = None
    #: Without tax; None: not known.
    subtotal: Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)] | None = None
    #: What was given back of it, with tax.
    refunded: Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)] = Decimal(0)
    #: What was bought, for product bonuses.
    lines: Annotated[tuple[Item, ...], Field(max_length=1_000)] = ()

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
        raise BadBasketsError(problem_lines(error, Basket, "basket", {"lines": Item})) from None


def explain_history(
    baskets: Sequence[Basket],
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    fx: pl.DataFrame | None = None,
) -> list[ExplainedSale]:
    """The points of each basket; with a credit among them they are the history of one customer.

    A credit is worth what the points of the baskets up to it become less.
    """
    if not any(basket.kind in NEGATIVE_KINDS for basket in baskets):
        return [explain_basket(basket, programs, promotions, fx) for basket in baskets]
    explained, before = [], 0
    for count, basket in enumerate(baskets, 1):
        sales = _explained(baskets[:count], programs, promotions, fx)
        total = sum(sale.due or 0 for sale in sales)
        last, effect, before = sales[-1], total - before, total
        if basket.kind in NEGATIVE_KINDS and last.due == 0 and effect:
            last = replace(
                last, due=effect, parts=(Part("returned", effect, "the sale gives less"),)
            )
        explained.append(last)
    return explained


def explain_basket(
    basket: Basket,
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    fx: pl.DataFrame | None = None,
) -> ExplainedSale:
    """The points of the basket by these rules; `fx` are exchange rates (loyalty.inputs.FX).

    Budgets count as unused.
    """
    (explained,) = _explained([basket], programs, promotions, fx)
    return explained


def _explained(
    baskets: Sequence[Basket],
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    fx: pl.DataFrame | None,
) -> list[ExplainedSale]:
    """Baskets of one customer."""
    rows = [_row(number, basket, programs) for number, basket in enumerate(baskets)]
    history = pl.DataFrame(rows, schema=HISTORY, orient="row")
    held = {row["issued_at"]: basket.tier for row, basket in zip(rows, baskets, strict=True)}
    # The first tier holds since ever, the others from their basket on.
    since = [
        (_MEMBER, at if number else BEGINNING, tier)
        for number, (at, tier) in enumerate(sorted(held.items()))
        if tier
    ]
    tiers = pl.DataFrame(since, schema=TIERS, orient="row")
    lines = pl.concat([_lines(number, basket) for number, basket in enumerate(baskets)])
    facts = Facts(lines=lines) if fx is None else Facts(lines=lines, fx=fx)
    evaluation = evaluate(history, tiers, programs, promotions, facts)
    return explained_sales(evaluation, tiers, programs, promotions)


def _row(number: int, basket: Basket, programs: Sequence[Program]) -> dict[str, Any]:
    name = basket.id or (f"basket {number + 1}" if number else "basket")
    return {
        "system": basket.system, "account": basket.account, "external_id": name,
        "member_id": _MEMBER, "kind": basket.kind,
        "status": basket.status, "currency": basket.currency,
        "total_minor": basket.minor(basket.amount),
        "subtotal_minor": basket.minor(basket.subtotal),
        "amount_refunded_minor": basket.minor(basket.refunded),
        "issued_at": _instant(basket.date, programs), "page_id": 1, "record_no": number,
        "time_known": basket.date.time() != time.min, "original_external_id": basket.returns,
    }  # fmt: skip


def _instant(moment: datetime, programs: Sequence[Program]) -> datetime:
    local = moment.replace(tzinfo=ZoneInfo(max(programs, key=lambda p: p.version).timezone))
    return (moment if moment.tzinfo is not None else local).astimezone(UTC)


def _lines(record_no: int, basket: Basket) -> pl.DataFrame:
    rows = [
        (
            1,
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
