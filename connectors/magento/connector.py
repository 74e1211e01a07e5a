"""Magento and Adobe Commerce, REST: orders, with what was invoiced and refunded of them.

An order is the sale. It says by itself what was invoiced, paid, cancelled and refunded of it, who
bought, and the phone. The lists of invoices and credit memos are read for their changes only: each
brings in its order, as it is now.

https://developer.adobe.com/commerce/webapi/rest/use-rest/performing-searches/
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx

from connectors.kit.errors import CredentialsRejected, PermissionMissing, UnexpectedShape
from connectors.kit.http.signing import token_based
from connectors.kit.read.pagination import by_last_id
from connectors.kit.spec import (
    Account,
    ById,
    ConnectorSpec,
    PageRequest,
    RateLimit,
    RequestAuth,
    Stream,
    TokenAuth,
    Window,
    batches,
)
from connectors.magento.orders import FIELDS, HELPERS, LINES, WHOLE_ORDER

#: A large page makes PHP run out of memory; servers that limit pages take 300 at most.
_PAGE_SIZE = 100
_IDS_PER_QUERY = 50
_SIZE = "searchCriteria[pageSize]"
_IMS_SCOPES = (
    "openid,AdobeID,email,profile,additional_info.roles,"
    "additional_info.projectedProductContext,commerce.accs"
)


def _path(account: Account, resource: str) -> str:
    """Behind the store's code on one's own server, behind the tenant's id at Adobe's."""
    if account.options.get("login") == "adobe_ims":
        return f"/{quote(str(account.options.get('tenant_id', '')), safe='')}/V1/{resource}"
    store = str(account.options.get("store_code") or "default")
    return f"/rest/{quote(store, safe='')}/V1/{resource}"


def _search(*conditions: tuple[str, str, str], size: int) -> dict[str, str]:
    """The query of a list: all conditions (field, condition, value) must hold; ordered by id."""
    query = {
        _SIZE: str(size),
        "searchCriteria[sortOrders][0][field]": "entity_id",
        "searchCriteria[sortOrders][0][direction]": "ASC",
    }
    for number, (field, condition, value) in enumerate(conditions):
        place = f"searchCriteria[filter_groups][{number}][filters][0]"
        query |= {
            f"{place}[field]": field,
            f"{place}[condition_type]": condition,
            f"{place}[value]": value,
        }
    return query


def _first(
    resource: str, *, changes_only: bool = False
) -> Callable[[Account, Window, datetime], PageRequest | None]:
    """The first request of a list: behind id 0, so that every page is asked for in the same way."""

    def first(account: Account, window: Window, _now: datetime) -> PageRequest | None:
        conditions = [("entity_id", "gt", "0")]
        if window.since:
            # UTC, without a zone, in whole seconds, as the API writes its times.
            since = window.since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
            conditions.append(("updated_at", "gteq", since))
        elif changes_only:
            return None  # all orders are read
        return PageRequest(
            "GET", _path(account, resource), _search(*conditions, size=SPEC.size(account))
        )

    return first


def _behind(request: PageRequest, last_id: str) -> PageRequest:
    """The request of a list, moved behind another id.

    A page number beyond the last page brings the last page again, in many versions.

    Raises:
        UnexpectedShape: If that is no id.
    """
    place = "searchCriteria[filter_groups][0][filters][0][value]"
    if not last_id.isdigit() or int(last_id) <= int(request.param(place)):
        raise UnexpectedShape(
            "magento", "list", "the last record of a page has no entity_id behind the page before"
        )
    return PageRequest(request.method, request.path, {**request.params, place: last_id})


def _orders(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for batch in batches([vendor_id for vendor_id in ids if vendor_id.isdigit()], _IDS_PER_QUERY):
        wanted = ("entity_id", "in", ",".join(batch))
        yield PageRequest("GET", _path(account, "orders"), _search(wanted, size=len(batch)))


def _its_order(account: Account, ids: Sequence[str]) -> Iterable[PageRequest]:
    for vendor_id in ids:
        yield PageRequest("GET", _path(account, f"orders/{quote(vendor_id, safe='')}"))


def _list(resource: str, name: str, *, changes_only: bool) -> Stream:
    """A list: of orders, or of documents of which only the orders are read."""
    return Stream(
        name,
        "invoice",
        _first(resource, changes_only=changes_only),
        partial(by_last_id, after=_behind, left="left", size_param=_SIZE),
        records="/items",
        info={"left": "/total_count"},
        missing_is_empty="null",
        fields=FIELDS,
        helpers=HELPERS,
        lines=LINES,
        walk_ins=True,
        deletions=(name,),  # nothing is deleted: what does not count is cancelled
        # An order need not be changed at the time at which its invoice is.
        windowed=not changes_only,
        incomplete=changes_only,
        keep=WHOLE_ORDER if changes_only else None,
        by_id=ById(_its_order, single=("",), named=("/order_id",))
        if changes_only
        else ById(_orders),
    )


class IntegrationRefused(CredentialsRejected):
    """The shop refuses the signed requests of the integration."""

    advice = (
        "In the shop's Admin under System, Extensions, Integrations the integration must be "
        "active: press Reauthorize, and enter its four values in the block "
        '"{block}" (consumer key, consumer secret, access token, access token secret). If they '
        "are right, look at this machine's clock, and whether a proxy before the shop changes "
        "the address or drops the header Authorization."
    )


class AdobeRefused(CredentialsRejected):
    """Adobe's login gives no token, or the shop does not take it."""

    advice = (
        "Check client ID, client secret and organization ID in the block "
        '"{block}": Adobe Developer Console, the project, OAuth Server-to-Server. The project '
        "must have the API Adobe Commerce as a Cloud Service."
    )


