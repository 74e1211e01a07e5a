"""The blocks of systems that an operator describes: any REST API, and a folder of files."""

from dataclasses import replace
from typing import Any, ClassVar

from pydantic import BaseModel, Field, SecretStr

from connectors.file.connector import FileSettings, FolderPath
from connectors.kit.described.documents import DEFAULT_CURRENCY, named
from connectors.kit.described.settings import CustomSettings
from connectors.kit.spec import Account
from panel.blocks.announced import Announced
from panel.blocks.base import BillingConnection


class DescribedConnection(BillingConnection):
    """A system that the operator describes; its account is the block's name, so that there can be several."""

    default_currency: str = Field(
        default=DEFAULT_CURRENCY, pattern="^([A-Z]{3})?$", title="Default currency",
        description="Used where a document names none. Empty: such a document is rejected.",
    )  # fmt: skip
    field_mapping: dict[str, str] = Field(
        default_factory=dict, title="Field mapping",
        description=(
            "Where your fields are, if not at the usual places: JSON pointers or names, lines relative to the line, e.g. "
            '{"customer_phone": "/cliente/telemovel", "total_minor": "/valor", "lines.sku": "/codigo"}. An id of several fields: {"external_id": "Serie + Factura"}. Fields: docs/custom-systems.md. '
            "Try it first: `twezah mapping try SYSTEM FILE --block NAME`."
        ),
    )  # fmt: skip

    @classmethod
    def sample_values(cls) -> dict[str, Any]:
        """What a block must have and a sample does not need."""
        return {}

    def account(self) -> str:
        """The block's name."""
        return self.name

    def connection(self) -> Account:
        """The values the connector needs."""
        paths = {name: named(path) for name, path in self.field_mapping.items()}
        return replace(super().connection(), paths=paths)


class CustomCredentials(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

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


class CustomConnection(Announced, DescribedConnection, CustomSettings, CustomCredentials):
    """Any REST API. Name the block as you like: the name is the account in the ledger."""

    _block_type_name = "Custom Connection"
    _block_type_slug = "custom-connection"
    _description = (
        "Connects any system with a REST API, without code. The block's name becomes the account in the ledger; several are possible. "
        "The defaults fit our own contract. Guide: docs/custom-systems.md."
    )
    system: ClassVar[str] = "custom"
    form_begins: ClassVar[tuple[str, ...]] = (
        "base_url", "path", "authentication", "api_key", "api_key_header", "username", "password", "client_id", "client_secret",
        "token_url", "scope", "client_in", "records", "since_param", "since_format", "paging", "page_param", "first_page",
        "size_param", "next_path", "more_path", "field_mapping", "lines", "statuses", "document_types", "amounts", "dates", "totals",
        "default_currency",
    )  # fmt: skip

    # Listed bases take their fields from the right, so that this one would be the general, optional
    # one.
    base_url: str = Field(
        title="API base URL",
        description="Where your system's API is, e.g. https://erp.example.com/api/v1. https only.",
    )

    @classmethod
    def sample_values(cls) -> dict[str, Any]:
        """No address is reached."""
        return {"base_url": "https://sample.invalid"}

    def connection(self) -> Account:
        """The values the connector needs."""
        return replace(
            super().connection(),
            token_url=self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            secrets={"api_key": self.api_key, "password": self.password},
            options={name: getattr(self, name) for name in CustomSettings.model_fields},
        )


class FileDropConnection(DescribedConnection, FileSettings, FolderPath):
    """A folder of exports. Name the block as you like: the name is the account in the ledger."""

    _block_type_name = "File Drop Connection"
    _block_type_slug = "file-drop-connection"
    _description = (
        "Reads the sales of a system without an API from the files it leaves in a folder: CSV, JSON, one JSON document per line, Parquet. "
        "The block's name becomes the account in the ledger; several are possible. Guide: docs/custom-systems.md."
    )
    system: ClassVar[str] = "file"
    form_lacks: ClassVar[tuple[str, ...]] = ("base_url", "page_size", "timeout_seconds")

    @classmethod
    def sample_values(cls) -> dict[str, Any]:
        """No folder is read."""
        return {"folder": "/"}

    def connection(self) -> Account:
        """The values the connector needs."""
        names = (*FileSettings.model_fields, "folder")
        return replace(
            super().connection(), base_url="", options={name: getattr(self, name) for name in names}
        )
