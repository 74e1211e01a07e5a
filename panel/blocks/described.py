"""Blocks of systems that an operator describes: any REST API, and a folder of files."""

from dataclasses import replace
from typing import Any

from pydantic import Field

from connectors.kit.described.documents import DEFAULT_CURRENCY, column_pointer
from connectors.kit.spec import Account
from panel.blocks.base import BillingConnection


class DescribedConnection(BillingConnection):
    """A system that the operator describes.

    Its account is the block's name, so that there can be several.
    """

    default_currency: str = Field(
        default=DEFAULT_CURRENCY,
        pattern="^([A-Z]{3})?$",
        title="Default currency",
        description="Used where a document names none. Empty: such a document is rejected.",
    )
    field_mapping: dict[str, str] = Field(
        default_factory=dict,
        title="Field mapping",
        description=(
            "Where your fields are, if not at the usual places: JSON pointers or names, lines "
            'relative to the line, e.g. {"customer_phone": "/cliente/telemovel", '
            '"total_minor": "/valor", "lines.sku": "/codigo"}. An id of several fields: '
            '{"external_id": "Serie + Factura"}. Fields: docs/custom-systems.md. '
            "Try it first: `twezah mapping try SYSTEM FILE --block NAME`."
        ),
    )

    @classmethod
    def sample_values(cls) -> dict[str, Any]:
        """What a block must have and a sample does not need."""
        return dict(cls.made_from.sample)

    def connection(self) -> Account:
        """The values the connector needs."""
        paths = {name: column_pointer(path) for name, path in self.field_mapping.items()}
        return replace(super().connection(), paths=paths)
