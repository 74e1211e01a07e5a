"""Wave: its business, tokens, consent page, limits and numbers."""

from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

_SCOPES: Final = (
    *(f"{name}:read" for name in ("business", "invoice", "customer", "product", "transaction")),
    "offline_access",
)

SYSTEM: Final = System(
    place=15,
    account="QnVzaW5lc3M6MQ==",
    # Lives and rotation are not published; the most careful of them.
    tokens=Tokens(access_seconds=7200, scope=" ".join(_SCOPES), single=True),
    rules=(Rule("minute", 300, 60),),  # none is published
    number_formats={"Invoice": "{}"},
    first_number=20_001,
    consent=ConsentPage(path="/oauth2/authorize/", scopes=_SCOPES),
    error_in_200={
        "data": None,
        "errors": [
            {"message": "Temporary failure.", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
        ],
    },
    asks_in_body=True,
    drafts=0.06,
    sales_max=100,
)
