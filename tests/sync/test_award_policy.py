"""An account that awaits the payment, through the whole synchronisation."""

import pytest

import simulator
from sql.policy import Wanted
from tasks.job import Policy
from tests.sync.conftest import Shop, expected

AWAITING = Policy(award=Wanted("paid"))


#: Systems that know no sale before it is paid.
PAID_ONLY = ("square", "paypal")


@pytest.mark.parametrize("system", [name for name in simulator.SYSTEMS if name not in PAID_ONLY])
def test_only_paid_sales_earn(shop: Shop, system: str) -> None:
    def oracle() -> dict[tuple[str, str], int]:
        unpaid = {
            (row.system, row.external_id)
            for row in shop.world.truth()
            if row.status == "open" and row.kind in ("invoice", "sale")
        }
        assert unpaid & expected(shop.world, system).keys()
        return {
            sale: points
            for sale, points in expected(shop.world, system).items()
            if sale not in unpaid
        }

    shop.sync(system, policy=AWAITING, dry_run=True)
    assert shop.points() == {}
    shop.sync(system, policy=AWAITING)
    assert shop.points() == oracle()
    shop.world.evolve(steps=12, systems=(system,))
    shop.sync(system, policy=AWAITING)
    assert shop.points() == oracle()
