"""Magento: its account, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

SYSTEM: Final = System(
    place=9,
    account="loja.aguatwezah.example",
    # Of an admin, on one's own server; at Adobe an answer says how long its token lives.
    tokens=Tokens(access_seconds=14_400, client_credentials="access"),
    rules=(Rule("minute", 600, 60),),  # none is published; a content network may send 429
    number_formats={"Invoice": "{:09d}", "CreditMemo": "CM{:09d}"},
    # Every kind of document has ids of its own.
    first_ids={"Invoice": 1, "CreditMemo": 1},
    guests_every=5,
    drafts=0.05,
    kinds={"CreditMemo": None},  # a part of its order
    sales_max=100,
)
