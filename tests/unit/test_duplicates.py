"""Which documents are of one sale, and which of them counts."""

import random
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from loyalty.duplicates import DOCUMENTS, LEFT_OUT, Precedence, left_out, settled
from loyalty.schema import schema_problems
from tests.support.books import HOUR, NOON

THREE = Precedence(systems=("shopify", "stripe", "quickbooks"))
RULE = THREE.model_copy(update={"within_hours": 24})


def document(system: str, external_id: str, **changes: Any) -> dict[str, Any]:
    """One row of DOCUMENTS: a paid sale of 150.00 AOA by member 1, unless `changes` say otherwise."""
    return {
        "system": system, "account": "shop", "external_id": external_id, "member_id": 1, "kind": "sale",
        "status": "paid", "currency": "AOA", "total_minor": 15_000, "amount_refunded_minor": 0,
        "issued_at": NOON, "invoice_number": None, "reference_ids": None,
        "original_external_id": None,
    } | changes  # fmt: skip


def pairs(*rows: dict[str, Any], by: Precedence = THREE) -> dict[str, tuple[str, str, int]]:
    """Per document left out: the one that counts, how that is known, and the amount."""
    frame = left_out(pl.DataFrame(rows, schema=DOCUMENTS, orient="row"), by)
    assert schema_problems(frame, LEFT_OUT) == []
    return {
        row["external_id"]: (row["by_external_id"], row["matched_by"], row["settled_minor"])
        for row in frame.iter_rows(named=True)
    }


ORDER = document("shopify", "5550001234567", invoice_number="#1001")
CHARGE = document("stripe", "ch_1", reference_ids="order:5550001234567 payment:pi_1")
INVOICE = document("quickbooks", "145", invoice_number="INV-7", reference_ids="order:1001")


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        (ORDER, CHARGE, "id 5550001234567"),
        # A plugin keeps the payment's id, of whichever kind it is.
        (ORDER | {"reference_ids": "payment:ch_1"}, CHARGE | {"reference_ids": None}, "payment ch_1"),
        (ORDER | {"reference_ids": "payment:pi_1"}, CHARGE, "payment pi_1"),
        (ORDER, INVOICE, "number 1001"),
        # The books number the invoice as the shop numbers the order.
        (ORDER, INVOICE | {"invoice_number": "1001", "reference_ids": None}, "number 1001"),
        (ORDER | {"invoice_number": "SO-9"}, INVOICE | {"reference_ids": "order:so-9"}, "number so-9"),
        # The other one of the two names it.
        (ORDER | {"reference_ids": "order:INV-7"}, INVOICE | {"reference_ids": None}, "number inv-7"),
    ],
)  # fmt: skip
def test_documents_are_recognised_by_what_they_name(
    one: dict[str, Any], other: dict[str, Any], how: str
) -> None:
    expected = {other["external_id"]: (one["external_id"], how, 15_000)}
    assert pairs(one, other) == expected == pairs(other, one)


@pytest.mark.parametrize(
    "changes",
    [
        {"member_id": 2}, {"total_minor": 14_999}, {"currency": "USD"}, {"kind": "credit_note"},
        {"issued_at": NOON + timedelta(days=32)}, {"invoice_number": None, "reference_ids": "order:1002"},
        {"reference_ids": None, "external_id": "1001"}, {"account": "other", "system": "xero"},
        {"system": "shopify"},
    ],
    ids=str,
)  # fmt: skip
def test_a_number_alone_is_no_proof(changes: dict[str, Any]) -> None:
    """Another member, amount, kind or time; and ids of two systems that are equal by chance."""
    assert pairs(ORDER, INVOICE | changes) == {}


def test_a_payment_is_proof_whatever_else_differs() -> None:
    paid = CHARGE | {"member_id": 2, "total_minor": 9_000, "issued_at": NOON + timedelta(days=90)}
    assert pairs(ORDER, paid) == {"ch_1": ("5550001234567", "id 5550001234567", 9_000)}


def test_an_order_with_two_payments_and_a_payment_of_two_invoices() -> None:
    parts = [CHARGE | {"external_id": f"ch_{n}", "total_minor": 7_500} for n in (1, 2)]
    assert set(pairs(ORDER, *parts)) == {"ch_1", "ch_2"}
    first = Precedence(systems=("stripe", "shopify"))
    assert set(pairs(ORDER, *parts, by=first)) == {"5550001234567"}


def test_documents_are_connected_over_a_third_one() -> None:
    """The books name the payment, the payment names the order; the order may be void."""
    books = INVOICE | {"reference_ids": "payment:ch_1"}
    how = "by way of a third document, payment ch_1"
    assert pairs(ORDER, CHARGE, books)["145"] == ("5550001234567", how, 15_000)
    gone = pairs(ORDER | {"status": "void"}, CHARGE, books)
    assert gone == {"145": ("ch_1", "payment ch_1", 15_000)}
    assert pairs(ORDER | {"status": "draft"}, CHARGE) == {}


