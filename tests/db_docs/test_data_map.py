"""The data map is made of the schema's comments, and the auditor's page claims what is tested."""

import ast
import re

import pytest

from scripts.data_map import SCHEMA, TARGET, data_map, personal_columns
from settings import PROJECT_ROOT

SCHEMA_TEXT = SCHEMA.read_text(encoding="utf-8")
#: Columns of these names hold data of people, wherever they are.
_NAMES = re.compile(
    r"^    (\w*phone\w*|author|recorded_by|customer_external_id|source_ip|source_network|body_zstd"
    r"|headers|\w*email\w*) (text|jsonb|bytea|inet|cidr)",
    re.MULTILINE,
)


def test_the_map_is_that_of_the_schema() -> None:
    """If not: `python -m scripts.schema`, then `python -m scripts.data_map`."""
    assert TARGET.read_text(encoding="utf-8") == data_map(SCHEMA_TEXT)


def test_no_column_with_such_a_name_is_forgotten() -> None:
    marked = {(table, column) for table, column, _ in personal_columns(SCHEMA_TEXT)}
    tables = re.findall(
        r"^CREATE (?:UNLOGGED )?TABLE (\S+) \((.*?)\n\)", SCHEMA_TEXT, re.DOTALL | re.MULTILINE
    )
    named = {(table, column) for table, body in tables for column, _ in _NAMES.findall(body)}
    assert len(named) > 10
    assert named - marked == set()


def test_a_table_without_an_end_is_refused() -> None:
    new = "CREATE TABLE billing.new (\n    -- Personal data. A name.\n    name text\n);\n"
    with pytest.raises(ValueError, match=r"billing\.new\.name: say in ENDS"):
        data_map(new)


def test_every_test_that_the_auditor_is_told_of_exists() -> None:
    rows = [
        line
        for line in (PROJECT_ROOT / "docs" / "controls.md").read_text(encoding="utf-8").split("\n")
        if line.startswith(("| GDPR", "| The same"))
    ]
    assert len(rows) >= 15
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert named, f"no test shows: {row}"
        for path, name in named:
            tree = ast.parse((PROJECT_ROOT / path).read_text(encoding="utf-8"))
            tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in tests if name else tests, f"{path}::{name}"
