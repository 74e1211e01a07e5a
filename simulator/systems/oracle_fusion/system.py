"""Oracle Fusion: its pod, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

SYSTEM: Final = System(
    place=17,
    account="abcd.fa.em2.oraclecloud.com",
    # Of the identity domain, which is another host in life.
    tokens=Tokens(client_credentials="access"),
    # Nothing is published for the pod; an identity domain of the smallest tier takes so many.
    rules=(Rule("minute", 150, 60),),
    number_formats={"Invoice": "INV-{:05d}", "CreditMemo": "CM-{:05d}"},
    first_ids={"transaction": 300_100_180_148_289, "customer": 300_000_001},
    # Invoices and credit memos are transactions of one sequence.
    prefixes={},
    # Each document costs its readers a call for its lines.
    sales_max=20,
)
