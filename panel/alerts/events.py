"""Our own events, of which alerts are made.

Their texts are written for the reader of the alert. They hold no personal data and no secrets.
"""

from typing import Annotated, Any, ClassVar

from prefect.events import emit_event
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt

#: Longest text of an alert; mail servers and chats cut longer ones, and nobody reads them.
TEXT_MAX = 800
Text = Annotated[str, Field(max_length=TEXT_MAX)]


class AlertEvent(BaseModel):
    """An event that an alert is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    #: Name of the event in Prefect, e.g. `twezah.keys.expiring`.
    event: ClassVar[str]

    #: What it is about, e.g. a connection: there is one message per `about` and day.
    about: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
    #: What happened.
    what: Text
    #: What the reader should do.
    todo: Text
    #: Where the reader finds more, "" for nowhere.
    link: str = ""

    def resource(self) -> dict[str, str]:
        """Prefect's labels of the thing that the event is about."""
        return {
            "prefect.resource.id": f"{self.event}.{self.about}",
            "prefect.resource.name": self.about,
        }

    def payload(self) -> dict[str, Any]:
        """The values that the message's template reads."""
        return self.model_dump(mode="json")


class RejectRatio(AlertEvent):
    """The share of records of a run that could not be used comes near the limit of the block."""

    event = "twezah.reject-ratio"
    #: Records of the run that were rejected.
    rejected: NonNegativeInt
    #: Records of the run that were looked at.
    judged: NonNegativeInt
    #: The share of rejects at which a run fails.
    limit_percent: Annotated[int, Field(ge=0, le=100)]


class CorrectionsRefused(AlertEvent):
    """Corrections of sales could not be used, so the old points stand.

    Each of these records would have taken points back, or changed a sale in the ledger.
    """

    event = "twezah.corrections.refused"
    #: Corrections that were refused.
    records: NonNegativeInt
    #: Points that stand although a correction should have taken them back.
    points_at_stake: NonNegativeInt


class CredentialsExpiring(AlertEvent):
    """A vendor's credentials end soon unless they are used or renewed."""

    event = "twezah.credentials.expiring"
    #: When the vendor ends the consent.
    ends_at: AwareDatetime


class KeysExpiring(AlertEvent):
    """A key of the HTTP API ends soon."""

    event = "twezah.keys.expiring"
    #: When the key ends.
    ends_at: AwareDatetime


class WebhooksBacklog(AlertEvent):
    """Webhooks wait for too long, too many wait, or some are parked."""

    event = "twezah.webhooks.backlog"
    #: Webhooks that are tried again by themselves.
    waiting: NonNegativeInt
    #: Webhooks that wait for a person.
    parked: NonNegativeInt
    #: When the oldest of them arrived.
    oldest_at: AwareDatetime | None


class ReceiverDown(AlertEvent):
    """The loyalty app does not accept webhooks, or some were given up."""

    event = "twezah.receiver.down"
    #: Messages that are still tried.
    waiting: NonNegativeInt
    #: Messages that were given up until somebody replays them.
    parked: NonNegativeInt
    #: Since when no attempt succeeded.
    failing_since: AwareDatetime | None


#: All kinds of events that we emit.
KINDS: tuple[type[AlertEvent], ...] = (
    CorrectionsRefused,
    RejectRatio,
    CredentialsExpiring,
    KeysExpiring,
    WebhooksBacklog,
    ReceiverDown,
)


def emit_alert(event: AlertEvent) -> None:
    """Hand the event to Prefect, which sends it on if an alert is due."""
    emit_event(event.event, event.resource(), payload=event.payload())
