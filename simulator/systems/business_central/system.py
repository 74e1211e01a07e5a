"""Business Central: its company, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

TENANT: Final = "aguatwezah.onmicrosoft.com"
ENVIRONMENT: Final = "Production"

SYSTEM: Final = System(
    place=13,
    account="7dbba574-5f69-4167-a43e-fb975045de15",  # the company
    tokens=Tokens(client_credentials="access"),
    # More than five requests at once wait in a queue; more connections than a hundred get a 429.
    rules=(Rule("user", 6000, 300),),
    concurrent=100,
    number_formats={"Invoice": "PS-INV{:06d}", "CreditMemo": "PS-CR{:06d}"},
    first_number=103_001,
    guids=True,
    drafts=0.05,
    sales_max=100,
)
