"""The run book quotes what the code says, names commands that exist, and its queries run."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import psycopg
import pytest
import typer

from settings import PROJECT_ROOT as ROOT
from tests.db_docs.test_guides import commands
from twezah.cli import app

INDEX = ROOT / "docs" / "runbook" / "README.md"
PAGES = sorted(INDEX.parent.glob("*.md"))
OTHERS = {"README.md", "backup.md", "routines.md", "upgrade.md"}
SYMPTOMS = [page for page in PAGES if page.name not in OTHERS]
HEADINGS = ["You see", "It means", "Do", "It is over when"]
PACKAGES = ("api", "connectors", "flows", "loyalty", "panel", "sql", "tasks", "twezah")


@cache
def said() -> list[str]:
    """All texts of the code: literals, docstrings and the names of errors."""
    texts = []
    for path in [one for package in PACKAGES for one in sorted((ROOT / package).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(" ".join(node.value.split()))
            elif isinstance(node, ast.ClassDef):
                texts.append(f"{node.name}:")
    return texts


def blocks(page: Path, kind: str) -> list[str]:
    """Lines of the page's fenced blocks of this kind."""
    found = re.findall(
        rf"^```{kind}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [line for block in found for line in block.splitlines()]


def words(page: Path) -> list[list[str]]:
    """The page's commands."""
    text = "\n".join(blocks(page, "console"))
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)  # a command may go on in the next line
    return [shlex.split(command) for command in commands if command.strip()]


def parts(quote: str) -> list[str]:
    """The parts of a quoted message that stand in the code.

    They are the parts between its places for values.
    """
    return [part for part in (" ".join(one.split()) for one in quote.split("…")) if len(part) > 1]


def test_the_index_leads_to_every_page() -> None:
    links = set(re.findall(r"\]\(([\w-]+\.md)\)", INDEX.read_text(encoding="utf-8")))
    assert links == {page.name for page in PAGES} - {"README.md"}
    assert "(runbook/README.md)" in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", SYMPTOMS, ids=lambda page: page.stem)
def test_a_page_has_its_four_parts_in_order(page: Path) -> None:
    assert re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_quoted_messages_are_those_of_the_code(page: Path) -> None:
    for quote in blocks(page, "text"):
        assert parts(quote), quote
        for part in parts(quote):
            assert any(part in text for text in said()), part


def test_a_message_that_the_code_does_not_say_is_noticed() -> None:
    assert not any("Re-consent with `twezah reconnect`" in text for text in said())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_exist(page: Path) -> None:
    known = commands(typer.main.get_command(app), "twezah")
    for command in words(page):
        if command[0] == "twezah":
            assert any(" ".join(command).startswith(name) for name in known), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_queries_run(page: Path, analyst: psycopg.Connection) -> None:
    for command in words(page):
        if command[:3] == ["twezah", "psql", "-c"]:
            analyst.execute(command[3].encode())
