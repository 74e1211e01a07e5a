"""Sage Intacct: its company, tokens, consent page, limits and numbers."""

from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

SYSTEM: Final = System(
    place=5,
    account="AguaTwezah|E100",  # company and entity
    tokens=Tokens(
        access_seconds=43_200,
        single=True,
        client_credentials="access and refresh",  # public clients show one here as well
    ),
    # Billed by the month, and limited by what is under way at once.
    rules=(Rule("minute", 600, 60),),
    concurrent=2,
    number_formats={
        "Invoice": "SI-{:05d}",
        "CreditMemo": "CM-{:04d}",
        "DebitMemo": "DM-{:04d}",
    },
    consent=ConsentPage(path="/ia/api/v1/oauth2/authorize", scopes={"offline_access"}, pkce=True),
    # A heritage of its XML interface.
    error_in_200={
        "ia::result": {
            "ia::error": {
                "code": "operationFailed",
                "message": "Temporary failure.",
                "errorId": "REST-9001",
            }
        },
        "ia::meta": {"totalCount": 1, "totalSuccess": 0, "totalError": 1},
    },
    asks_in_body=True,
    drafts=0.05,
    prefixes=dict.fromkeys(("CreditMemo", "DebitMemo", "MemoReversal"), "adjustment/"),
)
