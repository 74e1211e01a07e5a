"""Each role of the database can do its work, and nothing else."""

import json
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from loyalty.corrections import Adjustment, Decision
from panel.pages import refresh
from settings import Settings
from sql import analyst_role, consent, holds, ledger, merge_preview, retention, webhooks
from sql import panel_pages as pages
from sql.corrections import adjust, merge
from sql.db import connect, engine
from sql.endpoints import NewEndpoint, create_endpoint
from sql.erasure import erase
from sql.maintenance import analyze, sizes
from sql.page_renewals import renew_together
from tests.support.books import NOON, OTHER_PHONE, Books, invoice, line
from twezah.stack import roles
from twezah.stack.errors import DatabaseFailed

WHY = Decision(reason="Request 12", author="Ana, support")
#: What no role of ours may do.
DEFINITIONS = (
    "CREATE TABLE billing.mine (a int)",
    "ALTER TABLE billing.invoice ADD COLUMN mine int",
    "DROP TABLE billing.invoice",
    "ALTER TABLE audit.entry DISABLE TRIGGER ALL",
    "CREATE ROLE mine",
    "SET ROLE postgres",
)
LOG = (
    "UPDATE audit.entry SET actor = 'x'",
    "DELETE FROM audit.entry",
    "TRUNCATE audit.entry",
    (
        "INSERT INTO audit.pending (actor, operation, status, subject, details)"
        " VALUES ('x', 'x', 'success', 'x', '{}')"
    ),
)
SECRETS = ("SELECT token_encrypted FROM billing.connector_token",)
BODIES = ("SELECT body_zstd FROM billing.raw_page", "SELECT body_zstd FROM billing.webhook_event")
BOOKS = (
    "UPDATE billing.invoice SET total_minor = 1",
    "DELETE FROM billing.invoice",
    (
        "INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, run_id)"
        " VALUES ('k', 1, 5, 'x', 'x', 'x')"
    ),
    "INSERT INTO loyalty.award_entry SELECT * FROM loyalty.award_entry",
    (
        "INSERT INTO loyalty.consent (member_id, given, reason, author, run_id)"
        " VALUES (1, true, 'x', 'x', 'x')"
    ),
    "UPDATE billing.sync_cursor SET cursor_at = now()",
    "INSERT INTO loyalty.change (kind) VALUES ('merged')",
    "INSERT INTO loyalty.change_pending (kind) VALUES ('merged')",
)
#: What members did, and their birthdays, the API and the worker enter.
BESIDE = (
    "SELECT month FROM loyalty.member_birthday",
    (
        "INSERT INTO loyalty.member_event (member_id, name, event_key, happened_at, recorded_by,"
        " run_id) VALUES (1, 'x', 'x', now(), 'x', 'x')"
    ),
    (
        "INSERT INTO loyalty.code_entry (member_id, code, recorded_by, run_id)"
        " VALUES (1, 'XXX', 'x', 'x')"
    ),
    "DELETE FROM loyalty.list_member",
)
#: The API registers members and spends their points; others only read, or not even that.
MEMBERS = (
    "INSERT INTO loyalty.member (phone) VALUES ('+244923000009')",
    "UPDATE loyalty.member SET phone = NULL",
    "INSERT INTO loyalty.redemption (member_id) VALUES (1)",
    "SELECT loyalty.publish_changes()",
)
FORBIDDEN = {
    "twezah_worker": (*DEFINITIONS, *LOG),
    "twezah_api": (
        *DEFINITIONS, *LOG, *SECRETS, *BODIES, *BOOKS,
        "SELECT phone FROM billing.customer",
        "UPDATE loyalty.member SET timezone = 'Africa/Luanda'",
        "DELETE FROM loyalty.member_tier",
        "UPDATE loyalty.redemption SET points = 1",
        "INSERT INTO billing.api_key (prefix) VALUES ('x')",
        "UPDATE billing.api_key SET scopes = '{x}'",
        "UPDATE billing.webhook_endpoint SET options = '{}'",
        "INSERT INTO billing.webhook_secret (endpoint_no) VALUES (1)",
        "DELETE FROM billing.webhook_event",
        "SELECT secret_encrypted FROM loyalty.receiver_secret",
        "UPDATE billing.webhook_event SET state = 'done'",
        "UPDATE loyalty.member_event SET name = 'x'",
        "DELETE FROM loyalty.member_event",
        "DELETE FROM loyalty.code_entry",
        "UPDATE loyalty.list_member SET valid_to = NULL",
    ),
    "twezah_panel": (
        *DEFINITIONS, *LOG, *SECRETS, *BODIES, *BOOKS, *MEMBERS, *BESIDE,
        "SELECT phone FROM loyalty.member",
        "SELECT phone FROM billing.customer",
        "SELECT headers FROM billing.webhook_event",
        "SELECT secret_encrypted FROM billing.webhook_secret",
        "SELECT key_sha256 FROM billing.api_key",
        "SELECT secret_encrypted FROM loyalty.receiver_secret",
        "INSERT INTO billing.http_attempt (method) VALUES ('GET')",
    ),
    "analyst": (
        *DEFINITIONS, *LOG, *SECRETS, *BODIES, *BOOKS, *MEMBERS, *BESIDE,
        "SELECT phone FROM loyalty.member",
        "SELECT phone FROM billing.customer",
        "SELECT author FROM loyalty.consent",
        "SELECT source_ip FROM billing.webhook_event",
        "SELECT reason FROM billing.reject",
        "SELECT actor FROM audit.entry",
    ),
}  # fmt: skip


