"""PayPal: its business account, tokens, limits and numbers."""

from typing import Final

from simulator.system import Rule, System, Tokens

SCOPES: Final = (
    "https://uri.paypal.com/services/reporting/search/read",
    "https://uri.paypal.com/services/invoicing/invoices/read",
    "https://uri.paypal.com/services/applications/webhooks",
)

SYSTEM: Final = System(
    place=14,
    account="TWEZAHPAY0001",  # the merchant id
    tokens=Tokens(
        access_seconds=32_400,  # "typically nine hours"
        client_credentials="access",
        scope=" ".join(SCOPES),
        answer=lambda scope, now: {
            "scope": scope,
            "app_id": "APP-80W284485P519543T",
            "nonce": f"{now:%Y-%m-%dT%H:%M:%SZ}simulated",
        },
    ),
    # None is published; others were shut out for more.
    rules=(Rule("minute", 50, 60),),
    number_formats={"Invoice": "{:04d}", "SalesReceipt": "R-{:05d}"},
    first_ids={"transaction": 60_001},
    # In transactions an invoice is what was paid for it.
    kinds={"Invoice": None, "Payment": "sale"},
    prefixes={},
    guests_every=1,  # an e-mail address names the buyer, and a phone if there is one
    sales_max=100,
)
