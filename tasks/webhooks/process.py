"""What becomes of webhooks that a run has claimed.

In: claimed deliveries of one endpoint. Out: each of them is done, failed or parked. They are read,
sorted by account, and loaded and awarded like polled sales.
"""

import logging
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import psycopg

from connectors.kit.errors import ConnectorError, NeedsOperator, RateLimited, Retriable
from connectors.kit.webhooks.scheme import BadBody, events
from connectors.registry import webhook_for
from loyalty.masking import message
from sql import postings, sync, webhooks
from sql import webhook_documents as pushed
from sql.actor import acting_as
from sql.db import connect
from sql.webhooks import ClaimedEvent
from tasks.actor import WEBHOOK
from tasks.database_errors import without_row_data
from tasks.extract.pages import Extracted
from tasks.job import Job, NotConnectedError
from tasks.run_report import times_lines
from tasks.sync import load_announced
from tasks.webhooks.audit import record_batch
from tasks.webhooks.counts import Counts
from tasks.webhooks.documents import (
    EventPlan,
    Failed,
    Incoming,
    asked_pages,
    held_pages,
    plan_events,
)
from tasks.webhooks.handshake import confirm, greeting

log = logging.getLogger(__name__)
#: Before a delivery is tried again that needs an operator first, for example to correct a block.
_OPERATOR_SECONDS: Final = 120.0
#: How long a block that was read is used before it is read again.
_BLOCK_SECONDS: Final = 20.0


class Connections:
    """The jobs of one run, one per connection, and their synchronisations in the database.

    Several threads use it.

    `open_job` makes the job of a connection by its name and raises NotConnectedError. `others`
    lists connections by account.
    """

    def __init__(
        self,
        open_job: Callable[[str], Job],
        others: Callable[[], dict[tuple[str, str], str]] = dict,
    ) -> None:
        self._open_job, self._others = open_job, others
        self._jobs: dict[str, tuple[float, Job]] = {}
        self._sync_ids: dict[tuple[str, str], int] = {}
        self._accounts: tuple[float, dict[tuple[str, str], str]] = (0.0, {})
        self._lock = threading.Lock()
        self.counts: dict[str, Counts] = defaultdict(Counts)

    def job(self, name: str) -> Job:
        """The connection's job. Raises NotConnectedError, Misconfigured."""
        with self._lock:
            at, job = self._jobs.get(name, (0.0, None))
            if job is None or time.monotonic() - at > _BLOCK_SECONDS:
                job = self._open_job(name)
                self._jobs[name] = (time.monotonic(), job)
            return job

    def of_account(self, job: Job, account: str | None) -> str | None:
        """The name of the connection of an account that an event names.

        "" for the job's own; None if there is none.
        """
        if account is None or account.lower() == job.account.account.lower():
            return ""
        with self._lock:
            if time.monotonic() - self._accounts[0] > _BLOCK_SECONDS or not self._accounts[1]:
                self._accounts = (time.monotonic(), self._others())
            return self._accounts[1].get((job.account.system, account))

    def sync_id(self, job: Job) -> int:
        """The number of the run's synchronisation of the job's account."""
        key = (job.account.system, job.account.account)
        with self._lock:
            if key not in self._sync_ids:
                with job.aside() as connection:
                    names = [stream.name for stream in job.spec.streams]
                    self._sync_ids[key] = pushed.begin(connection, job.account, job.run_id, names)
            return self._sync_ids[key]


@dataclass
class Outcome:
    """What became of deliveries, by number; those in none of the two are done."""

    #: What came of them in all.
    counts: Counts = field(default_factory=Counts)
    #: What an operator should know of one that is done.
    notes: dict[int, str] = field(default_factory=dict)
    #: Why one cannot be used.
    failed: dict[int, Failed] = field(default_factory=dict)
    #: Numbers of deliveries, and the ids of documents that they brought, as they are stored.
    documents: set[tuple[int, str]] = field(default_factory=set)


