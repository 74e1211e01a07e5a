"""Addresses for webhooks, made from blocks and supplied with their secrets."""

import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from panel.blocks import (
    BillingConnection,
    CustomConnection,
    FreshBooksConnection,
    NetSuiteConnection,
    XeroConnection,
)
from panel.connect.webhook_address import NoWebhooksError, ensure_addresses
from sql import endpoints, webhooks
from sql import panel_pages as pages
from sql.db import DbConnection, connect

KEY = Fernet.generate_key()


@pytest.fixture
def db(dsn: str) -> Iterator[DbConnection]:
    """A connection to an empty ledger."""
    with connect(dsn) as connection:
        yield connection


def secret() -> SecretStr:
    return SecretStr("whsec_" + base64.b64encode(os.urandom(32)).decode())


def shop(**values: Any) -> CustomConnection:
    block = CustomConnection(base_url="https://erp.example.com", **values)
    block._block_document_name = "shop"
    return block


def active(db: DbConnection, endpoint_id: str) -> list[str]:
    found = webhooks.endpoint(db, endpoint_id, KEY)
    assert found is not None
    return list(found.secrets)


def counts(db: DbConnection, endpoint_id: str) -> dict[str, Any]:
    """The options by which the API verifies."""
    found = webhooks.endpoint(db, endpoint_id, KEY)
    assert found is not None
    return dict(found.options)


class TestAddresses:
    def test_the_first_run_makes_one_the_second_takes_the_secret_the_third_does_nothing(
        self, db: DbConnection
    ) -> None:
        kept = ensure_addresses(db, shop(), KEY)
        assert (kept.made, kept.secret_taken, kept.state) == (1, False, "needs its secret")
        chosen = secret()
        again = ensure_addresses(db, shop(webhook_secret=chosen), KEY)
        assert (again.made, again.secret_taken, again.state) == (0, True, "ready")
        assert again.addresses[0].endpoint_id == kept.addresses[0].endpoint_id
        assert active(db, kept.addresses[0].endpoint_id) == [chosen.get_secret_value()]
        third = ensure_addresses(db, shop(webhook_secret=chosen), KEY)
        assert (third.made, third.secret_taken) == (0, False)
        (address,) = pages.addresses(db)
        assert (address.connection, address.has_secret) == ("shop", True)

    def test_a_changed_secret_is_taken_and_the_one_before_is_good_for_a_day(
        self, db: DbConnection
    ) -> None:
        old, new = secret(), secret()
        endpoint_id = ensure_addresses(db, shop(webhook_secret=old), KEY).addresses[0].endpoint_id
        assert ensure_addresses(db, shop(webhook_secret=new), KEY, make=False).secret_taken
        assert active(db, endpoint_id) == [new.get_secret_value(), old.get_secret_value()]

    def test_a_secret_that_was_replaced_elsewhere_does_not_come_back_by_itself(
        self, db: DbConnection
    ) -> None:
        old, new = secret(), secret()
        (one,) = ensure_addresses(db, shop(webhook_secret=old), KEY).addresses
        webhooks.add_secret(db, one.endpoint_no, new.get_secret_value(), KEY, overlap_seconds=0)
        assert not ensure_addresses(db, shop(webhook_secret=old), KEY, make=False).secret_taken
        assert active(db, one.endpoint_id) == [new.get_secret_value()]
        assert ensure_addresses(
            db, shop(webhook_secret=old), KEY
        ).secret_taken  # but where somebody asks for it
        assert active(db, one.endpoint_id)[0] == old.get_secret_value()

    def test_a_secret_that_cannot_be_one_is_refused_without_being_shown(
        self, db: DbConnection
    ) -> None:
        with pytest.raises(
            NoWebhooksError, match='field "Webhook secret" of block "shop"'
        ) as refused:
            ensure_addresses(db, shop(webhook_secret="my own words"), KEY)
        assert "my own words" not in str(refused.value)
        assert pages.addresses(db) == []

    def test_how_it_is_signed_comes_from_the_block_and_follows_it(self, db: DbConnection) -> None:
        signed = shop(
            webhook_scheme="hmac sha256", webhook_header="X-Shop", webhook_secret="s" * 32
        )
        (one,) = ensure_addresses(db, signed, KEY).addresses
        assert counts(db, one.endpoint_id) == {
            "webhook_scheme": "hmac sha256",
            "webhook_header": "X-Shop",
        }
        changed = signed.model_copy(update={"webhook_header": "X-Other"})
        ensure_addresses(db, changed, KEY, make=False)
        assert counts(db, one.endpoint_id)["webhook_header"] == "X-Other"
        ensure_addresses(db, shop(), KEY, make=False)
        assert counts(db, one.endpoint_id) == {}

    def test_what_was_said_of_the_address_stays_until_somebody_asks_for_the_blocks(
        self, db: DbConnection
    ) -> None:
        (one,) = ensure_addresses(db, shop(), KEY).addresses
        own = {"webhook_scheme": "hmac sha256", "webhook_header": "X-Own"}
        endpoints.set_options(db, one.endpoint_no, own, {})
        block = shop(
            webhook_scheme="hmac sha256", webhook_header="X-Block", webhook_type_path="/event"
        )
        ensure_addresses(db, block, KEY, make=False)
        assert counts(db, one.endpoint_id) == own | {"webhook_type_path": "/event"}
        ensure_addresses(db, block, KEY)
        assert counts(db, one.endpoint_id)["webhook_header"] == "X-Block"

    def test_freshbooks_needs_two_and_tells_its_secrets_itself(self, db: DbConnection) -> None:
        block = FreshBooksConnection(client_id="i", client_secret="s", account_id="a")
        kept = ensure_addresses(db, block, KEY)
        assert (len(kept.addresses), kept.state) == (2, "awaits the vendor's verification")
        assert ensure_addresses(db, block, KEY).made == 0

    def test_each_connection_has_its_own(self, db: DbConnection) -> None:
        first = XeroConnection(client_id="i", client_secret="s")
        further = first.model_copy()
        further._block_document_name = "xero-lisboa"
        assert (
            ensure_addresses(db, first, KEY).addresses
            != ensure_addresses(db, further, KEY).addresses
        )
        assert {one.connection for one in pages.addresses(db)} == {"xero", "xero-lisboa"}

    @pytest.mark.parametrize("make", [True, False])
    def test_a_system_without_webhooks_says_so(self, db: DbConnection, make: bool) -> None:
        block: BillingConnection = NetSuiteConnection(account_id="1")
        with pytest.raises(NoWebhooksError, match="sends no webhooks"):
            ensure_addresses(db, block, KEY, make=make)
