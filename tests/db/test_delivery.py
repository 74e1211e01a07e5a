"""The loyalty app is told over real HTTP: signed, again when it failed, never to a private place."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from cryptography.fernet import Fernet

from panel.alerts.checks import receivers_down
from panel.alerts.events import ReceiverDown
from panel.reports.receivers import receivers_section
from sql import receivers
from sql.db import connect
from sql.receivers import ReceiverRow
from tasks.webhooks.deliver import Delivered, Deliverer, delivering
from tasks.webhooks.receivers import (
    OVERLAP_SECONDS,
    ReceiverProblemError,
    enter_receiver,
    new_secret,
    send_test,
)
from tests.support.books import NOON, Books, invoice
from tests.support.receiver import Receiver, receiver

KEY = Fernet.generate_key()
HERE = [ip_network("127.0.0.0/8")]
SECRET = new_secret()


@pytest.fixture
def app() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def enter(books: Books, url: str, *kinds: str, name: str = "app", secret: str = SECRET) -> None:
    with books.transaction() as connection:
        enter_receiver(connection, name, url, kinds, secret, KEY, HERE)


def send(books: Books, seconds_max: float = 30) -> Delivered:
    """Publishes and sends what is due."""
    total = Delivered()
    assert Deliverer(books.dsn, KEY, HERE, total).until_quiet(seconds_max)
    return total


def sell(books: Books, *names: str) -> None:
    books.store(*(invoice(external_id=name) for name in names))
    books.award()


def again_now(books: Books) -> None:
    """As if the time until the next attempt had passed."""
    books.run("UPDATE loyalty.delivery SET next_attempt_at = now() WHERE state = 'pending'")
    books.run("UPDATE loyalty.receiver SET resting_until = NULL")


def state(books: Books, name: str = "app") -> ReceiverRow:
    with connect(books.dsn) as connection:
        row = receivers.receiver(connection, name)
    assert row is not None
    return row


def deliveries(books: Books) -> list[tuple[str, int]]:
    return books.rows("SELECT state, attempts FROM loyalty.delivery ORDER BY change_no")


class TestSending:
    def test_a_sale_arrives_signed_once(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        sell(books, "A")
        assert send(books).accepted.total() == 1
        (request,) = app.requests
        assert request.signed_with(new_secret(), SECRET) == 1
        assert request.message["type"] == "points.changed"
        data = request.message["data"]
        change_no = data.pop("change_no")
        assert data == {
            "member_id": books.member(), "balance_points": 1500, "points": 1500, "entries": 1,
            "reasons": ["award"],
        }  # fmt: skip
        assert request.message_id.endswith(f"_{change_no}")
        assert "." not in request.message_id
        assert deliveries(books) == [("delivered", 1)]
        send(books)
        assert len(app.requests) == 1

    def test_only_the_kinds_that_it_wants_and_only_from_then_on(
        self, books: Books, app: Receiver
    ) -> None:
        sell(books, "A")
        send(books)
        enter(books, app.url, "tier.changed")
        books.set_tier(books.member(), "gold", NOON)
        sell(books, "B")
        send(books)
        assert [message["type"] for message in app.messages] == ["tier.changed"]

    def test_both_secrets_sign_while_one_replaces_the_other(
        self, books: Books, app: Receiver
    ) -> None:
        enter(books, app.url)
        newer = new_secret()
        enter(books, app.url, secret=newer)
        enter(books, app.url, secret=newer)  # again: nothing is new
        assert state(books).secrets == 2
        sell(books, "A")
        send(books)
        assert [app.requests[0].signed_with(each) for each in (newer, SECRET)] == [0, 0]
        books.run(
            "UPDATE loyalty.receiver_secret SET expires_at = expires_at - %(day)s",
            day=timedelta(seconds=OVERLAP_SECONDS),
        )
        sell(books, "B")
        send(books)
        assert app.requests[1].signed_with(newer) == 0
        assert app.requests[1].signed_with(SECRET) == "signature does not match"

    def test_two_senders_at_once_send_each_message_once(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        for number in range(5):
            sell(books, *(f"S{number}-{n}" for n in range(3)))
        threads = [threading.Thread(target=send, args=(books,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({request.message_id for request in app.requests}) == len(app.requests) == 5

    def test_a_thread_beside_the_listener_sends_what_comes(
        self, books: Books, app: Receiver
    ) -> None:
        enter(books, app.url)
        total = Delivered()
        with delivering(books.dsn, KEY, HERE, total):
            sell(books, "A")
            while state(books).last_delivered_at is None:
                time.sleep(0.05)
        assert total.to_text() == "1 messages accepted by the app"
        (times,) = self._times(books)
        assert (times.name, times.delivered) == ("app", 1)
        assert "| app | in use | 0 | 0 | 1 |" in receivers_section([state(books)], [times])

    def test_a_test_message_says_what_the_app_answers(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        with connect(books.dsn) as connection:
            assert send_test(connection, state(books), KEY, HERE).ok
            app.answer = lambda _: (401, {})
            refused = send_test(connection, state(books), KEY, HERE)
        assert (refused.status, refused.error) == (401, "refused: HTTP 401")
        assert {message["type"] for message in app.messages} == {"webhook.test"}

    @staticmethod
    def _times(books: Books) -> list[receivers.DeliveryTimes]:
        with connect(books.dsn) as connection:
            return receivers.times(connection, datetime.now(UTC) - timedelta(hours=1))


class TestFailures:
    def test_tried_again_with_the_same_id_until_it_is_accepted(
        self, books: Books, app: Receiver
    ) -> None:
        enter(books, app.url)
        app.answer = lambda _: (500, {})
        sell(books, "A")
        assert send(books).failed.total() == 1
        assert deliveries(books) == [("pending", 1)]
        assert state(books).state == "failing"
        send(books)
        assert len(app.requests) == 1  # not before its time
        app.answer = lambda _: (200, {})
        again_now(books)
        send(books)
        first, second = app.requests
        assert first.message_id == second.message_id
        assert first.body == second.body
        assert second.signed_with(SECRET) == 0
        assert (state(books).state, state(books).failures) == ("in use", 0)

    def test_parked_after_the_last_attempt_and_replayed(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        app.answer = lambda _: (400, {})
        sell(books, "A")
        for _ in range(len(receivers.WAITS_SECONDS) + 3):
            again_now(books)
            send(books)
        assert deliveries(books) == [("parked", len(receivers.WAITS_SECONDS) + 1)]
        assert sum(receivers.WAITS_SECONDS) > timedelta(days=3).total_seconds()
        app.answer = lambda _: (200, {})
        with books.transaction() as connection:
            assert receivers.replay(connection, "app") == 1
            assert receivers.replay(connection, "other") == 0
        send(books)
        assert deliveries(books) == [("delivered", 1)]
        operations = books.rows("SELECT operation FROM audit.entry ORDER BY entry_no")
        assert {("receiver.create",), ("receiver.secret",), ("receiver.replay",)} <= set(operations)

    def test_a_receiver_that_is_down_rests_and_loses_nothing(
        self, books: Books, app: Receiver
    ) -> None:
        enter(books, app.url)
        app.answer = lambda _: (503, {})
        for number in range(12):
            sell(books, f"S{number}")
            send(books)
            # Whatever time the test takes, the rest is not over.
            books.run(
                "UPDATE loyalty.receiver SET resting_until = now() + interval '1 hour' "
                "WHERE resting_until IS NOT NULL"
            )
        # After three failures in a row it rests: the others are not even tried.
        assert len(app.requests) == receivers.FAILURES_MAX
        down = state(books)
        assert (down.failures, down.waiting, down.parked) == (3, 12, 0)
        now = datetime.now(UTC)
        assert list(receivers_down([down], now)) == []
        (alert,) = receivers_down([down], now + timedelta(minutes=11))
        assert isinstance(alert, ReceiverDown)
        assert (alert.about, alert.waiting) == ("app", 12)
        assert "HTTP 503" in alert.what
        assert "**app** since" in receivers_section([down], [])
        app.answer = lambda _: (200, {})
        again_now(books)
        send(books)
        assert {row[0] for row in deliveries(books)} == {"delivered"}
        assert list(receivers_down([state(books)], now + timedelta(minutes=11))) == []

    def test_messages_that_fail_at_once_are_one_outage(self, books: Books, app: Receiver) -> None:
        """Eight are under way when the app goes down for a moment: it rests for seconds."""
        enter(books, app.url)
        for number in range(8):
            sell(books, f"S{number}")
        app.answer = lambda _: (503, {})
        send(books)
        assert len(app.requests) == 8
        ((failures, seconds),) = books.rows(
            "SELECT failures, extract(epoch FROM resting_until - now())::float FROM loyalty.receiver"
        )
        assert failures == receivers.FAILURES_MAX and seconds <= receivers.REST_SECONDS

    def test_what_waited_for_days_is_parked(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        app.answer = lambda _: (503, {})
        for number in range(4):
            sell(books, f"S{number}")
            send(books)
        books.run("UPDATE loyalty.delivery SET queued_at = now() - interval '6 days'")
        send(books)
        assert [row[0] for row in deliveries(books)] == ["parked"] * 4
        (alert,) = receivers_down([state(books)], datetime.now(UTC))
        assert isinstance(alert, ReceiverDown)
        assert alert.parked == 4

    def test_it_waits_for_as_long_as_the_receiver_asks(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        app.answer = lambda _: (429, {"retry-after": "1000"})
        sell(books, "A")
        send(books)
        ((seconds, rest),) = books.rows(
            "SELECT extract(epoch FROM next_attempt_at - now())::int, "
            "extract(epoch FROM resting_until - now())::int "
            "FROM loyalty.delivery JOIN loyalty.receiver USING (receiver_no)"
        )
        assert seconds > 900
        assert rest > 900

    def test_gone_ends_the_receiver(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        app.answer = lambda _: (410, {})
        sell(books, "A")
        send(books)
        assert (state(books).state, state(books).parked) == ("ended", 1)
        sell(books, "B")
        send(books)
        assert len(app.requests) == 1
        app.answer = lambda _: (200, {})
        enter(books, app.url)
        with books.transaction() as connection:
            assert receivers.replay(connection) == 1
        send(books)
        assert len(app.requests) == 2

    def test_a_redirect_is_not_followed(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        app.answer = lambda _: (307, {"location": app.url + "/elsewhere"})
        sell(books, "A")
        send(books)
        assert [request.path for request in app.requests] == ["/hooks"]
        assert "redirect" in (state(books).last_error or "")

    def test_a_killed_sender_loses_nothing(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        sell(books, "A")
        with books.transaction() as connection:
            connection.execute(b"SELECT loyalty.publish_changes()")
            connection.commit()
            (ready,) = receivers.ready(connection)
            assert len(receivers.claim(connection, ready.receiver_no, 5)) == 1
        send(books)
        assert app.requests == []  # it may still be at it
        again_now(books)  # its lease is over
        send(books)
        assert deliveries(books) == [("delivered", 2)]

    def test_a_sender_that_is_stopped_gives_back_what_hangs(
        self, books: Books, app: Receiver
    ) -> None:
        enter(books, app.url)
        stop, asked = threading.Event(), threading.Event()

        def hang(_: object) -> tuple[int, dict[str, str]]:
            asked.set()
            stop.wait(30)
            return 200, {}

        app.answer = hang
        with delivering(books.dsn, KEY, HERE, Delivered()):
            sell(books, "A")
            assert asked.wait(30)
        assert deliveries(books) == [("pending", 0)]
        stop.set()
        app.answer = lambda _: (200, {})
        send(books)
        assert deliveries(books) == [("delivered", 1)]

    def test_a_standby_copy_tells_nobody(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        sell(books, "A")
        books.run("INSERT INTO billing.standby (reason) VALUES ('restored')")
        send(books)
        assert app.requests == []

    def test_an_operator_ends_it_and_what_waits_is_dropped(
        self, books: Books, app: Receiver
    ) -> None:
        enter(books, app.url)
        app.answer = lambda _: (500, {})
        sell(books, "A")
        send(books)
        with books.transaction() as connection:
            receivers.end_receiver(connection, state(books).receiver_no)
        assert deliveries(books) == []
        assert state(books).state == "ended"


class TestEntering:
    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("https://169.254.169.254/latest", "not a public address"),
            ("https://[::1]/", "not a public address"),
            ("https://10.0.0.7/hooks", "not a public address"),
            ("http://93.184.215.14/hooks", "https://"),
            ("https://user:secret@example.com/", "no user"),
            ("https://127.0.0.1/?token=1", "query"),
            ("ftp://example.com/", "https://"),
        ],
    )
    def test_an_address_that_is_not_allowed(self, books: Books, url: str, why: str) -> None:
        with books.transaction() as connection, pytest.raises(ReceiverProblemError) as caught:
            enter_receiver(connection, "app", url, (), SECRET, KEY, [])
        assert why in str(caught.value)
        assert "secret@" not in str(caught.value)

    def test_an_address_that_became_private_is_not_asked(self, books: Books, app: Receiver) -> None:
        enter(books, app.url)
        sell(books, "A")
        total = Delivered()
        Deliverer(books.dsn, KEY, [], total).until_quiet(30)  # the setting was taken back
        assert app.requests == []
        assert "not a public address" in (state(books).last_error or "")

    @pytest.mark.parametrize("secret", ["", "hunter2", "whsec_c2hvcnQ=", "whsec_!"])
    def test_a_secret_that_proves_nothing(self, books: Books, app: Receiver, secret: str) -> None:
        with books.transaction() as connection, pytest.raises(ReceiverProblemError):
            enter_receiver(connection, "app", app.url, (), secret, KEY, HERE)
            connection.rollback()

    @pytest.mark.parametrize("name", ["", "App", "my app", "a" * 41, "1st", "áppa"])
    def test_a_name_that_is_none(self, books: Books, app: Receiver, name: str) -> None:
        with books.transaction() as connection, pytest.raises(ReceiverProblemError):
            enter_receiver(connection, name, app.url, (), SECRET, KEY, HERE)

    def test_a_kind_that_does_not_exist(self, books: Books, app: Receiver) -> None:
        with books.transaction() as connection, pytest.raises(ReceiverProblemError) as caught:
            enter_receiver(connection, "app", app.url, ("points",), SECRET, KEY, HERE)
        assert "points.changed" in str(caught.value)
