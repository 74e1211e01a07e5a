"""Webhook subscriptions made through the vendors' own APIs: from nothing to points.

The simulated vendor, the served API and the real ledger; the program's own road.
"""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

import api.webhooks
import simulator
from connectors.kit.webhooks.scheme import Webhook
from connectors.kit.webhooks.subscriptions import Subscriptions
from connectors.registry import WEBHOOKS, spec_for, webhook_for
from simulator.subscriptions import Entry, SubscriptionBook
from simulator.systems.paypal import certificate
from simulator.webhooks import SubscribedAnnouncer
from sql import endpoints, standby, webhooks
from sql import subscriptions as stored
from sql.db import connect
from sql.subscriptions import SubscriptionState
from sql.tokens import StandbyError
from tasks.job import Job, Policy
from tasks.webhooks import subscriptions
from tasks.webhooks.listener import Pace, listen
from tasks.webhooks.process import Connections
from tasks.webhooks.subscriptions import Setting, is_due, look_after
from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.support.database import Databases, with_older_rules
from tests.sync.conftest import START, Shop, expected

PUBLIC = "https://points.example"
#: Every system that subscribes by itself.
SYSTEMS = tuple(name for name, hook in WEBHOOKS.items() if hook.subscriptions is not None)
#: Options without which an account is not one that subscribes.
OPTIONS: dict[str, dict[str, Any]] = {
    "square": {"login": "access_token"},
    "paypal": {"reads": "invoices", "look_back_days": 40},
}
#: Vendors that do not switch a subscription off, but take it away.
ENDED = ("business_central", "shopify", "paypal")
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def served_office(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    """One API, reached as PUBLIC, for the tests of this module; connections have own names."""
    dsn = databases.migrated()
    databases.made.remove(dsn.split("/")[-1].split("?")[0])
    with_older_rules(dsn)  # which `expected` computes with
    settings = settings_for(tmp_path_factory.mktemp("subscriptions"), dsn)
    with (
        open_office(settings, public_url=PUBLIC) as office,
        pytest.MonkeyPatch.context() as patched,
    ):
        # An address is not remembered for a second: its secret counts at once.
        patched.setattr(api.webhooks, "_KNOWN_SECONDS", 0.0)
        # PayPal's certificate is not fetched from PayPal.
        office.state.certificates.known = lambda _: certificate.pem()
        yield office


@dataclass
class Counter:
    """A connection of one system, the vendor that it leads to, and our API between them."""

    system: str
    office: Office
    shop: Shop
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    setting: Setting = Setting(PUBLIC, is_public=True)

    @property
    def book(self) -> SubscriptionBook:
        return self.shop.world.subscriptions[self.system]

    @property
    def entries(self) -> list[Entry]:
        return self.book.all()

    def job(self, name: str = "") -> Job:
        job = self.shop.job(self.system, policy=Policy(reject_percent_max=100), pushed=True)
        options = {**job.vendor.options, **OPTIONS.get(self.system, {}), **self.options}
        job.vendor = replace(
            job.vendor, name=name or self.name, options=options, default_currency="AOA"
        )
        secrets = job.vendor.secrets
        if self.system == "square":
            token = self.shop.world.grants["square"].issue_access()
            job.vendor = replace(job.vendor, secrets={**secrets, "access_token": secret(token)})
        job.spec = spec_for(job.vendor)  # which depends on those options
        return job

    def hook(self) -> Webhook:
        hook = webhook_for(self.job().vendor)
        assert hook is not None
        return hook

    def declared(self) -> Subscriptions:
        declared = self.hook().subscriptions
        assert declared is not None
        return declared

    def look(self, **changes: Any) -> SubscriptionState:
        """A round; `changes` are of the setting."""
        return look_after(
            self.job(), self.hook(), replace(self.setting, **changes), self.office.config.key
        )

    def forward(self, request: httpx.Request) -> httpx.Response:
        """The internet: what is sent to PUBLIC reaches our API."""
        assert str(request.url).startswith(f"{PUBLIC}/")
        return self.office.http.request(
            request.method,
            request.url.raw_path.decode(),
            content=request.content,
            headers={**request.headers, "host": "points.example"},
        )

    def deliver(self, announcer: SubscribedAnnouncer) -> list[int]:
        """The statuses of what the vendor sends to those who subscribed."""
        answers = []
        for url, delivery in announcer.changes():
            headers = delivery.headers(datetime.now(UTC), url)
            request = httpx.Request("POST", url, content=delivery.body, headers=headers)
            answers.append(self.forward(request).status_code)
        return answers

    def award(self) -> None:
        """The run that awards what came in."""
        connections = Connections(self.job)
        listen(
            self.office.dsn,
            "run",
            connections,
            self.office.config.key,
            Pace(0, 60),
            lambda *_: None,
        )

    def secrets(self) -> list[str]:
        with connect(self.office.dsn) as db:
            rows = [row for row in endpoints.endpoints(db) if row.connection == self.name]
            found = [webhooks.endpoint(db, row.endpoint_id, self.office.config.key) for row in rows]
        return [secret for endpoint in found if endpoint for secret in endpoint.secrets]


def secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


@pytest.fixture
def counter(served_office: Office, request: pytest.FixtureRequest) -> Iterator[Counter]:
    """A fresh vendor and an unused connection of the system that the test names."""
    system = getattr(request, "param", "stripe")
    world = simulator.World(seed=11, customers=12, invoices=12, start=START, systems=[system])
    shop = Shop(served_office.dsn, world, key=served_office.config.key)
    made = Counter(system, served_office, shop, f"{system}-{next(_NUMBERS)}".replace("_", "-"))
    world.outside = made.forward
    yield made
    with connect(served_office.dsn) as db:
        db.execute("UPDATE billing.webhook_endpoint SET disabled_at = now()")
        db.execute("DELETE FROM billing.webhook_event WHERE state <> 'done'")
        db.commit()


every = pytest.mark.parametrize("counter", SYSTEMS, indirect=True)


@every
def test_a_connection_is_subscribed_and_an_announced_sale_becomes_points(
    counter: Counter,
) -> None:
    """Signed with the secret that was stored, verified by the served API, awarded by a run."""
    result = counter.look()
    if counter.declared().signed_with == "handshake":
        counter.award()
        result = counter.look()
    assert (result.state, result.detail) == ("subscribed", "")
    wanted = counter.declared().wanted(counter.job().vendor)
    assert sorted(tuple(sorted(entry.topics)) for entry in counter.entries) == sorted(
        tuple(sorted(topics)) for topics in wanted
    )
    announcer = SubscribedAnnouncer(counter.shop.world)
    announcer._seen.clear()  # nothing was polled before
    answers = counter.deliver(announcer)
    assert answers
    assert set(answers) == {200}
    counter.award()
    due = expected(counter.shop.world, counter.system)
    points = {
        key: points for key, points in counter.shop.points().items() if key[0] == counter.system
    }
    assert due
    if counter.system == "paypal":  # whose books the oracle reads as transactions
        invoices = {document.id for document in counter.shop.world.books["paypal"].all("Invoice")}
        assert points
        assert {key for _, key in points} <= invoices
    else:
        assert points == due


@every
def test_a_second_round_changes_nothing(counter: Counter) -> None:
    counter.look()
    before = [(entry.id, entry.secret) for entry in counter.entries]
    counter.award()  # a verification that is awaited
    counter.look()
    counter.shop.requests.clear()
    again = counter.look()
    assert again.state == "subscribed"
    assert [(entry.id, entry.secret) for entry in counter.entries] == before
    # Only the list was asked for (and a token, where one had ended).
    writes = [r for r in counter.shop.requests if r.method in ("PUT", "PATCH", "DELETE")]
    assert writes == []


@every
def test_two_processes_at_once_subscribe_once(counter: Counter) -> None:
    results: list[SubscriptionState] = []
    threads = [threading.Thread(target=lambda: results.append(counter.look())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    assert len(counter.entries) == len(counter.declared().wanted(counter.job().vendor))
    with connect(counter.office.dsn) as db:
        own = [row for row in endpoints.endpoints(db) if row.connection == counter.name]
    assert len(own) == counter.declared().addresses(counter.job().vendor)


@every
def test_killed_after_the_creation_the_next_round_makes_it_verifiable(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor has the subscription, and nothing of it was stored here."""

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        for step in ("_keep", "_remember"):
            patched.setattr(subscriptions, step, die)
        with pytest.raises(Killed):
            counter.look()
    assert len(counter.entries) == 1
    counter.award()
    result = counter.look()
    counter.award()
    assert counter.look().state == "subscribed", result
    assert len(counter.entries) == len(counter.declared().wanted(counter.job().vendor))
    assert all(answer == 200 for answer in delivered(counter))


def delivered(counter: Counter) -> list[int]:
    """The answers to what is sent about everything in the books; there is something."""
    announcer = SubscribedAnnouncer(counter.shop.world)
    announcer._seen.clear()
    answers = counter.deliver(announcer)
    assert answers
    return answers


@every
def test_another_public_address_is_subscribed_in_place_of_the_old_one(counter: Counter) -> None:
    counter.look()
    counter.award()
    counter.look()
    counter.shop.world.outside = lambda request: counter.forward(moved(request))
    moved_to = "https://points.example:8443"
    result = counter.look(http_url=moved_to)
    assert result.detail == ""
    assert {entry.url.rpartition("/api/")[0] for entry in counter.entries} == {moved_to}
    assert len(counter.entries) == len(counter.declared().wanted(counter.job().vendor))


def moved(request: httpx.Request) -> httpx.Request:
    url = str(request.url).replace("https://points.example:8443", PUBLIC)
    return httpx.Request(
        request.method, url, content=request.content, headers={
            name: value for name, value in request.headers.items() if name != "host"
        },
    )  # fmt: skip


@every
def test_an_address_that_was_disabled_is_unsubscribed_and_replaced(counter: Counter) -> None:
    counter.look()
    counter.award()
    counter.look()
    before = {entry.url for entry in counter.entries}
    with connect(counter.office.dsn) as db:
        for url in before:
            endpoints.disable_endpoint(db, url.rpartition("/")[2])
        db.commit()
    counter.look()
    after = {entry.url for entry in counter.entries}
    assert after
    assert not before & after


@every
def test_what_the_vendor_switched_off_is_on_again(counter: Counter) -> None:
    counter.look()
    counter.award()
    counter.look()
    for entry in counter.entries:
        entry.enabled = False
        entry.facts.update(status="disabled", verified=False)
        if counter.system in ENDED:
            counter.book.remove(entry.id)
    result = counter.look()
    counter.award()
    assert counter.look().state == "subscribed", result
    assert all(entry.enabled for entry in counter.entries)
    assert set(delivered(counter)) == {200}


@every
def test_without_the_permission_it_says_who_must_act_and_polling_goes_on(
    counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    counter.book.allowed = False
    result = counter.look()
    assert result.state == "failed"
    assert counter.declared().permission in result.detail
    assert "Sales are polled in any case" in result.detail
    assert result.next_at <= datetime.now(UTC) + subscriptions.CHECK_AFTER_REFUSAL
    assert counter.entries == []
    counter.book.allowed = True
    counter.look()
    counter.award()
    assert counter.look().state == "subscribed"
    _no_secret_shows(counter, caplog.text, result.detail)


def _no_secret_shows(counter: Counter, *texts: str) -> None:
    """No secret is in a log, a message, a row of the state, or an address that was asked."""
    with connect(counter.office.dsn) as db:
        rows = repr(db.execute("SELECT * FROM billing.webhook_subscription").fetchall())
        entries = repr(db.execute("SELECT * FROM audit.entry").fetchall())
    urls = " ".join(str(request.url) for request in counter.shop.requests)
    known = [*counter.secrets(), *(entry.secret for entry in counter.entries)]
    for value in known if counter.system != "paypal" else ():  # whose secret is the public id
        assert value not in " ".join((rows, entries, urls, *texts))
        assert value not in repr(counter.declared())


@every
def test_switched_off_in_the_block_what_was_made_is_removed_and_nothing_else(
    counter: Counter,
) -> None:
    foreign = _foreign(counter)
    counter.look()
    counter.award()
    counter.look()
    assert len(counter.entries) > len(foreign)
    result = counter.look(automatic=False)
    assert (result.state, result.vendor_ids) == ("off", [])
    assert counter.entries == foreign
    counter.shop.requests.clear()
    counter.look(automatic=False)
    assert counter.shop.requests == []  # and the vendor is not asked any more


def _foreign(counter: Counter) -> list[Entry]:
    """A subscription of another program of the same shop."""
    topics = counter.declared().wanted(counter.job().vendor)[0]
    facts = {
        "idempotency_key": "x", "name": "another", "api_version": "2025-08-20", "metadata": {},
        "description": None, "status": "active", "verified": True,
        "resource": f"/api/v2.0/companies(x)/{topics[0]}",
    }  # fmt: skip
    counter.book.add(
        "https://other.example/hook", tuple(topics), secret="theirs", key="999",
        life=timedelta(days=3), **facts,
    )  # fmt: skip
    return list(counter.entries)


@every
def test_without_a_public_https_address_nothing_is_asked_and_nothing_made(
    counter: Counter,
) -> None:
    result = counter.look(is_public=False)
    assert (result.state, result.detail) == ("no address", "")
    assert counter.shop.requests == []
    with connect(counter.office.dsn) as db:
        assert not [row for row in endpoints.endpoints(db) if row.connection == counter.name]


@every
def test_a_restored_copy_leaves_the_originals_subscriptions_alone(counter: Counter) -> None:
    counter.look()
    counter.shop.requests.clear()
    with connect(counter.office.dsn) as db:
        standby.begin(db)
        db.commit()
    try:
        assert not is_due(
            counter.job(), counter.hook(), counter.setting, datetime.max.replace(tzinfo=UTC)
        )
        with pytest.raises(StandbyError):
            counter.look()
        assert counter.shop.requests == []
    finally:
        with connect(counter.office.dsn) as db:
            standby.end(db)
            db.commit()


@every
def test_a_vendor_that_is_down_is_asked_again_soon(counter: Counter) -> None:
    """And nothing is lost of what was there."""
    before = counter.look()
    counter.shop.before = lambda _: httpx.Response(500)
    result = counter.look()
    assert result.state == "failed"
    assert result.next_at <= datetime.now(UTC) + subscriptions.CHECK_SOON
    assert result.vendor_ids == before.vendor_ids
    counter.shop.before = lambda _: None
    counter.award()
    assert counter.look().state == "subscribed"


@every
def test_when_a_check_is_due(counter: Counter) -> None:
    job, hook, now = counter.job(), counter.hook(), datetime.now(UTC)
    assert is_due(job, hook, counter.setting, now)
    counter.look()
    counter.award()
    result = counter.look()
    with connect(counter.office.dsn) as db:
        held = stored.read(db, counter.name)
        assert held is not None
        settled = subscriptions.basis(db, job, hook, counter.setting)
        stored.save(db, replace(held, basis=settled))
        db.commit()
    assert not is_due(job, hook, counter.setting, now)
    assert is_due(job, hook, counter.setting, result.next_at)
    # With others at once: the public address, the block's field, the credentials, an address.
    other = replace(counter.setting, http_url="https://other.example")
    assert is_due(job, hook, other, now)
    assert is_due(job, hook, replace(counter.setting, automatic=False), now)
    with connect(counter.office.dsn) as db:
        (first, *_) = stored.addresses(db, counter.name)
        endpoints.disable_endpoint(db, first)
        db.commit()
    assert is_due(job, hook, counter.setting, now)
    with connect(counter.office.dsn) as db:
        stored.save(db, replace(held, basis=subscriptions.basis(db, job, hook, counter.setting)))
        db.commit()
    assert not is_due(job, hook, counter.setting, now)
    job.vendor = replace(job.vendor, secrets={**job.vendor.secrets, "new": secret("another")})
    assert is_due(job, hook, counter.setting, now)


@pytest.mark.parametrize("counter", ["business_central"], indirect=True)
class TestSubscriptionsThatEnd:
    """Business Central's end after three days."""

    def test_they_are_renewed_before(self, counter: Counter) -> None:
        first = counter.look()
        assert first.expires_at is not None
        ids = [entry.id for entry in counter.entries]
        for entry in counter.entries:
            entry.expires_at = datetime.now(UTC) + timedelta(hours=40)
        result = counter.look()
        assert [entry.id for entry in counter.entries] == ids
        assert result.expires_at is not None
        assert result.expires_at > datetime.now(UTC) + timedelta(days=2)
        assert set(delivered(counter)) == {200}

    def test_those_that_ended_are_made_anew(self, counter: Counter) -> None:
        counter.look()
        for entry in counter.entries:
            entry.expires_at = datetime.now(UTC) - timedelta(seconds=1)
        assert counter.entries == []
        assert counter.look().state == "subscribed"
        assert len(counter.entries) == 2
        assert set(delivered(counter)) == {200}

    def test_one_that_ends_between_the_list_and_its_renewal_is_made_anew(
        self, counter: Counter
    ) -> None:
        counter.look()
        entry = counter.entries[0]
        entry.expires_at = datetime.now(UTC) + timedelta(hours=1)

        def end(request: httpx.Request) -> httpx.Response | None:
            if request.method == "PATCH":
                counter.book.remove(entry.id)
            return None

        counter.shop.before = end
        assert counter.look().state == "subscribed"
        assert len(counter.entries) == 2

    def test_where_the_vendor_does_not_reach_us_it_says_who_must_act(
        self, counter: Counter
    ) -> None:
        counter.shop.world.outside = lambda _: httpx.Response(502)
        result = counter.look()
        assert result.state == "failed"
        assert "whoever runs this server" in result.detail
        assert "TWEZAH_API_PUBLIC_URL" in result.detail
        assert counter.entries == []


@pytest.mark.parametrize("counter", ["square"], indirect=True)
class TestOneForAllLocations:
    """Square's subscriptions belong to the application."""

    def test_a_second_location_makes_none(self, counter: Counter) -> None:
        counter.look()
        second = replace(counter, name=f"{counter.name}-2")
        result = second.look()
        assert result.state == "elsewhere"
        assert counter.name in result.detail
        assert len(counter.entries) == 1
        assert counter.look().state == "subscribed"

    def test_when_the_first_is_switched_off_the_second_makes_its_own(
        self, counter: Counter
    ) -> None:
        counter.look()
        second = replace(counter, name=f"{counter.name}-2")
        second.look()
        counter.look(automatic=False)
        assert second.look().state == "subscribed"
        assert len(counter.entries) == 1

    def test_with_a_consent_a_person_does_it(self, counter: Counter) -> None:
        counter.options = {"login": "consent"}
        result = counter.look()
        assert result.state == "by hand"
        assert "Developer Console" in result.detail
        assert counter.shop.requests == []

    def test_a_key_that_was_renewed_there_is_taken(self, counter: Counter) -> None:
        counter.look()
        counter.entries[0].secret = "the-new-signature-key"
        counter.look()
        assert counter.secrets()[0] == "the-new-signature-key"
        assert set(delivered(counter)) == {200}


@pytest.mark.parametrize("counter", ["stripe"], indirect=True)
class TestMadeByAPerson:
    """At one of our addresses, before the program did so by itself."""

    def test_whose_secret_was_entered_is_left_alone(self, counter: Counter) -> None:
        entry = self.by_hand(counter, "whsec_entered")
        assert counter.look().state == "subscribed"
        assert counter.entries == [entry]
        assert counter.look(automatic=False).state == "off"
        assert counter.entries == [entry]

    def test_whose_secret_nobody_entered_is_replaced(self, counter: Counter) -> None:
        entry = self.by_hand(counter, "")
        assert counter.look().state == "subscribed"
        (made,) = counter.entries
        assert made.id != entry.id
        assert counter.secrets() == [made.secret]

    def test_that_lacks_events_gets_them(self, counter: Counter) -> None:
        entry = self.by_hand(counter, "whsec_entered")
        entry.topics = ("invoice.paid", "customer.created")
        counter.look()
        assert counter.entries == [entry]
        (wanted,) = counter.declared().wanted(counter.job().vendor)
        assert set(entry.topics) == {*wanted, "customer.created"}
        assert set(delivered(counter)) == {200}

    @staticmethod
    def by_hand(counter: Counter, entered: str) -> Entry:
        with connect(counter.office.dsn) as db:
            made = endpoints.create_endpoint(db, endpoints.NewEndpoint("stripe", counter.name))
            if entered:
                key = counter.office.config.key
                webhooks.add_secret(db, made.endpoint_no, entered, key, overlap_seconds=0)
            db.commit()
        return counter.book.add(
            f"{PUBLIC}/api/webhooks/billing/{made.endpoint_id}", ("*",), secret="whsec_entered",
            key="we_byhand", api_version=None, description=None, metadata={},
        )  # fmt: skip


@pytest.mark.parametrize("counter", ["shopify"], indirect=True)
class TestSignedWithTheAppsSecret:
    """Shopify's deliveries are signed with the client secret, which the block holds."""

    def test_with_an_access_token_the_secret_must_be_entered_first(self, counter: Counter) -> None:
        """Until then nothing is subscribed: what is refused eight times Shopify takes away."""
        counter.options = {"login": "access_token"}
        result = counter.look()
        assert result.state == "failed"
        assert "API secret key" in result.detail
        assert counter.entries == []
        with connect(counter.office.dsn) as db:
            (row,) = [one for one in endpoints.endpoints(db) if one.connection == counter.name]
            key = counter.office.config.key
            webhooks.add_secret(
                db, row.endpoint_no, simulator.CLIENT_SECRET, key, overlap_seconds=0
            )
            db.commit()
        token = counter.shop.world.grants["shopify"].issue_access()
        job = counter.job()
        job.vendor = replace(job.vendor, secrets={"access_token": secret(token)})
        job.spec = spec_for(job.vendor)
        done = look_after(job, counter.hook(), counter.setting, counter.office.config.key)
        assert done.state == "subscribed"
        assert len(counter.entries) == 7
        assert set(delivered(counter)) == {200}

    def test_a_new_client_secret_is_taken(self, counter: Counter) -> None:
        counter.look()
        job = counter.job()
        declared = replace(counter.declared(), secret_of=lambda _: secret("the-new-secret"))
        hook = replace(counter.hook(), subscriptions=declared)
        look_after(job, hook, counter.setting, counter.office.config.key)
        assert counter.secrets() == ["the-new-secret", simulator.CLIENT_SECRET]


@pytest.mark.parametrize("counter", ["woocommerce"], indirect=True)
def test_what_a_person_paused_stays_paused_and_is_said(counter: Counter) -> None:
    counter.look()
    counter.entries[1].facts["status"] = "paused"
    counter.entries[1].enabled = False
    result = counter.look()
    assert result.state == "paused"
    assert "set it active there" in result.detail
    assert counter.name in result.detail
    assert counter.entries[1].facts["status"] == "paused"


@pytest.mark.parametrize("counter", ["freshbooks"], indirect=True)
def test_each_callback_has_an_address_and_a_secret_of_its_own(counter: Counter) -> None:
    assert counter.look().state == "waiting"
    counter.award()
    assert counter.look().state == "subscribed"
    assert len({entry.url for entry in counter.entries}) == 2
    assert sorted(counter.secrets()) == sorted(entry.secret for entry in counter.entries)


@pytest.mark.parametrize("counter", ["paypal"], indirect=True)
def test_an_account_that_has_no_use_for_them_gets_none(counter: Counter) -> None:
    counter.look()
    assert len(counter.entries) == 1
    counter.options = {"reads": "transactions"}
    assert counter.look().state == "not needed"
    assert counter.entries == []


@pytest.mark.parametrize("counter", ["stripe"], indirect=True)
class TestLimits:
    """What else a vendor may say."""

    def test_a_platforms_connected_account_is_left_to_a_person(self, counter: Counter) -> None:
        counter.options = {"connected": True}
        result = counter.look()
        assert (result.state, counter.shop.requests) == ("by hand", [])
        assert "platform" in result.detail

    def test_where_there_are_too_many_already_the_vendors_refusal_is_told(
        self, counter: Counter
    ) -> None:
        for number in range(16):
            counter.book.add(
                f"https://other.example/{number}", ("*",), secret="theirs", key=f"we_{number}",
                api_version=None, description=None, metadata={},
            )  # fmt: skip
        result = counter.look()
        assert result.state == "failed"
        assert "400" in result.detail
        assert len(counter.entries) == 16

    def test_a_list_of_many_pages_is_read_to_its_end(self, counter: Counter) -> None:
        counter.look()
        (own,) = counter.entries
        for number in range(150):
            counter.book.add(
                f"https://other.example/{number}", ("*",), secret="theirs", key=f"we_{number}",
                api_version=None, description=None, metadata={},
            )  # fmt: skip
        counter.look()
        assert counter.entries[0] == own
        assert len(counter.entries) == 151

    def test_an_answer_that_cannot_be_read_is_told_without_its_text(self, counter: Counter) -> None:
        counter.shop.before = lambda _: httpx.Response(200, json={"data": ["whsec_odd"]})
        result = counter.look()
        assert result.state == "failed"
        assert "whsec_odd" not in result.detail
