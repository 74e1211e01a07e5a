"""Webhooks that are subscribed by themselves, as an operator meets it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client

from flows.addresses import webhook_address
from panel.blocks.connected import load_block
from panel.connect.subscriptions import NoSubscriptionsError, keep_subscribed, subscribe
from panel.pages import billing_systems
from panel.pages.connection_status import read
from panel.pages.refresh import _ledger
from settings import settings
from simulator.subscriptions import SubscriptionBook
from tests.flows.office import Office

PUBLIC = "https://points.example"


@pytest.fixture
def book(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[SubscriptionBook]:
    """Stripe's subscriptions; this installation has a public address."""
    monkeypatch.setenv("TWEZAH_API_PUBLIC_URL", PUBLIC)
    settings.cache_clear()
    yield office.vendors.world.subscriptions["stripe"]
    settings.cache_clear()


def asked(office: Office) -> list[str]:
    return [target for target in office.vendors.targets if "webhook_endpoints" in target]


def page(office: Office) -> str:
    """The page "Billing systems"."""
    from datetime import UTC, datetime

    with get_client(sync_client=True) as client:
        overview = read(client, everything=False)
        ledger = _ledger(settings(), overview)
    return billing_systems.markdown(overview, ledger, datetime.now(UTC), PUBLIC, "")


def test_a_run_subscribes_and_looks_again_only_when_it_is_due(
    office: Office, book: SubscriptionBook
) -> None:
    state = office.run("stripe")
    assert state.is_completed()
    (entry,) = book.all()
    assert entry.url.startswith(f"{PUBLIC}/api/webhooks/billing/")
    report = office.report("stripe")
    assert "## Webhooks" not in report
    assert entry.secret not in report
    assert "subscribed by itself" in page(office)
    before = len(asked(office))
    assert office.run("stripe").is_completed()
    assert len(asked(office)) == before
    # The settings are changed: the next run does it.
    office.edit("stripe", webhook_subscriptions="off")
    assert office.run("stripe").is_completed()
    assert book.all() == []
    assert "switched off in the block" in page(office)


def test_a_dry_run_subscribes_nothing(office: Office, book: SubscriptionBook) -> None:
    assert office.run("stripe", dry_run=True).is_completed()
    assert (book.all(), asked(office)) == ([], [])


def test_without_the_permission_the_run_is_good_and_says_who_must_act(
    office: Office, book: SubscriptionBook
) -> None:
    book.allowed = False
    state = office.run("stripe")
    assert state.is_completed()
    for text in (office.report("stripe"), page(office)):
        assert "Webhook Endpoints" in text
        assert "Sales are polled in any case" in text
    # The next run does not ask again at once, and its report says it all the same.
    before = len(asked(office))
    assert office.run("stripe").is_completed()
    assert len(asked(office)) == before
    assert "Webhook Endpoints" in office.report("stripe")


def test_whatever_fails_there_is_no_failure_of_the_run(
    office: Office, book: SubscriptionBook
) -> None:
    office.vendors.broken = "webhook_endpoints"
    assert office.run("stripe").is_completed()
    office.vendors.broken = None
    office.execute("ALTER TABLE billing.webhook_subscription RENAME TO moved")
    assert keep_subscribed(load_block("stripe"), settings(), str(uuid4())) == ""
    office.execute("ALTER TABLE billing.moved RENAME TO webhook_subscription")


def test_the_deployment_for_addresses_subscribes_at_once(
    office: Office, book: SubscriptionBook
) -> None:
    state = webhook_address("stripe", return_state=True)
    assert state.is_completed()
    assert state.message is not None
    assert state.message.startswith("stripe: ready")
    (entry,) = book.all()
    # A secret of before, left in the block, does not take the place of the subscription's.
    office.edit("stripe", webhook_secret="whsec_of_a_former_endpoint")
    assert webhook_address("stripe", return_state=True).is_completed()
    assert office.rows("SELECT count(*) FROM billing.webhook_secret") == [(1,)]
    assert book.all() == [entry]
    wanted = {
        "artifacts": {"key": {"any_": ["webhook-address-stripe"]}},
        "sort": "CREATED_DESC",
        "limit": 1,
        "offset": 0,
    }
    with get_client(sync_client=True) as client:
        (artifact,) = client._client.post("/artifacts/filter", json=wanted).json()
    assert "nothing to do there" in artifact["data"]
    assert entry.secret not in artifact["data"]


def test_a_system_without_an_api_for_it_says_so(office: Office, book: SubscriptionBook) -> None:
    with pytest.raises(NoSubscriptionsError, match="by hand"):
        subscribe(load_block("xero"), settings(), str(uuid4()))
    assert keep_subscribed(load_block("xero"), settings(), str(uuid4())) == ""


def test_without_a_public_address_the_page_says_that_polling_alone_is_on(office: Office) -> None:
    assert office.run("stripe").is_completed()
    assert asked(office) == []
    text = page(office)
    assert "no public https address" in text
    assert "polling alone is on" in text
