"""The form of WooCommerce: the shop's address and a key of its REST API."""

from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec.form import Form, deletions_every


class WooCommerceShop(BaseModel):
    """Which shop, and its key."""

    shop_url: str = Field(
        pattern=r"^https://[^\s?#@]+$",
        title="Shop address",
        description=(
            "As the browser shows the shop's start page, with https://, e.g. "
            "https://loja.example.com or https://example.com/loja."
        ),
    )
    consumer_key: SecretStr = Field(
        title="Consumer key",
        description=(
            "WooCommerce, Settings, Advanced, REST API: begins with ck_. Permission Read is "
            "enough; Read/Write has webhooks subscribed by themselves. Kept encrypted."
        ),
    )
    consumer_secret: SecretStr = Field(
        title="Consumer secret",
        description="Shown beside it, once: begins with cs_. Kept encrypted.",
    )
    key_in: Literal["header", "query"] = Field(
        default="header",
        title="Key is sent in",
        description=(
            "header: as usual. query: where the shop's server hides the header from WordPress, "
            "so that a right key is refused."
        ),
    )
    sale_statuses: list[str] = Field(
        default_factory=list,
        title="Further statuses that are sales",
        description=(
            "Statuses that a plugin added, for orders the shop works on, e.g. shipped. "
            "Orders with a status that is neither WooCommerce's own nor named here are rejected."
        ),
    )
    store_credit: list[str] = Field(
        default=["wallet"],
        title="Payment methods that are store credit",
        description=(
            "Orders paid with them earn nothing: the money earned when it was paid in. The names "
            "are those of WooCommerce, Settings, Payments, in the address of each method."
        ),
    )


class WooCommerceChanges(BaseModel):
    """A shop's server may be slow, and deletions for good leave no trace."""

    page_size: int = Field(
        default=0,
        ge=0,
        le=100,
        title="Page size",
        description="Orders per request. 0: 100. Less where the shop's server gives up (504).",
    )
    timeout_seconds: float = Field(
        default=60, ge=1, le=300, title="Timeout (s)", description="How long to wait for an answer."
    )
    deletions_hours: int = deletions_every(
        6,
        "Orders deleted for good leave no trace: the ids of all orders are listed and "
        "compared, 100 a request.",
    )


def _account(form: WooCommerceShop) -> str:
    """The shop's host and path: two shops may share a host."""
    parts = urlsplit(form.shop_url)
    return f"{parts.netloc.lower()}{parts.path.partition('/wp-json')[0].rstrip('/')}"


def _values(form: Any) -> Mapping[str, Any]:
    return {
        "base_url": form.base_url or form.shop_url,
        "options": {
            name: getattr(form, name)
            for name in ("key_in", "sale_statuses", "store_credit", "deletions_hours")
        },
        "secrets": {name: getattr(form, name) for name in ("consumer_key", "consumer_secret")},
    }


FORM: Final = Form(
    block="WooCommerce Connection",
    summary="A shop with WooCommerce. Name the block `woocommerce`.",
    description=(
        "Connects a shop with WooCommerce. Name the block `woocommerce`, a further one as you "
        "like (`woocommerce-lobito`). How to get the values: README, Connecting a real account."
    ),
    fields=WooCommerceShop,
    account_field="shop_url",
    account=_account,
    changed=WooCommerceChanges,
    refusals=("KeyRejected",),
    values=_values,
    mapping_example='{"customer_phone": "/shipping/phone"}',
    webhook_secret=True,
    webhook_steps=(
        "1. In the shop: WooCommerce, Settings, Advanced, Webhooks, Add webhook. Make three, with "
        "the topics *Order created*, *Order updated* and *Order deleted*, all with this address as "
        "Delivery URL, the API version *WP REST API Integration v3*, and one Secret that you make "
        "up: letters and digits only.\n"
        "2. Enter that secret in {block} as *Webhook secret*, and run *webhook-address* again."
    ),
    webhook_hint=(
        "Add three webhooks in the shop (WooCommerce, Settings, Advanced, Webhooks): Order "
        "created, Order updated and Order deleted, with the URL and one secret of letters and "
        "digits."
    ),
    simulated={
        "shop_url": "https://loja.aguatwezah.example",
        "consumer_key": "ck_simulated",
        "consumer_secret": "cs_simulated",
    },
)
