"""What spends a member's points, and what a point is worth.

Frozen; an unknown key is refused.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
)

from loyalty.corrections import POINTS_MAX, Decision, MemberId, Reason

#: Longest hold: what nobody confirms within it was forgotten.
HOLD_SECONDS_MAX = 30 * 24 * 3600


def _printable(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        message = "must be one line, without control characters"
        raise ValueError(message)
    return text


#: Why, in words that a member and analysts read.
Why = Annotated[Reason, AfterValidator(_printable)]
Reference = Annotated[Why, Field(max_length=200)]
Points = Annotated[int, Field(ge=1, le=POINTS_MAX, strict=True)]
HoldSeconds = Annotated[int, Field(ge=1, le=HOLD_SECONDS_MAX, strict=True)]
#: The sender's name for a request.
Key = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]


class RedemptionRequest(BaseModel):
    """Points to spend, or to hold for a while."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The member, by our number.
    member_id: MemberId
    points: Points
    #: What they are spent on, as the sender numbers it.
    reference: Reference
    reason: Why
    #: Hold the points for so long, to be confirmed or cancelled; None: spend them at once.
    hold_seconds: HoldSeconds | None = None
    #: The same key never spends twice.
    key: Key


class PointValue(Decision):
    """What one point is worth in a currency, for reports; in force until the next one."""

    #: ISO 4217.
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    #: In whole currency units.
    value_per_point: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=9)]
    valid_from: AwareDatetime

    def to_text(self) -> str:
        """One line."""
        since = f"{self.valid_from:%Y-%m-%d %H:%M %Z}"
        return f"A point is worth {self.value_per_point:f} {self.currency} from {since} on"
