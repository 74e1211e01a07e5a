"""Settings changed in Prefect are found at the next look, and no secret is kept or told."""

from pydantic import SecretStr

from panel.operator_changes import State, compare, fingerprint
from panel.reports.audit import markdown
from sql import audit
from sql.audit import Entry
from sql.db import connect

KEY = b"k" * 32


def block(**values: object) -> dict[tuple[str, str], State]:
    return {
        ("block", "xero"): {
            "system": "xero",
            **{name: fingerprint(value, KEY) for name, value in values.items()},
        }
    }


def looked(dsn: str, now: dict[tuple[str, str], State]) -> list[Entry]:
    """What has been recorded so far, the newest first, after the base line of the first look."""
    with connect(dsn) as connection:
        compare(connection, now)
        connection.commit()
        *changes, first = audit.entries(connection, audit.Filter(operation="settings"), limit=10)
    assert first.operation == "settings.baseline"
    return changes


def test_a_first_look_records_what_there_is_and_no_change_nothing(dsn: str) -> None:
    now = block(client_secret=SecretStr("s3cret"), overlap_minutes=15)
    assert looked(dsn, now) == []
    assert looked(dsn, now) == []


def test_a_change_names_the_settings_and_shows_no_text(dsn: str) -> None:
    looked(dsn, block(client_secret=SecretStr("s3cret"), overlap_minutes=15, base_url="https://a"))
    (found,) = looked(
        dsn, block(client_secret=SecretStr("other"), overlap_minutes=30, base_url="https://a")
    )
    assert (found.operation, found.subject, found.system) == (
        "settings.changed",
        "block xero",
        "xero",
    )
    assert found.details == {
        "settings": ["client_secret", "overlap_minutes"],
        "from_to": {"overlap_minutes": [15, 30]},
    }
    with connect(dsn) as connection:
        said = repr(connection.execute("SELECT state FROM audit.seen").fetchall())
    assert "other" not in said
    assert "https" not in said


def test_created_deleted_and_schedules(dsn: str) -> None:
    every = {("deployment", "sync-xero"): {"paused": False, "schedules": ["every 300 s"]}}
    looked(dsn, every)
    looked(dsn, {**every, **block()})
    found = looked(
        dsn, {("deployment", "sync-xero"): {"paused": True, "schedules": ["every 60 s"]}}
    )
    assert [(one.operation, one.subject) for one in found] == [
        ("settings.changed", "deployment sync-xero"),
        ("settings.deleted", "block xero"),
        ("settings.created", "block xero"),
    ]
    assert found[0].details["from_to"] == {
        "paused": [False, True],
        "schedules": [["every 300 s"], ["every 60 s"]],
    }


def test_the_page_shows_the_entries_and_the_head(dsn: str) -> None:
    with connect(dsn) as connection:
        audit.record(connection, "key.create", "key twz_x", error="a | b", points=-5)
        connection.commit()
        verdict = audit.verify(connection)
        page = markdown(
            verdict,
            audit.entries(connection, audit.Filter(), limit=5),
            audit.counts(connection, hours=1),
        )
    assert verdict.head is not None
    assert verdict.head.to_text() in page
    assert "key twz_x" in page
    assert "/artifacts/key/billing-systems" in page
