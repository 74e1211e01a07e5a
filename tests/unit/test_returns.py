"""Credit documents brought home to the sales that they return, and discounts on lines."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from loyalty.award import award
from loyalty.inputs import LINES, Facts
from loyalty.program import Program
from loyalty.promotions import Promotion
from tests.support.ledger import NOON, PROGRAM, history, sale, tiers

DAY = timedelta(days=1)
HOME = PROGRAM.model_copy(update={"unlinked_credits": "returned_sales", "discount_lines": "spread"})
LONG_AGO = NOON - 400 * DAY
Line = tuple[str | None, str | None, float | None, int]


def promotion(rule: dict[str, Any], **more: Any) -> Promotion:
    return Promotion.model_validate(
        {"promotion_id": "p", "version": 1, "valid_from": LONG_AGO, "rule": rule} | more
    )


SEASON = promotion({"kind": "seasonal_multiplier", "multiplier_bps": 30_000})
BONUS = promotion({"kind": "purchase_bonus", "points": 500}, promotion_id="b")
NO_DEPOSITS = promotion(
    {"kind": "product_bonus", "match": {"sku_patterns": ["DEP*"]}, "multiplier_bps": 0}
)


def doc(number: int, total: int, *lines: Line, **more: Any) -> dict[str, Any]:
    """A document of the day `number`, with lines (sku, name, units, minor units)."""
    row = sale(
        external_id=f"D{number}", total_minor=total, issued_at=NOON + number * DAY,
        record_no=number, status="paid",
    )  # fmt: skip
    return row | {"lines": lines} | more


def credit(number: int, total: int, *lines: Line, **more: Any) -> dict[str, Any]:
    return doc(number, total, *lines, kind="credit_note", **more)


def points(
    *documents: dict[str, Any],
    promotions: tuple[Promotion, ...] = (),
    program: Program = HOME,
    **options: Any,
) -> dict[str, int]:
    """Points per document, the zeros left out."""
    rows, lines = [], []
    for document in documents:
        rows.append({name: value for name, value in document.items() if name != "lines"})
        lines += [
            (1, document["record_no"], n, sku, name, units and int(units * 10**6), amount)
            for n, (sku, name, units, amount) in enumerate(document["lines"], 1)
        ]
    facts = Facts(lines=pl.DataFrame(lines, schema=LINES, orient="row"))
    known = options.get("tiers", tiers())
    frame = award(history(*rows), known, [program], promotions, facts)
    backwards = award(history(*rows[::-1]), known, [program], promotions, facts)
    due = dict(frame.select("external_id", "due").iter_rows())
    assert due == dict(backwards.select("external_id", "due").iter_rows())
    return {name: value for name, value in due.items() if value}


WATER, DEPOSIT = ("ATW-18L", None, 1, 50_000), ("DEP-18", None, 1, 200_000)


@pytest.mark.parametrize("link", [None, "D1", "N-1"])
def test_an_empty_bottle_back_takes_nothing(link: str | None) -> None:
    """The deposit earned nothing, so that its return takes nothing, linked or not."""
    sold = doc(1, 250_000, WATER, DEPOSIT, invoice_number="N-1")
    back = credit(2, 200_000, DEPOSIT, original_external_id=link)
    assert points(sold, back, promotions=(NO_DEPOSITS,)) == {"D1": 5_000}


def test_what_the_vendor_had_credited_is_taken_off_the_products_of_the_credit() -> None:
    """Xero lowers the invoice itself; its credit note says that it was the deposit."""
    sold = doc(1, 250_000, WATER, DEPOSIT, amount_refunded_minor=200_000)
    back = credit(2, 200_000, DEPOSIT, amount_refunded_minor=200_000, original_external_id="D1")
    assert points(sold, back, promotions=(NO_DEPOSITS,)) == {"D1": 5_000}
    assert points(sold, promotions=(NO_DEPOSITS,)) == {"D1": 1_000}


@pytest.mark.parametrize(("sold_minor", "left"), [(50_000, 3_000), (20_000, 0)])
def test_what_the_vendor_did_not_allocate_of_a_credit_finds_its_own_sale(
    sold_minor: int, left: int
) -> None:
    """200.00 of 500.00 are allocated to the first sale: the other 300.00 are of no sale's name."""
    water: Line = ("ATW-18L", None, 1, sold_minor)
    sold = [doc(1, sold_minor, water, amount_refunded_minor=20_000), doc(2, 50_000, WATER)]
    back = {"amount_refunded_minor": 20_000, "original_external_id": "D1"}
    rest = {"D1": left} if left else {}
    assert points(*sold, credit(3, 50_000, WATER, **back)) == {"D2": 2_000} | rest


