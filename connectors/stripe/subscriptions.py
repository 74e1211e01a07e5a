"""Stripe's webhook endpoints, made and kept by its API: one for all events of an account.

Stripe shows the signing secret once, in the answer to the creation.

https://docs.stripe.com/api/webhook_endpoints
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.subscriptions import MADE_BY, Subscription, Subscriptions, Wanted
from connectors.stripe.connector import INVOICE_EVENTS, PAYMENT_EVENTS, REFUND_EVENTS, VERSION

_PATH: Final = "/v1/webhook_endpoints"
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
_MARK: Final = "made_by"


def _events(account: Account) -> Sequence[tuple[str, ...]]:
    """What the lists are read for, and drafts that were deleted."""
    payments = PAYMENT_EVENTS if account.options.get("payments", True) else REFUND_EVENTS
    return (tuple(sorted({*INVOICE_EVENTS, "invoice.deleted", *payments})),)


def _first(_account: Account) -> PageRequest:
    return PageRequest("GET", _PATH, {"limit": "100"})


def _following(request: PageRequest, body: Any) -> PageRequest | None:
    if not body["has_more"]:
        return None
    return request.turn(starting_after=str(body["data"][-1]["id"]))


def _subscription(entry: Mapping[str, Any]) -> Subscription:
    secret = entry.get("secret")
    return Subscription(
        str(entry["id"]),
        str(entry["url"]),
        frozenset(map(str, entry["enabled_events"])),
        "active" if entry["status"] == "enabled" else "off",
        secret=SecretStr(str(secret)) if secret else None,
        marked=(entry.get("metadata") or {}).get(_MARK) == MADE_BY,
    )


def _make(_account: Account, wanted: Wanted) -> PageRequest:
    fields = [
        ("url", wanted.url),
        ("api_version", VERSION),
        ("description", "Loyalty points"),
        (f"metadata[{_MARK}]", MADE_BY),
        *(("enabled_events[]", event) for event in wanted.topics),
    ]
    return PageRequest("POST", _PATH, body=urlencode(fields), headers=_FORM)


def _change(_account: Account, entry: Subscription, wanted: Wanted) -> PageRequest:
    fields = [("disabled", "false"), *(("enabled_events[]", event) for event in wanted.topics)]
    return PageRequest("POST", _one(entry), body=urlencode(fields), headers=_FORM)


def _one(entry: Subscription) -> str:
    return f"{_PATH}/{quote(entry.id, safe='')}"


def _by_hand(account: Account) -> str:
    if not account.options.get("connected"):
        return ""
    return (
        "Events of a connected account go to the platform's endpoints: whoever runs the platform "
        "makes one there, for events of connected accounts."
    )


SUBSCRIPTIONS: Final = Subscriptions(
    wanted=_events,
    first=_first,
    read=lambda body: map(_subscription, body["data"]),
    following=_following,
    make=_make,
    made=_subscription,
    change=_change,
    remove=lambda _, entry: PageRequest("DELETE", _one(entry)),
    signed_with="returned",
    permission=(
        "For webhook subscriptions the restricted key needs the permission *Write* for *Webhook "
        "Endpoints* (dashboard.stripe.com, Developers, API keys)."
    ),
    by_hand=_by_hand,
)