class ResourceMissing(PermissionMissing):
    """The shop knows us, and the integration may not read orders, invoices or credit memos."""

    advice = (
        "In the shop's Admin under System, Extensions, Integrations, the integration, API: tick "
        "Sales, Operations, Orders with Actions, View, and Invoices and Credit Memos; save, and "
        'press Reauthorize. Then test the connection "{block}" again.'
    )


def _auth(account: Account) -> RequestAuth | TokenAuth:
    """How the account proves itself, as chosen in the block.

    Raises:
        Misconfigured: If what the choice needs is missing.
    """
    if account.options.get("login") == "adobe_ims":
        return TokenAuth(_ims_token, seeded=False, refused=AdobeRefused)
    return token_based(account, realm="", refused=IntegrationRefused)


def _ims_token(account: Account, url: str, _refresh_token: str) -> httpx.Request:
    """The request for a token of Adobe's login; there is no refresh token."""
    form = {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_secret": account.client_secret.get_secret_value(),
        "scope": _IMS_SCOPES,
    }
    return httpx.Request("POST", url, data=form, headers={"accept": "application/json"})


def _headers(account: Account) -> Mapping[str, str]:
    """JSON instead of XML; at Adobe's servers, whose application asks for which organisation."""
    if account.options.get("login") != "adobe_ims":
        return {"accept": "application/json"}
    return {
        "accept": "application/json",
        "x-api-key": account.client_id,
        "x-gw-ims-org-id": str(account.options.get("organization_id", "")),
    }


def _fault(body: Any) -> str | None:
    """A code of an error: there is none in most, only a text, which may quote our data.

    `message`, with `parameters` for its places; `messages` where PHP itself failed; `error` of
    Adobe's login.
    """
    if "items" in body or "entity_id" in body:
        return None
    if "resources" in (body.get("parameters") or ()):
        return "not_authorized"
    if "messages" in body:
        return str(body["messages"]["error"][0]["code"])
    code = body.get("code") or body.get("error")
    return str(code) if code else ("error" if "message" in body else None)


SPEC = ConnectorSpec(
    name="magento",
    title="Magento / Adobe Commerce",
    docs_url="https://developer.adobe.com/commerce/webapi/rest/",
    base_url="https://{host}",
    token_url="https://ims-na1.adobelogin.com/ims/token/v3",
    auth=_auth,
    headers=_headers,
    streams=(
        _list("orders", "orders", changes_only=False),
        _list("invoices", "orders_of_invoices", changes_only=True),
        _list("creditmemos", "orders_of_credit_memos", changes_only=True),
    ),
    lookups=(),
    # None is published, and the shop's own customers are served by the same machine.
    rate=RateLimit(((10, 1.0), (240, 60.0)), concurrency=2, retry_after_seconds=30),
    page_size=_PAGE_SIZE,
    fault=_fault,
    errors={"not_authorized": ResourceMissing},
)
