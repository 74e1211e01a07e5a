"""The pages, against Prefect's own API: what a run leaves, what an operator changes, and the way from nothing to a connection."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from pydantic import SecretStr

import flows.sync
import panel.pages.publish
from flows.addresses import webhook_address
from flows.check import test_connection as check_flow
from flows.pages import renew_pages
from panel.blocks import BLOCKS, XeroConnection
from panel.blocks.simulated import simulated_values
from panel.pages.connection_status import read
from panel.pages.deployment_descriptions import MARK
from panel.pages.refresh import refresh
from settings import settings
from tests.flows.office import Office, find_deployment
from twezah.stack.provision import apply_deployment, project_deployments

NAMES = ("sync-xero", "sync-netsuite", "pages", "webhook-address")


@pytest.fixture
def pages_rest() -> None:
    """They do not rest here."""


@pytest.fixture(scope="module")
def client(prefect: None) -> Iterator[SyncPrefectClient]:
    """Of the server, which has the deployments of prefect.yaml but no page yet."""
    with get_client(sync_client=True) as made:
        remove(made)  # of other tests
        for spec in project_deployments():
            if spec["name"] in NAMES:
                apply_deployment(made, {**spec, "work_pool": {"name": None}})
        for key in ("billing-systems", "sync-status"):
            for one in versions(made, key):
                made.delete_artifact(one["id"])
        yield made
        remove(made)


def remove(client: SyncPrefectClient) -> None:
    """The deployments of these tests."""
    for name in NAMES:
        if (one := find_deployment(client, name)) is not None:
            client.delete_deployment(one.id)


def versions(client: SyncPrefectClient, key: str) -> list[dict[str, Any]]:
    """All versions of an artifact, the newest first."""
    wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 200}
    found: list[dict[str, Any]] = client.request("POST", "/artifacts/filter", json=wanted).json()
    return found


def page(client: SyncPrefectClient, key: str) -> str:
    (only,) = versions(client, key)
    return str(only["data"])


def row(text: str, name: str) -> str:
    """The line of a connection in the table."""
    return next(
        line
        for line in text.splitlines()
        if line.startswith("| ") and f"{name}]" in line.split("|")[1]
    )


def deployment(client: SyncPrefectClient, name: str) -> Any:
    return client.read_deployment_by_name(name)


def test_runs_leave_pages_that_follow_what_operators_do(
    client: SyncPrefectClient, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:  # a page or report that cannot be published fails no run
        away.setattr(SyncPrefectClient, "update_artifact", broken)
        away.setattr(SyncPrefectClient, "create_artifact", broken)
        away.setattr(flows.sync, "create_markdown_artifact", broken)
        assert office.run("xero").is_completed()
    assert office.points() and versions(client, "billing-systems") == []

    wrong = office.edit("netsuite", token_secret=SecretStr("wr0ng-s3cret"))
    assert office.run("netsuite").is_failed()
    systems, status = page(client, "billing-systems"), page(client, "sync-status")
    assert "failing" in row(systems, "netsuite") and "Retry" in systems
    assert "paused" in row(systems, "xero")  # its deployment's schedule begins switched off
    assert " s ago" in row(systems, "xero")
    assert office.shown_of(systems + status) == []

    # An operator switches the schedule on, corrects the block, makes an address for webhooks, and
    # looks.
    xero = deployment(client, "sync-system/sync-xero")
    client.update_deployment_schedule(xero.id, xero.schedules[0].id, active=True)
    wrong.save("netsuite", overwrite=True)
    assert office.run("netsuite").is_completed()
    state: Any = webhook_address("xero", return_state=True)
    assert state.is_completed() and "needs its secret" in state.message
    before = versions(client, "billing-systems")[0]["id"]
    state = renew_pages(return_state=True)
    assert state.is_completed()
    systems, status = page(client, "billing-systems"), page(client, "sync-status")
    assert versions(client, "billing-systems")[0]["id"] == before  # links to it hold
    assert "| fine |" in row(systems, "xero") and "every 5 min" in row(systems, "xero")
    assert "66.7 % of 3 runs succeeded" in status and status.count("data:image/svg+xml") == 8
    assert "needs its secret" in systems and "LoginRejected" in status  # among the latest failures
    assert office.shown_of(systems + status) == []

    # Descriptions lead to block, address and pages; nothing else of a deployment has changed.
    xero = deployment(client, "sync-system/sync-xero")
    above, end = xero.description.split(MARK)
    ((endpoint_id,),) = office.rows("SELECT endpoint_id FROM billing.webhook_endpoint")
    assert "Brings the sales of Xero" in above
    assert f"[xero](/blocks/block/{XeroConnection.load('xero')._block_document_id})" in end
    assert f"[Billing systems](/artifacts/artifact/{before})" in end
    assert f"**Webhooks**: `{settings().http_url}/api/webhooks/billing/{endpoint_id}`" in end
    assert [(one.slug, one.active) for one in xero.schedules] == [("poll", True)]
    assert before in deployment(client, "pages/pages").description


def broken(*_: object, **__: object) -> None:
    raise ConnectionError("the server is away")


def test_old_versions_go_and_the_newest_stay(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("sync-pruned", "pruned", "billing-systems"):
        for number in range(7):
            client.create_artifact(ArtifactCreate(key=key, type="markdown", data=str(number)))
    monkeypatch.setattr(panel.pages.publish, "REPORTS_KEPT", 5)
    monkeypatch.setattr(panel.pages.publish, "OTHERS_KEPT", 3)
    panel.pages.publish.prune(client)
    kept = {
        key: [one["data"] for one in versions(client, key)]
        for key in ("sync-pruned", "pruned", "billing-systems")
    }
    assert kept == {
        "sync-pruned": ["6", "5", "4", "3", "2"],
        "pruned": ["6", "5", "4"],
        "billing-systems": ["6"],
    }
    assert (
        panel.pages.publish.published_pages(client).ids["billing-systems"]
        == versions(client, "billing-systems")[0]["id"]
    )


def test_from_an_empty_form_to_a_connection_without_code(
    client: SyncPrefectClient, office: Office
) -> None:
    """What the UI does: a block saved as JSON, wrong at first, then runs of deployments; each step says what is next."""
    XeroConnection.delete("xero")
    assert "[Xero](/blocks/catalog/xero-connection/create)" in systems_now(client)

    form = {
        **connected_values("xero", office),
        "refresh_token": "",
        "tenant_id": "",
        "timezone": "Luanda",
    }
    document = create_block(client, form)
    assert read(client).connections["xero"].problem
    text = systems_now(client)
    assert "- **xero**, not ready: " in text and "the consent is missing" in text

    save_block(client, document, {**form, "tenant_id": "not a tenant"})
    text = systems_now(client)
    assert "Tenant ID" in text or "tenant" in text.lower()
    state: Any = check_flow("xero", return_state=True)
    assert state.is_failed() and "tenant_id" in state.message + text

    save_block(client, document, {**connected_values("xero", office)})
    state = check_flow("xero", return_state=True)
    assert state.is_completed(), state.message
    assert office.run("xero").is_completed()
    assert "not ready" not in systems_now(client)


def systems_now(client: SyncPrefectClient) -> str:
    refresh(settings(), charts=False)
    return page(client, "billing-systems")


def connected_values(system: str, office: Office) -> dict[str, Any]:
    """What the form of a connection to the simulator holds."""
    return simulated_values(system, office.vendors.url)


def create_block(client: SyncPrefectClient, values: dict[str, Any]) -> str:
    kind = BLOCKS["xero"]
    type_id = client.request("GET", f"/block_types/slug/{kind.get_block_type_slug()}").json()["id"]
    schema = client.request("POST", "/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [type_id]}}}).json()[0]  # fmt: skip
    body = {
        "name": "xero",
        "data": values,
        "block_type_id": type_id,
        "block_schema_id": schema["id"],
    }
    return str(client.request("POST", "/block_documents/", json=body).json()["id"])


def save_block(client: SyncPrefectClient, document: str, values: dict[str, Any]) -> None:
    body = {"data": values, "merge_existing_data": False}
    client.request("PATCH", f"/block_documents/{document}", json=body)