def as_role(dsn: str, role: str) -> str:
    """A session that is the role from its beginning."""
    return Settings(home=Path("/nowhere"), database_url=dsn, database_role=role).dsn()


@pytest.fixture
def sold(dsn: str) -> Books:
    books = Books(dsn)
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE), lines=[line()])
    books.award()
    return books


@pytest.mark.parametrize("role", FORBIDDEN)
def test_what_a_role_must_not_do(sold: Books, role: str) -> None:
    """A login of the role itself: it cannot go back to a stronger one."""
    with psycopg.connect(sold.dsn, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {role} LOGIN".encode())
    login = psycopg.conninfo.make_conninfo(sold.dsn, user=role)
    with psycopg.connect(login, autocommit=True) as connection:
        for statement in FORBIDDEN[role]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_worker_can_do_its_work(sold: Books) -> None:
    """Everything through the product's own functions; the log is written by the triggers."""
    before = sold.rows("SELECT count(*) FROM audit.entry")
    worker = Books(as_role(sold.dsn, roles.WORKER))
    worker.store(invoice(external_id="C", updated_at=NOON), lines=[line("C")])
    worker.award()
    with connect(worker.dsn) as connection:
        adjust(connection, Adjustment(member_id=1, points=5, key="k", **WHY.model_dump()), "run")
        consent.decide(connection, 1, WHY, "run", given=False)
        holds.lift(connection, holds.place(connection, 1, WHY, "run").hold_no, WHY, "run")
        merge(connection, 2, 1, WHY, "run")
        made = create_endpoint(connection, NewEndpoint(system="custom", connection="shop"))
        connection.commit()
        retention.remove_old(connection, dict.fromkeys(retention.KINDS, 7), "run", dry_run=False)
        erase(connection, 1, WHY, "run", dry_run=False)
        connection.commit()
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        analyze(connection)
        connection.commit()
        assert not any(f'"{name}"' in text for text in notices for name in ("invoice", "member"))
        assert sizes(connection) and ledger.dirty_members(connection) >= 0 and made.endpoint_no
    worker.award()
    assert sold.rows("SELECT count(*) FROM audit.entry") > before
    engine(worker.dsn).dispose()


def test_the_api_previews_and_enters_a_merge_of_members_with_sales(sold: Books) -> None:
    """What the merge will post is computed, and posted by the worker."""
    one, other = sold.member(), sold.member(OTHER_PHONE)
    api = as_role(sold.dsn, roles.API)
    with connect(api) as connection:
        shown = merge_preview.preview(connection, one, other, WHY, "run")
        merge(connection, one, other, WHY, "run")
        connection.commit()
    assert [change.balance_points_after for change in shown.changes] == [0, 3000]
    sold.award()
    assert [sold.points(), sold.points(OTHER_PHONE)] == [0, 3000]
    engine(api).dispose()


def test_the_worker_may_use_every_table_of_the_books(sold: Books) -> None:
    """A migration that adds a table says what the worker may do with it."""
    assert sold.rows(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('billing', 'loyalty') AND c.relkind IN ('r', 'p', 'v')"
        " AND NOT c.relispartition"
        " AND NOT has_table_privilege('twezah_worker', c.oid, 'SELECT, INSERT, UPDATE, DELETE')"
    ) == []  # fmt: skip


def test_a_new_view_or_sequence_says_who_may_use_it(sold: Books) -> None:
    """Views of `analytics` are for all roles, sequences without a column for the worker."""
    assert sold.rows(
        "SELECT r.rolname::text, c.oid::regclass::text FROM pg_class c"
        " JOIN pg_roles r ON r.rolname IN ('twezah_api', 'twezah_worker', 'twezah_panel')"
        " WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind IN ('v', 'm')"
        " AND NOT has_table_privilege(r.oid, c.oid, 'SELECT')"
    ) == []  # fmt: skip
    assert sold.rows(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('billing', 'loyalty') AND c.relkind = 'S' AND NOT EXISTS ("
        "   SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i'))"
        " AND NOT CASE WHEN c.relkind = 'S'"
        "   THEN has_sequence_privilege('twezah_worker', c.oid, 'USAGE')"
        "     AND has_sequence_privilege('twezah_worker', c.oid, 'SELECT') END"
    ) == []  # fmt: skip


def test_a_run_asks_for_the_page_in_the_role_of_the_worker(sold: Books) -> None:
    asked: list[int] = []
    assert renew_together(as_role(sold.dsn, roles.WORKER), lambda: asked.append(1)) == 1
    assert asked == [1]


def test_our_roles_work_on_when_the_doors_are_closed_to_analysts(sold: Books) -> None:
    """Advisory locks, notices and temporary tables are taken from everybody but our processes."""
    with connect(sold.dsn) as connection:
        analyst_role.give_password(connection, "x" * 24)
        connection.commit()
    test_the_worker_can_do_its_work(sold)
    test_the_panel_can_read_what_its_pages_show(sold)
    for role in roles.ROLES:
        with connect(as_role(sold.dsn, role)) as connection:
            webhooks.nudge(connection)
            connection.commit()


def test_the_panel_can_read_what_its_pages_show(sold: Books) -> None:
    installation = Settings(home=Path("/nowhere"), database_url=sold.dsn, database_role=roles.PANEL)
    overview = type("Overview", (), {"connections": {"xero": None}})()
    assert refresh._ledger(installation, overview).backlog == []
    with connect(installation.dsn()) as connection:
        assert pages.last_failures(connection, NOON, 5) == []
        assert pages.webhooks_over(connection, NOON) is not None
        assert webhooks.backlog(connection) == []
        assert webhooks.latest(connection, 5) == []
        assert webhooks.states(connection) == {}
        assert pages.totals(connection, NOON, {}) is not None
        assert pages.over_time(connection, NOON, timedelta(hours=1)) is not None
    engine(installation.dsn()).dispose()


def test_another_server_must_let_its_user_take_the_roles(sold: Books, tmp_path: Path) -> None:
    with psycopg.connect(sold.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
    plain = sold.dsn.replace("postgres@", "plain@")
    config = Settings(home=tmp_path, database_url=plain, database_roles=True)
    with pytest.raises(DatabaseFailed, match="GRANT twezah_api TO"):
        roles.prepare(config, plain)
    roles.prepare(Settings(home=tmp_path, database_url=plain), plain)
    roles.prepare(Settings(home=tmp_path, database_url=sold.dsn, database_roles=True), sold.dsn)
    assert roles.role_environment(config, roles.API) == {"TWEZAH_DATABASE_ROLE": "twezah_api"}
    assert json.dumps(roles.role_environment(Settings(home=tmp_path), roles.PANEL))


def test_a_process_of_the_embedded_server_logs_in_as_its_role(tmp_path: Path) -> None:
    record = {"socket_dir": "/s", "port": 1, "user": "postgres"}
    (tmp_path / "postgres.json").write_text(json.dumps(record))
    config = Settings(home=tmp_path, database_role=roles.API)
    assert config.dsn().startswith("postgresql://twezah_api@/twezah?")
