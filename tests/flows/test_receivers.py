"""The loyalty app's receivers in Prefect: a form enters one, the webhooks' run sends and reports."""

import json
from typing import Any

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client

from flows.receivers import app_webhooks
from flows.webhooks import award_webhooks
from settings import settings
from sql import receivers
from sql.db import connect
from tasks.webhooks.receivers import new_secret
from tests.flows.office import Office
from tests.support.books import Books, invoice
from tests.support.receiver import receiver

SECRET = new_secret()


def run(**parameters: Any) -> tuple[bool, str]:
    """Whether a run of the form completed, and its last message."""
    state: Any = app_webhooks(**parameters, return_state=True)
    return state.is_completed(), str(state.message)


def artifacts() -> str:
    wanted = {"sort": "CREATED_DESC", "limit": 20, "offset": 0}
    with get_client(sync_client=True) as client:
        return json.dumps(client._client.post("/artifacts/filter", json=wanted).json())


def test_from_the_form_to_the_app(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWEZAH_WEBHOOK_RECEIVER_NETWORKS", "127.0.0.0/8")
    settings.cache_clear()
    books = Books(office.dsn)
    with receiver() as app:
        done, message = run(url=app.url)
        assert not done
        assert "block" in message
        Secret(value=SECRET).save("app-webhooks", overwrite=True)  # type: ignore[arg-type]
        done, message = run(url="https://10.0.0.1/")
        assert not done
        assert "TWEZAH_WEBHOOK_RECEIVER_NETWORKS" in message
        done, message = run(url=app.url, kinds=["points.changed"])
        assert (done, message) == (True, "app is entered; it accepted the test message")
        assert app.requests[0].signed_with(SECRET) == 0

        books.store(invoice())
        books.award()
        state: Any = award_webhooks(linger_seconds=3, return_state=True)
        assert "1 messages accepted by the app" in str(state.message)
        assert [message["type"] for message in app.messages] == ["webhook.test", "points.changed"]

        # A new secret in the block: both sign.
        newer = new_secret()
        Secret(value=newer).save("app-webhooks", overwrite=True)  # type: ignore[arg-type]
        app.answer = lambda _: (500, {})
        done, message = run()
        assert "the one before for a day more" in message
        assert "HTTP 500" in message
        assert [app.requests[-1].signed_with(each) for each in (newer, SECRET)] == [0, 0]
        assert run(action="replay") == (True, "0 messages to app are sent again")
        assert run(action="end")[0]
        assert not run(action="replay", name="nobody")[0]
    with connect(office.dsn) as connection:
        assert [row.state for row in receivers.receivers(connection)] == ["ended"]
    shown = artifacts()
    assert "Webhooks to the loyalty app" in shown
    assert SECRET not in shown
    assert newer not in shown
