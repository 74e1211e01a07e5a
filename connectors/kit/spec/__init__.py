"""What a billing system is, as values: one `ConnectorSpec` per system.

A system's `connector.py` is written with these values, and the functions of the kit read them.
Nothing here sends or parses anything.
"""

from connectors.kit.spec.access import (
    AssertionAuth,
    Consent,
    Grant,
    GrantedAccount,
    RequestAuth,
    TokenAuth,
)
from connectors.kit.spec.account import NO_SECRET, Account, of_account
from connectors.kit.spec.connector import ConnectorSpec, RateLimit, RetryPolicy
from connectors.kit.spec.requests import (
    ListMovedError,
    Page,
    PageRequest,
    Pages,
    PageView,
    Param,
    Resume,
    Special,
    Window,
    WindowRefusedError,
    batches,
    is_due,
    utc_seconds,
)
from connectors.kit.spec.streams import (
    Beside,
    ById,
    Deleted,
    Details,
    Lines,
    Lookup,
    MissingIsEmpty,
    Rest,
    Stream,
)

__all__ = [
    "NO_SECRET",
    "Account",
    "AssertionAuth",
    "Beside",
    "ById",
    "ConnectorSpec",
    "Consent",
    "Deleted",
    "Details",
    "Grant",
    "GrantedAccount",
    "Lines",
    "ListMovedError",
    "Lookup",
    "MissingIsEmpty",
    "Page",
    "PageRequest",
    "PageView",
    "Pages",
    "Param",
    "RateLimit",
    "RequestAuth",
    "Rest",
    "Resume",
    "RetryPolicy",
    "Special",
    "Stream",
    "TokenAuth",
    "Window",
    "WindowRefusedError",
    "batches",
    "is_due",
    "of_account",
    "utc_seconds",
]
