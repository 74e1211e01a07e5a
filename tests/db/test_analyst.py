"""The role `analyst`: all of analytics, no personal data, no secret, no writing."""

from collections.abc import Iterator

import psycopg
import pytest

from sql.db import connect
from tests.db.test_rules import program
from tests.support.books import NOON, OTHER_PHONE, PHONE, Books, invoice, line

VIEWS = [
    "adjustment",
    "audit",
    "award",
    "award_rule",
    "change",
    "code_entry",
    "consent",
    "delivery",
    "expiring_month",
    "http_attempt",
    "left_out_sale",
    "liability_month",
    "list_member",
    "member",
    "member_event",
    "pending_points",
    "point_value",
    "points_history",
    "posting",
    "redemption",
    "redemption_value",
    "referral",
    "refused_correction",
    "reject",
    "sale",
    "sale_line",
    "sale_note",
    "sync",
    "sync_attempt",
    "tier_history",
    "webhook",
]


#: Views of which the books have no row.
EMPTY = (
    "adjustment", "change", "code_entry", "consent", "delivery", "referral", "refused_correction", "reject",
    "http_attempt", "expiring_month",
    "left_out_sale", "liability_month", "list_member", "member_event", "sale_note", "sync_attempt",
    "tier_history", "webhook", "pending_points", "point_value", "redemption",
    "redemption_value",
)  # fmt: skip


@pytest.fixture
def analyst(books: Books) -> Iterator[psycopg.Connection]:
    """A connection of an analyst to books with a sale."""
    books.store(
        invoice(),
        invoice(external_id="B", status="void", customer_phone=OTHER_PHONE),
        lines=[line()],
    )
    books.award()
    with psycopg.connect(books.dsn, autocommit=True) as connection:
        connection.execute("SET ROLE analyst")
        yield connection


@pytest.mark.parametrize("view", VIEWS)
def test_reads_every_view(analyst: psycopg.Connection, view: str) -> None:
    found = analyst.execute(f"SELECT * FROM analytics.{view}").fetchall()
    assert found or view in EMPTY
    assert PHONE[1:] not in repr(found)


def test_the_list_of_views_is_complete(analyst: psycopg.Connection) -> None:
    names = analyst.execute(
        "SELECT viewname FROM pg_views WHERE schemaname = 'analytics' ORDER BY 1"
    ).fetchall()
    assert [name for (name,) in names] == VIEWS


@pytest.mark.parametrize(
    "what",
    [
        "loyalty.member",
        "billing.raw_page",
        "billing.customer",
        "billing.connector_token",
        "billing.reject",
        "billing.sync_run",
        "billing.webhook_event",
        "billing.webhook_secret",
        "billing.api_key",
        "billing.http_attempt",
    ],
)
def test_reads_no_personal_data_and_no_secret(analyst: psycopg.Connection, what: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        analyst.execute(f"SELECT * FROM {what}")
    if what == "loyalty.member":
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute("SELECT phone FROM loyalty.member")


def test_no_readable_column_is_called_a_phone_or_a_token(analyst: psycopg.Connection) -> None:
    readable = """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE n.nspname IN ('billing', 'loyalty', 'analytics') AND c.relkind IN ('r', 'v')
          AND has_column_privilege('analyst', c.oid, a.attnum, 'SELECT')
          AND a.attname ~ 'phone|token|secret|body|email'"""
    assert analyst.execute(readable).fetchall() == []


@pytest.mark.parametrize("privilege", ["INSERT", "UPDATE", "DELETE", "TRUNCATE"])
def test_writes_nothing(analyst: psycopg.Connection, privilege: str) -> None:
    writable = """
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('billing', 'loyalty', 'analytics', 'public') AND c.relkind IN ('r', 'v')
          AND has_table_privilege('analyst', c.oid, %s)"""
    assert analyst.execute(writable, [privilege]).fetchall() == []


def test_is_refused_when_writing(analyst: psycopg.Connection) -> None:
    for statement in (
        "UPDATE billing.invoice SET total_minor = 0",
        "DELETE FROM loyalty.award_entry",
        "INSERT INTO loyalty.member_dirty (member_id) VALUES (1)",
        "UPDATE analytics.reject SET reason = ''",
        "CREATE TABLE analytics.mine (id int)",
    ):
        with pytest.raises(
            (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
        ):
            analyst.execute(statement.encode())


def test_amounts_are_in_whole_units_of_each_currency(books: Books) -> None:
    books.store(
        *(
            invoice(external_id=code, currency=code, amount_refunded_minor=1)
            for code in ("AOA", "JPY", "KWD", "CLF")
        ),
        lines=[line("KWD", amount_minor=-5)],
    )
    totals = "SELECT currency, total::text, refunded::text FROM analytics.sale ORDER BY 1"
    assert books.rows(totals) == [
        ("AOA", "150.00", "0.01"), ("CLF", "1.5000", "0.0001"), ("JPY", "15000", "1"),
        ("KWD", "15.000", "0.001"),
    ]  # fmt: skip
    assert books.rows("SELECT currency, amount::text FROM analytics.sale_line") == [
        ("KWD", "-0.005")
    ]


def test_a_sale_shows_its_points_and_a_member_its_balance(books: Books) -> None:
    program(books, unlinked_credits="own_date")
    books.store(invoice(), invoice(external_id="CN", kind="credit_note", total_minor=20_000))
    books.award()
    assert books.rows("SELECT external_id, points, entries FROM analytics.sale ORDER BY 1") == [
        ("A", 1500, 1),
        ("CN", -2000, 1),
    ]
    member = (
        "SELECT tier, balance_points, added_points, taken_back_points, entries "
        "FROM analytics.member"
    )
    assert books.rows(member) == [("lead", -500, 1500, 2000, 2)]
    books.set_tier(books.member(), "gold", NOON)
    assert books.rows("SELECT tier FROM analytics.member") == [("gold",)]


def test_a_member_who_only_lost_points(books: Books) -> None:
    """Every column that is not nullable by nature has a number."""
    program(books, unlinked_credits="own_date")
    books.store(invoice(kind="credit_note"))
    books.award()
    with connect(books.dsn) as connection:
        row = connection.execute(
            "SELECT balance_points, added_points, taken_back_points FROM loyalty.member_balance"
        ).fetchone()
    assert row == (-1500, 0, 1500)
