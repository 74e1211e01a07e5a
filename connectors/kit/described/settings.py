"""What an operator can say about a REST API: the fields of the block and their checks."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connectors.kit.described.api import PagingKind, SinceFormat
from connectors.kit.described.documents import DocumentSettings, Pointer
from connectors.kit.described.webhook_settings import WebhookSettings

#: Headers that an operator may not set: the connector sets them, or they would hold what belongs
#: into the secret fields.
_RESERVED: Final = (
    "authorization",
    "cookie",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
)


def _path(value: str) -> str:
    if not value.startswith("/") or "?" in value or "#" in value or "://" in value:
        raise ValueError(
            'it starts with a slash and has no query, e.g. "/invoices"; the server belongs into '
            "the base URL"
        )
    return value


def _header_name(value: str) -> str:
    if not value or not all(
        character.isascii() and (character.isalnum() or character in "-_") for character in value
    ):
        raise ValueError("a header's name has only letters, digits and dashes")
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text_value in value.items():
        if _header_name(name).lower() in _RESERVED:
            raise ValueError(
                f'"{name}" is set by the connection itself; credentials have fields of their own'
            )
        if not text_value.isascii() or any(character in text_value for character in "\r\n\0"):
            raise ValueError(f'the value of "{name}" is not plain ASCII text in one line')
    return value


def _template(value: str) -> str:
    return _path(value) if value else value


class CustomSettings(WebhookSettings, DocumentSettings):
    """What an operator says about an API. Every field has a default that fits our own contract."""

    path: Annotated[str, AfterValidator(_path)] = Field(
        default="/invoices",
        title="Path of the invoices",
        description="Behind the base URL, e.g. /v1/invoices.",
    )
    authentication: Literal[
        "bearer", "api key", "api key in the query", "basic", "client credentials", "none"
    ] = Field(
        default="bearer",
        title="Authentication",
        description=(
            "bearer: the API key as Authorization: Bearer. api key: the API key in a header of its "
            "own. api key in the query: as the parameter named below, if the API knows nothing "
            "better (servers on the way may log it). basic: user name and password. client "
            "credentials: OAuth 2 with client ID, client secret and token URL."
        ),
    )
    api_key_header: Annotated[str, AfterValidator(_header_name)] = Field(
        default="X-API-Key",
        title="API key header",
        description="For authentication api key: the header's name.",
    )
    api_key_param: Annotated[str, AfterValidator(_header_name)] = Field(
        default="api_key",
        title="API key parameter",
        description="For authentication api key in the query: its name.",
    )
    username: str = Field(default="", title="User name", description="For authentication basic.")
    scope: str = Field(
        default="",
        title="Scope",
        description="For client credentials, if the token endpoint asks for one.",
    )
    client_in: Literal["header", "form"] = Field(
        default="header",
        title="Client secret goes in the",
        description="For client credentials: HTTP Basic header, or the form.",
    )
    method: Literal["GET", "POST"] = Field(
        default="GET", title="Method", description="POST: parameters go into the JSON body."
    )
    params: dict[str, str] = Field(
        default_factory=lambda: {"include_deleted": "true"},
        title="More query parameters",
        description='Sent with every request, e.g. {"type": "sales"}.',
    )
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict,
        title="More headers",
        description='Sent with every request, e.g. {"X-Company": "7"}. No credentials.',
    )
    body: dict[str, Any] = Field(
        default_factory=dict,
        title="JSON body",
        description="For POST: the body, to which paging and period are added.",
    )
    records: Pointer = Field(
        default="/data",
        title="Records",
        description=(
            "Where an answer holds the list, e.g. /data or /result/invoices. Empty: the answer is "
            "the list."
        ),
    )
    empty_without_records: bool = Field(
        default=False,
        title="No list means no records",
        description="If the API leaves the list out when it is empty.",
    )
    since_param: str = Field(
        default="updated_since",
        title="Parameter for changes since",
        description="Only documents changed at or after it are listed.",
    )
    since_format: SinceFormat = Field(
        default="rfc3339",
        title="Changes since is written as",
        description=(
            "rfc3339: 2026-01-31T10:00:00Z. date: the day before. date and time: 2026-01-31 "
            "10:00:00 in the block's time zone. unix seconds, unix milliseconds. not sent: "
            "everything is read every time."
        ),
    )
    paging: PagingKind = Field(
        default="cursor",
        title="Paging",
        description=(
            "How the next page is asked for. cursor: by a value that the answer names. last id: by "
            "the id of the last document of the page."
        ),
    )
    page_param: str = Field(
        default="",
        title="Page parameter",
        description=(
            "Empty: page, offset, cursor or starting_after. For POST in the body; /a/b lies "
            "deeper, ?name is in the query."
        ),
    )
    first_page: int = Field(
        default=1,
        ge=0,
        le=1,
        title="Number of the first page",
        description="For page numbers: 0 or 1.",
    )
    size_param: str = Field(
        default="limit", title="Page size parameter", description="Empty: not sent."
    )
    next_path: Pointer = Field(
        default="/next_cursor",
        title="Next page",
        description=(
            "Where an answer holds the next cursor or link; null or missing on the last page."
        ),
    )
    more_path: Pointer = Field(
        default="/has_more",
        title="More pages",
        description="Where an answer says true or false. May be missing.",
    )
    pages_path: Pointer = Field(
        default="", title="Number of pages", description="Where an answer says it, if it does."
    )
    total_path: Pointer = Field(
        default="", title="Number of records", description="Where an answer says it, if it does."
    )
    short_page_is_last: bool = Field(
        default=False,
        title="A short page is the last",
        description="Saves one request; only for APIs that always fill their pages.",
    )
    requests_per_minute: int = Field(
        default=120, ge=1, le=6000, title="Requests per minute", description="What the API allows."
    )
    requests_at_once: int = Field(
        default=2, ge=1, le=16, title="Requests at once", description="What the API allows."
    )
    customer_path: Annotated[str, AfterValidator(_template)] = Field(
        default="",
        title="Path of a customer",
        description=(
            "If documents hold no phone number: /customers/{id}, or a list that takes several ids "
            "in the parameter below."
        ),
    )
    customer_ids_param: str = Field(
        default="",
        title="Customer ids parameter",
        description="For a list: the ids go into it, separated by commas.",
    )
    customer_records: Pointer = Field(
        default="",
        title="Customer records",
        description=(
            "Where the answer holds the customer, or the list of customers. Empty: it is the "
            "answer."
        ),
    )
    customer_id_path: Pointer = Field(
        default="/id", title="Customer's id", description="In the customer."
    )
    customer_phone_path: Pointer = Field(
        default="/phone", title="Customer's phone", description="In the customer."
    )

    list_holds: Literal["whole documents", "less than the document"] = Field(
        default="whole documents",
        title="The list holds",
        description=(
            "less than the document: the list leaves the product lines (or more) out, so each "
            "document is asked for by the path below, which takes one request per document."
        ),
    )
    document_path: Annotated[str, AfterValidator(_template)] = Field(
        default="",
        title="Path of one document",
        description=(
            "With {id} in it; asked for where the list, or a webhook, does not hold the whole "
            "document. Its answer may also be the list of its lines. Empty: the path of the "
            "invoices, and /{id}."
        ),
    )
    document_record: Pointer = Field(
        default="",
        title="One document",
        description="Where that answer holds the document. Empty: at /data, or it is the answer.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.since_format != "not sent" and not self.since_param:
            raise ValueError(
                "changes since has no parameter: name it (since_param), or choose not sent "
                "(since_format)"
            )
        if self.paging in ("cursor", "next link in the body") and not self.next_path:
            raise ValueError(f'paging "{self.paging}" needs the path of the next page (next_path)')
        if self.requests_at_once > self.requests_per_minute:
            raise ValueError(
                "more requests at once (requests_at_once) than per minute (requests_per_minute)"
            )
        if self.customer_path and ("{id}" in self.customer_path) == bool(self.customer_ids_param):
            raise ValueError(
                "the path of a customer has {id} in it (customer_path), or there is a parameter "
                "for ids (customer_ids_param)"
            )
        if self.document_path and "{id}" not in self.document_path:
            raise ValueError("the path of one document has no {id} in it (document_path)")
        if (
            self.paging == "cursor"
            and self.records
            and self.next_path.startswith(f"{self.records}/")
        ):
            raise ValueError(
                "the next page (next_path) is inside the records: an API that goes on from the "
                'last document has paging "last id"'
            )
        if not self.records and (self.paging in ("cursor", "next link in the body")):
            raise ValueError(
                f'paging "{self.paging}" is not possible where the answer is the list itself '
                "(records)"
            )
        return self
