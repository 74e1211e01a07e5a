"""What the blocks of all billing systems have in common."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from connectors.kit.errors import Misconfigured, block_name
from connectors.kit.http.urls import refuse_credentials
from connectors.kit.spec import Account
from connectors.kit.spec.form import Form
from sql.policy import Wanted as AwardPolicy

_EXAMPLE = '{"customer_phone": "/CustomField/0/StringValue"}'

#: How the fields are called that hold an address and nothing else.
_ADDRESSES = ("_url", "_uri")


class BillingConnection(Block):
    """What all billing systems have in common."""

    #: What is wrong with a value is said without the value, which may be a secret in a wrong field.
    model_config = ConfigDict(hide_input_in_errors=True)

    _logo_url: ClassVar[Any] = None
    system: ClassVar[str]
    #: The system's form, of which its class is made (`panel/blocks/kinds.py`).
    made_from: ClassVar[Form]
    #: What the form begins with, in this order, and what it leaves out.
    form_begins: ClassVar[tuple[str, ...]] = ()
    form_lacks: ClassVar[tuple[str, ...]] = ()
    mapping_example: ClassVar[str] = _EXAMPLE
    _form_text: ClassVar[str]

    base_url: str = Field(
        default="",
        title="API base URL",
        description=(
            "Empty: the vendor's own. For a proxy, a sandbox or a simulator, e.g. "
            "https://sandbox-quickbooks.api.intuit.com."
        ),
    )
    page_size: int = Field(
        default=0,
        ge=0,
        le=1000,
        title="Page size",
        description="Records per request. 0: the most the vendor allows.",
    )
    timeout_seconds: float = Field(
        default=30, ge=1, le=300, title="Timeout (s)", description="How long to wait for an answer."
    )
    overlap_minutes: int = Field(
        default=15,
        ge=1,
        le=10_080,
        title="Overlap (minutes)",
        description=(
            "Each sync looks back this much further than the last one ended, for late changes. "
            "Nothing counts twice."
        ),
    )
    reject_percent_max: int = Field(
        default=25,
        ge=0,
        le=100,
        title="Largest share of rejects (%)",
        description=(
            "A run that rejects more of its records than this fails, and nothing moves: the "
            "mapping "
            "is probably wrong."
        ),
    )
    reject_records_min: int = Field(
        default=20,
        ge=1,
        title="Fewest records for that check",
        description=(
            "The share of rejects is looked at only in runs with at least this many records."
        ),
    )
    region: str = Field(
        default="AO",
        pattern="^[A-Z]{2}$",
        title="Phone region",
        description=(
            "Country in which phone numbers without a country code are read: two capitals (ISO "
            "3166), "
            "e.g. AO, PT."
        ),
    )
    timezone: str = Field(
        default="Africa/Luanda",
        title="Time zone",
        description="Zone of the account's dates, e.g. Africa/Luanda.",
    )
    default_currency: str = Field(
        default="",
        pattern="^([A-Z]{3})?$",
        title="Default currency",
        description=(
            "Used where a document names none (accounts with a single currency): three capitals, "
            "e.g. "
            "AOA. Empty: such a document is rejected."
        ),
    )
    award_when: Literal["issued", "paid"] = Field(
        default="issued",
        title="Award when",
        description=(
            "issued: open and paid sales earn. paid: a sale earns once it is fully paid. "
            "A change is for sales dated from the next run on; the past stays as it is, unless "
            "*Award when, from* says otherwise."
        ),
    )
    award_from: date | None = Field(
        default=None,
        title="Award when, from",
        description=(
            "Only to let *Award when* count for earlier sales too: those dated from this day on "
            "are "
            "recomputed. Empty: from now on."
        ),
    )
    field_mapping: dict[str, str] = Field(
        default_factory=dict,
        title="Field mapping",
        description=(
            "Other source paths than the usual ones, as JSON pointers, e.g. "
            f"{_EXAMPLE}. Try it first: `twezah mapping try SYSTEM FILE`."
        ),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _without_credentials(cls, value: Any, info: ValidationInfo) -> Any:
        """Addresses are shown in forms and reports; a secret has a field that is not."""
        if not isinstance(value, SecretStr) and not _is_secret(cls, info.field_name or ""):
            _refuse_in(value, is_address=(info.field_name or "").endswith(_ADDRESSES))
        return value

    @classmethod
    def get_description(cls) -> str | None:
        """What the block's card says: how often it is synchronised is not one of its fields."""
        name = block_name(getattr(cls, "system", ""))
        made_from = getattr(cls, "made_from", None)
        if made_from is not None and made_from.pushed_only:
            return super().get_description()
        return (
            f"{super().get_description()} How often sales are fetched is the schedule of the "
            f"deployment `sync-{name}` (1, 5, 15, 60 minutes): edit it there. Then run "
            "*test-connection*."
        )

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The form in Prefect's UI.

        Its fields are in the order in which an operator has the values, its example and its name
        are the system's.
        """
        if arguments or options:
            return cls._form(*arguments, **options)
        # Prefect asks for each field of a block that it writes, 60 times and more: 8 ms each.
        if "_form_text" not in cls.__dict__:
            cls._form_text = json.dumps(cls._form())
        form: dict[str, Any] = json.loads(cls._form_text)
        return form

    @classmethod
    def _form(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        schema = super().model_json_schema(*arguments, **options)
        fields = schema["properties"]
        for name in cls.form_lacks:
            fields.pop(name, None)
        if "field_mapping" in fields:
            description = fields["field_mapping"]["description"]
            description = description.replace(_EXAMPLE, cls.mapping_example)
            fields["field_mapping"]["description"] = description.replace(
                "SYSTEM FILE", f"{block_name(getattr(cls, 'system', 'SYSTEM'))} FILE"
            )
        made_from = getattr(cls, "made_from", None)
        themes = made_from.themes if made_from is not None else ()
        for theme, (first, *_) in themes:
            fields[first]["description"] = f"{theme.upper()}. {fields[first]['description']}"
        wanted = (*cls.form_begins, *(name for _, names in themes for name in names))
        on_top = {name: fields[name] for name in wanted if name in fields}
        for position, name in enumerate(ordered := on_top | fields):
            ordered[name]["position"] = position  # what the form goes by
        return schema | {"properties": ordered}

    @property
    def name(self) -> str:
        """What operators call this connection: the name of its block."""
        return self._block_document_name or block_name(self.system)

    def _event_method_called_resources(self) -> None:
        """No event for every time that a form is read: the pages read all of them after a run.

        Half of all events of a run were these, and the server stores and judges each of them.
        """

    @classmethod
    def load(cls, name: str, *more: Any, **options: Any) -> Any:
        """The block of a connection; names are spelled as Prefect takes them."""
        return super().load(block_name(name), *more, **options)

    @classmethod
    def delete(cls, name: str, *more: Any, **options: Any) -> Any:
        """Deletes the block of a connection."""
        return super().delete(block_name(name), *more, **options)

    def save(self, name: str | None = None, *more: Any, **options: Any) -> Any:
        """Saves the block under the name of a connection."""
        return super().save(block_name(name) if name else name, *more, **options)

    def account(self) -> str:
        """The account at the vendor: realm, tenant or shop.

        Of a system that the operator describes it is the block's name.
        """
        form = self.made_from
        if form.account is not None:
            return form.account(self)
        return str(getattr(self, form.account_field)) if form.account_field else self.name

    def missing(self) -> str:
        """What the block still lacks before it can be used, "" when it is complete."""
        return self.made_from.missing(self)

    def award_policy(self) -> AwardPolicy:
        """When sales earn; a day begins at midnight in the account's time zone.

        Raises Misconfigured.
        """
        if self.award_from is None:
            return AwardPolicy(self.award_when)
        try:
            zone = ZoneInfo(self.timezone)
        except (ValueError, ZoneInfoNotFoundError):
            raise Misconfigured(
                self.system, "settings", 'field "Time zone": there is no such time zone'
            ) from None
        return AwardPolicy(
            self.award_when, datetime.combine(self.award_from, time(), zone).astimezone(UTC)
        )

    def connection(self) -> Account:
        """The values the connector needs."""
        general = Account(
            system=self.system,
            account=self.account(),
            base_url=self.base_url,
            page_size=self.page_size or None,
            region=self.region,
            timezone=self.timezone,
            timeout_seconds=self.timeout_seconds,
            paths=self.field_mapping,
            default_currency=self.default_currency or None,
            name=self.name,
        )
        return replace(general, **self.made_from.values(self))


def _is_secret(block: type[Block], field: str) -> bool:
    return block.model_fields[field].annotation is SecretStr


def _refuse_in(value: Any, *, is_address: bool) -> None:
    """Raises ValueError where a text, or one of the texts in it, is an address with credentials."""
    if isinstance(value, str):
        refuse_credentials(value, is_address=is_address)
    elif isinstance(value, dict):
        _refuse_in([*value, *value.values()], is_address=False)
    elif isinstance(value, list | tuple):
        for part in value:
            _refuse_in(part, is_address=False)
