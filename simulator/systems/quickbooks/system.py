"""QuickBooks Online: its account, tokens, consent page, limits and numbers."""

from datetime import timedelta
from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

_REFRESH_SECONDS: Final = 100 * 86_400

SYSTEM: Final = System(
    place=1,
    account="9130350000000001",  # the realm
    tokens=Tokens(
        refresh_seconds=_REFRESH_SECONDS,
        scope="com.intuit.quickbooks.accounting",  # Intuit's answers do not tell it
        kept_for=timedelta(hours=24),
        answer=lambda _scope, _now: {
            "token_type": "bearer",
            "x_refresh_token_expires_in": _REFRESH_SECONDS,
        },
    ),
    # https://developer.intuit.com "limits-and-throttles".
    rules=(Rule("second", 10, 1), Rule("minute", 500, 60), Rule("batch", 40, 60, "/batch")),
    number_formats={"Invoice": "{:d}"},
    first_ids={"customer": 1},
    first_number=1001,
    consent=ConsentPage(
        path="/connect/oauth2",
        scopes={
            "com.intuit.quickbooks.accounting",
            "com.intuit.quickbooks.payment",
            "openid",
            "profile",
            "email",
        },
        account_param="realmId",
    ),
    prefixes={name: f"{name}/" for name in ("SalesReceipt", "CreditMemo", "RefundReceipt")},
)
