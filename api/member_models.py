"""What is asked and answered about members, their tiers and referrals."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.models import MEMBER, Promotion, Zulu
from sql.corrections import MergedTiers
from sql.member_events import EventId, EventName
from sql.members import Author, Reason

MemberRef = Annotated[
    str,
    Field(
        pattern=MEMBER,
        description="A member's number, or their `public_id`.",
        examples=["7d0c9f4e-5d3b-4f0e-9a58-1c2b3a4d5e6f"],
    ),
]
Phone = Annotated[
    str,
    Field(
        min_length=3,
        max_length=40,
        description="As people write it; with country code, or local.",
        examples=["+244 923 456 789"],
    ),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DecisionBody(_Asked):
    """Why something is entered, and who decided it."""

    reason: Reason = Field(
        description="Kept for good. No names and no phone numbers: analysts read it.",
        examples=["Invited to the gold tier"],
    )
    author: Author | None = Field(
        default=None,
        description="Who decided it; kept for good. The API key, if left out.",
        examples=["Ana, support"],
    )


class RegistrationBody(_Asked):
    """A member before the first sale."""

    phone: Phone


class TierBody(DecisionBody):
    """A tier from an instant on."""

    tier: str = Field(min_length=1, max_length=40, examples=["gold"])
    valid_from: datetime | None = Field(
        default=None, description="Sales from here on; UTC unless it says. Now, if left out."
    )


class TierEndBody(DecisionBody):
    """The end of the tier that is set."""

    valid_from: datetime | None = Field(
        default=None, description="From here on nothing is set. Now, if left out."
    )


class ReferralBody(DecisionBody):
    """Who referred the member."""

    referrer: MemberRef | None = Field(description="null: nobody did after all.")
    referred_at: datetime | None = Field(
        default=None,
        description=(
            "Sales from here on count; UTC unless it says. As entered before, or now, if left out."
        ),
    )


class PhoneBody(DecisionBody):
    """Another phone."""

    phone: Phone
    give_up_former: bool = Field(
        default=False, description="Sales under the former number are a new customer's."
    )


class MergeBody(DecisionBody):
    """The member who earns for both."""

    into: MemberRef
    tiers: MergedTiers = Field(
        default="better",
        description=(
            "Of the tiers that were set, better: the better one of both at each instant; "
            "into: those of `into` alone."
        ),
    )
    dry_run: bool = Field(default=False, description="Only say what would change.")


class EventBody(_Asked):
    """Something that a member did in your app."""

    name: EventName = Field(
        description="What happened; the rules say what it is worth.", examples=["review"]
    )
    event_id: EventId = Field(
        description=(
            "Your own id of the event, kept for good: sent again with it, by whatever key, it is "
            "there once. No names and no phone numbers."
        ),
        examples=["review-5512"],
    )
    happened_at: datetime | None = Field(
        default=None, description="UTC unless it says; not in the future. Now, if left out."
    )


class MemberEvent(BaseModel):
    """Something that a member did beside buying."""

    event_no: int = Field(examples=[1207])
    member_id: int = Field(description="As named when it was told.", examples=[42])
    name: str = Field(
        description="As you called it; sign_up and birthday are noted by themselves.",
        examples=["review"],
    )
    event_id: str | None = Field(description="null: noted by itself.", examples=["review-5512"])
    happened_at: Zulu
    recorded_at: Zulu
    points: int = Field(
        description="Posted for it so far; that takes some seconds. 0: no rule gives any.",
        examples=[50],
    )


class MemberEvents(BaseModel):
    """What a member did beside buying, the last told first."""

    items: list[MemberEvent]
    next_cursor: str | None = Field(description="null: there are no more.")


class BirthdayBody(_Asked):
    """A birthday without the year; both null: none is kept."""

    month: int | None = Field(ge=1, le=12, examples=[6])
    day: int | None = Field(ge=1, le=31, examples=[17])

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.month is None) != (self.day is None):
            message = "month and day belong together"
            raise ValueError(message)
        return self


class MemberBirthday(BaseModel):
    """A member's birthday, as far as it is kept."""

    member_id: int = Field(examples=[42])
    month: int | None = Field(description="null: none is kept.", examples=[6])
    day: int | None = Field(description="null: none is kept.", examples=[17])


