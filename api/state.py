"""What the requests of one process share."""

from dataclasses import dataclass, field

from fastapi import Request

from api.config import Config
from api.database import Pool
from api.intake import Intake
from api.limits import Limits
from api.metrics import Metrics
from api.runs import PublishedPage, Runs
from api.wake_worker import Nudge
from connectors.kit.webhooks.certificates import Certificates


@dataclass
class State:
    """The parts of one process; made before the first request."""

    config: Config
    #: Connections for what is read.
    readers: Pool
    #: The connection for what is stored.
    writers: Pool
    #: Stores webhook events.
    intake: Intake
    #: Rate limits of senders and keys.
    limits: Limits
    #: Counts for Prometheus.
    metrics: Metrics
    #: Starts runs at the Prefect server.
    runs: Runs
    #: Wakes whoever awards stored events.
    nudge: Nudge
    #: Certificates that some systems sign their webhooks with.
    certificates: Certificates = field(default_factory=Certificates)
    #: The front page as Prefect had it last, for when Prefect does not answer.
    last_page: PublishedPage | None = None


def state_of(request: Request) -> State:
    """The state of the application that the request came to."""
    state = request.app.state.own
    assert isinstance(state, State)
    return state
