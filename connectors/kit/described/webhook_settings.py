"""What an operator can say about the webhooks of a system that is described in a block.

The settings say how they are signed, and what they hold.
"""

from dataclasses import replace
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from connectors.kit.described.documents import Pointer
from connectors.kit.webhooks.scheme import EventKind
from connectors.kit.webhooks.signatures import (
    Scheme,
    plain_hmac,
    standard_webhooks,
    timestamped_list,
)

SchemeName = Literal["standard webhooks", "hmac sha256", "t and v1"]
_USUAL_HEADER: Final = "X-Webhook-Signature"
#: Where shops name the event, if the block names no header: read where the body names none.
TOPIC_HEADERS: Final = (
    "x-shopify-topic", "x-wc-webhook-topic", "x-webhook-topic", "x-webhook-event", "x-event-type",
    "x-event-name",
)  # fmt: skip


def _optional_header(value: str) -> str:
    if not all(
        character.isascii() and (character.isalnum() or character in "-_") for character in value
    ):
        raise ValueError("a header's name has only letters, digits and dashes")
    return value


Header = Annotated[str, AfterValidator(_optional_header)]


class WebhookSettings(BaseModel):
    """The fields of the block that describe webhooks.

    Every default fits our own contract: Standard Webhooks, with the document under /data.
    """

    webhook_scheme: SchemeName = Field(
        default="standard webhooks",
        title="Webhooks are signed as",
        description=(
            "standard webhooks: webhook-id, webhook-timestamp, webhook-signature, or the same with "
            "svix-. hmac sha256: a header of its own. t and v1: t=…,v1=… in one header."
        ),
    )
    webhook_header: Header = Field(
        default="",
        title="Signature header",
        description=f"For hmac sha256 and t and v1. Empty: {_USUAL_HEADER}.",
    )
    webhook_encoding: Literal["hex", "base64"] = Field(
        default="hex", title="Signature is written in", description="For hmac sha256."
    )
    webhook_prefix: str = Field(
        default="",
        max_length=40,
        title="In front of the signature",
        description="For hmac sha256, e.g. sha256=.",
    )
    webhook_timestamp_header: Header = Field(
        default="",
        title="Timestamp header",
        description=(
            "For hmac sha256: seconds since 1970; then timestamp, dot and body are signed, and old "
            "deliveries are refused. Empty: the body alone."
        ),
    )
    webhook_id_header: Header = Field(
        default="",
        title="Message id header",
        description="For hmac sha256: the same on every retry. Empty: none.",
    )
    webhook_type_path: Pointer = Field(
        default="/type",
        title="Event's name",
        description="Where a webhook says what happened, e.g. sale.completed.",
    )
    webhook_type_header: Header = Field(
        default="",
        title="Event's name in a header",
        description=(
            "Header that names the event, if the body does not, e.g. X-Shopify-Topic. Empty: the "
            "usual ones are looked at "
            f"({', '.join(TOPIC_HEADERS)}) where the body names none."
        ),
    )
    webhook_data_path: Pointer = Field(
        default="/data",
        title="Event's document",
        description=(
            "Where a webhook holds the document, or a list of them. Where nothing is there, the "
            "whole body is the document."
        ),
    )
    webhook_time_path: Pointer = Field(
        default="/timestamp",
        title="Event's time",
        description="Where a webhook says when it happened. May be missing.",
    )
    webhook_events: dict[str, EventKind] = Field(
        default_factory=dict,
        title="Events",
        description=(
            "Your names of events, if they are others than invoice.…, sale.… and payment.…, "
            'e.g. {"fatura.emitida": "changed", "fatura.anulada": "deleted", '
            '"cliente.criado": "ignored"}.'
        ),
    )

    @model_validator(mode="after")
    def _webhook_fits(self) -> Self:
        if self.webhook_scheme == "standard webhooks" and (
            self.webhook_header or self.webhook_timestamp_header
        ):
            raise ValueError(
                "the headers of standard webhooks are fixed: choose hmac sha256 (webhook_scheme), "
                "or leave them empty"
            )
        return self

    @property
    def topic_headers(self) -> tuple[str, ...]:
        """Headers that may name the event."""
        return (self.webhook_type_header.lower(),) if self.webhook_type_header else TOPIC_HEADERS

    def scheme(self) -> Scheme:
        """How a delivery is checked.

        A header that names the event may be given once only, as those of the signature.
        """
        scheme = self._scheme()
        return replace(scheme, headers=(*scheme.headers, *self.topic_headers))

    def _scheme(self) -> Scheme:
        header = self.webhook_header or _USUAL_HEADER
        if self.webhook_scheme == "standard webhooks":
            return standard_webhooks()
        if self.webhook_scheme == "t and v1":
            return timestamped_list(header)
        return plain_hmac(
            header,
            self.webhook_encoding,
            prefix=self.webhook_prefix,
            timestamp_header=self.webhook_timestamp_header,
            id_header=self.webhook_id_header,
        )
