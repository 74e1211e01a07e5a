"""Forms filled in with what cannot be: refused at once, in words of the form, and nobody is woken by it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.actions import ChangeFlowRunState

from flows.audit import audit_log
from flows.backfill import backfill
from flows.members import adjust_points, erase_member, merge_members
from flows.reconcile import recompute_points, reconcile
from flows.replay import replay, try_mapping
from flows.sync import sync_system
from panel.alerts.rules import rules
from panel.pages.publish import ensure_linked
from panel.runs.refused_state import REFUSED
from tests.flows.office import Office
from tests.flows.test_runbook_flows import artifact

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=3)
WHY = {"reason": "correction", "author": "ana"}


@pytest.mark.parametrize(
    ("flow", "form", "said"),
    [
        (
            sync_system,
            {"system": "xero", "since": NOW, "until": NOW - timedelta(days=1)},
            "is not before until",
        ),
        (sync_system, {"system": "xero", "since": LATER}, "is in the future"),
        (sync_system, {"system": "xero", "replay": True, "rejects": True}, "choose one"),
        (
            replay,
            {"system": "xero", "what": "stored pages", "since": NOW, "until": NOW},
            "is not before until",
        ),
        (
            reconcile,
            {"system": "xero", "since": NOW, "until": NOW - timedelta(days=1)},
            "is not before until",
        ),
        (reconcile, {"system": "nobody"}, "there is no connection 'nobody'"),
        (backfill, {"systems": [], "since": NOW}, 'name at least one connection in "systems"'),
        (backfill, {"systems": ["xero"], "since": LATER, "until": NOW}, "is not before until"),
        (backfill, {"systems": ["nobody"], "since": NOW}, "there is no connection 'nobody'"),
        (recompute_points, {"member": 999_999}, "there is no member 999999"),
        (adjust_points, {"member": 1, "points": -999_999_999, **WHY}, "confirm 999999999 points"),
        (adjust_points, {"member": 999_999, "points": 5, **WHY}, "there is no member 999999"),
        (adjust_points, {"member": 1, "points": 5, "void": 1, **WHY}, "not both"),
        (merge_members, {"member": 999_998, "into": 999_999, **WHY}, "there is no member"),
        (erase_member, {"member": 999_999, **WHY}, "there is no member 999999"),
        (try_mapping, {"system": "xero", "document": "1", "payload": "{}"}, "one of both"),
        (try_mapping, {"system": "xero", "save": True}, "nothing to save"),
        (try_mapping, {"system": "xero", "paths": "/Reference"}, "where a field is"),
    ],
)
def test_a_form_that_cannot_be_meant(
    office: Office, flow: Callable[..., Any], form: dict[str, Any], said: str
) -> None:
    before = office.points()
    state = flow(**form, return_state=True)
    assert (state.is_failed(), state.name) == (True, REFUSED)
    assert state.message.startswith("Refused: ") and said in state.message
    assert "Nothing was changed. Start another run with other values" in state.message
    assert office.points() == before


def test_the_audit_log_has_synchronisations_that_could_not_begin(office: Office) -> None:
    for form in ({"system": "xero", "since": LATER}, {"system": "nobody"}):
        assert sync_system(**form, return_state=True).is_failed()
    assert sync_system("xero", since=LATER, dry_run=True, return_state=True).is_failed()
    rows = office.rows(
        "SELECT subject, status, error FROM audit.entry WHERE operation = 'sync' ORDER BY entry_no"
    )
    assert [(subject, status) for subject, status, _ in rows] == [
        ("xero", "error"),
        ("nobody", "error"),
    ]
    assert "in the future" in rows[0][2] and "there is no connection" in rows[1][2]


def test_large_adjustments_are_posted_once_they_are_confirmed(office: Office) -> None:
    assert office.run("xero").is_completed()
    (member,) = office.rows("SELECT min(member_id) FROM loyalty.member")[0]
    form = {"member": member, "points": 1_000_001, **WHY}
    assert adjust_points(**form, return_state=True).name == REFUSED
    assert adjust_points(**form, confirm_points=1_000_000, return_state=True).name == REFUSED
    assert adjust_points(**form, confirm_points=1_000_001, return_state=True).is_completed()


def test_nobody_is_told_of_a_refusal_and_none_falls_silent() -> None:
    """A run that ended as Refused is over; one that is watched for silence must know that."""
    for rule in rules("http://127.0.0.1:4200", None, []):
        expected = {one.rpartition(".")[2] for one in getattr(rule.trigger, "expect", ())}
        assert (REFUSED in expected) == (
            "has fallen silent" in rule.name or "does not begin" in rule.name
        ), rule.name


def test_an_end_stays_the_end_though_a_heartbeat_comes_late(office: Office) -> None:
    """Under load a run's last heartbeat arrives after its end; 90 seconds later the run counts as silent."""
    actions = [
        action for rule in rules("http://127.0.0.1:4200", None, []) for action in rule.actions
    ]
    crashing = [
        one
        for one in actions
        if isinstance(one, ChangeFlowRunState) and one.state == StateType.CRASHED
    ]
    assert len(crashing) == 2
    for form in ({"system": "xero"}, {"system": "xero", "since": LATER}):
        state: Any = sync_system(**form, return_state=True)
        with get_client(sync_client=True) as client:
            for action in crashing:
                wanted = State(type=action.state, name=action.name, message=action.message)
                answer = client.set_flow_run_state(
                    state.state_details.flow_run_id, wanted, force=action.force
                )
                assert answer.status == SetStateStatus.ABORT
            assert client.read_flow_run(state.state_details.flow_run_id).state_name == state.name


def test_links_of_descriptions_lead_somewhere_from_the_start(office: Office) -> None:
    texts = [
        "The [reports](/artifacts/key/never-written), and [more](/artifacts/key/never-written-either).",
        "",
    ]
    with get_client(sync_client=True) as client:
        assert ensure_linked(client, texts) == ["never-written", "never-written-either"]
        assert ensure_linked(client, texts) == []
    assert artifact("never-written").startswith("# Nothing here yet")


def test_a_search_in_the_audit_log_has_a_page_of_its_own(office: Office) -> None:
    assert office.run("xero").is_completed()
    assert audit_log(return_state=True).is_completed()
    page = artifact("audit-log")
    assert audit_log(operation="nothing-like-it", return_state=True).is_completed()
    assert artifact("audit-log") == page
    assert "# Audit log: operation nothing-like-it" in artifact("audit-log-search")
