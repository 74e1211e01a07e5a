"""The run book's flows, as the worker runs them, against a real Prefect server and the simulated billing systems."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from flows.backfill import backfill, pieces
from flows.maintenance import maintenance
from flows.members import evaluate_tiers
from flows.reconcile import recompute_points, reconcile
from flows.replay import replay, try_mapping
from flows.sync import sync_system
from panel.blocks.connected import find_block
from tests.flows.office import Office, worked
from tests.sync.conftest import expected


def artifact(key: str) -> str:
    """The newest artifact's text."""
    wanted = {
        "artifacts": {"key": {"any_": [key]}},
        "sort": "CREATED_DESC",
        "limit": 1,
        "offset": 0,
    }
    with get_client(sync_client=True) as client:
        return str(client._client.post("/artifacts/filter", json=wanted).json()[0]["data"])


@contextmanager
def working(deployment: str) -> Iterator[list[str]]:
    """A worker that takes up what is scheduled of the deployment; yields the names of the runs it worked on."""
    over, names = threading.Event(), list[str]()

    def work() -> None:
        due = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        )
        of = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
        with get_client(sync_client=True) as client:
            while not over.wait(0.2):
                for run in client.read_flow_runs(
                    deployment_filter=of,
                    flow_run_filter=due,
                    limit=1,
                    sort=FlowRunSort.EXPECTED_START_TIME_ASC,
                ):
                    names.append(run.name)
                    worked(run)

    thread = threading.Thread(
        target=copy_context().run, args=(work,), daemon=True
    )  # with the settings of the tests' server
    thread.start()
    try:
        yield names
    finally:
        over.set()
        thread.join(timeout=60)


def deployed(name: str) -> None:
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(sync_system), name)


def test_pieces_have_neither_gap_nor_overlap() -> None:
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)
    found = list(pieces("xero", since, until, 30))
    assert [found[0].since, found[-1].until] == [since, until]
    assert all(one.until == following.since for one, following in itertools.pairwise(found))


def test_a_backfill_in_pieces_is_the_ledger_of_one_read_and_retry_goes_on(office: Office) -> None:
    since = datetime.now(UTC) - timedelta(days=32)
    deployed("sync-xero")
    with working("sync-xero") as names:
        office.vendors.broken = "/xero/"
        state: Any = backfill(["xero"], since, days=12, return_state=True)
        assert (
            state.is_failed()
            and "0 of 3 pieces done" in state.message
            and "press Retry" in state.message
        )
        assert len(names) == 1, "the pieces behind it wait"
        office.vendors.broken = None
        state = backfill(["xero"], since, days=12, return_state=True)
        assert state.is_completed(), state.message
        assert state.message == "3 of 3 pieces done"
    in_pieces = office.points()
    assert in_pieces and "done" in artifact("backfill")
    assert float(artifact("progress-backfill")) == 100
    assert office.run("xero").is_completed()
    assert office.points() == in_pieces
    assert backfill(["nobody"], since, return_state=True).is_failed()


def test_reconcile_finds_and_repairs_and_the_rest_does_what_its_form_says(office: Office) -> None:
    assert office.run("xero").is_completed()
    right = office.points()
    since = datetime.now(UTC) - timedelta(days=40)
    state: Any = reconcile("xero", since=since, return_state=True)
    assert state.is_completed() and "points posted are the points due" in state.message, (
        state.message
    )

    office.execute(
        "UPDATE billing.invoice SET total_minor = total_minor + 5000 WHERE external_id = "
        "(SELECT max(external_id) FROM billing.invoice WHERE status = 'open' AND kind = 'invoice')"
    )
    state = reconcile("xero", since=since, return_state=True)
    assert "1 of them are corrected by reading again" in state.message
    assert "total_minor" in artifact("reconcile-xero") and office.points() == right
    state = recompute_points(return_state=True)
    assert state.message.startswith("Nothing posted: 1 of")
    state = reconcile("xero", since=since, repair=True, return_state=True)
    assert state.is_completed() and state.message.startswith("Repaired. Now:"), state.message
    assert office.points() == right
    assert office.shown_of(artifact("reconcile-xero") + artifact("recompute-points")) == []

    assert evaluate_tiers(return_state=True).is_completed()
    state = maintenance(return_state=True)
    assert state.is_completed(), state.message
    assert "the audit log is whole" in artifact(
        "maintenance"
    ).lower() and "billing.raw_page" in artifact("maintenance")
    office.execute(
        "UPDATE billing.invoice SET total_minor = total_minor * 2 WHERE status = 'open' AND kind = 'invoice'"
    )
    state = maintenance(dry_run=True, return_state=True)
    assert state.is_failed() and "recompute-points" in state.message


