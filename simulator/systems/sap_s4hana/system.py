"""SAP S/4HANA: its system, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

SYSTEM: Final = System(
    place=16,
    account="my300000-api.s4hana.cloud.sap",
    tokens=Tokens(client_credentials="access"),
    # Nothing is published: only so that its 429 can be reached.
    rules=(Rule("second", 100, 1),),
    number_formats={"Invoice": "{}"},  # the number of a document is its id
    first_ids={"transaction": 90_000_000, "customer": 10_100_001},
    prefixes={},
    ids_are_numbers=True,
    sales_max=100,
)
