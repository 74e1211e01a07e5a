"""A custom REST system: its account, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

SYSTEM: Final = System(
    place=6,
    account="custom",
    tokens=Tokens(scope="invoices", client_credentials="access"),
    rules=(Rule("minute", 300, 60),),
    number_formats={"Invoice": "FT {:05d}"},
    drafts=0.05,
)