def test_a_whole_return_leaves_nothing() -> None:
    """Without a link: season and bonus go with the sale."""
    assert points(doc(1, 10_000), promotions=(SEASON, BONUS)) == {"D1": 3_500}
    assert points(doc(1, 10_000), credit(2, 10_000), promotions=(SEASON, BONUS)) == {}


def test_bought_and_returned_five_times_leaves_nothing() -> None:
    both = [entry for n in range(1, 10, 2) for entry in (doc(n, 1_000), credit(n + 1, 1_000))]
    assert points(*both, promotions=(BONUS,)) == {}


def test_a_higher_tier_since_takes_no_more_than_was_given() -> None:
    risen = tiers((1, NOON + 2 * DAY, "platinum"))
    assert points(doc(1, 10_000), credit(3, 10_000), tiers=risen) == {}


def test_what_matches_no_sale_takes_nothing() -> None:
    assert points(credit(1, 10_000)) == {}
    assert points(doc(1, 4_000), credit(2, 10_000)) == {}
    assert points(doc(1, 4_000), credit(2, 4_000, currency="JPY")) == {"D1": 400}
    later = points(doc(3, 4_000), credit(2, 4_000))
    assert later == {"D3": 400}


def test_the_latest_sale_of_the_product_is_returned_and_not_the_latest_sale() -> None:
    cups: Line = ("COPO", None, 1, 10_000)
    sold = [doc(1, 10_000, cups), doc(2, 50_000, WATER), doc(3, 60_000, WATER, cups)]
    assert points(*sold, credit(4, 10_000, cups)) == {"D1": 1_000, "D2": 5_000, "D3": 5_000}
    back = [credit(4, 10_000, cups), credit(5, 10_000, cups)]
    assert points(*sold, *back) == {"D2": 5_000, "D3": 5_000}
    assert points(*sold, *back, credit(6, 10_000, cups)) == {"D2": 5_000, "D3": 4_000}


def test_units_over_several_sales() -> None:
    def cups(units: int) -> Line:
        return ("COPO", None, units, units * 1_000)

    per_unit = promotion(
        {"kind": "product_bonus", "match": {"skus": ["COPO"]}, "points_per_unit": 7}
    )
    sold = [doc(1, 5_000, cups(5)), doc(2, 1_000, cups(1))]
    back = credit(3, 3_000, cups(3))
    assert points(*sold, back, promotions=(per_unit,)) == {"D1": 300 + 21}


def test_a_price_that_rose_takes_no_more_than_the_product_gave() -> None:
    other: Line = ("AGUA", None, 1, 10_000)
    sold = doc(1, 15_000, ("COPO", None, 1, 5_000), other)
    for link in (None, "D1"):
        back = credit(2, 6_000, ("COPO", None, 1, 6_000), original_external_id=link)
        assert points(sold, back) == {"D1": 1_000}


def test_tax_on_no_line_comes_back_with_the_products() -> None:
    """Line amounts without tax, totals with it; cents do not keep a bonus alive."""
    lines: tuple[Line, ...] = (("A", None, 1, 3_333), ("B", None, 3, 3_333), ("C", None, 1, 3_335))
    for subtotal in (None, 10_001):
        sold = doc(1, 11_401, *lines, subtotal_minor=subtotal)
        back = [credit(2, 11_401, *lines[::-1], subtotal_minor=subtotal)]
        assert points(sold, *back, promotions=(BONUS,)) == {}
        each = [credit(n, 3_800, line, subtotal_minor=None) for n, line in enumerate(lines, 2)]
        assert points(sold, *each, promotions=(BONUS,)) == {}


def test_the_latest_sale_of_enough_amount() -> None:
    sold = [doc(1, 30_000), doc(2, 30_000), doc(3, 1_000)]
    assert points(*sold, credit(4, 2_000)) == {"D1": 3_000, "D2": 2_800, "D3": 100}
    assert points(*sold, credit(4, 60_500)) == {"D1": 50}


