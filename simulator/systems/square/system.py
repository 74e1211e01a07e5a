"""Square: its location, tokens, consent page, limits and numbers."""

from datetime import timedelta
from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

#: The business that the locations are of.
MERCHANT: Final = "MLTWEZAHSGJVHD"

SYSTEM: Final = System(
    place=11,
    account="L6KTWEZAH0001",  # the location
    tokens=Tokens(
        access_seconds=30 * 86_400,
        # A refresh token of the code flow does not end, and is given back with each new token.
        kept_for=timedelta(days=36_500),
        scope="ORDERS_READ CUSTOMERS_READ ITEMS_READ MERCHANT_PROFILE_READ",
        answer=lambda _scope, _now: {
            "token_type": "bearer",
            "merchant_id": MERCHANT,
            "short_lived": False,
        },
    ),
    rules=(Rule("second", 20, 1),),  # none is published
    number_formats={"Invoice": "{:06d}"},
    first_ids={"transaction": 70_001},
    consent=ConsentPage(
        path="/oauth2/authorize",
        scopes={
            f"{name}_{action}"
            for name in ("ORDERS", "CUSTOMERS", "ITEMS", "MERCHANT_PROFILE", "PAYMENTS", "INVOICES")
            for action in ("READ", "WRITE")
        },
        https_only=True,
    ),
    error_in_200={
        "errors": [
            {
                "category": "API_ERROR",
                "code": "INTERNAL_SERVER_ERROR",
                "detail": "Something went wrong.",
            }
        ]
    },
    asks_in_body=True,
    kinds={"Invoice": "sale", "SalesReceipt": "sale", "RefundReceipt": "refund"},
    prefixes={"RefundReceipt": "return/"},
    sells_when_paid=True,
    sales_max=100,
)
