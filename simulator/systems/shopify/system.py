"""Shopify: its shop, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

SYSTEM: Final = System(
    place=7,
    account="agua-twezah",  # of agua-twezah.myshopify.com
    tokens=Tokens(
        access_seconds=86_399,
        scope="read_orders,read_all_orders,read_customers",
        client_credentials="access",
        answer=lambda scope, _now: {"scope": scope},
    ),
    # Before GraphQL's points of cost, which `api.py` counts, stands a limit at the edge.
    rules=(Rule("edge", 40, 1),),
    number_formats={"Invoice": "#{:04d}"},
    first_ids={"transaction": 450_789_469, "customer": 207_119_551},
    first_number=1001,
    # A gateway's error, as GraphQL writes errors.
    error_in_200={
        "errors": [
            {
                "message": "Internal error. Looks like something went wrong on our end.",
                "extensions": {"code": "INTERNAL_SERVER_ERROR"},
            }
        ]
    },
    asks_in_body=True,
    kinds={"Invoice": "sale"},
    sales_max=60,
)
