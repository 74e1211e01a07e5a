"""Tells the loyalty app of changes: publishes them and sends them to the receivers.

It works beside the run that listens for incoming webhooks (`listener`), in a thread of its own. A
receiver that is slow or down takes only its own places; it holds up neither points nor others.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final

import psycopg

from connectors.kit.webhooks.destination import Network
from connectors.kit.webhooks.send import OutgoingMessage, Sender, SendResult
from sql import changes, receivers
from sql.db import DbConnection, connect
from sql.receivers import ClaimedMessage, ReadyReceiver
from sql.tokens import TokenUnreadableError

log = logging.getLogger(__name__)
#: Messages under way at once: in all, and to one receiver.
AT_ONCE: Final = 32
AT_ONCE_PER_RECEIVER: Final = 8
#: How often it is looked for changes, and for answers while messages are under way.
LOOK_SECONDS: Final = 0.2
_ANSWER_SECONDS: Final = 0.05
#: How often messages are looked for that have waited for too long.
PARK_SECONDS: Final = 60.0
#: Pause after the database could not be used.
_DATABASE_SECONDS: Final = 3.0
#: Status of "Gone": the receiver wants no more messages.
_GONE: Final = 410


@dataclass
class Delivered:
    """What a run sent, per receiver name or number."""

    #: Messages that were accepted.
    accepted: Counter[int] = field(default_factory=Counter)
    #: Attempts that failed.
    failed: Counter[int] = field(default_factory=Counter)
    #: Messages that were given up.
    parked: int = 0

    def to_text(self) -> str:
        """One line; "" for nothing."""
        parts = [
            (self.accepted.total(), "messages accepted by the app"),
            (self.failed.total(), "attempts failed"),
            (self.parked, "parked"),
        ]
        return ", ".join(f"{count} {what}" for count, what in parts if count)


@contextmanager
def delivering(
    dsn: str, key: bytes, allowed: Sequence[Network], total: Delivered
) -> Iterator[None]:
    """Publishes and sends in a thread until the context is left.

    What is under way then is given back, for the next run. An error of the database is logged, and
    the thread goes on.

    Args:
        dsn: The ledger.
        key: Decrypts the receivers' secrets.
        allowed: Networks that may be sent to although they are not public.
        total: What was sent is counted here.
    """
    stopping = threading.Event()
    deliverer = Deliverer(dsn, key, allowed, total)
    context = copy_context()
    thread = threading.Thread(
        target=context.run, args=(deliverer.run, stopping), name="deliver", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@dataclass(frozen=True)
class _UnderWay:
    receiver: ReadyReceiver
    message: ClaimedMessage


class Deliverer:
    """Publishes changes and sends them, in the thread that calls it."""

    def __init__(self, dsn: str, key: bytes, allowed: Sequence[Network], total: Delivered) -> None:
        self._dsn, self._key, self._allowed, self._total = dsn, key, allowed, total
        self._under_way: dict[Future[SendResult], _UnderWay] = {}
        self._parked_at = -PARK_SECONDS

    def run(self, stopping: threading.Event) -> None:
        """Works until `stopping` is set."""
        with Sender(self._allowed) as sender:
            while not stopping.is_set():
                try:
                    self.step(sender)
                    self._rest(stopping)
                except psycopg.Error as error:
                    log.warning("nothing is sent to the app: %s", type(error).__name__)
                    stopping.wait(_DATABASE_SECONDS)
                except Exception as error:  # this thread must not end
                    log.exception("nothing is sent to the app: %s", type(error).__name__)
                    stopping.wait(_DATABASE_SECONDS)
        self._give_back()

    def until_quiet(self, seconds_max: float) -> bool:
        """Publishes and sends until nothing is due or under way; False if time was over first."""
        deadline = time.monotonic() + seconds_max
        with Sender(self._allowed) as sender:
            while time.monotonic() < deadline:
                if not self.step(sender) and not self._under_way:
                    return True
                wait(self._under_way, timeout=_ANSWER_SECONDS, return_when=FIRST_COMPLETED)
        self._give_back()
        return False

    def step(self, sender: Sender) -> bool:
        """Publishes what is due, notes answers, begins to send; whether there was any of it."""
        with connect(self._dsn) as connection:
            published = changes.publish(connection)
            settled = self._settle(connection)
            if time.monotonic() - self._parked_at > PARK_SECONDS:
                self._total.parked += receivers.park_old(connection)
                self._parked_at = time.monotonic()
            connection.commit()
            began = self._begin(connection, sender)
        return bool(published or settled or began)

    def _rest(self, stopping: threading.Event) -> None:
        if self._under_way:
            wait(self._under_way, timeout=_ANSWER_SECONDS, return_when=FIRST_COMPLETED)
        else:
            stopping.wait(LOOK_SECONDS)

    def _begin(self, connection: DbConnection, sender: Sender) -> int:
        began = 0
        for receiver in receivers.ready(connection) if len(self._under_way) < AT_ONCE else ():
            places = self._places(receiver)
            if places < 1:
                continue
            try:
                secrets = receivers.secrets_of(connection, receiver.receiver_no, self._key)
            except TokenUnreadableError as error:
                log.warning("receiver %d: %s", receiver.receiver_no, error)
                secrets = []
            claimed = receivers.claim(connection, receiver.receiver_no, places)
            connection.commit()
            for message in claimed:
                outgoing = OutgoingMessage(
                    message.message_id(receiver), receiver.url, message.body(), secrets
                )
                self._under_way[sender.send(outgoing)] = _UnderWay(receiver, message)
            began += len(claimed)
        connection.rollback()
        return began

    def _places(self, receiver: ReadyReceiver) -> int:
        """How many messages may be sent to it now; one at a time where it fails."""
        busy = sum(
            each.receiver.receiver_no == receiver.receiver_no for each in self._under_way.values()
        )
        most = 1 if receiver.failures else AT_ONCE_PER_RECEIVER
        return min(most - busy, AT_ONCE - len(self._under_way))

    def _settle(self, connection: DbConnection) -> int:
        """Stores what came of messages that were answered; the caller commits."""
        ended = [future for future in self._under_way if future.done()]
        accepted: dict[tuple[int, int], list[int]] = {}
        for future in ended:
            each, result = self._under_way[future], future.result()
            receiver_no = each.receiver.receiver_no
            if result.ok and result.status is not None:
                key = (receiver_no, result.status)
                accepted.setdefault(key, []).append(each.message.change_no)
                self._total.accepted[receiver_no] += 1
            else:
                self._failed(connection, each, result)
        for (receiver_no, status), numbers in accepted.items():
            receivers.accept(connection, receiver_no, numbers, status)
        for future in ended:
            del self._under_way[future]
        return len(ended)

    def _failed(self, connection: DbConnection, each: _UnderWay, result: SendResult) -> None:
        receiver_no = each.receiver.receiver_no
        self._total.failed[receiver_no] += 1
        state = receivers.fail(
            connection, receiver_no, each.message, status=result.status, error=result.error,
            asked_seconds=result.retry_after_seconds,
        )  # fmt: skip
        self._total.parked += state == "parked"
        if result.status == _GONE:
            receivers.gone(connection, receiver_no)
            self._total.parked += receivers.park_old(connection)

    def _give_back(self) -> None:
        """Stores the answers that came, and gives back what has none."""
        try:
            with connect(self._dsn) as connection:
                for future in [one for one in self._under_way if one.cancelled() or not one.done()]:
                    each = self._under_way.pop(future)
                    receivers.release(
                        connection, each.receiver.receiver_no, [each.message.change_no]
                    )
                self._settle(connection)
                connection.commit()
        except psycopg.Error as error:  # due again when the lease is over
            log.warning("messages are given back by time: %s", type(error).__name__)
