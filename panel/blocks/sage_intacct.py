"""The block of Sage Intacct."""

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from connectors.kit.errors import block_name
from connectors.kit.spec import Account
from panel.blocks.consented import ConsentedConnection


class SageIntacctAccount(BaseModel):
    """Listed first in the form, because pydantic takes the last base first."""

    company_id: str = Field(
        default="",
        pattern=r"^[^@|\s]*$",
        title="Company ID",
        description="Always needed: what you type under Company ID when you sign in, e.g. AguaTwezah-sandbox for a sandbox company.",
    )
    entity_id: str = Field(
        default="", pattern=r"^[^@|\s]*$", title="Entity ID",
        description="Of one entity of the company. Empty: the top level, which sees all entities.",
    )  # fmt: skip
    login: Literal["consent", "client_credentials"] = Field(
        default="consent", title="Way to log in",
        description="consent: a user allowed the app in a browser. client_credentials: the app acts for a Web Services user.",
    )  # fmt: skip
    web_services_user: str = Field(
        default="",
        pattern=r"^[^@|\s]*$",
        title="Web Services user",
        description="For client_credentials: the user's ID, e.g. ws_twezah. Leave it empty for consent.",
    )


class SageIntacctConnection(ConsentedConnection, SageIntacctAccount):
    """A company of Sage Intacct, or one entity of it. Name the block `sage-intacct`."""

    _block_type_name = "Sage Intacct Connection"
    _block_type_slug = "sage-intacct-connection"
    _description = "Connects a company of Sage Intacct. Name the block `sage-intacct`, a further one as you like (`sage-intacct-lisboa`). How to get the values: README, Connecting a real account."
    system: ClassVar[str] = "sage_intacct"
    mapping_example: ClassVar[str] = '{"invoice_number": "/referenceNumber"}'

    page_size: int = Field(
        default=0,
        ge=0,
        le=2000,
        title="Page size",
        description="Records per request. 0: 2000. Each page is billed as one.",
    )
    deletions_hours: int = Field(
        default=6, ge=0, le=168, title="Look for deletions every (hours)",
        description=(
            "Deleted documents leave no trace: the ids of all documents are listed and compared, 2000 a request. 0: in every run."
        ),
    )  # fmt: skip

    def account(self) -> str:
        """The company, and the entity behind a bar."""
        return f"{self.company_id}|{self.entity_id}" if self.entity_id else self.company_id

    def missing(self) -> str:
        """The company, and the user or the consent."""
        if not self.company_id:
            return f"fill in the Company ID of the block {block_name(self.name)!r}"
        if self.login == "consent":
            return super().missing()
        return (
            ""
            if self.web_services_user
            else f"fill in the Web Services user of the block {block_name(self.name)!r}"
        )

    def connection(self) -> Account:
        """The values the connector needs.

        Paths are dotted, as the query service writes names and takes them.
        """
        return replace(
            super().connection(),
            options={
                "login": self.login,
                "user": self.web_services_user,
                "deletions_hours": self.deletions_hours,
            },
            paths={
                name: "/" + path.strip("/").replace("/", ".")
                for name, path in self.field_mapping.items()
            },
        )
