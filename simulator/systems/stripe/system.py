"""Stripe: its account, key, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

#: The secret key of the account; there is no token endpoint.
API_KEY: Final = "sk_live_simulated"

SYSTEM: Final = System(
    place=10,
    account="acct_1TwezahSim",
    tokens=Tokens(),
    # 100 requests a second live, 25 in test mode: the lower one.
    rules=(Rule("global-rate", 25, 1),),
    number_formats={
        "Invoice": "A1B2C3D4-{:04d}",
        "Charge": "1234-{:04d}",
        "CreditNote": "A1B2C3D4-CN-{:02d}",
        "Refund": "R-{:04d}",
    },
    kinds={"CreditNote": None},  # it lowers its invoice
    prefixes={},
    drafts=0.05,
    sales_max=100,
)