def process(
    connections: Connections, dsn: str, run_id: str, claimed: Sequence[ClaimedEvent], key: bytes
) -> None:
    """Brings the claimed deliveries of one endpoint into the ledger.

    Each ends as done, failed (it is tried again) or parked.

    Raises psycopg.Error: nothing is lost, the claim runs out and another run takes it up.
    """
    with acting_as(WEBHOOK), without_row_data():
        name = claimed[0].connection
        try:
            job = connections.job(name)
            outcome, by_connection = _opened(connections, job, claimed, key)
        except (NotConnectedError, ConnectorError) as error:
            failed = _failure(error, name)
            _end(
                dsn,
                run_id,
                claimed,
                Outcome(failed=dict.fromkeys((delivery.event_no for delivery in claimed), failed)),
                None,
                connections.counts[name],
            )
            return
        sync_id = None
        for other, incoming in by_connection.items():
            try:
                account_job = connections.job(other)
            except (NotConnectedError, ConnectorError) as error:
                outcome.failed |= dict.fromkeys(
                    (each.event_no for each in incoming), _failure(error, other)
                )
                continue
            sync_id = connections.sync_id(account_job)
            part = _awarded(account_job, sync_id, incoming)
            outcome.failed |= part.failed
            outcome.notes |= part.notes
            outcome.documents |= part.documents
            _count(connections.counts[other], account_job, sync_id, part.counts)
            _merge(outcome.counts, part.counts)
        _end(dsn, run_id, claimed, outcome, sync_id, connections.counts[name])


def _opened(
    connections: Connections, job: Job, claimed: Sequence[ClaimedEvent], key: bytes
) -> tuple[Outcome, dict[str, list[Incoming]]]:
    """The events in the deliveries of one address, by the connection that they are about.

    Deliveries that cannot be read are failed in the outcome. A handshake is answered here.
    """
    outcome, by_connection = Outcome(), dict[str, list[Incoming]]()
    hook = webhook_for(job.vendor, claimed[0].options)
    for delivery in claimed:
        if hook is None:
            outcome.failed[delivery.event_no] = Failed(
                f"{job.spec.title} has no webhooks that could be read", for_good=True
            )
            continue
        if (hello := greeting(hook, delivery)) is not None:
            failure = confirm(job, hook, delivery, hello, key)
            if failure is not None:
                outcome.failed[delivery.event_no] = failure
            continue
        try:
            read = events(hook, delivery.body, delivery.headers)
        except BadBody as error:
            outcome.failed[delivery.event_no] = Failed(
                f"the body is not what {job.spec.title} sends: {error}", for_good=True
            )
            continue
        for event in read:
            other = connections.of_account(job, event.account)
            if other is None:
                outcome.notes[delivery.event_no] = "about an account that is not connected"
                continue
            incoming = Incoming(delivery.event_no, event, delivery.received_at)
            by_connection.setdefault(other or delivery.connection, []).append(incoming)
    return outcome, by_connection


def _awarded(job: Job, sync_id: int, incoming: Sequence[Incoming]) -> Outcome:
    """Loads and awards the events of one account.

    An event that makes the batch fail is found by halving the batch, so that it does not hold up
    the others.
    """
    outcome = Outcome()
    try:
        with job.transaction() as connection:
            plan = plan_events(job, connection, incoming)
        for read in (held_pages, asked_pages):
            about = _about(plan, held=read is held_pages)
            try:
                extracted = read(job, sync_id, plan)
                if extracted is not None:
                    _load(job, sync_id, extracted, outcome.counts)
            except (Retriable, NeedsOperator) as error:
                failed = _failure(error, job.vendor.name or job.vendor.system)
                outcome.failed |= dict.fromkeys(about, failed)
        outcome.notes |= plan.notes
        outcome.failed |= plan.failed
        outcome.documents |= plan.documents()
    except psycopg.Error:
        raise
    except Exception as error:  # noqa: BLE001  one bad document must not hold up the others
        if len(incoming) == 1:
            if not isinstance(error, ConnectorError):
                # The place, not the message, which may quote the document.
                where = "".join(traceback.format_tb(error.__traceback__))
                name = type(error).__name__
                log.error("webhook %d: %s\n%s", incoming[0].event_no, name, where)  # noqa: TRY400
            return Outcome(
                outcome.counts, failed={incoming[0].event_no: _failure(error, job.vendor.name)}
            )
        middle = len(incoming) // 2
        for half in (incoming[:middle], incoming[middle:]):
            part = _awarded(job, sync_id, half)
            outcome.failed |= part.failed
            outcome.notes |= part.notes
            outcome.documents |= part.documents
            _merge(outcome.counts, part.counts)
    return outcome


