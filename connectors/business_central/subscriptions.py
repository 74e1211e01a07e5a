"""Business Central's subscriptions: one for each list of a company, which end after three days.

Whenever one is made or renewed, Business Central calls the address before it answers. The secret
is the `clientState`, which is ours to give.

https://learn.microsoft.com/dynamics365/business-central/dev-itpro/ (Working with webhooks)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from connectors.business_central.connector import api_root
from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.subscriptions import Subscription, Subscriptions, Wanted

_LISTS: Final = ("salesInvoices", "salesCreditMemos")
_JSON: Final = {"content-type": "application/json"}
#: Written over whatever version of the subscription there is.
_ANY_VERSION: Final = {"if-match": "*"}


def _wanted(_account: Account) -> Sequence[tuple[str, ...]]:
    return tuple((name,) for name in _LISTS)


def _first(account: Account) -> PageRequest:
    return PageRequest("GET", f"{api_root(account)}/subscriptions")


def _following(request: PageRequest, body: Any) -> PageRequest | None:
    """Host and path stay those of the first request: an answer cannot send a token elsewhere."""
    address = body.get("@odata.nextLink")
    if not address:
        return None
    params = dict(parse_qsl(urlsplit(str(address)).query, keep_blank_values=True))
    return replace(request, params=params, page_no=request.page_no + 1)


def _subscription(entry: Mapping[str, Any]) -> Subscription:
    ends = datetime.fromisoformat(str(entry["expirationDateTime"]))
    return Subscription(
        str(entry["subscriptionId"]),
        str(entry["notificationUrl"]),
        frozenset({_list_of(str(entry["resource"]))}),
        expires_at=ends if ends.tzinfo else ends.replace(tzinfo=UTC),
    )


def _list_of(resource: str) -> str:
    """The list at the end of `/api/v2.0/companies(<id>)/salesInvoices`, as we spell it."""
    name = unquote(resource).partition("?")[0].rstrip("/").rpartition("/")[2]
    return next((own for own in _LISTS if own.lower() == name.lower()), name)


def _body(account: Account, wanted: Wanted) -> str:
    company = quote(account.account, safe="")
    fields = {
        "notificationUrl": wanted.url,
        "resource": f"/api/v2.0/companies({company})/{wanted.topics[0]}",
        "clientState": wanted.secret.get_secret_value(),
    }
    return json.dumps(fields)


def _make(account: Account, wanted: Wanted) -> PageRequest:
    path = f"{api_root(account)}/subscriptions"
    return PageRequest("POST", path, body=_body(account, wanted), headers=_JSON)


def _change(account: Account, entry: Subscription, wanted: Wanted) -> PageRequest:
    headers = {**_JSON, **_ANY_VERSION}
    return PageRequest("PATCH", _one(account, entry), body=_body(account, wanted), headers=headers)


def _remove(account: Account, entry: Subscription) -> PageRequest:
    return PageRequest("DELETE", _one(account, entry), headers=_ANY_VERSION)


def _one(account: Account, entry: Subscription) -> str:
    return f"{api_root(account)}/subscriptions('{quote(entry.id, safe='')}')"


SUBSCRIPTIONS: Final = Subscriptions(
    wanted=_wanted,
    first=_first,
    read=lambda body: map(_subscription, body["value"]),
    following=_following,
    make=_make,
    made=_subscription,
    change=_change,
    remove=_remove,
    signed_with="ours",
    permission=(
        "For webhook subscriptions the app's permission sets in Business Central must also let it "
        "insert, modify and delete *API Webhook Subscription*."
    ),
    # Renewed daily: two days are left for whatever is out of order.
    renew_before=timedelta(days=2),
)