def test_a_named_sale_is_returned_before_others_take_it() -> None:
    sold = [doc(1, 1_000), doc(2, 1_000)]
    unlinked, linked = credit(3, 1_000), credit(4, 1_000, original_external_id="D2")
    assert points(*sold, unlinked, linked) == {}
    assert points(*sold, linked) == {"D1": 100}


def test_a_credit_of_a_void_sale_takes_nothing_elsewhere() -> None:
    void = doc(1, 1_000, status="void")
    back = credit(3, 1_000, original_external_id="D1")
    assert points(void, doc(2, 1_000), back) == {"D2": 100}


@pytest.mark.parametrize("status", ["void", "draft"])
def test_a_credit_of_a_number_is_of_the_sale_that_happened(status: str) -> None:
    """Announced by its number, void since its id is known; or void and written once more."""
    back = credit(4, 1_000, original_external_id="N-1")
    sold = doc(1, 1_000, invoice_number="N-1")
    for number in ("N-1", None):
        announced = doc(2, 1_000, external_id="N-1", invoice_number=number, status=status)
        assert points(sold, announced, doc(3, 1_000), back) == {"D3": 100}
    again = doc(2, 1_000, invoice_number="N-1", status=status)
    assert points(sold, again, doc(3, 1_000), back) == {"D3": 100}
    # Where nothing else has the number, the credit is of what did not happen.
    assert points(again, doc(3, 1_000), back) == {"D3": 100}
    # An id is certain, whatever number it is elsewhere.
    other = doc(2, 1_000, external_id="N-1", invoice_number="N-7", status=status)
    assert points(sold, other, back) == {"D1": 100}


def test_another_shop_takes_back_what_its_own_never_sold() -> None:
    there = doc(2, 1_000, account="shop-b")
    assert points(doc(1, 1_000), there, credit(3, 1_000)) == {"D2": 100}
    assert points(there, credit(3, 1_000)) == {}


@pytest.mark.parametrize(
    ("lines", "total", "expected"),
    [
        ([("AGUA-5L", None, 1, 10_000), (None, "Discount 50%", 1, -5_000)], 5_000, 5),
        ([("AGUA-5L", None, 1, 5_000)], 5_000, 5),
        ([("AGUA-5L", None, 1, 10_000)], 5_000, 5),
        ([("AGUA-5L", None, 1, 10_000), (None, "Discount 90%", 1, -9_000)], 1_000, 1),
        # A discount that names the SKU is that product's alone.
        ([("AGUA-5L", None, 1, 10_000), ("COPO", None, 1, 10_000), ("COPO", "Off", 1, -5_000)],
         15_000, 10),
        ([("AGUA-5L", None, 1, 10_000), ("COPO", None, 1, 10_000), ("AGUA-5L", "Off", 1, -5_000)],
         15_000, 5),
        # More than the product costs: the rest is everybody's.
        ([("AGUA-5L", None, 1, 1_000), ("COPO", None, 1, 10_000), ("AGUA-5L", "Off", 1, -6_000)],
         5_000, 0),
        ([("AGUA-5L", None, 1, 10_000), ("COPO", None, 1, 1_000), ("COPO", "Off", 1, -6_000)],
         5_000, 5),
    ],
)  # fmt: skip
def test_a_discount_lowers_what_it_discounts(lines: list[Line], total: int, expected: int) -> None:
    ten = promotion(
        {"kind": "product_bonus", "match": {"sku_patterns": ["AGUA*"]}, "percent_bps": 1_000}
    )
    assert points(doc(1, total, *lines), promotions=(ten,))["D1"] == total // 10 + expected


def test_a_discounted_product_returned_at_its_net_price() -> None:
    sold = doc(1, 5_000, ("AGUA", None, 1, 10_000), (None, "50%", 1, -5_000))
    net = credit(2, 5_000, ("AGUA", None, 1, 5_000))
    gross = credit(2, 5_000, ("AGUA", None, 1, 10_000), (None, "50%", 1, -5_000))
    for back in (net, gross):
        assert points(sold, back, promotions=(BONUS,)) == {}
