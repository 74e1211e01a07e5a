"""Zoho Books: its organization, tokens, consent page, limits and numbers."""

from datetime import timedelta
from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

SYSTEM: Final = System(
    place=12,
    account="60000000001",  # the organization
    # A refresh token is never replaced.
    tokens=Tokens(
        access_seconds=3600,
        scope="ZohoBooks.fullaccess.all",
        kept_for=timedelta.max,
        words=("zoho-oauthtoken", "bearer"),
        answer=lambda _scope, _now: {"api_domain": "https://www.zohoapis.com"},
    ),
    # Per organization: 100 a minute; a day from 1,000 (free) to 10,000; 5 at once (free).
    rules=(Rule("minute", 100, 60), Rule("day", 10_000, 86_400)),
    concurrent=5,
    sales_max=30,
    number_formats={"Invoice": "INV-{:06d}", "CreditMemo": "CN-{:05d}"},
    first_ids={
        "transaction": 260815000000103001,
        "customer": 260815000000098001,
        "item": 260815000000090001,
    },
    consent=ConsentPage(
        path="/oauth/v2/auth",
        scope_separator=",",
        scopes={
            "ZohoBooks.fullaccess.all",
            *(
                f"ZohoBooks.{name}.READ"
                for name in ("invoices", "contacts", "customerpayments", "creditnotes", "settings")
            ),
        },
    ),
    error_in_200={"code": 1000, "message": "Internal error"},
    drafts=0.05,
)
