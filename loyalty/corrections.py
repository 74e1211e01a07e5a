"""What a person may decide about a member's points: an adjustment, a merge.

Frozen; an unknown key is refused.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

#: An international number as people write it.
_PHONE = re.compile(r"\+\s*\d(?:[\s().-]*\d){7,}")
#: More than any member can have: a larger number is a typing error.
POINTS_MAX = 1_000_000_000_000


def _storable(text: str) -> str:
    if "\x00" in text:
        message = "must not hold a null character: no database keeps one"
        raise ValueError(message)
    return text


def no_phone(text: str) -> str:
    """The text. Raises ValueError if it holds a phone number."""
    if _PHONE.search(text):
        message = "must not hold a phone number: analysts read it. Name the member by number"
        raise ValueError(message)
    return text


def _not_zero(points: int) -> int:
    if points == 0:
        message = "must not be 0"
        raise ValueError(message)
    return points


Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(_storable),
    AfterValidator(no_phone),
]
Author = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_storable),
    AfterValidator(no_phone),
]
MemberId = Annotated[int, Field(ge=1, lt=2**63)]


class Decision(BaseModel):
    """Who decided something, and why. Both are kept, and nobody can change them afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Without names and phone numbers: analysts read it.
    reason: Reason
    #: A person's name, or what decides for them.
    author: Author


class Adjustment(Decision):
    """Points given (or, negative, taken) by hand.

    `key` makes it safe to repeat: the same key never counts twice. `event_at` is from when on the
    points count, where that matters (expiry).
    """

    #: The member, by our number.
    member_id: MemberId
    #: Not 0.
    points: Annotated[int, Field(ge=-POINTS_MAX, le=POINTS_MAX), AfterValidator(_not_zero)]
    key: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
        AfterValidator(_storable),
    ]
    event_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
