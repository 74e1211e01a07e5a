"""Xero: its tenant, tokens, consent page, limits and numbers."""

from datetime import timedelta
from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

SYSTEM: Final = System(
    place=2,
    account="b0a5c0de-0000-4000-8000-000000000001",  # the tenant
    tokens=Tokens(
        access_seconds=1800,
        refresh_seconds=60 * 86_400,
        scope="offline_access accounting.transactions.read accounting.contacts.read",
        grace=timedelta(minutes=30),
        client_credentials="access",
        answer=lambda scope, _now: {"scope": scope},
    ),
    # https://developer.xero.com "faq/limits".
    rules=(Rule("minute", 60, 60), Rule("day", 5000, 86_400), Rule("appminute", 10_000, 60)),
    concurrent=5,
    guids=True,
    number_formats={
        "Invoice": "INV-{:04d}",
        "Bill": "BILL-{:04d}",
        "CreditNote": "CN-{:04d}",
        "SupplierCredit": "SCN-{:04d}",
    },
    consent=ConsentPage(
        path="/identity/connect/authorize",
        pkce=True,
        scopes={
            "offline_access",
            "openid",
            "profile",
            "email",
            *(
                f"accounting.{name}{suffix}"
                # Not transactions: it is refused to applications registered since March 2026.
                for name in ("contacts", "settings", "invoices", "payments")
                for suffix in ("", ".read")
            ),
        },
    ),
    prefixes={},
)
