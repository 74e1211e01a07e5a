"""The examples of docs/custom-systems.md, run as they stand."""

import json
import re
from typing import Any

import pytest

from connectors import spec_for
from connectors.kit.mapping.sample import try_record
from connectors.kit.spec import Account
from connectors.kit.spec.fields import Field
from panel.blocks import BLOCKS, DescribedConnection
from settings import PROJECT_ROOT

GUIDE = (PROJECT_ROOT / "docs" / "custom-systems.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(
    r"^### (Example \d).*?`answer\.\w+`\n+```(\w+)\n(.*?)```.*?`settings\.json`\n+```json\n(.*?)```.*?gives\n+```\n(.*?)```",
    re.DOTALL | re.MULTILINE,
)
EXAMPLES = EXAMPLE.findall(GUIDE)


def shown(record: dict[str, Any], line: str) -> str:
    """What the guide shows of a record, or of one of its lines in turn: the same fields, with the values there are."""
    names = [part.split(" ")[0] for part in line.removeprefix("line: ").split(", ")]
    return ", ".join(f"{name} {record[name]}" for name in names)


def test_there_are_three() -> None:
    assert [name for name, *_ in EXAMPLES] == ["Example 1", "Example 2", "Example 3"]


@pytest.mark.parametrize(
    ("name", "kind", "answer", "settings", "result"), EXAMPLES, ids=[row[0] for row in EXAMPLES]
)
def test_an_example_gives_what_the_guide_says(
    name: str, kind: str, answer: str, settings: str, result: str
) -> None:
    block = BLOCKS["file" if kind == "csv" else "custom"]
    assert issubclass(block, DescribedConnection)
    values = json.loads(settings)
    assert set(values) <= set(block.model_fields)
    connection = block(**{**block.sample_values(), **values}).connection()
    records = try_record(spec_for(connection), None, connection, answer.encode())
    assert all(record["ok"] for record in records), records
    things = [thing for record in records for thing in (record["invoice"], *record["lines"])]
    told = re.sub(r",\n +", ", ", result.strip()).splitlines()
    assert len(told) == len(things)
    for line, thing in zip(told, things, strict=True):
        assert line.removeprefix("line: ") == shown(thing, line)


def test_the_table_of_fields_is_that_of_the_code() -> None:
    """Every field an operator can map is named, with the places where it is looked for."""
    (stream,) = spec_for(Account("custom", "custom")).streams
    assert stream.lines is not None
    table = GUIDE[GUIDE.index("| Field |") : GUIDE.index("A document needs an id")]
    fields: dict[str, Field] = {**stream.fields, **stream.helpers}
    fields |= {f"lines.{name}": field for name, field in stream.lines.fields.items()}
    del fields["deleted_mark"]
    for name, field in fields.items():
        assert f"`{name}`" in table, name
        for path in field.paths:
            assert f"`{path}`" in table, path
