"""Where a sale was made, of the accounting systems: what is stored is what their books say."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from simulator.branches import BRANCHES, Sold, seller, sold
from simulator.model import Document
from simulator.truth import external_id
from sql.db import connect
from tests.sync.conftest import Shop, run

#: Store, channel, city and region.
Place = tuple[str | None, str | None, str | None, str | None]
NOWHERE: Place = (None, None, None, None)


def went(where: Sold) -> tuple[str | None, str | None]:
    """City and province of the delivery, else of the customer."""
    return (where.address.city, where.address.province) if where.address else (None, None)


def is_of(where: Sold) -> tuple[str | None, str | None]:
    """City and province of the customer."""
    return (where.billing.city, where.billing.province) if where.billing else (None, None)


def name_of(where: Sold) -> str | None:
    return where.branch.name if where.branch else None


def one_of(*stores: str | None) -> str | None:
    """The one store that lines name; None where they name several, or none."""
    named = {store for store in stores if store}
    return named.pop() if len(named) == 1 else None


def sellers(document: Document) -> list[str | None]:
    """The id of the branch that sold each line."""
    sold_by = [seller(document, at) for at, _ in enumerate(document.lines, 1)]
    return [branch.id if branch else None for branch in sold_by]


def at_quickbooks(document: Document, where: Sold) -> Place:
    return (name_of(where), None, *went(where))


def at_freshbooks(document: Document, where: Sold) -> Place:
    return (None, None, *is_of(where)) if document.entity == "Invoice" else NOWHERE


def at_sage(document: Document, where: Sold) -> Place:
    """The location of the lines; of those that have none the department."""
    return (one_of(*(of or where.department for of in sellers(document))), None, None, None)


def at_business_central(document: Document, where: Sold) -> Place:
    return (None, None, *(went(where) if document.entity == "Invoice" else is_of(where)))


def at_sap(document: Document, where: Sold) -> Place:
    """The plant of what is no service; the province by its code, and no city."""
    lines = zip(document.lines, sellers(document), strict=True)
    store = one_of(*(of for line, of in lines if line.product.sku))
    code = where.address.code if where.address else None
    return (store, {"counter": "10", "web": "20"}[where.channel], None, code)


def at_oracle(document: Document, where: Sold) -> Place:
    source = {"counter": "Manual", "web": "AR_Trans Source_08"}[where.channel]
    return (name_of(where) or "Vision Operations", source, None, None)


def at_netsuite(document: Document, where: Sold) -> Place:
    """The location of the lines, where the account is asked for it."""
    names = {branch.id: branch.name for branch in BRANCHES}
    store = one_of(*sellers(document))
    return (names[store] if store else None, None, None, None)


def at_zoho(document: Document, where: Sold) -> Place:
    channel = "direct_sales" if where.channel == "counter" else None
    return (name_of(where), channel, *went(where))


def at_no_place(document: Document, where: Sold) -> Place:
    return NOWHERE


#: What each system says of where a document was sold, and which columns that fills.
SAID: dict[str, tuple[Callable[[Document, Sold], Place], tuple[bool, bool, bool, bool]]] = {
    "quickbooks": (at_quickbooks, (True, False, True, True)),
    "xero": (at_no_place, (False, False, False, False)),
    "freshbooks": (at_freshbooks, (False, False, True, True)),
    "sage_intacct": (at_sage, (True, False, False, False)),
    "netsuite": (at_netsuite, (True, False, False, False)),
    "business_central": (at_business_central, (False, False, True, True)),
    "sap_s4hana": (at_sap, (True, True, False, True)),
    "oracle_fusion": (at_oracle, (True, True, False, False)),
    "zoho_books": (at_zoho, (True, True, True, True)),
    "wave": (at_no_place, (False, False, False, False)),
}


#: What must be ticked before anything is said.
ASKED: dict[str, dict[str, Any]] = {"netsuite": {"locations": True}}


@pytest.mark.parametrize("system", SAID)
def test_where_a_sale_was_made(shop: Shop, system: str) -> None:
    job = shop.job(system)
    options = {**job.vendor.options, **ASKED.get(system, {})}
    job.vendor = replace(job.vendor, options=options)
    run(job)
    said, fills = SAID[system]
    books = shop.world.books[system]
    by_id = {external_id(books, document): document for document in books.all()}
    with connect(shop.dsn) as connection:
        stored = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT external_id, store, channel, city, region FROM billing.invoice"
            )
        }
    assert len(stored) > 50
    assert stored == {name: said(by_id[name], sold(by_id[name])) for name in stored}
    # More than one of each, and some documents that do not say it.
    several = [len({place[column] for place in stored.values()}) > 1 for column in range(4)]
    assert tuple(several) == fills
