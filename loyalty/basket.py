"""A basket that nobody bought: what it would be worth."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from loyalty.authoring_problems import problem_lines
from loyalty.award import evaluate
from loyalty.currency import EXPONENTS
from loyalty.explain import ExplainedSale, explained_sales
from loyalty.inputs import HISTORY, LINES, TIERS, Facts
from loyalty.program import Program
from loyalty.promotions import Promotion
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

    A `date` without an offset is local, in the program's time zone. `tier` is the member's, set by
    the loyalty app; absent: none is set. It is the member's first purchase.
    """

    date: datetime
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


def explain_basket(
    basket: Basket,
    programs: Sequence[Program],
    promotions: Sequence[Promotion],
    fx: pl.DataFrame | None = None,
) -> ExplainedSale:
    """The points of the basket by these rules; `fx` are exchange rates (loyalty.inputs.FX).

    Budgets count as unused.
    """
    row: dict[str, Any] = {
        "system": basket.system, "account": basket.account, "external_id": "basket",
        "member_id": _MEMBER, "kind": basket.kind,
        "status": basket.status, "currency": basket.currency,
        "total_minor": basket.minor(basket.amount),
        "subtotal_minor": basket.minor(basket.subtotal),
        "amount_refunded_minor": basket.minor(basket.refunded),
        "issued_at": _instant(basket.date, programs), "page_id": 1, "record_no": 0,
    }  # fmt: skip
    history = pl.DataFrame([row], schema=HISTORY, orient="row")
    since: datetime = BEGINNING
    tiers = pl.DataFrame(
        [(_MEMBER, since, basket.tier)] if basket.tier else [], schema=TIERS, orient="row"
    )
    facts = Facts(lines=_lines(basket)) if fx is None else Facts(lines=_lines(basket), fx=fx)
    (explained,) = explained_sales(
        evaluate(history, tiers, programs, promotions, facts), tiers, programs, promotions
    )
    return explained


def _instant(moment: datetime, programs: Sequence[Program]) -> datetime:
    local = moment.replace(tzinfo=ZoneInfo(max(programs, key=lambda p: p.version).timezone))
    return (moment if moment.tzinfo is not None else local).astimezone(UTC)


def _lines(basket: Basket) -> pl.DataFrame:
    rows = [
        (
            1,
            0,
            number,
            item.sku,
            item.name,
            int(item.quantity * 1_000_000),
            basket.minor(item.worth),
        )
        for number, item in enumerate(basket.lines, 1)
    ]
    return pl.DataFrame(rows, schema=LINES, orient="row")
