"""The form of Shopify: the app's credentials, or a token that an older app has."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET
from connectors.kit.spec.form import Form, overlap
from connectors.shopify.graphql import VERSION

_SUFFIX: Final = ".myshopify.com"


class ShopifyShop(BaseModel):
    """Which shop, and the app that reads it."""

    shop: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*(\.myshopify\.com)?$",
        title="Shop",
        description=(
            "Settings, Domains: the name before .myshopify.com, e.g. agua-twezah. Not the domain "
            "that customers see."
        ),
    )
    login: Literal["client_credentials", "access_token"] = Field(
        default="client_credentials",
        title="Way to log in",
        description=(
            "client_credentials: an app of your organisation (Dev Dashboard). access_token: a "
            "custom app made in the shop's admin before 2026."
        ),
    )
    client_id: str = Field(
        default="",
        title="Client ID",
        description="Client credentials: Dev Dashboard, the app, Settings.",
    )
    client_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Client secret",
        description="Client credentials: shown beside it. Kept encrypted.",
    )
    access_token: SecretStr = Field(
        default=NO_SECRET,
        title="Access token",
        description=(
            "Access token: shown once when the app was installed, shpat_... Kept encrypted."
        ),
    )
    read_deletions: bool = Field(
        default=True,
        title="Look for deleted orders",
        description=(
            "Reads the shop's events about orders that were deleted. Switch it off if Shopify "
            "refuses that list; then only webhooks tell of them."
        ),
    )
    api_version: str = Field(
        default=VERSION,
        pattern=r"^20\d\d-(01|04|07|10)$",
        title="API version",
        description="Leave it as it is: the version that this program was written for.",
    )
    token_url: str = Field(default="", title="Token URL", description="Empty: the vendor's own.")


class ShopifyChanges(BaseModel):
    """Shopify's search finds an order some time after it was changed."""

    overlap_minutes: int = overlap(120, least=15)


def _account(form: ShopifyShop) -> str:
    return form.shop.lower().removesuffix(_SUFFIX)


def _missing(form: ShopifyShop) -> str:
    """What the chosen way to log in needs."""
    needed = {
        "client_credentials": {
            "Client ID": form.client_id,
            "Client secret": form.client_secret.get_secret_value(),
        },
        "access_token": {"Access token": form.access_token.get_secret_value()},
    }[form.login]
    empty = [title for title, value in needed.items() if not value]
    return f"for {form.login} it still lacks {', '.join(empty)}" if empty else ""


def _values(form: ShopifyShop) -> Mapping[str, Any]:
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "client_secret": form.client_secret,
        "options": {
            "login": form.login,
            "read_deletions": form.read_deletions,
            "api_version": form.api_version,
        },
        "secrets": {"access_token": form.access_token},
    }


FORM: Final = Form(
    block="Shopify Connection",
    summary="A shop of Shopify. Name the block `shopify`.",
    description=(
        "Connects a shop of Shopify. Name the block `shopify`, a further one as you like "
        "(`shopify-lisboa`). How to get the values: README, Connecting a real account."
    ),
    fields=ShopifyShop,
    account_field="shop",
    account=_account,
    changed=ShopifyChanges,
    webhook_secret=True,
    webhook_steps=(
        "1. In the app's configuration (Dev Dashboard, or `shopify.app.toml`) subscribe this "
        "address to `orders/create`, `orders/updated`, `orders/paid`, `orders/cancelled`, "
        "`orders/edited`, `orders/delete` and `refunds/create`, in JSON over HTTPS.\n"
        "2. The secret is the app's **client secret**: enter it as *Webhook secret* in {block}.\n"
        "3. Run *webhook-address* again. Shopify's own button *Send test notification* signs with "
        "another secret, so that test is refused: edit an order instead."
    ),
    webhook_hint=(
        "Subscribe the URL to orders/create, orders/updated, orders/paid, orders/cancelled, "
        "orders/edited, orders/delete and refunds/create in the app's configuration. The secret "
        "is the app's client secret."
    ),
    refusals=("AppRejected",),
    missing=_missing,
    values=_values,
    simulated={
        "shop": "agua-twezah",
        "client_id": "sim-client",
        "client_secret": "sim-secret",
        "token_url": "/admin/oauth/access_token",
    },
)
