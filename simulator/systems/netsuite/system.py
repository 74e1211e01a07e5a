"""NetSuite: its account, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

SYSTEM: Final = System(
    place=4,
    account="7654321_SB1",
    tokens=Tokens(),
    rules=(Rule("minute", 600, 60),),  # beside the requests at once none is published
    concurrent=5,
    number_formats={
        "Invoice": "INV{:d}",
        "SalesReceipt": "CS{:d}",
        "CreditMemo": "CM{:d}",
        "RefundReceipt": "CR{:d}",
        "CustomerRefund": "RF{:d}",
    },
    asks_in_body=True,
    prefixes={},
)
