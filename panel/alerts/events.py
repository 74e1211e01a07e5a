"""The events of ours that alerts are made of.

Their texts are written for whoever reads the alert; no personal data, no secrets.
"""

from typing import Annotated, Any, ClassVar

from prefect.events import emit_event
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt

#: Longest text of an alert; mail servers and chats cut longer ones, and nobody reads them.
TEXT_MAX = 800
Text = Annotated[str, Field(max_length=TEXT_MAX)]


class AlertEvent(BaseModel):
    """What an alert says. `about` is what it repeats for: one message per `about` and day."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    event: ClassVar[str]

    about: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
    what: Text
    todo: Text
    link: str = ""

    def resource(self) -> dict[str, str]:
        """Prefect's labels of what it is about."""
        return {
            "prefect.resource.id": f"{self.event}.{self.about}",
            "prefect.resource.name": self.about,
        }

    def payload(self) -> dict[str, Any]:
        """What the message's template reads."""
        return self.model_dump(mode="json")


class RejectRatio(AlertEvent):
    """The share of records of a run that could not be used comes near the limit of the block."""

    event = "twezah.reject-ratio"
    rejected: NonNegativeInt
    judged: NonNegativeInt
    limit_percent: Annotated[int, Field(ge=0, le=100)]


class CorrectionsRefused(AlertEvent):
    """Corrections of sales could not be used, so the old points stand.

    Each of these records would have taken points back, or changed a sale in the ledger.
    """

    event = "twezah.corrections.refused"
    records: NonNegativeInt
    points_at_stake: NonNegativeInt


class CredentialsExpiring(AlertEvent):
    """A vendor's credentials end soon unless they are used or renewed."""

    event = "twezah.credentials.expiring"
    ends_at: AwareDatetime


class KeysExpiring(AlertEvent):
    """A key of the HTTP API ends soon."""

    event = "twezah.keys.expiring"
    ends_at: AwareDatetime


class WebhooksBacklog(AlertEvent):
    """Webhooks wait for too long, too many wait, or some are parked."""

    event = "twezah.webhooks.backlog"
    waiting: NonNegativeInt
    parked: NonNegativeInt
    oldest_at: AwareDatetime | None


#: Every kind of ours.
KINDS: tuple[type[AlertEvent], ...] = (
    CorrectionsRefused,
    RejectRatio,
    CredentialsExpiring,
    KeysExpiring,
    WebhooksBacklog,
)


def tell(event: AlertEvent) -> None:
    """Hand the event to Prefect, which sends it on if an alert is due."""
    emit_event(event.event, event.resource(), payload=event.payload())
