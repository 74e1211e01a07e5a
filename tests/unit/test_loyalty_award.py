"""The points due for a sale: worked by hand, at its edges, and against a slow reference with fractions."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loyalty.award import DUE, HISTORY, award
from loyalty.program import BPS, Program
from tests.support.ledger import DECIMALS, NOON, PROGRAM, history, points_due, sale, tier_at, tiers

TIERS_IN_ORDER = ("lead", "silver", "gold", "platinum")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


def due(row: dict[str, Any], tier: str = "lead", *programs: Program) -> int | None:
    """Points of one sale for a member who always had the tier."""
    frame = award(history(row), tiers((1, LONG_AGO, tier)), programs or (PROGRAM,))
    return frame["due"].item()


def test_the_documented_sale_earns_by_tier() -> None:
    assert [due(sale(), tier) for tier in TIERS_IN_ORDER] == [1500, 1800, 2250, 3000]


def test_one_rounding_per_invoice_not_per_line() -> None:
    assert due(sale(total_minor=3 * 333), "silver") == 119


def test_fractions_of_a_point_are_dropped_after_the_tier() -> None:
    row = sale(total_minor=12_345)
    assert [due(row, tier) for tier in TIERS_IN_ORDER] == [1234, 1481, 1851, 2469]


@pytest.mark.parametrize("status", ["draft", "void"])
@pytest.mark.parametrize("kind", ["invoice", "sale", "credit_note", "refund"])
def test_drafts_and_voids_earn_nothing(kind: str, status: str) -> None:
    frame = award(history(sale(kind=kind, status=status)), tiers(), [PROGRAM])
    assert frame.select("net_minor", "due", "breakdown").row(0) == (0, 0, '{"base":0}')


@pytest.mark.parametrize(
    ("row", "points"),
    [
        (sale(status="open"), 0),
        (sale(status="open", kind="sale"), 0),
        (sale(status="paid"), 1500),
        (sale(status="paid", amount_refunded_minor=5_000), 1000),
        (sale(status="draft"), 0),
        (sale(status="void"), 0),
        (sale(status="open", kind="credit_note"), -1500),
        (sale(status="paid", kind="refund"), -1500),
    ],
)
def test_an_account_that_awaits_the_payment(row: dict[str, Any], points: int) -> None:
    awaiting = row | {"account_award_when": "paid"}
    assert due(awaiting) == points == points_due(awaiting, "lead")


@pytest.mark.parametrize("mode", ["down", "half_up", "up"])
@pytest.mark.parametrize("kind", ["credit_note", "refund"])
@pytest.mark.parametrize("total_minor", [1, 4, 5, 9, 333, 12_345, 15_000])
def test_what_takes_points_back_mirrors_what_gave_them(
    kind: str, mode: Any, total_minor: int
) -> None:
    program = PROGRAM.model_copy(update={"rounding": mode})
    for tier in TIERS_IN_ORDER:
        given_points = due(sale(total_minor=total_minor), tier, program)
        assert given_points is not None
        assert due(sale(total_minor=total_minor, kind=kind), tier, program) == -given_points


def test_points_follow_what_is_left_after_refunds() -> None:
    left = [
        due(sale(total_minor=10_000, amount_refunded_minor=r), "gold")
        for r in (0, 3333, 6666, 9999, 10_000)
    ]
    assert left == [1500, 1000, 500, 0, 0]


def test_an_absent_refund_is_no_refund() -> None:
    assert due(sale(amount_refunded_minor=None)) == 1500


def test_the_tier_in_force_at_the_instant_of_the_sale_counts() -> None:
    known = tiers(
        (1, NOON, "gold"), (1, NOON + timedelta(days=9), "platinum"), (2, LONG_AGO, "silver")
    )
    moments = [
        NOON - MICROSECOND,
        NOON,
        NOON + MICROSECOND,
        NOON + timedelta(days=9),
        NOON + timedelta(days=99),
    ]
    frame = award(history(*(sale(issued_at=at) for at in moments)), known, [PROGRAM])
    assert frame["tier"].to_list() == ["lead", "gold", "gold", "platinum", "platinum"]
    assert frame["due"].to_list() == [1500, 2250, 2250, 3000, 3000]


def test_the_program_in_force_at_the_instant_of_the_sale_counts() -> None:
    double = PROGRAM.model_copy(
        update={
            "version": 2,
            "valid_from": NOON,
            "base_rate_bps": {"AOA": 200_000},
            "entry_tier": "silver",
        }
    )
    frame = award(history(sale(issued_at=NOON - MICROSECOND), sale()), tiers(), [double, PROGRAM])
    assert frame.select("program_version", "tier", "due").rows() == [
        (1, "lead", 1500),
        (2, "silver", 3600),
    ]


def test_a_sale_before_the_first_version_has_no_points() -> None:
    late = PROGRAM.model_copy(update={"valid_from": NOON + SECOND})
    assert due(sale(), "lead", late) is None


@pytest.mark.parametrize(
    ("row", "tier"),
    [(sale(currency="ZZZ"), "lead"), (sale(currency="CHF"), "lead"), (sale(), "diamond")],
)
def test_an_unknown_rate_is_null_and_never_a_guess(row: dict[str, Any], tier: str) -> None:
    assert due(row, tier) is None


def test_one_unknown_currency_leaves_the_others_alone() -> None:
    frame = award(history(sale(currency="ZZZ"), sale()), tiers(), [PROGRAM])
    assert frame["due"].to_list() == [None, 1500]


@pytest.mark.parametrize(
    ("currency", "total_minor", "points"),
    [
        ("JPY", 150, 1500),
        ("XAF", 1, 10),
        ("KWD", 150_000, 1500),
        ("TND", 999, 9),
        ("CLF", 15_000, 15),
        ("AOA", 1, 0),
    ],
)
def test_decimals_of_the_currency(currency: str, total_minor: int, points: int) -> None:
    assert due(sale(currency=currency, total_minor=total_minor)) == points


@pytest.mark.parametrize("total_minor", [10**15, 10**15 - 1, 10**14 + 7, 9_007_199_254_740_993])
@pytest.mark.parametrize("currency", ["AOA", "KWD", "JPY"])
def test_large_amounts_are_exact(total_minor: int, currency: str) -> None:
    expected = total_minor * 10 * 2 // 10 ** DECIMALS[currency]
    assert due(sale(total_minor=total_minor, currency=currency), "platinum") == expected


@pytest.mark.parametrize(("mode", "points"), [("down", 1234), ("half_up", 1235), ("up", 1235)])
def test_rounding_modes(mode: Any, points: int) -> None:
    assert (
        due(sale(total_minor=12_345), "lead", PROGRAM.model_copy(update={"rounding": mode}))
        == points
    )


def test_each_version_rounds_by_its_own_rule() -> None:
    later = PROGRAM.model_copy(update={"version": 2, "valid_from": NOON, "rounding": "up"})
    frame = award(
        history(sale(total_minor=1, issued_at=NOON - SECOND), sale(total_minor=1)),
        tiers(),
        [PROGRAM, later],
    )
    assert frame["due"].to_list() == [0, 1]


@pytest.mark.parametrize(
    ("subtotal_minor", "refunded", "points"),
    [(13_158, 0, 1315), (13_158, 7_500, 657), (13_158, 15_000, 0), (0, 0, 0)],
)
def test_without_tax_refunds_count_in_proportion(
    subtotal_minor: int, refunded: int, points: int
) -> None:
    program = PROGRAM.model_copy(update={"basis": "subtotal"})
    row = sale(subtotal_minor=subtotal_minor, amount_refunded_minor=refunded)
    assert due(row, "lead", program) == points


def test_without_tax_needs_a_subtotal_where_something_is_due() -> None:
    program = PROGRAM.model_copy(update={"basis": "subtotal"})
    assert due(sale(), "lead", program) is None
    assert due(sale(status="void"), "lead", program) == 0


def test_an_empty_history() -> None:
    frame = award(history(), tiers(), [PROGRAM])
    assert frame.is_empty()
    assert frame.schema == pl.Schema({**HISTORY, **DUE})


def test_the_order_of_the_input_is_kept() -> None:
    rows = [
        sale(external_id=str(n), issued_at=NOON - n * SECOND, total_minor=100 * n)
        for n in range(20)
    ]
    frame = award(history(*rows), tiers(), [PROGRAM])
    assert frame["external_id"].to_list() == [str(n) for n in range(20)]
    assert frame["due"].to_list() == [10 * n for n in range(20)]


def test_a_program_is_needed() -> None:
    with pytest.raises(ValueError, match="no version"):
        award(history(sale()), tiers(), [])


#: A machine may be busy with something else.
PATIENT = settings(deadline=None)
MOMENTS = st.integers(-3, 3).map(lambda hours: NOON + timedelta(hours=hours))
SALES = st.builds(
    sale,
    member_id=st.integers(1, 3),
    kind=st.sampled_from(["invoice", "sale", "credit_note", "refund"]),
    status=st.sampled_from(["draft", "open", "paid", "void"]),
    currency=st.sampled_from([*DECIMALS, "CHF", "ZZZ"]),
    total_minor=st.one_of(st.integers(0, 10**5), st.integers(0, 10**15)),
    subtotal_minor=st.one_of(st.none(), st.integers(0, 10**15)),
    issued_at=MOMENTS,
).flatmap(
    lambda row: st.builds(
        lambda refunded: row | {"amount_refunded_minor": refunded},
        st.one_of(st.none(), st.integers(0, row["total_minor"])),
    )
)
HISTORIES = st.lists(SALES, max_size=12)
TIER_HISTORIES = st.lists(
    st.tuples(st.integers(1, 3), MOMENTS, st.sampled_from([*TIERS_IN_ORDER, "diamond"])),
    max_size=8,
    unique_by=lambda row: row[:2],
)
PROGRAMS = st.builds(
    lambda rates, factors, rounding, basis: PROGRAM.model_copy(
        update={
            "base_rate_bps": dict(zip(DECIMALS, rates, strict=True)),
            "tier_rate_bps": dict(zip(TIERS_IN_ORDER, factors, strict=True)),
            "rounding": rounding,
            "basis": basis,
        }
    ),
    st.lists(st.integers(0, 10**6), min_size=len(DECIMALS), max_size=len(DECIMALS)),
    st.lists(st.integers(0, 5 * BPS), min_size=4, max_size=4),
    st.sampled_from(["down", "half_up", "up"]),
    st.sampled_from(["total", "subtotal"]),
)


@PATIENT
@given(HISTORIES, TIER_HISTORIES, st.lists(PROGRAMS, min_size=1, max_size=3))
@example([sale(total_minor=10**15)], [(1, LONG_AGO, "platinum")], [PROGRAM])
def test_agrees_with_the_reference(
    rows: list[dict[str, Any]], known: list[tuple[int, datetime, str]], drawn: list[Program]
) -> None:
    versions = [
        p.model_copy(
            update={
                "version": n,
                "valid_from": PROGRAM.valid_from if n == 1 else NOON + n * timedelta(hours=1),
            }
        )
        for n, p in enumerate(drawn, 1)
    ]
    frame = award(history(*rows), tiers(*known), versions)
    for row, got in zip(rows, frame.iter_rows(named=True), strict=True):
        program = [p for p in versions if p.valid_from <= row["issued_at"]][-1]
        tier = tier_at(known, row["member_id"], row["issued_at"], program.entry_tier)
        assert (got["program_version"], got["tier"]) == (program.version, tier)
        assert got["due"] == points_due(row, tier, program)
        if got["due"] is not None:
            assert sum(json.loads(got["breakdown"]).values()) == got["due"]


@PATIENT
@given(HISTORIES, TIER_HISTORIES, st.integers(0, 12))
def test_batches_do_not_matter(
    rows: list[dict[str, Any]], known: list[tuple[int, datetime, str]], cut: int
) -> None:
    together = award(history(*rows), tiers(*known), [PROGRAM])
    apart = [award(history(*part), tiers(*known), [PROGRAM]) for part in (rows[:cut], rows[cut:])]
    assert together.equals(pl.concat(apart))


@PATIENT
@given(st.integers(0, 10**9), st.integers(0, 10**6), st.sampled_from(TIERS_IN_ORDER))
def test_more_is_never_worth_less(total_minor: int, more: int, tier: str) -> None:
    rows = [sale(total_minor=total_minor), sale(total_minor=total_minor + more)]
    less_due, more_due = award(history(*rows), tiers((1, LONG_AGO, tier)), [PROGRAM])["due"]
    assert less_due <= more_due


def test_the_breakdown_names_each_rule_that_gave_something() -> None:
    frame = award(history(sale(), sale(member_id=2)), tiers((1, LONG_AGO, "gold")), [PROGRAM])
    assert frame["breakdown"].to_list() == ['{"base":1500,"tier":750}', '{"base":1500}']
