"""Every query of the analyst guide runs as the role `analyst` and answers with rows.

The role sees nothing personal.
"""

import re

import psycopg
import pytest

from settings import PROJECT_ROOT as ROOT

GUIDE = (ROOT / "docs" / "analysts.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```sql\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_guide_has_queries() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("query", QUERIES, ids=[query.splitlines()[0][:60] for query in QUERIES])
def test_query_answers(analyst: psycopg.Connection, query: str) -> None:
    assert analyst.execute(query.encode()).fetchall()


def test_the_ledger_adds_up(analyst: psycopg.Connection) -> None:
    assert analyst.execute(QUERIES[-1].encode()).fetchone() == (0, 0)


def test_every_view_is_in_the_guide(analyst: psycopg.Connection) -> None:
    views = analyst.execute(
        "SELECT table_name FROM information_schema.views WHERE table_schema = 'analytics'"
    ).fetchall()
    assert views
    assert [name for (name,) in views if f"`analytics.{name}`" not in GUIDE] == []


@pytest.mark.parametrize(
    "table",
    [
        "loyalty.member",
        "billing.customer",
        "billing.raw_page",
        "billing.connector_token",
        "billing.reject",
    ],
)
def test_an_analyst_sees_no_personal_data(analyst: psycopg.Connection, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        analyst.execute(f"SELECT * FROM {table}".encode())


def test_an_analyst_changes_nothing(analyst: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        analyst.execute("UPDATE billing.invoice SET total_minor = 0")
