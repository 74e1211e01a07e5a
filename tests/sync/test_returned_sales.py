"""Credits of every system that writes them as documents of their own come home to their sales."""

import psycopg
import pytest

from sql.db import connect
from tests.sync.conftest import Shop, expected
from tests.sync.test_pipeline import rows_of

#: Systems whose credits name the sale, and those whose credits have to find it.
LINKED = ("business_central", "paypal", "xero")
UNLINKED = (
    "freshbooks", "netsuite", "oracle_fusion", "quickbooks", "sage_intacct", "sap_s4hana",
    "zoho_books",
)  # fmt: skip
CREDITS = """
SELECT c.external_id, c.original_external_id, s.external_id
FROM billing.invoice c LEFT JOIN billing.invoice s
  ON (s.account, s.system) = (c.account, c.system) AND s.kind IN ('invoice', 'sale')
 AND c.original_external_id IN (s.external_id, s.invoice_number)
WHERE c.kind IN ('credit_note', 'refund')
"""


@pytest.mark.parametrize("system", [*LINKED, *UNLINKED])
def test_a_sale_gives_less_and_never_less_than_nothing(shop: Shop, system: str) -> None:
    with psycopg.connect(shop.dsn) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers
        connection.execute("UPDATE loyalty.program SET unlinked_credits = 'returned_sales'")
    shop.sync(system)
    credit_notes = rows_of(shop, CREDITS)
    assert credit_notes
    if system in LINKED:
        linked = [row for row in credit_notes if row[1]]
        assert linked and all(sale is not None for *_, sale in linked)
    alone, points = expected(shop.world, system), shop.points()
    # A credit takes nothing itself; a sale gives what it gave without it, or less.
    assert all(0 < given <= alone[sale] for sale, given in points.items())
    taken = -sum(due for due in alone.values() if due < 0)
    sold = sum(due for due in alone.values() if due > 0)
    with connect(shop.dsn) as connection:
        lowest = connection.execute("SELECT min(balance_points) FROM loyalty.member_balance")
        assert lowest.fetchone()[0] >= 0  # type: ignore[index]
    # Each sale is rounded down once more.
    assert sold - taken - len(credit_notes) <= sum(points.values()) < sold
