"""Credits of every system that writes them as documents of their own come home to their sales."""

import psycopg
import pytest

import simulator
from tests.sync.conftest import START, Shop, expected
from tests.sync.test_pipeline import rows_of
from tests.sync.test_webhooks import Mailbox, announce

#: Systems whose credits name the sale, and those whose credits have to find it.
LINKED = (
    "business_central", "netsuite", "paypal", "sage_intacct", "sap_s4hana", "square", "xero",
)  # fmt: skip
UNLINKED = ("freshbooks", "oracle_fusion", "quickbooks", "zoho_books")
#: Systems whose webhooks announce credits as documents of their own. (PayPal's need an account whose
#: invoices are read.)
ANNOUNCED = ("business_central", "freshbooks", "quickbooks", "square", "xero", "zoho_books")
CREDITS = """
SELECT c.external_id, c.original_external_id, s.external_id
FROM billing.invoice c LEFT JOIN billing.invoice s
  ON (s.account, s.system) = (c.account, c.system) AND s.kind IN ('invoice', 'sale')
 AND c.original_external_id IN (s.external_id, s.invoice_number)
WHERE c.kind IN ('credit_note', 'refund')
"""


@pytest.fixture
def home(shop: Shop) -> Shop:
    """A shop under the rules that new installations begin with."""
    with psycopg.connect(shop.dsn) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers
        connection.execute("UPDATE loyalty.program SET unlinked_credits = 'returned_sales'")
    return shop


@pytest.mark.parametrize("system", [*LINKED, *UNLINKED])
def test_a_sale_gives_less_and_never_less_than_nothing(home: Shop, system: str) -> None:
    home.sync(system)
    _are_home(home, system)


@pytest.mark.parametrize("system", ANNOUNCED)
def test_a_credit_that_is_announced_before_its_sale_comes_home(home: Shop, system: str) -> None:
    """The latest webhooks first, in two rounds: a credit stands alone until its sale is known."""
    home.world = simulator.World(seed=11, customers=15, invoices=40, start=START, systems=[system])
    box = Mailbox(home)
    deliveries = announce(box, system, steps=15)[::-1]
    middle = len(deliveries) // 2
    for part in (deliveries[:middle], deliveries[middle:]):
        box.receive(part)
        box.run()
        assert _lowest_balance(home) >= 0
    assert {state for state, _, _ in box.states()} == {"done"}
    _are_home(home, system)
    # A poll knows nothing better.
    _, _, awarded = home.sync(system)
    assert awarded.entries == 0


def _are_home(shop: Shop, system: str) -> None:
    """Every credit lowers the sales that it returns, and takes nothing itself."""
    credit_notes = rows_of(shop, CREDITS)
    assert credit_notes
    if system in LINKED:
        linked = [row for row in credit_notes if row[1]]
        assert linked and all(sale is not None for *_, sale in linked)
    alone, points = expected(shop.world, system), shop.points()
    divided = {row.external_id for row in shop.world.truth() if row.refunded != "0.00"}
    for credit, _, sale in credit_notes if system in LINKED else ():
        # The sale that a credit names gives less, where the vendor has not lowered it itself.
        names = (system, credit), (system, sale)
        if credit not in divided and alone.get(names[0], 0) < 0 < alone.get(names[1], 0):
            assert points.get(names[1], 0) < alone[names[1]], names
    # A credit takes nothing itself; a sale gives what it gave without it, or less.
    assert all(0 < given <= alone[sale] for sale, given in points.items())
    taken = -sum(due for due in alone.values() if due < 0)
    sold = sum(due for due in alone.values() if due > 0)
    assert _lowest_balance(shop) >= 0
    # Each sale is rounded down once more.
    assert sold - taken - len(credit_notes) <= sum(points.values()) < sold


def _lowest_balance(shop: Shop) -> int:
    """Nothing if nobody has points yet."""
    ((lowest,),) = rows_of(
        shop, "SELECT coalesce(min(balance_points), 0)::bigint FROM loyalty.member_balance"
    )
    return int(lowest)
