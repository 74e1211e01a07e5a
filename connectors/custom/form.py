"""The form of a system with a REST API of its own: the operator describes it."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.described.documents import DocumentSettings
from connectors.kit.described.settings import CustomSettings
from connectors.kit.described.webhook_settings import WebhookSettings
from connectors.kit.spec.form import Form


class CustomCredentials(BaseModel):
    """What the system knows us by; only the fields of the chosen authentication are needed."""

    api_key: SecretStr = Field(
        default=SecretStr(""),
        title="API key",
        description="For authentication bearer or api key. Kept encrypted.",
    )
    password: SecretStr = Field(
        default=SecretStr(""),
        title="Password",
        description="For authentication basic. Kept encrypted.",
    )
    client_id: str = Field(
        default="", title="Client ID", description="For authentication client credentials."
    )
    client_secret: SecretStr = Field(
        default=SecretStr(""),
        title="Client secret",
        description="For authentication client credentials. Kept encrypted.",
    )
    token_url: str = Field(
        default="", title="Token URL", description="For authentication client credentials."
    )


class CustomFields(CustomSettings, CustomCredentials):
    """The credentials first, then what is said about the API."""


class CustomChanges(BaseModel):
    """There is no vendor whose address could be the default."""

    base_url: str = Field(
        title="API base URL",
        description=(
            "Where your system's API is, e.g. https://erp.example.com/api/v1. https only."
        ),
    )


#: What few systems need, by theme.
_THEMES: Final = (
    (
        "Other ways to log in",
        (
            *("api_key_header", "api_key_param", "username", "password", "client_id"),
            *("client_secret", "token_url", "scope", "client_in"),
        ),
    ),
    ("What the documents look like", tuple(DocumentSettings.model_fields)),
    (
        "How the list is asked for",
        ("method", "params", "headers", "body", "since_param", "since_format"),
    ),
    (
        "Paging",
        (
            *("paging", "page_param", "first_page", "size_param", "next_path", "more_path"),
            *("pages_path", "total_path", "short_page_is_last", "empty_without_records"),
        ),
    ),
    ("Documents asked for one by one", ("list_holds", "document_path", "document_record")),
    (
        "Phones of customers",
        (
            *("customer_path", "customer_ids_param", "customer_records", "customer_id_path"),
            "customer_phone_path",
        ),
    ),
    ("How webhooks are signed and read", tuple(WebhookSettings.model_fields)),
    (
        "What the API allows",
        ("requests_per_minute", "requests_at_once", "page_size", "timeout_seconds"),
    ),
)


def _values(form: CustomFields) -> Mapping[str, Any]:
    return {
        "token_url": form.token_url,
        "client_id": form.client_id,
        "client_secret": form.client_secret,
        "secrets": {"api_key": form.api_key, "password": form.password},
        "options": {name: getattr(form, name) for name in CustomSettings.model_fields},
    }


FORM: Final = Form(
    block="Custom Connection",
    summary="Any REST API. Name the block as you like: the name is the account in the ledger.",
    description=(
        "Connects any system with a REST API, without code. The block's name becomes the account "
        "in the ledger; several are possible. The defaults fit our own contract. "
        "Guide: docs/custom-systems.md."
    ),
    fields=CustomFields,
    access="described",
    changed=CustomChanges,
    webhook_secret=True,
    values=_values,
    begins=(
        *("base_url", "path", "authentication", "api_key", "records", "field_mapping"),
        *("default_currency", "webhook_secret"),
    ),
    themes=_THEMES,
    sample={"base_url": "https://sample.invalid"},
    webhook_steps=(
        "1. Choose a secret, and enter it in your system and as *Webhook secret* in the {block} "
        "(how webhooks are signed is said there as well).\n"
        "2. Run this deployment again: it takes the secret.\n"
        "3. Enter the address in your system. What it should send: docs/webhooks.md."
    ),
    webhook_hint=(
        "Enter the URL and the secret in your system. It signs as its block says; Standard "
        "Webhooks if that says nothing."
    ),
    simulated={"api_key": "sim-secret"},
)
