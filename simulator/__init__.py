"""A seeded simulator of QuickBooks Online, Xero, FreshBooks, NetSuite, Sage Intacct and a custom REST system.

Each is written from its documentation alone.

It shares no code with the product it tests, so that it can be its oracle:

    world = World(seed=7, customers=50, invoices=200)
    transport = httpx.MockTransport(handler(world, "xero"))
    world.evolve(steps=10)      # new sales, edits, voids, refunds, ...
    world.truth()               # what the ledger should say

`python -m simulator --port 9400` serves all of them, each under its name: /quickbooks, /xero, ...
"""

from functools import partial
from typing import Final

import httpx

from simulator.clock import ManualClock
from simulator.faults import Faults
from simulator.model import ACCOUNTS, CLIENT_ID, CLIENT_SECRET, SYSTEMS
from simulator.oauth import seed_refresh_token
from simulator.systems.custom.api import Custom
from simulator.systems.freshbooks.api import FreshBooks
from simulator.systems.netsuite.api import NetSuite
from simulator.systems.netsuite.auth import CONSUMER, TOKEN
from simulator.systems.quickbooks.api import QuickBooks
from simulator.systems.sage_intacct.api import SageIntacct
from simulator.systems.xero.api import Xero
from simulator.truth import Truth
from simulator.wire import Handler, Vendor, serve
from simulator.world import World

__all__ = [
    "ACCOUNTS",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "NETSUITE_CONSUMER",
    "NETSUITE_TOKEN",
    "SYSTEMS",
    "Faults",
    "Handler",
    "ManualClock",
    "Truth",
    "World",
    "client",
    "handler",
    "seed_refresh_token",
]

#: Key and secret of the application, id and secret of the token, for NetSuite's signed requests.
NETSUITE_CONSUMER: Final = CONSUMER
NETSUITE_TOKEN: Final = TOKEN
_VENDORS: Final[
    dict[str, type[QuickBooks | Xero | FreshBooks | NetSuite | SageIntacct | Custom]]
] = {
    "quickbooks": QuickBooks,
    "xero": Xero,
    "freshbooks": FreshBooks,
    "netsuite": NetSuite,
    "sage_intacct": SageIntacct,
    "custom": Custom,
}


def handler(world: World, vendor: str) -> Handler:
    """A vendor's API as a function, for `httpx.MockTransport`; paths may start with `/<vendor>`.

    Raises:
        KeyError: If there is no such vendor.
        httpx.ReadTimeout: From the handler, when the world's faults say that no answer comes.
    """
    api: Vendor = _VENDORS[vendor](world)
    return partial(serve, world, api)


def client(world: World, vendor: str) -> httpx.Client:
    """An in-process client that is let in: it has an access token, asks for JSON, names Xero's tenant."""
    headers = {
        "authorization": f"Bearer {world.grants[vendor].issue_access()}",
        "accept": "application/json",
        "xero-tenant-id": ACCOUNTS["xero"],
    }
    transport = httpx.MockTransport(handler(world, vendor))
    return httpx.Client(transport=transport, base_url=f"http://{vendor}.test", headers=headers)
