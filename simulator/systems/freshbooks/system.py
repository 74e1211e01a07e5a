"""FreshBooks: its account, tokens, consent page, limits and numbers."""

from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

_READ: Final = (
    *("profile", "invoices", "clients", "credit_notes", "payments"),
    "billable_items",
)

SYSTEM: Final = System(
    place=3,
    account="TwZh01",
    tokens=Tokens(
        access_seconds=43_200,
        scope=" ".join(f"user:{name}:read" for name in _READ),
        single=True,
        answer=lambda scope, now: {"scope": scope, "created_at": int(now.timestamp())},
    ),
    rules=(Rule("minute", 600, 60),),  # none is published
    number_formats={"Invoice": "{:07d}", "CreditNote": "CN{:05d}"},
    # Invoices and credit notes share ids: only kind and id together are unique.
    first_ids={"Invoice": 453_001, "CreditNote": 453_001},
    consent=ConsentPage(
        path="/oauth/authorize",
        scopes={
            f"user:{name}:{action}"
            for name in (*_READ, "other_income")
            for action in ("read", "write")
        },
        https_only=True,
    ),
    # An old habit of theirs.
    error_in_200={
        "response": {
            "errors": [{"errno": 1009, "message": "Temporary failure.", "object": "system"}]
        }
    },
    drafts=0.05,
)
