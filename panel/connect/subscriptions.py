"""Has the webhooks of a connection subscribed, and says what came of it.

Nobody needs to remember it: a run of the connection does it at once after the connection was made
or its settings were changed, and looks again every few hours.
"""

import logging
from datetime import UTC, datetime
from typing import Final

from connectors.kit.errors import ConnectorError
from connectors.kit.webhooks.scheme import Webhook
from connectors.registry import webhook_for
from panel.blocks import BillingConnection
from settings import Settings
from sql import subscriptions as stored
from sql.db import connect
from sql.subscriptions import SubscriptionsBusyError, SubscriptionState
from tasks.job import Job
from tasks.webhooks.subscriptions import NEEDS_SOMEBODY, Setting, is_due, look_after

log = logging.getLogger(__name__)


_NO_ADDRESS: Final = (
    "not subscribed: this installation has no public https address (TWEZAH_API_PUBLIC_URL); "
    "polling alone is on"
)


class NoSubscriptionsError(ValueError):
    """The system has no API for subscriptions. The message says what to do."""


def setting_of(block: BillingConnection, installation: Settings) -> Setting:
    """What the block and this installation say about subscriptions."""
    chosen = getattr(block, "webhook_subscriptions", "off")
    return Setting(installation.http_url, installation.has_public_api, chosen == "automatic")


def subscribe(block: BillingConnection, installation: Settings, run_id: str) -> SubscriptionState:
    """Looks after the subscriptions of a connection now.

    Args:
        block: The connection, complete.
        installation: Its database, key and public address.
        run_id: The flow run, or the command.

    Raises:
        NoSubscriptionsError: The system has no API for it.
        ConnectorError: The block's settings cannot work as they are.
        StandbyError: This is a restored copy.
        SubscriptionsBusyError: Another process is at it.
    """
    job, hook = _job(block, installation, run_id)
    if hook is None:
        raise NoSubscriptionsError(
            f"{job.spec.title} has no API that subscribes webhooks: enter the address there by "
            "hand (docs/webhooks.md)"
        )
    return look_after(job, hook, setting_of(block, installation), installation.fernet_key())


def keep_subscribed(block: BillingConnection, installation: Settings, run_id: str) -> str:
    """Looks after the subscriptions where that is due, as a part of another run.

    Never raises: sales are polled whatever becomes of this.

    Returns:
        What is wrong and who must act, as the last look found it; "" where nothing is.
    """
    try:
        job, hook = _job(block, installation, run_id)
        setting = setting_of(block, installation)
        if hook is None:
            return ""
        if is_due(job, hook, setting, datetime.now(UTC)):
            state: SubscriptionState | None = look_after(
                job, hook, setting, installation.fernet_key()
            )
        else:
            with connect(job.dsn) as db:
                state = stored.read(db, block.name)
    except SubscriptionsBusyError:
        return ""
    except ConnectorError as error:
        return str(error.of_block(block.name))
    except Exception as error:  # noqa: BLE001 - the sales are in the ledger
        log.warning("webhook subscriptions of %s: %s", block.name, type(error).__name__)
        return ""
    return state.detail if state is not None and state.state in NEEDS_SOMEBODY else ""


def _job(
    block: BillingConnection, installation: Settings, run_id: str
) -> tuple[Job, Webhook | None]:
    """The connection's job, and how its webhooks work where an API subscribes them."""
    account = block.connection()
    job = Job(installation.dsn(), account, key=installation.fernet_key(), run_id=run_id)
    hook = webhook_for(account)
    return job, None if hook is None or hook.subscriptions is None else hook


def sentence(state: SubscriptionState | None, *, is_public: bool) -> str:
    """The state in words, for pages and the command line.

    Args:
        state: The last check; None: there was none yet.
        is_public: Whether this installation has a public https address.
    """
    if state is None:
        if is_public:
            return "the next run subscribes by itself"
        return _NO_ADDRESS
    ends = f", renewed before {state.expires_at:%Y-%m-%d %H:%M} UTC" if state.expires_at else ""
    words = {
        "subscribed": f"subscribed by itself{ends}",
        "waiting": "the vendor's verification is awaited",
        "not needed": "of no use to this account; polling alone is on",
        "no address": _NO_ADDRESS,
        "off": "switched off in the block; polling alone is on, unless a person subscribed",
    }
    return words.get(state.state) or f"{state.state}: {state.detail}"
