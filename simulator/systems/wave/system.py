"""Wave: its business, tokens, consent page, limits and numbers."""

import base64
from typing import Final

from simulator.system import ConsentPage, Rule, System, Tokens

_NAMES: Final = {"customer": "Customer", "item": "Product", "payment": "Payment"}


def wave_id(sequence: str, number: int) -> str:
    """An id that says nothing: base64 of the business and what it is."""
    name = _NAMES.get(sequence, sequence)
    return base64.b64encode(f"Business:1;{name}:{number}".encode()).decode()


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
    credits=False,
    voids=False,
    id_form=wave_id,
    drafts=0.06,
)