@pytest.mark.parametrize("road", ["the flow replay", "what `twezah replay` starts"])
def test_a_replay_asks_nobody_and_corrects_what_was_read_with_a_wrong_mapping(
    office: Office, road: str
) -> None:
    """The subtotal was read as the total; the pages that are stored have the right one."""
    right = office.edit("xero", field_mapping={"total_minor": "/SubTotal"})
    assert office.run("xero").is_completed()
    due = expected(office.vendors.world, "xero")
    assert office.points() != due, "read with the wrong mapping"
    right.save("xero", overwrite=True)
    cursors = office.rows("SELECT stream, cursor_at FROM billing.sync_cursor ORDER BY 1")
    office.vendors.targets.clear()

    def replayed(*, dry_run: bool) -> Any:
        if road == "the flow replay":
            return replay("xero", "stored pages", dry_run=dry_run, return_state=True)
        return office.run("xero", replay=True, dry_run=dry_run)

    wrong = office.points()
    state = replayed(dry_run=True)
    assert state.is_completed() and "Dry run, nothing kept: Replay of stored pages" in state.message
    assert office.points() == wrong
    state = replayed(dry_run=False)
    assert state.is_completed() and state.message.startswith("Replay of stored pages: "), (
        state.message
    )
    assert office.points() == due
    assert office.vendors.targets == [], "the billing system is not asked"
    assert cursors == office.rows("SELECT stream, cursor_at FROM billing.sync_cursor ORDER BY 1")
    state = replayed(dry_run=False)
    assert "0 changed" in state.message and office.points() == due
    assert office.vendors.targets == []


@pytest.mark.parametrize("road", ["the flow replay", "what `twezah replay --rejects` starts"])
def test_a_replay_of_rejects_asks_nobody_and_brings_them_in(office: Office, road: str) -> None:
    right = office.edit(
        "xero", field_mapping={"total_minor": "/NoSuchField"}, reject_percent_max=100
    )
    assert office.run("xero").is_completed()
    assert office.points() == {}
    right.save("xero", overwrite=True)
    office.vendors.targets.clear()
    if road == "the flow replay":
        state: Any = replay("xero", "rejects", dry_run=False, return_state=True)
    else:
        state = office.run("xero", rejects=True)
    assert state.is_completed() and state.message.startswith("Replay of rejects: "), state.message
    assert office.points() == expected(office.vendors.world, "xero")
    assert office.vendors.targets == []


def test_a_mapping_is_tried_on_what_is_pasted_and_on_what_is_stored(office: Office) -> None:
    assert office.run("xero").is_completed()
    ((number, external_id),) = office.rows(
        "SELECT invoice_number, external_id FROM billing.invoice WHERE kind = 'invoice' AND status = 'paid' ORDER BY 1 LIMIT 1"
    )
    state: Any = try_mapping("xero", document=number, return_state=True)
    assert state.is_completed(), state.message
    shown = artifact("try-xero")
    assert external_id in shown and office.shown_of(shown) == []
    sale = {
        "invoice_number": "INV-1",
        "customer_phone": "+244 923 456 789",
        "total_amount": 150,
        "sale_date": "2026-05-01",
    }
    assert try_mapping("custom", payload=json.dumps(sale), return_state=True).is_completed()
    assert "INV-1" in artifact("try-custom") and "923" not in artifact("try-custom")
    state = try_mapping(
        "xero", payload=json.dumps({"InvoiceID": "7", "Total": "?"}), return_state=True
    )
    assert state.is_failed() and "CurrencyCode" in state.message
    for refused in (
        {"payload": "{}", "document": "1"},
        {"document": "no such number"},
        {"save": True},
        {"paths": "no_such_field = /A"},
        {"paths": "/Reference"},
    ):
        assert try_mapping("xero", **refused, return_state=True).is_failed()


def test_a_path_is_changed_with_a_sample_and_saved(office: Office) -> None:
    """See where each field came from, change a path, see it again, save it."""
    assert office.run("xero").is_completed()
    state: Any = try_mapping("xero", return_state=True)
    assert state.is_completed(), state.message
    assert "| `invoice_number` |" in artifact("try-xero")
    assert "| `/InvoiceNumber` |" in artifact("try-xero"), "where it came from"

    wrong = "total_minor = /NoSuchTotal"
    state = try_mapping("xero", paths=wrong, save=True, return_state=True)
    assert state.name == "Refused" and "Nothing was changed." in state.message, state.message
    assert "/NoSuchTotal" in artifact("try-xero")

    other = "invoice_number=/InvoiceID, customer_external_id ="
    before = find_block("xero").field_mapping
    assert try_mapping("xero", paths=other, return_state=True).is_completed()
    assert "- `invoice_number` from `/InvoiceID`\n" in artifact("try-xero")
    assert "Not saved" in artifact("try-xero")
    assert find_block("xero").field_mapping == before

    state = try_mapping("xero", paths=other, save=True, return_state=True)
    assert state.is_completed() and state.message.endswith("; saved"), state.message
    assert find_block("xero").field_mapping == {**before, "invoice_number": "/InvoiceID"}
    assert office.rows(
        "SELECT details FROM audit.entry WHERE operation = 'connection.mapping'"
    ) == [({"fields": ["invoice_number"]},)]
    assert try_mapping(
        "xero", paths="invoice_number =", save=True, return_state=True
    ).is_completed()
    assert find_block("xero").field_mapping == before
