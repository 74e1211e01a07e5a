"""FreshBooks' callbacks, made and kept by its API: one for invoices, one for credit notes.

Each is verified by a code that FreshBooks sends to its address, and signs with that code. So each
has an address of its own. Who lost the code has no way to see it again: the callback is made anew.

https://www.freshbooks.com/api/webhooks
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.subscriptions import Subscription, Subscriptions, Wanted

_JSON: Final = {"content-type": "application/json"}
#: The names of parents stand for all of their events.
_EVENTS: Final = ("invoice", "credit_note")
_PAGE_SIZE: Final = 100


def _wanted(_account: Account) -> Sequence[tuple[str, ...]]:
    return tuple((event,) for event in _EVENTS)


def _path(account: Account, rest: str = "") -> str:
    return f"/events/account/{quote(account.account, safe='')}/events/callbacks{rest}"


def _first(account: Account) -> PageRequest:
    return PageRequest("GET", _path(account), {"page": "1", "per_page": str(_PAGE_SIZE)})


def _following(request: PageRequest, body: Any) -> PageRequest | None:
    result = body["response"]["result"]
    page = int(request.param("page"))
    return request.turn(page=str(page + 1)) if page < int(result["pages"]) else None


def _subscription(entry: Mapping[str, Any]) -> Subscription:
    return Subscription(
        str(entry["callbackid"]),
        str(entry["uri"]),
        frozenset({str(entry["event"])}),
        "active" if entry["verified"] else "off",
    )


def _make(account: Account, wanted: Wanted) -> PageRequest:
    body = json.dumps({"callback": {"event": wanted.topics[0], "uri": wanted.url}})
    return PageRequest("POST", _path(account), body=body, headers=_JSON)


def _send_again(account: Account, entry: Subscription, _wanted: Wanted) -> PageRequest:
    body = json.dumps({"callback": {"callback_id": entry.id, "resend": True}})
    return PageRequest("PUT", _one(account, entry), body=body, headers=_JSON)


def _one(account: Account, entry: Subscription) -> str:
    return _path(account, f"/{quote(entry.id, safe='')}")


SUBSCRIPTIONS: Final = Subscriptions(
    wanted=_wanted,
    first=_first,
    read=lambda body: map(_subscription, body["response"]["result"]["callbacks"]),
    following=_following,
    make=_make,
    made=lambda body: _subscription(body["response"]["result"]["callback"]),
    change=_send_again,
    remove=lambda account, entry: PageRequest("DELETE", _one(account, entry)),
    signed_with="handshake",
    permission=(
        "For webhook subscriptions FreshBooks wants the scopes of what they are about (invoices "
        "and credit notes) in the consent: connect anew if they are missing."
    ),
    own_addresses=True,
)
