"""Announced sales through the whole path: signed by the simulated vendors, stored, claimed, awarded; the ledger is polling's."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import simulator
import tasks.webhooks.documents
import tasks.webhooks.process
from connectors import registry as connectors_webhooks
from connectors.custom.connector import KeyRejected
from connectors.kit.errors import CredentialsRejected
from connectors.kit.read.fetch import pushed_page
from connectors.kit.webhooks.scheme import Verified, delivery_key, events, verify
from connectors.registry import webhook_for
from panel.blocks import NotConnectedError
from panel.reports.webhooks import headline, markdown
from simulator.deliveries import Delivery
from simulator.systems.freshbooks.announce import verification
from simulator.systems.magento.announce import secret as adobe_secret
from simulator.systems.xero.announce import intent
from simulator.webhooks import Announcer, Disorder
from sql import webhooks as stored
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.webhooks import NewEvent
from tasks.job import Job, Policy
from tasks.webhooks.listener import Listening, Pace, listen
from tasks.webhooks.process import Connections, process
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import START, Shop, expected

__all__ = ["databases", "dsn"]
#: Every system whose deliveries become points. (PayPal's are signed with a certificate, and do where
#: an account's invoices are read: tests/sync/test_paypal.py.)
SECRETS = {
    "quickbooks": "verifier-token", "xero": "xero-key", "freshbooks": "scADVVi5", "custom": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "shopify": "hush",
    "stripe": "whsec_test",
    "zoho_books": "abcdef123456",
    "magento": adobe_secret(),
    "woocommerce": "wooSecret1",
    "square": "signature-key",
    "business_central": "client-state",
}  # fmt: skip
HTTP_HEADERS = ("webhook-id",)
ADDRESS = "https://points.example/api/webhooks/billing/whk_1"


@dataclass
class Mailbox:
    """Endpoints for the simulated vendors, and runs that award what came in."""

    shop: Shop
    numbers: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    connections: Connections | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def job(self, system: str) -> Job:
        if system not in simulator.SYSTEMS:
            raise NotConnectedError(f"there is no connection {system!r}")
        job = self.shop.job(
            system,
            policy=Policy(reject_percent_max=100),
            pushed=True,
            **self.options.get(system, {}),
        )
        job.vendor = replace(job.vendor, default_currency="AOA")  # as the block does
        return job

    def endpoint(self, system: str) -> int:
        if system not in self.numbers:
            with connect(self.shop.dsn) as connection:
                made = create_endpoint(connection, NewEndpoint(system, system))
                connection.commit()
            self.numbers[system], self.addresses[system] = made.endpoint_no, made.endpoint_id
        return self.numbers[system]

    def receive(self, deliveries: Iterable[Delivery], *, check: bool = True) -> int:
        """Verifies and stores, as the HTTP interface does; returns how many were new."""
        new, now = 0, datetime.now(UTC)
        with connect(self.shop.dsn) as connection:
            for one in deliveries:
                hook = webhook_for(self.job(one.system).vendor)
                assert hook is not None
                headers = one.headers(now, ADDRESS)
                if check:
                    outcome = verify(
                        hook, [SecretStr(SECRETS[one.system])], headers, one.body, now, ADDRESS
                    )
                    assert isinstance(outcome, Verified), outcome
                stored_headers = (*HTTP_HEADERS, *hook.kept_headers)
                kept = {name: value for name, value in headers.items() if name in stored_headers}
                key = delivery_key(hook, headers, one.body, now)
                event = NewEvent(self.endpoint(one.system), key, "test", kept, one.body, None, now)
                new += stored.store_event(connection, event) is not None
            connection.commit()
        return new

    def run(self) -> Listening:
        """One run that ends when nothing is due."""
        self.connections = Connections(self.job)
        return listen(
            self.shop.dsn, "run-1", self.connections, self.shop.key, Pace(0, 60), lambda *_: None
        )

    def states(self) -> list[tuple[Any, ...]]:
        """State, number, reason of the events."""
        with connect(self.shop.dsn) as connection:
            return connection.execute(
                "SELECT state, count(*), reason FROM billing.webhook_event GROUP BY 1, 3 ORDER BY 1, 3"
            ).fetchall()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with connect(self.shop.dsn) as connection:
            found = connection.execute(statement.encode())
            rows = found.fetchall() if found.description else []
            connection.commit()
        return rows


@pytest.fixture
def box(shop: Shop) -> Mailbox:
    return Mailbox(shop)


def announce(box: Mailbox, *systems: str, steps: int, **options: Any) -> list[Delivery]:
    """What these systems send; everything happens from now on: nothing was polled before."""
    announcer = Announcer(box.shop.world, SECRETS, **options)
    announcer._seen.clear()
    box.shop.world.evolve(steps=steps, systems=systems)
    return [delivery for delivery in announcer.changes() if delivery.system in systems]


@pytest.mark.parametrize("system", SECRETS)
def test_announced_sales_are_in_the_ledger_as_if_they_had_been_polled(
    box: Mailbox, system: str
) -> None:
    """Whole documents (custom) and ids only (all others), every document once, in any order, some twice."""
    box.shop.world = simulator.World(
        seed=11, customers=15, invoices=20, start=START
    )  # a vendor lets us ask ten times a second
    disorder = Disorder(seed=3, repeated=0.3, overtaken=0.5)
    box.receive(announce(box, system, steps=15, disorder=disorder))
    box.run()
    announced = {key: points for key, points in box.shop.points().items() if key[0] == system}
    assert announced == expected(box.shop.world, system)
    # The backstop finds nothing to correct, and its own cursors were not moved.
    assert box.sql("SELECT count(*) FROM billing.sync_cursor") == [(0,)]
    _, loaded, awarded = box.shop.sync(system)
    assert awarded.entries == 0
    # Of an order that was deleted before anybody read it, its bin knows more than its id.
    binned = {
        row.external_id for row in box.shop.world.truth() if row.system == system and row.deleted
    }
    assert loaded.stored.new == (len(binned) if system == "woocommerce" else 0)
    assert {state for state, _, _ in box.states()} <= {"done"}


def test_changes_that_arrive_in_any_order_and_twice_leave_polls_ledger(box: Mailbox) -> None:
    """A polled past, then edits, voids, refunds and deletions, told by all vendors in disorder, in several rounds."""
    systems = tuple(SECRETS)
    for system in systems:
        box.shop.sync(system)
    announcer = Announcer(
        box.shop.world,
        SECRETS,
        cloud_events=False,
        disorder=Disorder(seed=5, repeated=0.4, overtaken=0.6),
    )
    held: list[Delivery] = []
    for _ in range(2):
        box.shop.world.evolve(steps=6 * len(systems), systems=systems)
        found = announcer.changes()
        held.extend(found[::4])  # late: after everything else
        box.receive([one for at, one in enumerate(found) if at % 4])
        box.run()
    box.receive(held)
    box.run()
    want = expected(box.shop.world, *systems)
    assert {key: points for key, points in box.shop.points().items() if key[0] in systems} == want
    for system in systems:
        _, loaded, awarded = box.shop.sync(system)
        assert (loaded.stored.new, awarded.entries) == (0, 0)
    assert {state for state, _, _ in box.states()} == {"done"}


def test_ids_only_of_a_custom_system(box: Mailbox) -> None:
    box.receive(announce(box, "custom", steps=8, full=False))
    box.run()
    assert box.shop.points() == expected(box.shop.world, "custom")
    asked = [request.url.path for request in box.shop.requests]
    assert len(asked) == len(set(asked))  # three events of one sale: one question


def test_the_three_events_of_a_sale_award_once(box: Mailbox) -> None:
    sale = document("inv_1")
    for number, name in enumerate(("payment.received", "invoice.created", "sale.completed")):
        box.receive([pushed(name, sale, f"msg_{number}")])
        box.run()
    assert box.sql("SELECT external_id, points FROM loyalty.award_entry") == [("inv_1", 1500)]
    assert box.states() == [("done", 3, None)]


def document(key: str, total: str = "150.00", **more: Any) -> dict[str, Any]:
    return {
        "id": key, "number": f"FT {key}", "customer": {"id": "c1", "phone": "+244 923 456 789"}, "total": total, "currency": "AOA",
        "issued_on": "2024-01-15", **more,
    }  # fmt: skip


def pushed(name: str, data: Any, message_id: str, at: datetime = START) -> Delivery:
    body = json.dumps({"type": name, "timestamp": at.isoformat(), "data": data}).encode()
    return Delivery("custom", body, "application/json", signer(message_id))


def signer(message_id: str) -> Any:
    from simulator.systems.custom.announce import standard_signature

    return standard_signature(message_id, SECRETS["custom"])


#: The product documentation's own example, to the letter.
EXAMPLE = b"""{
  "invoice_number": "INV-001",
  "customer_phone": "+244 923 456 789",
  "total_amount": 150.00,
  "products": [
    {
      "name": "\xc3\x81gua Twezah 5L",
      "quantity": 3,
      "unit_price": 50.00,
      "sku": "ATW-5L"
    }
  ],
  "sale_date": "2024-01-15T14:30:00Z"
}"""


def test_the_documented_example(box: Mailbox) -> None:
    box.receive([Delivery("custom", EXAMPLE, "application/json", signer("msg_1"))])
    box.run()
    assert box.sql("SELECT external_id, points FROM loyalty.award_entry") == [("INV-001", 1500)]
    assert box.sql("SELECT sku, quantity::text FROM billing.invoice_line") == [
        ("ATW-5L", "3.000000")
    ]


def test_an_older_payload_does_not_overwrite_a_newer_version(box: Mailbox) -> None:
    """By the document's own time of change, and where it has none by the event's."""
    for number, (key, total, changed) in enumerate(
        [
            ("a", "200.00", "2026-05-02T10:00:00Z"),
            ("a", "100.00", "2026-05-01T10:00:00Z"),
            ("b", "200.00", None),
            ("b", "100.00", None),
        ]
    ):
        more = {"updated_at": changed} if changed else {}
        at = START + timedelta(hours=10 - number)
        box.receive([pushed("invoice.updated", document(key, total, **more), f"msg_{number}", at)])
        box.run()
    assert box.sql(
        "SELECT external_id, sum(points)::int FROM loyalty.award_entry GROUP BY 1 ORDER BY 1"
    ) == [
        ("a", 2000),
        ("b", 2000),
    ]
    # Within one batch as well.
    for number, total in enumerate(("300.00", "50.00")):
        box.receive(
            [
                pushed(
                    "invoice.updated",
                    document("c", total),
                    f"msg_c{number}",
                    START - timedelta(hours=number),
                )
            ]
        )
    box.run()
    assert box.sql("SELECT sum(points)::int FROM loyalty.award_entry WHERE external_id = 'c'") == [
        (3000,)
    ]


def test_a_deleted_sale_stays_deleted(box: Mailbox) -> None:
    box.receive([pushed("invoice.created", document("a"), "msg_1", START)])
    box.run()
    box.receive([pushed("invoice.deleted", {"id": "a"}, "msg_2", START + timedelta(hours=2))])
    box.run()
    box.receive(
        [pushed("invoice.updated", document("a", "99.00"), "msg_3", START + timedelta(hours=1))]
    )
    box.run()
    assert box.sql("SELECT sum(points)::int FROM loyalty.award_entry") == [(0,)]
    assert box.sql("SELECT status FROM billing.invoice") == [("void",)]


def test_a_sale_named_by_its_number_is_the_one_that_is_polled(box: Mailbox) -> None:
    """Pushed by number before its id is known, then polled with its id, then pushed by number again."""
    box.shop.world.evolve(steps=3, systems=("custom",))
    sale = next(
        one
        for one in box.shop.world.truth()
        if one.system == "custom" and one.status == "open" and one.phone_e164
    )
    by_number = {
        "invoice_number": sale.invoice_number,
        "customer_phone": sale.phone,
        "total_amount": sale.total,
        "sale_date": str(sale.date),
    }
    box.receive([pushed("sale.completed", by_number, "msg_1")])
    box.run()
    assert [key for _, key in box.shop.points()] == [sale.invoice_number]
    box.shop.sync("custom")
    assert box.shop.points() == expected(box.shop.world, "custom")
    box.receive([pushed("payment.received", by_number, "msg_2")])
    box.run()
    assert box.shop.points() == expected(box.shop.world, "custom")
    # A number that nobody has read yet is awarded at once, though the others have ids.
    box.receive([pushed("sale.completed", {**by_number, "invoice_number": "FT 99999"}, "msg_3")])
    box.run()
    points = int(Decimal(sale.total) * 10)
    assert box.shop.points() == expected(box.shop.world, "custom") | {
        ("custom", "FT 99999"): points
    }
    assert {state for state, _, _ in box.states()} == {"done"}


NUMBERED = {
    "invoice_number": "FT 7",
    "customer_phone": "+244 923 456 789",
    "total_amount": 150,
    "sale_date": "2024-01-15",
}
IDENTIFIED = {**NUMBERED, "id": "doc_7"}


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("id_first", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_a_number_alone_and_the_id_with_the_number_are_one_sale(
    box: Mailbox, dated: bool, id_first: bool, together: bool
) -> None:
    """Whichever comes first, in one batch or in two, with and without a time of change."""
    more = {"updated_at": "2024-01-16T10:00:00Z"} if dated else {}
    events = [
        pushed("sale.completed", NUMBERED | more, "msg_1"),
        pushed("invoice.created", IDENTIFIED | more, "msg_2"),
    ]
    # Documents with ids were stored before: a number alone is awarded all the same.
    box.receive([pushed("sale.completed", document("other", "1.00", number=None), "msg_0")])
    box.run()
    for batch in (
        [events[::-1] if id_first else events]
        if together
        else [[one] for one in events[:: -1 if id_first else 1]]
    ):
        box.receive(batch)
        box.run()
        assert (
            sum(points for (_, key), points in box.shop.points().items() if key != "other") == 1500
        )
    assert box.shop.points()["custom", "doc_7"] == 1500
    states = dict(
        box.sql("SELECT external_id, status FROM billing.invoice WHERE external_id <> 'other'")
    )
    assert states in ({"doc_7": "open"}, {"doc_7": "open", "FT 7": "void"})


def test_a_poll_that_stores_the_id_while_the_number_is_on_its_way_does_not_double_it(
    box: Mailbox,
) -> None:
    """The number was looked up before the id was there, and is stored after it."""
    box.receive([pushed("sale.completed", NUMBERED, "msg_1")])
    real = tasks.webhooks.documents.held_pages
    times = 0

    def late(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            box.receive([pushed("invoice.created", IDENTIFIED, "msg_2")])
            other = Connections(box.job)
            with connect(box.shop.dsn) as connection:
                claimed = stored.claim_events(connection, 10, run_id="run-2")
                connection.commit()
            process(other, box.shop.dsn, "run-2", claimed, box.shop.key)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tasks.webhooks.process, "held_pages", late)
        box.run()
    assert box.shop.points() == {("custom", "doc_7"): 1500}


@pytest.mark.parametrize(
    "name", ["invoice.deleted", "order.deleted", "sale.voided", "order.cancelled"]
)
def test_a_sale_is_taken_back_by_its_number_though_it_is_known_by_its_id(
    box: Mailbox, name: str
) -> None:
    box.receive([pushed("sale.completed", IDENTIFIED, "msg_1")])
    box.run()
    box.receive([pushed(name, {"invoice_number": "FT 7"}, "msg_2", START + timedelta(hours=1))])
    box.run()
    assert box.shop.points() == {}
    assert box.states() == [("done", 2, None)]


def test_a_deletion_that_takes_nothing_back_says_so(box: Mailbox) -> None:
    box.receive(
        [
            pushed("sale.completed", IDENTIFIED, "msg_1"),
            pushed("sale.deleted", {"id": "doc_8"}, "msg_2"),
        ]
    )
    box.run()
    assert box.states() == [
        ("done", 1, "no such sale is in the ledger, so there is nothing to take back"),
        ("done", 1, None),
    ]
    assert box.shop.points() == {("custom", "doc_7"): 1500}


def test_a_payment_that_is_deleted_does_not_take_its_sale_along(box: Mailbox) -> None:
    box.shop.world.evolve(steps=3, systems=("custom",))
    box.shop.sync("custom")
    before = box.shop.points()
    sale = next(one for one in box.shop.world.truth() if ("custom", one.external_id) in before)
    payment = {"id": "pay_1", "invoice_id": sale.external_id}
    box.receive(
        [pushed("payment.deleted", payment, "msg_1"), pushed("refund.deleted", payment, "msg_2")]
    )
    box.run()
    assert box.shop.points() == before


@pytest.mark.parametrize("name", [None, "invoice.created", "sale.completed", "payment.received"])
def test_every_event_of_the_product_documentation_becomes_points(
    box: Mailbox, name: str | None
) -> None:
    """Its payload alone and in an envelope, also where other documents have ids."""
    box.receive([pushed("sale.completed", document("other", "1.00"), "msg_0")])
    box.run()
    data = json.loads(EXAMPLE)
    delivery = Delivery("custom", EXAMPLE, "application/json", signer("msg_1"))
    box.receive([pushed(name, data, "msg_1") if name else delivery])
    box.run()
    assert box.shop.points() == {("custom", "other"): 10, ("custom", "INV-001"): 1500}


def test_a_number_that_no_list_tells_waits_with_its_reason(box: Mailbox) -> None:
    """Lists with ids and no number: the same sale could be among them under its id."""
    box.options["custom"] = {"paths": {"invoice_number": "/nothing"}}
    box.shop.sync("custom", paths={"invoice_number": "/nothing"})
    box.options.clear()
    box.receive([pushed("sale.completed", NUMBERED, "msg_1")])
    box.run()
    (waiting,) = [row for row in box.states() if row[0] == "failed"]
    assert "so that it might count twice" in waiting[2]


def test_a_rejected_sale_is_a_reject_and_its_webhook_done(box: Mailbox) -> None:
    box.receive([pushed("sale.completed", document("a", customer={"id": "c1", "phone": "s/n"}), "msg_1"),
                 pushed("sale.completed", document("b"), "msg_2")])  # fmt: skip
    box.run()
    assert box.sql("SELECT external_id FROM billing.reject WHERE resolved_at IS NULL") == [("a",)]
    assert box.states() == [("done", 2, None)]
    assert list(dict(box.shop.points())) == [("custom", "b")]


def test_what_cannot_be_used_is_parked_with_its_reason_and_replayed(box: Mailbox) -> None:
    bad = Delivery("custom", b'{"data": {"id": 1, "id": 2}}', "application/json", signer("msg_1"))
    box.receive(
        [
            bad,
            pushed("payment.received", {"amount": 3}, "msg_2"),
            pushed("customer.created", {"id": "x"}, "msg_3"),
        ]
    )
    box.receive([pushed("sale.completed", document("good"), "msg_4")])
    box.run()
    assert box.states() == [
        ("done", 1, "not about a sale"),
        ("done", 1, None),
        ("parked", 1, "it holds neither a whole document (customer, total, date) nor an id to ask for: see the field mapping of the connection"),
        ("parked", 1, "the body is not what Custom system sends: an object has the same key twice"),
    ]  # fmt: skip
    assert box.shop.points() == {("custom", "good"): 1500}
    # Corrected: the amounts are in a field of their own.
    box.options["custom"] = {
        "paths": {
            "total_minor": "/amount",
            "external_id": "/amount",
            "customer_external_id": "/amount",
            "issued_at": "/amount",
        }
    }
    with connect(box.shop.dsn) as connection:
        assert stored.replay(connection, of="custom") == 2
        connection.commit()
    box.run()
    assert [(state, count) for state, count, _ in box.states()] == [
        ("done", 1),
        ("done", 2),
        ("parked", 1),
    ]


def test_a_vendor_that_is_down_costs_no_webhook(box: Mailbox) -> None:
    box.shop.before = lambda _: httpx.Response(503)
    box.receive(announce(box, "xero", "custom", steps=8))
    box.run()
    assert {reason[:5] for state, _, reason in box.states() if state == "failed"} == {"xero "}
    assert box.shop.points() == expected(box.shop.world, "custom")  # whole documents need nobody
    box.shop.before = lambda _: None
    box.sql("UPDATE billing.webhook_event SET next_attempt_at = now() WHERE state = 'failed'")
    box.run()
    assert box.shop.points() == expected(box.shop.world, "custom", "xero")
    assert {state for state, _, _ in box.states()} == {"done"}


def test_who_must_act_is_named(box: Mailbox) -> None:
    box.shop.before = lambda request: (
        httpx.Response(401) if "invoices" in request.url.path else None
    )
    box.receive(announce(box, "custom", steps=5, full=False))
    box.run()
    (reason,) = [reason for state, _, reason in box.states() if state == "failed"]
    assert reason.startswith("custom invoices: GET custom.test/invoices/")
    assert KeyRejected.advice.format(block="custom") in reason


def test_one_document_that_breaks_the_code_does_not_hold_up_the_others(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.webhooks import documents as module

    real = pushed_page

    def breaks(stream: Any, records: Any) -> bytes:
        if any(b'"evil"' in one for one in records):
            raise ZeroDivisionError("a defect about +244 923 456 789")
        return real(stream, records)

    monkeypatch.setattr(module, "pushed_page", breaks)
    keys = [f"k{n}" for n in range(9)]
    box.receive(
        [
            pushed("sale.completed", document(key), f"msg_{key}")
            for key in (*keys[:4], "evil", *keys[4:])
        ]
    )
    box.run()
    assert box.states() == [
        ("done", 9, None),
        ("failed", 1, "ZeroDivisionError: a defect; see the run's log"),
    ]
    assert sorted(key for _, key in box.shop.points()) == keys


def test_an_unknown_connection_and_a_foreign_account(box: Mailbox) -> None:
    body = b'{"eventNotifications":[{"realmId":"999","dataChangeEvent":{"entities":[{"name":"Invoice","id":"1","operation":"Create","lastUpdated":"2026-01-01"}]}}]}'
    box.receive([Delivery("quickbooks", body, "application/json", lambda *_: {})], check=False)
    box.receive([pushed("sale.completed", document("a"), "msg_1")])
    box.sql("UPDATE billing.webhook_endpoint SET connection = 'lost' WHERE system = 'custom'")
    box.run()
    assert box.states() == [
        ("done", 1, "about an account that is not connected"), ("failed", 1, "there is no connection 'lost'"),
    ]  # fmt: skip


def test_a_burst_is_one_batch(box: Mailbox) -> None:
    deliveries = [pushed("sale.completed", document(f"k{n}"), f"msg_{n}") for n in range(300)]
    assert box.receive([*deliveries, *deliveries[::3]]) == 300
    done = box.run()
    assert (done.batches, done.deliveries) == (1, 300)
    assert len(box.shop.points()) == 300
    assert box.sql("SELECT count(*) FROM billing.raw_page") == [(1,)]
    # What was pushed is replayed like what was polled: no vendor is asked, nothing changes.
    box.shop.requests.clear()
    _, loaded, awarded = box.shop.sync("custom", replay=True)
    assert (loaded.records, loaded.stored.unchanged, awarded.entries, box.shop.requests) == (
        300,
        300,
        0,
        [],
    )


def test_an_interrupted_poll_is_continued_though_webhooks_came_meanwhile(box: Mailbox) -> None:
    lists = [0]

    def cut(request: httpx.Request) -> httpx.Response | None:
        lists[0] += request.url.path.endswith("/invoices")
        return (
            httpx.Response(401) if lists[0] > 1 and request.url.path.endswith("/invoices") else None
        )

    box.shop.before = cut
    with pytest.raises(CredentialsRejected):
        box.shop.sync("custom")
    box.shop.before = lambda _: None
    box.receive([pushed("sale.completed", document("new"), "msg_1")])
    box.run()
    extracted, _, _ = box.shop.sync("custom")
    assert extracted.resumed


def test_the_report(box: Mailbox) -> None:
    from sql import webhook_documents as module

    box.receive(
        [
            pushed("sale.completed", document("a"), "msg_1"),
            pushed("sale.completed", document("b", total="x"), "msg_2"),
        ]
    )
    box.receive([pushed("payment.received", {"amount": 3}, "msg_3")])
    box.run()
    assert box.connections is not None
    with connect(box.shop.dsn) as connection:
        parts = (
            module.event_counts(connection, "run-1"),
            stored.backlog(connection),
            module.parked(connection, limit=5),
        )
    text = markdown(box.connections.counts, *parts)
    assert (
        headline(box.connections.counts)
        == "2 webhooks done, 1 parked; 1 new sales, 1 entries, +1 500 points"
    )
    for wanted in (
        "| custom | 3 | 2 | 0 | 1 | 1 | 0 | 1 | 1 | 1 500 |",
        "Total, looked for at /total",
        "twezah webhooks replay",
        "| done | 2 |",
    ):
        assert wanted in text
    assert "923" not in text


def secrets_of(box: Mailbox, system: str) -> tuple[list[str], str]:
    with connect(box.shop.dsn) as connection:
        found = stored.endpoint(connection, box.addresses[system], box.shop.key)
    assert found is not None
    return list(found.secrets), found.handshake


def test_freshbooks_verification_is_confirmed_and_a_forged_one_is_not(box: Mailbox) -> None:
    callback = box.shop.world.freshbooks_callbacks.register(
        "invoice", "https://twezah.example/hook"
    )
    box.endpoint("freshbooks")
    box.sql("UPDATE billing.webhook_endpoint SET handshake = 'awaited' WHERE system = 'freshbooks'")
    box.receive([verification(str(callback.id), "a code of somebody else's")], check=False)
    box.run()
    assert secrets_of(box, "freshbooks") == ([], "awaited")
    ((state, _, reason),) = box.states()
    assert state == "parked"
    assert reason.startswith("FreshBooks did not take the code, so it is not from there")
    assert "somebody" not in reason
    box.receive([verification(str(callback.id), callback.secret)], check=False)
    box.run()
    assert secrets_of(box, "freshbooks") == ([callback.secret], "confirmed")
    assert callback.enabled


def test_xero_introduces_an_address() -> None:
    """Right and wrong signatures, and no events: 200 and 401."""
    world = simulator.World(seed=1, customers=2, invoices=1)
    hook = connectors_webhooks.WEBHOOKS["xero"]
    for delivery, wanted in intent(Announcer(world, SECRETS).sender("xero")):
        now = datetime.now(UTC)
        outcome = verify(
            hook, [SecretStr(SECRETS["xero"])], delivery.headers(now), delivery.body, now
        )
        assert (200 if isinstance(outcome, Verified) else outcome.status) == wanted
        assert events(hook, delivery.body) == []
