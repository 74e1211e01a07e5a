"""What all models of the rules share: exact rates, validated names, calendars and validity."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

#: Basis points: 10_000 is 1.
BPS: Final = 10_000
Bps = Annotated[int, Field(ge=0, le=10_000 * BPS)]
#: A version without beginning: Python has no minus infinity, and no sale is older.
BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)
#: Where the company's customers are.
HOME_ZONE: Final = "Africa/Luanda"
#: What they pay with.
HOME_CURRENCY: Final = "AOA"

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
TierName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
#: What happened, as rules and the loyalty app call it.
EventName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
#: A list of members, as people call it.
ListName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
#: A store, city or the like, as a billing system names it.
PlaceName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]
#: Points in one figure of the rules; far above any use, far below what 64 bits hold.
Points = Annotated[int, Field(ge=0, le=10**12)]
Period = Literal["day", "week", "month", "quarter", "half_year", "year"]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"{name!r} is not a time zone of the IANA database, as {HOME_ZONE!r} is"
        raise ValueError(message) from error
    return name


Zone = Annotated[str, AfterValidator(_zone)]


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        message = "is before or after every year that can be told"
        raise ValueError(message) from error


#: A time with any offset, kept in UTC: frames compare instants of one time zone only.
Instant = Annotated[AwareDatetime, AfterValidator(_utc)]


class Frozen(BaseModel):
    """A value: it cannot be changed, and an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Version(Protocol):
    """Anything versioned: `version` counts up, `valid_from` is when it comes into force."""

    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def valid_from(self) -> datetime: ...  # noqa: D102


V = TypeVar("V", bound=Version)


def spans(versions: Iterable[V]) -> list[tuple[V, datetime, datetime | None]]:
    """When each version is in force, as (version, from, to), in order of time; `to` None: for good.

    The highest version that has begun is in force. A version replaces all earlier ones from its
    `valid_from` on, so a rule is corrected for the past by a further version that begins in the
    past; a version that is wholly replaced is left out.
    """
    ends: datetime | None = None
    spoken: list[tuple[V, datetime, datetime | None]] = []
    for version in sorted(versions, key=lambda v: v.version, reverse=True):
        if ends is None or version.valid_from < ends:
            spoken.append((version, version.valid_from, ends))
            ends = version.valid_from
    return spoken[::-1]
