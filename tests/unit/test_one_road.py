"""Tests, benchmarks and flows take the product's own road: nobody calls a step of it by himself.

A harness that dispatched by itself once hid that a replay asked the vendor. So who may use a step
is written down here, and everything that an operator can start is started by some test.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from settings import PROJECT_ROOT

#: Per step of the road: where it is defined, and who else may use it.
STEPS: Final = {
    "extract_pages": ("tasks/extract/pages.py", {"tasks/sync.py"}),
    "replay_pages": ("tasks/extract/pages.py", {"tasks/sync.py"}),
    "load_and_retry": ("tasks/load/retry_rejects.py", {"tasks/sync.py"}),
    "load_pages": ("tasks/load/invoices.py", {"tasks/sync.py", "tasks/load/retry_rejects.py"}),
    "load_announced": ("tasks/sync.py", {"tasks/webhooks/process.py"}),
    # (A test holds it up, and lets it go on.)
    "held_pages": (
        "tasks/webhooks/documents.py",
        {"tasks/webhooks/process.py", "tests/sync/test_webhooks.py"},
    ),
    "asked_pages": ("tasks/webhooks/documents.py", {"tasks/webhooks/process.py"}),
    "award_only": ("tasks/award/members.py", {"tasks/sync.py", "tests/db/test_rules_together.py"}),
    # Points that are due for another reason than a synchronisation, and tests of points alone.
    "award_members": (
        "tasks/award/members.py",
        {
            "tasks/sync.py",
            "tasks/award/recompute.py",
            "tasks/reconcile/points_due.py",
            "tasks/award/tier_review.py",
            "tasks/maintain.py",
            "twezah/cli/ledger.py",
            "tests/support/books.py",
            "tests/support/rules_file.py",
            "tests/api/test_generated_client.py",
            "tests/db/test_corrections.py",
            "tests/db/test_members.py",
            "tests/fuzz/road.py",
            "tests/sync/test_posted_by_others.py",
        },
    ),
    # The store's own tests need no vendor.
    "store_invoices": (
        "sql/store.py",
        {"tasks/load/invoices.py", "tests/support/books.py", "tests/db/test_store.py"},
    ),
    "void_deleted": (
        "sql/store.py",
        {"tasks/load/invoices.py", "tasks/load/corrections.py", "tests/support/books.py"},
    ),
}
_CODE: Final = (
    "api",
    "benchmarks",
    "connectors",
    "flows",
    "panel",
    "sql",
    "tasks",
    "tests",
    "twezah",
)


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of ours but this one: its path, and what it says."""
    for folder in _CODE:
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            if path != Path(__file__):
                name = path.relative_to(PROJECT_ROOT).as_posix()
                yield name, ast.parse(path.read_text(encoding="utf-8"), name)


def used(tree: ast.Module) -> set[str]:
    """Names of steps that a module imports, or takes from a module."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _CODE:
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and node.attr in STEPS:
            names.add(node.attr)
    return names & STEPS.keys()


def test_each_step_is_where_it_is_said_to_be() -> None:
    for step, (path, _) in STEPS.items():
        tree = ast.parse((PROJECT_ROOT / path).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert step in names, f"{step} is not defined in {path}"


def test_nobody_calls_a_step_but_the_one_way_through() -> None:
    wrong = [
        f"{name} uses {step}: call tasks.sync.synchronise"
        for name, tree in sources()
        for step in sorted(used(tree))
        if name not in {STEPS[step][0], *STEPS[step][1]}
    ]
    assert wrong == []


def test_flows_tests_and_benchmarks_go_through_synchronise() -> None:
    for path in ("flows/sync.py", "tests/sync/conftest.py", "benchmarks/ledger.py"):
        text = (PROJECT_ROOT / path).read_text(encoding="utf-8")
        assert re.search(r"from tasks\.sync import synchronise", text), path


def _deployments() -> list[dict[str, Any]]:
    found = yaml.safe_load((PROJECT_ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return list(found["deployments"])


def _entrypoint(deployment: dict[str, Any]) -> tuple[str, str]:
    path, _, name = deployment["entrypoint"].partition(":")
    return path.removesuffix(".py").replace("/", "."), name


@pytest.mark.parametrize("deployment", _deployments(), ids=lambda one: str(one["name"]))
def test_every_deployment_is_run_by_a_test_of_flows(deployment: dict[str, Any]) -> None:
    """Its flow itself is called there, under a real server, and not what the flow is made of."""
    module, name = _entrypoint(deployment)
    for path in sorted((PROJECT_ROOT / "tests" / "flows").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        aliases = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == module
            for alias in node.names
            if alias.name == name
        }
        loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        if aliases & loaded:
            return
    pytest.fail(f"no test in tests/flows runs {module}.{name}")
