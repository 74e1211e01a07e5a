"""The rules that `python -m benchmarks.chaos` applies: its oracle is right under them."""

import simulator
from benchmarks.chaos.comparison import compare_with_database
from benchmarks.chaos.oracle import Expected, points_due
from benchmarks.chaos.rules import each_document_alone
from loyalty.corrections import Decision
from tasks.program.change import apply_rules
from tests.sync.conftest import START, Shop

WHY = Decision(reason="each document by itself", author="chaos")
CONFIRMED = 10**15


def books(world: simulator.World) -> dict[tuple[str, str], Expected]:
    """As the oracle of the chaos run reckons, but from a world in this process."""
    return {
        (row.system, row.external_id): Expected(
            points_due(row.kind, row.status, row.total, row.refunded) if row.phone_e164 else 0,
            frozenset({row.phone_e164} if row.phone_e164 else ()),
        )
        for row in world.truth()
    }


def test_each_document_has_its_own_points_and_so_has_what_was_posted_before(dsn: str) -> None:
    world = simulator.World(seed=11, customers=40, invoices=90, start=START, systems=("xero",))
    shop = Shop(dsn, world)
    shop.sync("xero")
    kinds = {one.kind for one in compare_with_database(books(world), dsn).differences}
    assert "lost" in kinds, "credits come home to their sales, as shipped"

    applied = apply_rules(
        dsn, each_document_alone(), WHY, "test", recompute=True, confirm=CONFIRMED
    )
    assert applied.change_id is not None
    shop.sync("xero")
    world.evolve(steps=20, systems=("xero",))
    shop.sync("xero")
    assert compare_with_database(books(world), dsn).problems() == []