def test_an_account_may_be_named_and_the_rest_takes_no_part() -> None:
    by = Precedence(systems=("stripe/shop", "shopify/shop"))
    assert set(pairs(ORDER, CHARGE, by=by)) == {"5550001234567"}
    assert pairs(ORDER | {"account": "another"}, CHARGE, by=by) == {}
    assert pairs(ORDER, INVOICE, by=by) == {}
    assert by.rank("shopify", "shop") == 1 and by.rank("shopify", "another") is None


def test_older_sales_count_as_before() -> None:
    by = THREE.model_copy(update={"valid_from": NOON + HOUR})
    assert pairs(ORDER, CHARGE, by=by) == {}
    assert set(pairs(ORDER, CHARGE | {"issued_at": NOON + HOUR}, by=by)) == {"ch_1"}


def test_the_rule_takes_the_nearest_and_each_once() -> None:
    orders = [document("shopify", f"o{n}", issued_at=NOON + n * HOUR) for n in (0, 10)]
    charges = [document("stripe", f"c{n}", issued_at=NOON + n * HOUR) for n in (1, 9, 12)]
    assert pairs(*orders, *charges) == {}
    found = pairs(*orders, *charges, by=RULE)
    assert {c: found[c][0] for c in found} == {"c1": "o0", "c9": "o10"}
    # A third system goes to the sale as it is told by two.
    books = document("quickbooks", "q", issued_at=NOON + 9 * HOUR)
    assert pairs(*orders, *charges, books, by=RULE)["q"][0] == "o10"
    far = document("stripe", "far", issued_at=NOON + 25 * HOUR)
    assert pairs(orders[0], far, by=RULE) == {}


def test_the_rule_leaves_alone_what_an_id_connects() -> None:
    """The charge of another order is no guess for this one."""
    other = document("shopify", "5550001234568", issued_at=NOON)
    found = pairs(ORDER, other, CHARGE, by=RULE)
    assert {c: found[c][0] for c in found} == {"ch_1": "5550001234567"}


def credit(external_id: str = "cm", **changes: Any) -> dict[str, Any]:
    return (
        document(
            "quickbooks", external_id, kind="credit_note", total_minor=5_000, issued_at=NOON + HOUR
        )
        | changes
    )


@pytest.mark.parametrize(
    ("refunded", "taking", "settled_minor"),
    [
        (0, [credit()], {}),
        (5_000, [credit()], {"cm": 5_000}),
        (3_000, [credit()], {"cm": 3_000}),
        (7_000, [credit("a"), credit("b", issued_at=NOON + 2 * HOUR)], {"a": 5_000, "b": 2_000}),
        (5_000, [credit(member_id=2)], {}),
        (5_000, [credit(currency="USD")], {}),
        (5_000, [credit(issued_at=NOON - timedelta(days=2))], {}),
        # It names its sale: there or here.
        (0, [credit(reference_ids="order:INV-7")], {"cm": 5_000}),
        (0, [credit(reference_ids="order:1001")], {"cm": 5_000}),
        (0, [credit(reference_ids="order:INV-8")], {}),
    ],
)
def test_a_refund_is_taken_back_once(
    refunded: int, taking: list[dict[str, Any]], settled_minor: dict[str, int]
) -> None:
    order = ORDER | {"amount_refunded_minor": refunded}
    found = pairs(order, INVOICE, *taking)
    assert {name: found[name][2] for name in found if name != "145"} == settled_minor


def test_credits_of_two_systems_are_one_by_what_they_name() -> None:
    there = document("shopify", "r1", kind="refund", reference_ids="payment:re_1")
    here = document("stripe", "re_1", kind="refund")
    assert pairs(there, here) == {"re_1": ("r1", "payment re_1", 15_000)}


def test_what_counts_elsewhere_is_named() -> None:
    frame = left_out(pl.DataFrame([ORDER, CHARGE], schema=DOCUMENTS, orient="row"), THREE)
    assert settled(frame).rows() == [
        ("stripe", "shop", "ch_1", 15_000, "shopify/shop: 5550001234567 (id 5550001234567)")
    ]


def test_the_order_of_the_rows_changes_nothing() -> None:
    rng = random.Random(7)
    for _ in range(30):
        rows = [
            document(
                rng.choice(THREE.systems), f"d{n}", member_id=rng.choice([1, 2]),
                total_minor=rng.choice([5_000, 15_000]), kind=rng.choice(["sale", "sale", "refund"]),
                status=rng.choice(["paid", "paid", "open", "void"]),
                amount_refunded_minor=rng.choice([0, 0, 2_000]),
                issued_at=NOON + rng.randrange(60) * HOUR, invoice_number=str(rng.randrange(100, 105)),
                reference_ids=rng.choice([None, "payment:p1", "payment:d3", "order:102", "order:d5"]),
            )
            for n in range(12)
        ]  # fmt: skip
        first = pairs_of(rows)
        rng.shuffle(rows)
        assert pairs_of(rows) == first


def pairs_of(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(left_out(pl.DataFrame(rows, schema=DOCUMENTS, orient="row"), RULE).rows())
