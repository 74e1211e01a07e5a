"""A seeded simulator of billing systems, one folder of `systems/` each.

Each is written from its vendor's documentation alone.

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
from simulator.registry import api
from simulator.systems.netsuite.auth import CONSUMER, TOKEN
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


def handler(world: World, vendor: str) -> Handler:
    """A vendor's API as a function, for `httpx.MockTransport`; paths may start with `/<vendor>`.

    Raises:
        KeyError: If there is no such vendor.
        httpx.ReadTimeout: From the handler, when the world's faults say that no answer comes.
    """
    made: Vendor = api(vendor)(world)
    return partial(serve, world, made)


def client(world: World, vendor: str) -> httpx.Client:
    """An in-process client that is let in: it has an access token, asks for JSON, names Xero's tenant."""
    headers = {
        "authorization": f"Bearer {world.grants[vendor].issue_access()}",
        "accept": "application/json",
        "xero-tenant-id": ACCOUNTS["xero"],
    }
    transport = httpx.MockTransport(handler(world, vendor))
    return httpx.Client(transport=transport, base_url=f"http://{vendor}.test", headers=headers)
