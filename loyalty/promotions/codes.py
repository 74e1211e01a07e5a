"""Codes that members enter, so that their sales earn by a promotion."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import Field, model_validator

from loyalty.types import Frozen, Instant

#: How a code is written.
PATTERN: Final = r"^[A-Z0-9][A-Z0-9-]{2,31}$"
#: As it is stored; people may write small letters.
CodeName = Annotated[str, Field(pattern=PATTERN)]
#: For how many days something counts.
Days = Annotated[int, Field(ge=1, le=3_660)]


class Code(Frozen):
    """A code that a promotion needs.

    An entered code counts for the member's sales from then on, for `days` or for good, as far as
    the promotion is valid. When and how often it can be entered is decided when it is entered: what
    is entered stays, whatever becomes of the rules.
    """

    code: CodeName
    #: It can be entered from this instant on; None: once the promotion begins.
    valid_from: Instant | None = None
    #: It can be entered until before this instant; None: until the promotion ends.
    valid_to: Instant | None = None
    #: Sales of so many days from the entry on earn; None: all until the promotion ends.
    days: Days | None = None
    #: How often a member may enter it.
    uses_per_member: Annotated[int, Field(ge=1, le=1_000)] = 1
    #: How often it may be entered by all members together; None: without limit.
    uses: Annotated[int, Field(ge=1, le=10**9)] | None = None

    @model_validator(mode="after")
    def _lasts(self) -> "Code":
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            message = "valid_to must be after valid_from"
            raise ValueError(message)
        return self

    def counts_until(self, entered_at: datetime) -> datetime | None:
        """Until when an entry counts; None: for good."""
        return None if self.days is None else entered_at + timedelta(days=self.days)
