"""The form of a system that only sends: a secret, and what its documents look like."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.described.documents import DocumentSettings
from connectors.kit.described.webhook_settings import WebhookSettings
from connectors.kit.spec.account import NO_SECRET
from connectors.kit.spec.form import Form
from connectors.push.connector import PushSettings


class PushSecret(BaseModel):
    """There is nothing without the secret, so it comes first and is asked for."""

    webhook_secret: SecretStr = Field(
        default=NO_SECRET,
        title="Webhook secret",
        description=(
            "Needed: your system signs with it. Choose one, e.g. whsec_ and what `openssl rand "
            "-base64 32` prints, and enter it in your system as well. Kept encrypted. To change "
            "it, enter the new one here: the old one is good for a day longer."
        ),
    )


def _missing(form: Any) -> str:
    if form.webhook_secret.get_secret_value():
        return ""
    return "the webhook secret is missing: nothing that arrives could be checked"


def _values(form: PushSettings) -> Mapping[str, Any]:
    names = PushSettings.model_fields
    return {"base_url": "", "options": {name: getattr(form, name) for name in names}}


FORM: Final = Form(
    block="Push Only Connection",
    summary=(
        "A system that sends every sale by webhook. Name the block as you like: the name is the "
        "account in the ledger."
    ),
    description=(
        "Takes the sales that a system of your own sends, within a second; it is never asked, so "
        "it needs no address and no schedule. The block's name becomes the account in the ledger; "
        "several are possible. What to send: docs/webhooks.md."
    ),
    fields=PushSettings,
    access="described",
    changed=PushSecret,
    webhook_secret=True,
    pushed_only=True,
    missing=_missing,
    values=_values,
    begins=("webhook_secret", "field_mapping", "default_currency"),
    themes=(
        ("What the documents look like", tuple(DocumentSettings.model_fields)),
        ("How webhooks are signed and read", tuple(WebhookSettings.model_fields)),
    ),
    lacks=(
        *("base_url", "page_size", "timeout_seconds", "overlap_minutes"),
        *("reject_percent_max", "reject_records_min"),
    ),
    webhook_steps=(
        "1. Enter the address and the secret of the {block} in your system.\n"
        "2. Let it send every sale. What it should send: docs/webhooks.md.\n"
        "3. *Webhooks* shows what arrived and what it became."
    ),
    webhook_hint=(
        "Enter the URL and the secret in your system. It signs as its block says; Standard "
        "Webhooks if that says nothing."
    ),
)
