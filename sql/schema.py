"""The schema of a ledger database as text: what sql/schema.sql holds.

In: a migrated database. Out: SQL text with every table, column, constraint, index, sequence,
function, trigger, view and grant of ours, one object after the other, each with the comments that the
database has for it.

The text is read by people; databases are made by the migrations only (`sql.migrate`). It is
computed from PostgreSQL's catalogue and not by pg_dump, because a dump states comments, indexes and
constraints far away from the table they belong to.
"""

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sql.db import DbConnection
from sql.named_queries import query

#: Where the text is kept; `python -m scripts.schema` writes it, a test compares it.
SCHEMA: Final = Path(__file__).parent / "schema.sql"
#: Our schemas, in the order of the text.
SCHEMAS: Final = ("billing", "loyalty", "analytics", "audit", "public")
#: Longer texts and expressions are wrapped.
WIDTH: Final = 100
_HEAD: Final = """\
-- The schema of the ledger database as it is after all migrations, for reading.
-- Made by `python -m scripts.schema` from a migrated database. Do not edit it, and make no database
-- of it: sql/migrations is what counts, and a test holds this file equal to it.
-- Left out: the monthly partitions of billing.http_attempt (see billing.keep_attempt_months).
"""
#: Where a long definition may be broken: between the parts of a list, and before these words.
_BREAK: Final = re.compile(
    r"(?<=,) | (?=(?:REFERENCES|WHERE|WHEN|INCLUDE|FOR EACH|EXECUTE|AND|OR|FROM|ON|AS)\b)"
)
_TEXT: Final = r"'(?:[^']|'')*'"
#: What PostgreSQL writes out and a reader need not see, and what is read instead.
_PLAIN: Final = (
    (re.compile(rf"({_TEXT})::text\b(?!\[)"), r"\1"),
    (re.compile(rf"= ANY \(ARRAY\[({_TEXT}(?:, {_TEXT})*)\]\)"), r"IN (\1)"),
    (re.compile(r"\bNULL::(?:text|bigint|integer)\b"), "NULL"),
    (re.compile(r"\btimestamp with time zone\b"), "timestamptz"),
    (re.compile(r" USING btree\b"), ""),
    (re.compile(r"^CREATE OR REPLACE FUNCTION"), "CREATE FUNCTION"),
)


def schema_text(connection: DbConnection) -> str:
    """The schema as SQL text; the same for every migrated database of one release."""
    # Names of other schemas are written out, whatever the search path is.
    connection.execute(query("schema", "show_full_names"))
    parts = [_HEAD]
    for schema in SCHEMAS:
        parts += _schema(connection, schema)
    return "\n".join(parts)


def _schema(connection: DbConnection, schema: str) -> Iterator[str]:
    """The parts of one schema: itself, its tables, its functions, its views."""
    row = connection.execute(query("schema", "schema"), {"schema": schema}).fetchone()
    comment, grants = row or (None, [])
    yield f"\n-- {'=' * 20} {schema} {'=' * 20}\n"
    if schema != "public":
        yield _comment(comment) + f"CREATE SCHEMA {schema};\n" + _grants(grants)
    columns, trailers = _columns(connection, schema), _trailers(connection, schema)
    for name, kind, comment, options, grants in connection.execute(
        query("schema", "tables"), {"schema": schema}
    ).fetchall():
        body = ",\n".join(columns[name]) + "\n"
        table = f"CREATE {kind} {name} (\n{body}){options};\n"
        yield _comment(comment) + table + "".join(trailers[name]) + _grants(grants)
    for name, comment, grants in connection.execute(
        query("schema", "sequences"), {"schema": schema}
    ).fetchall():
        yield _comment(comment) + f"CREATE SEQUENCE {name};\n" + _grants(grants)
    for comment, definition, grants in connection.execute(
        query("schema", "functions"), {"schema": schema}
    ).fetchall():
        head, body = definition.rstrip().split("\n", 1)
        function = _wrapped(_plain(head), "") + "\n" + body + ";\n"
        yield _comment(comment) + function + _grants(grants)
    notes = _view_columns(connection, schema)
    for name, kind, comment, definition, grants in connection.execute(
        query("schema", "views"), {"schema": schema}
    ).fetchall():
        body = "\n".join(_wrapped_line(line) for line in _plain(definition).split("\n"))
        view = f"CREATE {kind} {name} AS\n{body}\n"
        yield _comment(comment) + notes[name] + view + "".join(trailers[name]) + _grants(grants)


def _columns(connection: DbConnection, schema: str) -> dict[str, list[str]]:
    """Per table the lines between its brackets: columns with their comments, then constraints."""
    lines: dict[str, list[str]] = defaultdict(list)
    for table, name, definition, comment in connection.execute(
        query("schema", "columns"), {"schema": schema}
    ).fetchall():
        column = _wrapped(_plain(f"{name} {definition}"), "    ")
        lines[table].append(_comment(comment, "    ") + column)
    for table, definition in connection.execute(
        query("schema", "constraints"), {"schema": schema}
    ).fetchall():
        lines[table].append(_wrapped(_plain(definition), "    "))
    return lines


def _trailers(connection: DbConnection, schema: str) -> dict[str, list[str]]:
    """Per table or view what is stated after it: its indexes and triggers."""
    lines: dict[str, list[str]] = defaultdict(list)
    for table, comment, definition in connection.execute(
        query("schema", "indexes_and_triggers"), {"schema": schema}
    ).fetchall():
        lines[table].append(_comment(comment) + _wrapped(_plain(definition), "") + ";\n")
    return lines


def _view_columns(connection: DbConnection, schema: str) -> dict[str, str]:
    """Per view what its columns are, as a list in comments."""
    lines: dict[str, str] = defaultdict(str)
    for view, name, comment in connection.execute(
        query("schema", "view_columns"), {"schema": schema}
    ).fetchall():
        lines[view] += _comment(f"{name}: {comment}", hanging="    ") if comment else ""
    return lines


def _comment(text: str | None, indent: str = "", hanging: str = "") -> str:
    """The text as lines that begin with `--`; nothing if there is none."""
    start = f"{indent}-- "
    lines = textwrap.wrap(
        text or "", WIDTH, initial_indent=start, subsequent_indent=start + hanging,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "".join(f"{line}\n" for line in lines)


def _plain(definition: str) -> str:
    """A definition without what only PostgreSQL needs to see; it means the same."""
    for pattern, plain in _PLAIN:
        definition = pattern.sub(plain, definition)
    return definition


def _wrapped(definition: str, indent: str) -> str:
    """A definition, broken between its parts where it is too long for one line."""
    lines = [""]
    for part in _BREAK.split(definition):
        if lines[-1] and len(lines[-1]) + 1 + len(part) > WIDTH - len(indent) - len(";"):
            lines.append("    " + part)
        else:
            lines[-1] += (" " if lines[-1] else "") + part
    return "\n".join(indent + line for line in lines)


def _wrapped_line(line: str) -> str:
    """A line that is indented already."""
    text = line.lstrip(" ")
    return _wrapped(text, " " * (len(line) - len(text)))


def _grants(grants: Sequence[str]) -> str:
    return "".join(f"{grant};\n" for grant in grants)
