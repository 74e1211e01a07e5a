"""The form of Magento: the four values of an integration, or a project at Adobe."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET
from connectors.kit.spec.form import Form

#: Fields that each way to log in needs.
_NEEDED: Final = {
    "integration": ("consumer_key", "consumer_secret", "access_token", "access_token_secret"),
    "adobe_ims": ("tenant_id", "organization_id", "client_id", "client_secret"),
}


class MagentoShop(BaseModel):
    """Which shop, and how it knows us; only the fields of the chosen way are needed."""

    host: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        title="Host",
        description=(
            "The shop's address without https:// and path, e.g. shop.example.com; of a shop at "
            "Adobe (Cloud Service) the server of its REST address, e.g. "
            "na1.api.commerce.adobe.com."
        ),
    )
    login: Literal["integration", "adobe_ims"] = Field(
        default="integration",
        title="Way to log in",
        description=(
            "integration: a shop on a server of your own, or of Adobe Commerce Cloud. "
            "adobe_ims: Adobe Commerce as a Cloud Service."
        ),
    )
    consumer_key: SecretStr = Field(
        default=NO_SECRET,
        title="Consumer key",
        description="Integration: System, Extensions, Integrations, shown when it is activated.",
    )
    consumer_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Consumer secret",
        description="Integration: shown beside it. Kept encrypted.",
    )
    access_token: SecretStr = Field(
        default=NO_SECRET,
        title="Access token",
        description="Integration: shown beside it. Kept encrypted.",
    )
    access_token_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Access token secret",
        description="Integration: shown beside it. Kept encrypted.",
    )
    store_code: str = Field(
        default="default",
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        title="Store view code",
        description=(
            "Integration: the code of any store view (Stores, All Stores). Orders of all store "
            "views are read."
        ),
    )
    tenant_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]*$",
        title="Tenant ID",
        description="Adobe IMS: the part of the REST address behind the server.",
    )
    organization_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9@]*$",
        title="Organization ID",
        description="Adobe IMS: of the project's credential, ends with @AdobeOrg.",
    )
    client_id: str = Field(
        default="",
        title="Client ID",
        description=(
            "Adobe IMS: of the project's OAuth Server-to-Server credential "
            "(developer.adobe.com/console)."
        ),
    )
    client_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Client secret",
        description="Adobe IMS: of the same credential. Kept encrypted.",
    )
    token_url: str = Field(
        default="", title="Token URL", description="Adobe IMS. Empty: Adobe's own."
    )


def _account(form: MagentoShop) -> str:
    """The host in lower case, and at Adobe's the tenant behind it."""
    host = form.host.lower()
    return f"{host}/{form.tenant_id}" if form.login == "adobe_ims" else host


def _missing(form: MagentoShop) -> str:
    """The values of the chosen way to log in."""
    empty = [name for name in _NEEDED[form.login] if not _clear_text(getattr(form, name))]
    return f"for {form.login} it still lacks {', '.join(empty)}" if empty else ""


def _clear_text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _values(form: MagentoShop) -> Mapping[str, Any]:
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "client_secret": form.client_secret,
        "options": {
            name: getattr(form, name)
            for name in ("host", "login", "store_code", "tenant_id", "organization_id")
        },
        "secrets": {
            "consumer_key": form.consumer_key,
            "consumer_secret": form.consumer_secret,
            "token_id": form.access_token,
            "token_secret": form.access_token_secret,
        },
    }


FORM: Final = Form(
    block="Magento Connection",
    summary="A shop of Magento or Adobe Commerce. Name the block `magento`.",
    description=(
        "Connects a shop of Magento Open Source or Adobe Commerce. Name the block `magento`, a "
        "further one as you like (`magento-lisboa`). How to get the values: README, Connecting a "
        "real account."
    ),
    fields=MagentoShop,
    account_field="host",
    webhook_secret=True,
    webhook_steps=(
        "1. Adobe Commerce only; Magento Open Source sends no webhooks. "
        "[developer.adobe.com/console](https://developer.adobe.com/console), your project, "
        "*I/O Events for Adobe Commerce*: subscribe to "
        "`observer.sales_order_save_after`, `observer.sales_order_invoice_save_after` and "
        "`observer.sales_order_creditmemo_save_after`, with the fields `entity_id` and "
        "`order_id`, and enter the address as *Webhook*.\n"
        "2. Enter as *Webhook secret* in the {block}: the project's client ID, and on the next "
        "lines Adobe's public keys (docs/systems/magento.md says where they are).\n"
        "3. Run this deployment again: it takes the secret."
    ),
    webhook_hint=(
        "developer.adobe.com/console, I/O Events for Adobe Commerce: enter the URL. Then enter "
        "the project's client ID and Adobe's public keys here: `twezah webhooks rotate {id}`."
    ),
    account=_account,
    refusals=("IntegrationRefused", "AdobeRefused", "ResourceMissing"),
    missing=_missing,
    values=_values,
    simulated={
        "host": "loja.aguatwezah.example",
        "login": "integration",
        "consumer_key": "sim-magento-consumer-key",
        "consumer_secret": "sim-magento-consumer-secret",
        "access_token": "sim-magento-access-token",
        "access_token_secret": "sim-magento-access-token-secret",
    },
    mapping_example='{"customer_phone": "/billing_address/fax"}',
)