def _about(plan: EventPlan, *, held: bool) -> set[int]:
    if held:
        whole = {event.incoming.event_no for listed in plan.whole.values() for event in listed}
        return whole | {
            incoming.event_no for listed in plan.gone.values() for incoming, _ in listed
        }
    return {
        incoming.event_no
        for asked in plan.asked.values()
        for of in asked.values()
        for incoming in of
    }


def _load(job: Job, sync_id: int, extracted: Extracted, counts: Counts) -> None:
    loaded, awarded = load_announced(job, sync_id, extracted)
    for line in times_lines(loaded):
        log.warning("%s: %s", job.spec.title, line)
    counts.add(loaded, awarded)


def _merge(into: Counts, part: Counts) -> None:
    for name in ("new", "changed", "older", "rejected", "entries", "points", "records"):
        setattr(into, name, getattr(into, name) + getattr(part, name))
    into.reasons += part.reasons
    into.notes += part.notes
    into.add_beside_sales(part.points_by_event, part.expired_points)


_counting = threading.Lock()


def _count(total: Counts, job: Job, sync_id: int, part: Counts) -> None:
    """Adds what was posted to the counts of a batch, and the batch to those of the run."""
    with job.aside() as connection:
        posted = postings.report(connection, job.account, job.run_id, others=False)
        part.entries, part.points = posted.entries, posted.points
        with _counting:
            _merge(total, part)
            summary = total.summary()
        sync.set_summary(connection, sync_id, summary)


def _failure(error: Exception, name: str) -> Failed:
    """What an operator reads about a failure.

    Of errors that nobody foresaw it is the type alone: their text may quote a document.
    """
    if isinstance(error, RateLimited):
        return Failed(message(str(error)), error.retry_after_seconds or 0)
    if isinstance(error, NeedsOperator):
        return Failed(message(str(error.of_block(name))), _OPERATOR_SECONDS)
    if isinstance(error, NotConnectedError):
        return Failed(str(error), _OPERATOR_SECONDS)
    if isinstance(error, ConnectorError):
        return Failed(message(str(error.of_block(name) if name else error)))
    return Failed(f"{type(error).__name__}: a defect; see the run's log")


def _end(
    dsn: str,
    run_id: str,
    claimed: Sequence[ClaimedEvent],
    outcome: Outcome,
    sync_id: int | None,
    counts: Counts,
) -> None:
    """Stores what became of every delivery, in one transaction."""
    numbers = [delivery.event_no for delivery in claimed]
    noted: dict[str | None, list[int]] = defaultdict(list)
    for number in numbers:
        if number not in outcome.failed:
            noted[outcome.notes.get(number)].append(number)
    failures: dict[Failed, list[int]] = defaultdict(list)
    for number, failed in outcome.failed.items():
        failures[failed].append(number)
    with connect(dsn) as connection:
        for note, those in noted.items():
            brought = {pair for pair in outcome.documents if pair[0] in set(those)}
            webhooks.finish(
                connection,
                those,
                run_id=run_id,
                sync_id=sync_id,
                reason=note,
                documents=brought,
            )
            counts.ended(those, "done")
        for failed, those in failures.items():
            if failed.for_good:
                webhooks.park(connection, those, run_id=run_id, reason=failed.reason)
            else:
                wait = failed.wait_seconds
                webhooks.fail(
                    connection, those, run_id=run_id, reason=failed.reason, wait_seconds=wait
                )
            counts.ended(those, "parked" if failed.for_good else "failed")
        record_batch(connection, run_id, claimed, outcome.counts, failures)
        connection.commit()
    for failed, those in failures.items():
        log.warning(
            "%d webhooks %s: %s",
            len(those),
            "parked" if failed.for_good else "failed",
            failed.reason,
        )
