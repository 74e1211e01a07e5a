"""Systems that an operator describes, as the operator meets them: several blocks, a deployment each, messages that name the block."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from flows.sync import sync_system
from panel.blocks import BLOCKS, CustomConnection, FileDropConnection
from panel.blocks.connected import load_block
from panel.connect.check import check_connection
from settings import PROJECT_ROOT, settings
from sql.db import connect
from tests.flows.office import Office, find_deployment
from twezah.stack.provision import (
    activate_connected,
    apply_deployment,
    ensure_work_pool,
    project_deployments,
)


@pytest.fixture
def ledger(office: Office) -> str:
    """An empty ledger, and all systems connected."""
    return office.dsn


@pytest.fixture
def simulator_url(office: Office) -> str:
    """The simulated vendors."""
    return office.vendors.url


def accounts(dsn: str) -> list[tuple[Any, ...]]:
    with connect(dsn) as connection:
        return connection.execute(
            "SELECT DISTINCT system, account FROM billing.invoice ORDER BY 1, 2"
        ).fetchall()


def test_several_blocks_of_custom_systems_and_folders(
    ledger: str, simulator_url: str, tmp_path: Path
) -> None:
    """The block's name is the account; each block gets a deployment with an active schedule."""
    CustomConnection(base_url=f"{simulator_url}/custom", api_key=SecretStr("sim-secret")).save(
        "loja-viana", overwrite=True
    )
    (tmp_path / "a.csv").write_text(
        "invoice_number,customer_phone,total_amount,sale_date\nA,923456789,150,2026-01-01\n"
    )
    FileDropConnection(folder=str(tmp_path), settle_seconds=0).save("caixa", overwrite=True)
    try:
        for name in ("custom", "loja-viana", "caixa"):
            state = sync_system(name, return_state=True)
            assert state.is_completed(), state.message
        assert accounts(ledger) == [
            ("custom", "custom"),
            ("custom", "loja-viana"),
            ("file", "caixa"),
        ]
        with get_client(sync_client=True) as client:
            ensure_work_pool(client, settings().work_pool)
            for spec in project_deployments():
                if spec["name"] in ("sync-custom", "sync-file"):
                    if earlier := find_deployment(
                        client, spec["name"]
                    ):  # of another test, perhaps switched on by it
                        client.delete_deployment(earlier.id)
                    apply_deployment(client, {**spec, "work_pool": {"name": settings().work_pool}})
            assert {"custom", "loja-viana"} <= set(activate_connected())
            assert activate_connected() == []
            for name in ("custom", "loja-viana", "caixa"):
                deployment = find_deployment(client, f"sync-{name}")
                assert deployment is not None
                assert deployment.parameters["system"] == name
                assert [one.active for one in deployment.schedules] == [True]
            keys = {"sync-custom", "sync-loja-viana", "sync-caixa"}
            wanted = {"artifacts": {"key": {"any_": sorted(keys)}}}
            found = client._client.post("/artifacts/filter", json=wanted).json()
        assert keys == {one["key"] for one in found}
    finally:
        CustomConnection.delete("loja-viana")
        FileDropConnection.delete("caixa")


def test_messages_name_the_block(ledger: str, simulator_url: str) -> None:
    CustomConnection(base_url=f"{simulator_url}/custom", api_key=SecretStr("wr0ng")).save(
        "armazem", overwrite=True
    )
    try:
        state = sync_system("armazem", return_state=True)
        assert state.is_failed()
        assert "KeyRejected" in str(state.message) and 'block "armazem"' in str(state.message)
        assert "wr0ng" not in str(state.message)
        CustomConnection(base_url="http://erp.example.com", api_key=SecretStr("wr0ng")).save(
            "armazem", overwrite=True
        )
        state = sync_system("armazem", return_state=True)
        assert state.is_failed()
        assert 'field "API base URL"' in str(state.message) and 'block "armazem"' in str(
            state.message
        )
        _spoil("armazem", {"records": "data"})
        state = sync_system("armazem", return_state=True)
        assert state.is_failed()
        assert 'field "Records" (records)' in str(state.message) and "armazem" in str(state.message)
    finally:
        CustomConnection.delete("armazem")
    state = sync_system("armazem", return_state=True)
    assert "there is no connection 'armazem'" in str(state.message)


def test_testing_a_connection(ledger: str, tmp_path: Path) -> None:
    """The same checks as for the other systems, as far as there is something to check; nothing is raised."""
    folder = tmp_path / "exports"
    folder.mkdir()
    FileDropConnection(folder=str(folder), settle_seconds=0).save("caixa", overwrite=True)
    try:
        good = [
            check_connection(load_block(name), dsn=ledger, key=settings().fernet_key())
            for name in ("custom", "caixa")
        ]
        assert [check for result in good for check in result.checks if not check.ok] == []
        bad = CustomConnection(base_url="https://erp.example.com", authentication="basic")
        missing = FileDropConnection(folder=str(tmp_path / "nowhere"))
        for block, field in ((bad, "User name"), (missing, "Folder")):
            (check,) = check_connection(block, dsn=ledger, key=settings().fernet_key()).checks
            assert not check.ok and f'field "{field}"' in check.detail
    finally:
        FileDropConnection.delete("caixa")


def test_a_full_first_page_that_leads_nowhere_is_pointed_at(
    ledger: str, simulator_url: str
) -> None:
    """Paging that is set up wrongly reads one page, and looks well."""
    key = SecretStr("sim-secret")
    for paths, said in (({}, False), ({"next_path": "/elsewhere", "more_path": ""}, True)):
        block = CustomConnection(base_url=f"{simulator_url}/custom", api_key=key, **paths)
        checks = check_connection(block, dsn=ledger, key=settings().fernet_key()).checks
        (read,) = [check for check in checks if check.check == "read invoices"]
        assert read.ok and ("no next page is named" in read.detail) == said


def _spoil(name: str, values: dict[str, Any]) -> None:
    """Saves what the form does not check."""
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(
            name, "custom-connection", include_secrets=True
        )
        body = {"data": values, "merge_existing_data": True}
        client._client.patch(f"/block_documents/{document.id}", json=body).raise_for_status()


@pytest.mark.parametrize("system", ["custom", "file", "push"])
def test_the_form_is_complete(system: str) -> None:
    """Every field has a title and a description, and no reference hides in the form: dictionaries and choices only."""
    schema = BLOCKS[system].model_json_schema()
    assert "$defs" not in schema or not schema["$defs"]
    for name, field in schema["properties"].items():
        assert field.get("title") and field.get("description"), name
    assert "docs/custom-systems.md" in str(schema["properties"]["field_mapping"])
    assert (PROJECT_ROOT / "docs" / "custom-systems.md").exists()
