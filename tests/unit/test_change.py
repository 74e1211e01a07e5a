"""What applying a file means: what is new, which keys differ, and from when on."""

from datetime import UTC, datetime
from typing import Any

import pytest

from loyalty.authoring import Rules
from loyalty.program import Program
from loyalty.program_diff import Plan, as_if, plan
from loyalty.promotions import Promotion
from loyalty.types import BEGINNING

JAN, FEB, MAR, APR = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4))


def program(version: int = 1, valid_from: datetime = BEGINNING, **changes: Any) -> Program:
    values = {
        "base_rate_bps": {"AOA": 100_000},
        "tier_rate_bps": {"lead": 10_000, "gold": 15_000},
        "entry_tier": "lead",
    }
    return Program.model_validate(
        {"version": version, "valid_from": valid_from, **values, **changes}
    )


def promotion(
    version: int = 1, valid_from: datetime = JAN, points: int = 5, **changes: Any
) -> Promotion:
    rule = {"kind": "purchase_bonus", "points": points}
    return Promotion.model_validate(
        {"promotion_id": "p", "version": version, "valid_from": valid_from, "rule": rule} | changes
    )


def of(stored: list[Program] | list[Promotion], draft: Program | Promotion) -> Plan:
    """The plan for one part of the rules."""
    if isinstance(draft, Program):
        return plan([p for p in stored if isinstance(p, Program)], [], Rules(program=draft))
    return plan(
        [program()], [p for p in stored if isinstance(p, Promotion)], Rules(promotions=(draft,))
    )


def test_the_same_again_is_nothing() -> None:
    found = plan(
        [program(1), program(2, JAN, rounding="up")],
        [promotion(3)],
        Rules(program(1, JAN, rounding="up"), (promotion(),)),
    )
    assert found.is_empty and found.reaches is None
    assert [(c.name, c.status, c.version) for c in found.changes] == [
        ("program", "unchanged", 2),
        ("p", "unchanged", 3),
    ]


def test_a_new_version_names_what_differs_as_written() -> None:
    found = of(
        [program()], program(1, FEB, tier_rate_bps={"lead": 10_000, "gold": 16_000}, rounding="up")
    )
    (change,) = found.changes
    assert (change.status, change.version, change.reaches) == ("changed", 2, FEB)
    assert change.differences == (
        "valid_from: 2026-02-01T01:00:00+01:00", "rounding: down -> up", "tiers.gold: 1.5 -> 1.6",
    )  # fmt: skip
    assert found.new_program is not None and found.new_program.version == 2
    assert [p.version for p in found.programs] == [1, 2]


@pytest.mark.parametrize(
    ("stored", "draft", "reaches"),
    [
        ([], promotion(), JAN),
        ([promotion()], promotion(1, FEB, points=6), FEB),
        ([promotion()], promotion(points=6), JAN),
        ([promotion()], promotion(title="another title"), None),
        ([promotion()], promotion(valid_to=MAR), MAR),  # ended earlier: until then nothing changes
        ([promotion(valid_to=MAR)], promotion(valid_to=APR), MAR),
        ([promotion(valid_to=FEB)], promotion(1, MAR, valid_to=APR), MAR),
        ([promotion()], promotion(1, FEB), None),  # the same from a later day on
        ([promotion(limits={"per_member": 9})], promotion(1, FEB, limits={"per_member": 9}), FEB),  # counts anew
        ([promotion(limits={"per_member": 9})], promotion(limits={"per_member": 9}, valid_to=MAR), MAR),
        ([promotion(), promotion(2, MAR, points=7)], promotion(1, FEB, points=7), FEB),
        ([promotion(), promotion(2, MAR, points=7)], promotion(1, FEB, points=5), MAR),
        ([program()], program(rounding="up"), BEGINNING),
        ([program(), program(2, MAR, rounding="up")], program(1, FEB, rounding="up"), FEB),
    ],
)  # fmt: skip
def test_from_when_on(stored: list[Any], draft: Any, reaches: datetime | None) -> None:
    found = of(stored, draft)
    assert found.reaches == reaches
    assert not found.is_empty


def test_as_if_it_had_begun_earlier() -> None:
    found = as_if(of([promotion()], promotion(1, MAR, points=6, valid_to=APR)), JAN)
    (moved,) = found.new_promotions
    assert (moved.valid_from, moved.valid_to, moved.version) == (JAN, JAN + (APR - MAR), 2)
    assert found.reaches == JAN and found.promotions == (promotion(), moved)
    changed = as_if(of([program()], program(1, MAR, rounding="up")), JAN)
    assert changed.new_program is not None and changed.new_program.valid_from == JAN
