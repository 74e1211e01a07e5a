"""The audit log, exports and erasure from Prefect's forms."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from flows.audit import audit_log
from flows.exports import export, export_member
from flows.members import adjust_points, erase_member
from flows.program import change_program
from panel.blocks.connected import find_block
from panel.operator_changes import record_operator_changes
from settings import settings
from sql import audit
from sql.db import connect
from tests.flows.office import Office
from tests.support.books import PHONE, Books, invoice


def test_what_was_refused_is_in_the_log_with_why(office: Office) -> None:
    who = {"reason": "Mistake", "author": "Ana"}
    refused = adjust_points(4711, points=5, **who, return_state=True)
    assert refused.is_failed()
    assert change_program(text="[program]\nentry_tier = 1", return_state=True).is_failed()
    with connect(office.dsn) as connection:
        wanted = audit.Filter(operation="run")
        rules, points = audit.entries(connection, wanted, limit=50)
    assert (points.operation, points.status, points.actor) == (
        "run.adjust-points",
        "error",
        "operator",
    )
    assert points.subject == "adjust points of member 4711"
    assert points.error == refused.message
    assert rules.operation == "run.program" and "program.entry_tier" in str(rules.error)


def test_a_failure_that_cannot_be_recorded_is_a_failure_like_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "record", lambda *_, **__: 1 / 0)
    assert adjust_points(
        4711, points=5, reason="Mistake", author="Ana", return_state=True
    ).is_failed()


def test_two_changes_are_two_with_who_made_them(office: Office) -> None:
    """As `twezah up` records them, each as it happens; the first look is the base line."""
    key = settings().fernet_key()
    assert record_operator_changes(office.dsn, key, "twezah", begin=False) == 0
    assert record_operator_changes(office.dsn, key, "twezah") == 0
    for number, who in enumerate(("operator ana", "operator rui"), 1):
        block: Any = find_block("xero")
        block.overlap_minutes += 5
        block.client_secret = SecretStr(f"s3cret-{number}")
        block.save("xero", overwrite=True)
        assert record_operator_changes(office.dsn, key, who) == 1
    with connect(office.dsn) as connection:
        wanted = audit.Filter(operation="settings")
        second, first, base = audit.entries(connection, wanted, limit=50)
    assert (base.operation, first.actor, second.actor) == (
        "settings.baseline",
        "operator ana",
        "operator rui",
    )
    for entry in (first, second):
        assert entry.details["settings"] == ["client_secret", "overlap_minutes"]
        assert list(entry.details["from_to"]) == ["overlap_minutes"]
        assert "s3cret" not in repr(entry)


def test_a_setting_changed_in_the_ui_an_export_and_an_erasure_are_on_the_page(
    office: Office,
) -> None:
    books = Books(office.dsn)
    books.store(invoice())
    member = books.member()
    assert audit_log(return_state=True).is_completed()
    block = find_block("xero")
    block.overlap_minutes += 5
    block.save("xero", overwrite=True)
    handed = export_member(member, personal=True, return_state=True)
    assert handed.is_completed(), handed.message
    assert (Path(handed.message.split()[2].rstrip(":")) / "phones.csv").read_text().count(
        PHONE
    ) == 1
    tables = export(["sales"], return_state=True)
    assert tables.is_completed(), tables.message
    why = {"reason": "Request 12", "author": "Ana"}
    assert "would be erased" in erase_member(member, **why, return_state=True).message
    assert "were erased" in erase_member(member, **why, dry_run=False, return_state=True).message
    state = audit_log(return_state=True)
    assert state.is_completed(), state.message
    with connect(office.dsn) as connection:
        found = {one.operation: one for one in audit.entries(connection, audit.Filter(), limit=50)}
    assert found["settings.changed"].details["settings"] == ["overlap_minutes"]
    assert "xero" in found["settings.baseline"].details["blocks"]
    assert [one.operation for one in found.values() if not one.details] == []
    assert found["member.erase"].actor == "operator"
    with get_client(sync_client=True) as client:
        wanted = {
            "artifacts": {"key": {"any_": ["audit-log"]}},
            "sort": "CREATED_DESC",
            "limit": 1,
            "offset": 0,
        }
        page = client._client.post("/artifacts/filter", json=wanted).json()[0]["data"]
    assert "block xero" in page
    assert "member.erase" in page
    assert PHONE[4:] not in page