class CodeBody(_Asked):
    """A code that a member enters."""

    code: str = Field(
        min_length=3,
        max_length=32,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9-]+$",
        description="Small letters are read as capital ones.",
        examples=["VERAO-2027"],
    )


class CodeEntry(BaseModel):
    """A code that a member entered."""

    entry_no: int = Field(examples=[12])
    member_id: int = Field(description="As named when it was entered.", examples=[42])
    code: str = Field(examples=["VERAO-2027"])
    entered_at: Zulu = Field(description="Sales from here on may earn by it.")


class OpenedPromotion(Promotion):
    """A promotion by which the member's sales earn from now on."""

    counts_until: Zulu | None = Field(description="null: no end is set.")


class CodeEntered(CodeEntry):
    """A code that was entered, and what it opens."""

    promotions: list[OpenedPromotion]


class CodeEntries(BaseModel):
    """Codes that a member entered, the latest first."""

    items: list[CodeEntry]
    next_cursor: str | None = Field(description="null: there are no more.")


class ListBody(DecisionBody):
    """When a member is on a list."""

    valid_from: datetime | None = Field(
        default=None, description="Sales from here on; UTC unless it says. Now, if left out."
    )
    valid_to: datetime | None = Field(
        default=None, description="Until before this instant. For good, if left out."
    )


class ListEndBody(DecisionBody):
    """The end of being on a list."""

    valid_to: datetime | None = Field(
        default=None, description="From here on the member is not on it. Now, if left out."
    )


class ListEntry(BaseModel):
    """When a member is on a list."""

    list: str = Field(examples=["vip"])
    valid_from: Zulu
    valid_to: Zulu | None = Field(description="null: for good.")
    member_id: int = Field(description="As named when it was entered.", examples=[42])


class MemberLists(BaseModel):
    """The lists of a member, the latest first; at most a thousand rows."""

    items: list[ListEntry]


class Referral(BaseModel):
    """Who referred a member."""

    referrer_id: int = Field(examples=[17])
    referred_at: Zulu
    counts: bool = Field(
        description="false: the member referred them, directly or over others; nobody is rewarded."
    )


class Member(BaseModel):
    """A member, without points."""

    member_id: int = Field(description="Our number.", examples=[42])
    public_id: str | None = Field(
        description=(
            "Random id for the app and for links: it says nothing and cannot be guessed. "
            "null once the member was erased."
        ),
        examples=["7d0c9f4e-5d3b-4f0e-9a58-1c2b3a4d5e6f"],
    )
    created_at: Zulu = Field(description="Registered, or first sale stored.")
    tier: str = Field(description="In force now.", examples=["silver"])
    tier_since: Zulu | None = Field(description="null: from the beginning.")
    merged_into: int | None = Field(description="The member who earns for this one.")
    referral: Referral | None


class TierEntry(BaseModel):
    """A tier that was set."""

    valid_from: Zulu
    tier: str | None = Field(description="null: from then on nothing is set.", examples=["gold"])
    recorded_at: Zulu
    reason: str | None


class Tiers(BaseModel):
    """The tiers that were set for a member, the latest first; each ends the one before it."""

    member_id: int = Field(examples=[42])
    items: list[TierEntry]


class MemberChange(BaseModel):
    """Balance and tier of one member before and after a merge."""

    member_id: int = Field(examples=[17])
    balance_points_before: int = Field(examples=[1500])
    balance_points_after: int = Field(examples=[0])
    tier_before: str = Field(examples=["silver"])
    tier_after: str = Field(examples=["silver"])


class MergeResult(BaseModel):
    """What a merge changes. Points are posted some seconds later."""

    state: Literal["merged", "preview"]
    member_id: int = Field(examples=[17])
    owner_id: int = Field(description="Who earns for both.", examples=[42])
    changes: list[MemberChange]
