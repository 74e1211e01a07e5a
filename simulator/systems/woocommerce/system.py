"""WooCommerce: the shop, its limits and numbers. There are no tokens: each request has a proof."""

from typing import Final

from simulator.system import Rule, System, Tokens

SYSTEM: Final = System(
    place=8,
    account="loja.aguatwezah.example",
    tokens=Tokens(),
    rules=(Rule("minute", 600, 60),),  # WooCommerce has none; a host in front of it may
    number_formats={"Invoice": "{}"},
    # Orders and refunds share one sequence, as all posts of a WordPress do.
    first_ids={"transaction": 701, "customer": 25},
    first_number=5001,
    kinds={"Invoice": "sale"},
    drafts=0.06,
    sales_max=100,
)
