"""Push only: a system of one's own that sends every sale by webhook, and cannot be asked.

Its documents are those of custom systems (docs/custom-systems.md); nothing is ever read from it.
"""

from typing import Final

import httpx
from pydantic import ConfigDict

from connectors.kit.described.api import Paging, paginate
from connectors.kit.described.documents import DocumentSettings, documents, settings_of
from connectors.kit.described.webhook_settings import WebhookSettings
from connectors.kit.spec import Account, ConnectorSpec, RateLimit, RequestAuth, Stream

NAME: Final = "push"
#: Nobody is asked, so nothing is at this address.
_NOWHERE: Final = "https://push.invalid"


class PushSettings(WebhookSettings, DocumentSettings):
    """What an operator says about the webhooks and the documents in them."""


class PushOptions(PushSettings):
    """The settings as a value; a setting that does not exist is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Nobody(httpx.BaseTransport):
    """Stands in for a network on which nobody can be asked."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("a push only connection asks nobody", request=request)


def spec_from(account: Account) -> ConnectorSpec:
    """What the account's webhooks hold, by its options.

    Raises:
        Misconfigured: Naming the field of the block.
    """
    options = settings_of(PushOptions, account)
    documented = documents(options, account, "invoices")
    stream = Stream(
        "invoices",
        "invoice",
        lambda _account, _window, _now: None,
        paginate(Paging("none", "", 0, 0, short_page_is_last=True), account, NAME),
        records="",
        single=("/data", "/invoice"),
        fields=documented.fields,
        helpers=documented.helpers,
        lines=documented.lines,
        gone=documented.gone,
        finish=documented.finish,
    )
    return ConnectorSpec(
        name=NAME,
        title=f"{account.account} (push only)" if account.account != NAME else "Push only",
        docs_url="docs/webhooks.md",
        base_url=_NOWHERE,
        token_url="",
        auth=lambda _: RequestAuth(lambda _account, _request, _now: None),
        streams=(stream,),
        lookups=(),
        rate=RateLimit((), concurrency=1),
        page_size=1,
        transport=lambda _: _Nobody(),
    )
