"""A system that only sends: what docs/webhooks.md says to send becomes points, by its block alone."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from connectors.kit.webhooks.scheme import Verified, delivery_key, verify
from connectors.registry import declaration
from panel.blocks import BLOCKS, BillingConnection
from panel.blocks.settings_check import why_not_ready
from panel.connect.webhook_address import ensure_addresses
from panel.pages.webhook_events import markdown
from settings import PROJECT_ROOT
from sql import webhooks
from sql.db import connect
from sql.webhooks import EventRow, NewEvent
from tasks.job import Job, NotConnectedError, Policy
from tasks.sync import synchronise
from tasks.webhooks.listener import Pace, listen
from tasks.webhooks.process import Connections
from tests.support.database import databases, dsn

__all__ = ["databases", "dsn"]
GUIDE = (PROJECT_ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = Fernet.generate_key()


def documented(language: str, heading: str) -> str:
    """The first block of code below a heading of the guide."""
    below = GUIDE[GUIDE.index(heading) :]
    found = re.search(rf"```{language}\n(.*?)```", below, re.DOTALL)
    assert found is not None
    return found[1]


def block(**values: Any) -> BillingConnection:
    return BLOCKS["push"](**{"webhook_secret": SecretStr(SECRET), **values})


def job(ledger: str, of: BillingConnection) -> Job:
    policy = Policy(reject_percent_max=100)
    return Job(ledger, of.connection(), key=KEY, run_id="run", policy=policy, pushed=True)


def send(ledger: str, of: BillingConnection, body: bytes) -> None:
    """Makes the address as the caretaker does, signs as the guide says, stores as the API does."""
    names: dict[str, Any] = {}
    exec(documented("python", "### How to sign"), names)  # noqa: S102  our own guide
    headers, now = names["headers"](SECRET, body), datetime.now(UTC)
    with connect(ledger) as connection:
        ensure_addresses(connection, of, KEY)
        connection.commit()
        ((endpoint_id,),) = connection.execute(
            "SELECT endpoint_id FROM billing.webhook_endpoint"
        ).fetchall()
        endpoint = webhooks.endpoint(connection, endpoint_id, KEY)
        assert endpoint is not None and endpoint.secrets == [SECRET]
        hook = declaration("push", endpoint.options)
        assert hook is not None
        outcome = verify(hook, [SecretStr(SECRET)], headers, body, now, "")
        assert isinstance(outcome, Verified)
        key = delivery_key(hook, headers, body, now)
        kept = {"webhook-id": headers["webhook-id"]}
        event = NewEvent(endpoint.endpoint_no, key, "sale.completed", kept, body, None, now)
        assert webhooks.store_event(connection, event) is not None
        connection.commit()
    listen(ledger, "run", Connections(lambda _: job(ledger, of)), KEY, Pace(0, 60), lambda *_: None)


def no_connection() -> Job:
    raise NotConnectedError("it is gone")


def latest(ledger: str) -> list[EventRow]:
    with connect(ledger) as connection:
        return webhooks.latest(connection, 10)


def page(ledger: str) -> str:
    """The page "Webhooks"."""
    with connect(ledger) as connection:
        states, parked = webhooks.states(connection), webhooks.latest(connection, 9, state="parked")
    now = datetime.now(UTC)
    return markdown(states, parked, latest(ledger), now, "links", form="[form](/deployments)")


def rows(ledger: str, statement: str) -> list[tuple[Any, ...]]:
    with connect(ledger) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_the_documented_payload_becomes_points(dsn: str) -> None:
    body = documented("json", "### What to send").encode()
    send(dsn, block(), body)
    assert rows(dsn, "SELECT system, account, external_id, points FROM loyalty.award_entry") == [
        ("push", "push", "INV-001", 1500)
    ]
    # The other events of the same sale, and the same event again, change nothing.
    paid = json.loads(body) | {"type": "payment.received"}
    send(dsn, block(), json.dumps(paid).encode())
    states = "SELECT state, reason FROM billing.webhook_event"
    assert rows(dsn, states) == [("done", None), ("done", None)]
    assert rows(dsn, "SELECT sum(points) FROM loyalty.award_entry") == [(1500,)]
    audited = "SELECT DISTINCT operation, actor FROM audit.entry WHERE operation = 'webhooks'"
    assert rows(dsn, audited) == [("webhooks", "webhook")]
    text = page(dsn)
    assert "**2 done.**" in text and text.count("| INV-001: 1 500 points |") == 2


def test_an_event_that_holds_no_document_is_parked_for_nobody_can_be_asked(dsn: str) -> None:
    send(dsn, block(), b'{"type": "payment.received", "data": {"invoice_id": "inv_1"}}')
    ((state, reason),) = rows(dsn, "SELECT state, reason FROM billing.webhook_event")
    assert state == "parked" and "neither a whole document" in reason
    # The first reason stays, also after a replay that fails for another one.
    with connect(dsn) as connection:
        assert webhooks.replay(connection, event_nos=[1]) == 1
        connection.commit()
    again = Connections(lambda _: no_connection())
    listen(dsn, "run", again, KEY, Pace(0, 60), lambda *_: None)
    (event,) = latest(dsn)
    assert (event.state, event.attempts, event.reason) == ("failed", 1, "it is gone")
    assert "neither a whole document" in (event.first_reason or "")
    assert "it is gone | it holds neither a whole document" in page(dsn)
    # A webhook that is tried several times is one webhook.
    assert again.counts["push"].deliveries == again.counts["push"].failed == 1
    with connect(dsn) as connection:
        connection.execute("UPDATE billing.webhook_event SET next_attempt_at = now()")
        connection.commit()
    listen(dsn, "run", again, KEY, Pace(0, 60), lambda *_: None)
    assert again.counts["push"].deliveries == again.counts["push"].failed == 1
    assert latest(dsn)[0].attempts == 2


def test_its_run_asks_nobody_and_tries_rejects_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda *_: 1 / 0)
    document = json.loads(documented("json", "### What to send"))
    document["data"]["total_amount"] = "150,00"
    send(dsn, block(), json.dumps(document).encode())
    assert rows(dsn, "SELECT count(*) FROM loyalty.award_entry") == [(0,)]
    report = synchronise(job(dsn, block(amounts="decimal comma")))
    assert (len(report.job.calls), report.summary()["points"]) == (0, 1500)


def test_it_is_not_ready_without_its_secret() -> None:
    assert "secret is missing" in why_not_ready(block(webhook_secret=SecretStr("")))
    assert why_not_ready(block()) == ""


def test_a_custom_connection_without_its_key_is_not_ready() -> None:
    """It used to be switched on, and to fail every five minutes."""
    custom = BLOCKS["custom"](base_url="https://erp.example.com/api")
    assert 'field "API key": it is empty' in why_not_ready(custom)
    ready = BLOCKS["custom"](base_url="https://erp.example.com/api", api_key=SecretStr("k"))
    assert why_not_ready(ready) == ""


def test_the_form_begins_with_what_everybody_needs() -> None:
    names = list(BLOCKS["custom"].model_json_schema()["properties"])
    assert names[:4] == ["base_url", "path", "authentication", "api_key"]
    assert names.index("webhook_secret") < 8 < names.index("paging")
    form = BLOCKS["push"].model_json_schema()["properties"]
    assert next(iter(form)) == "webhook_secret" and "base_url" not in form
    assert all(BLOCKS["push"].model_fields.keys() >= {name} for name in form)
