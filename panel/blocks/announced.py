"""The block's part of webhooks: the secret with which the billing system signs them."""

from typing import Final

from pydantic import BaseModel, Field, SecretStr

from connectors.kit.spec import NO_SECRET

_THEN: Final = (
    "Kept encrypted. To change it, enter the new one here: the old one is good for a day longer."
)


class Announced(BaseModel):
    """Of systems that sign their webhooks with a secret which the operator is told, or chooses."""

    webhook_secret: SecretStr = Field(
        default=NO_SECRET, title="Webhook secret",
        description=(
            "Only for points within a second of the sale: what the vendor calls its signing secret (QuickBooks: verifier token; Xero: webhooks key; your own "
            "system: whsec_ and 24 to 64 random bytes in base64). Run the deployment *webhook-address* before, which makes the address, and after. "
            + _THEN
        ),
    )  # fmt: skip
