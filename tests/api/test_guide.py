"""docs/api.md names what there is, and nothing that there is not."""

import ast
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api import guard, keys, limits, member_writes, problems, webhooks
from api.models import (
    AccountStatus,
    DeploymentStatus,
    SyncRequest,
    TransactionFilter,
    WebhookStatus,
)
from connectors.kit.webhooks.signatures import Reason
from settings import PROJECT_ROOT, Settings
from sql.keys import DAYS, OVERLAP_DAYS, PER_MINUTE, SCOPES
from tests.api.office import Office

GUIDE = (PROJECT_ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def words(text: str) -> set[str]:
    """What stands in backticks, listings left out."""
    return set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def test_requests_and_scopes(office: Office) -> None:
    table = GUIDE.partition("\n## ")[0]
    found: dict[str, Any] = office.http.get("/openapi.json").json()["paths"]
    there = {f"{method.upper()} {path}" for path, ways in found.items() for method in ways}
    named = {one for one in words(table) if one.split(" ")[0] in ("GET", "POST", "PUT")}
    assert named == there
    assert {one for one in words(table) if ":" in one and " " not in one and "/" not in one} == set(
        SCOPES
    )


def codes_in_the_program() -> dict[str, int]:
    """Every code that a Problem is made with, and its status."""
    found = {reason.replace(" ", "_"): 401 for reason in get_args(Reason)}
    found |= {code: status for status, code in problems._CODES.items()}
    found |= {code: status for status, code in member_writes._PROBLEMS.values()}
    for path in (Path(PROJECT_ROOT) / "api").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            values = [one.value for one in node.args if isinstance(one, ast.Constant)]
            if node.func.id == "Problem" and len(values) >= 2 and isinstance(values[0], int):
                found[str(values[1])] = values[0]
            elif node.func.id == "retry_later" and values:
                given = {one.arg: one.value for one in node.keywords}
                status = given.get("status")
                found[str(values[0])] = (
                    int(status.value) if isinstance(status, ast.Constant) else 503
                )  # type: ignore[arg-type]
    return found


def test_problems() -> None:
    told = {
        code: int(status)
        for codes, status in re.findall(
            r"^\| (`.+?`) \| (\d{3}) \|", section("Errors"), flags=re.MULTILINE
        )
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert told == codes_in_the_program()


def test_status_fields() -> None:
    table = section("Status")
    for kind in (AccountStatus, WebhookStatus, DeploymentStatus):
        missing = set(kind.model_fields) - words(table) - {"system", "account", "connection"}
        assert missing == set(), kind.__name__


def test_filters_and_parameters() -> None:
    text = section("Amounts, times, pages") + section("Starting a synchronisation")
    for model in (TransactionFilter, SyncRequest):
        assert set(model.model_fields) - words(text) - {"system"} == set()


def test_metrics(office: Office) -> None:
    text = office.http.get("/metrics", headers=office.key()).text
    there = {
        f"{one.name}_total" if one.type == "counter" else one.name
        for one in text_string_to_metric_families(text)
        if one.name.startswith("twezah_") and not one.name.endswith("_created")
    }
    assert {one for one in words(section("Metrics")) if one.startswith("twezah_")} == there


@pytest.mark.parametrize(
    ("title", "number"),
    [
        ("Rate limits", PER_MINUTE),
        ("Rate limits", webhooks.REFUSED_PER_MINUTE),
        ("Rate limits", keys.WRONG_PER_MINUTE),
        ("Keys", DAYS),
        ("Keys", OVERLAP_DAYS),
        ("Errors", f"{guard.BODY_SECONDS_MAX:.0f} s"),
        ("Errors", f"{guard.BODY_BYTES_MAX // 1024} KiB"),
    ],
)
def test_numbers(title: str, number: object) -> None:
    assert re.search(rf"\b{number}\b", section(title))


def test_settings() -> None:
    named = set(re.findall(r"TWEZAH_API_\w+", GUIDE))
    assert named <= {f"TWEZAH_{name.upper()}" for name in Settings.model_fields}
    per_minute = f"{Settings.model_fields['api_source_per_minute'].default:,}".replace(",", " ")
    assert per_minute in section("Rate limits")
    assert limits.BURST_SECONDS == 10, "ten seconds' worth may come at once"
