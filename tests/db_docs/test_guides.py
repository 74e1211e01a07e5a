"""What the guides say of commands, settings, points and files is true of the code."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

from loyalty.award import HISTORY, TIERS, award
from loyalty.currency import EXPONENTS
from loyalty.program import TIER_RATE_BPS, Program
from settings import PROJECT_ROOT as ROOT
from settings import Settings
from twezah.cli import app

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = DOCUMENTS[0].read_text(encoding="utf-8")


def commands(group: Any, prefix: str) -> list[str]:
    """Full names of all commands, sub-commands included."""
    names = []
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        names += commands(command, full) if hasattr(command, "commands") else [full]
    return names


def test_the_readme_names_every_command() -> None:
    names = commands(typer.main.get_command(app), "twezah")
    assert "twezah mapping try" in names
    assert [name for name in names if f"`{name}" not in README] == []


def test_the_readme_names_every_setting() -> None:
    own = {f"TWEZAH_{name.upper()}" for name in Settings.model_fields if name != "prefect_api_url"}
    assert [name for name in sorted(own | {"PREFECT_API_URL"}) if f"`{name}`" not in README] == []


def test_the_readme_names_every_make_target() -> None:
    targets = re.search(
        r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert targets is not None
    assert [
        name for name in targets[1].split() if name != "help" and f"`make {name}" not in README
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if not link.startswith(("http://", "https://", "/")):
            assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_exist(document: Path) -> None:
    """A file or folder of the code that a guide names is there; `<system>` stands for any."""
    if document.name == "adding-a-system.md":
        return  # names files that are still to be written
    folders = "|".join(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())
    for name in re.findall(rf"`((?:{folders})/[^`\s:]*)`", document.read_text(encoding="utf-8")):
        assert list(ROOT.glob(re.sub(r"<\w+>", "*", name))), name


def worked_examples() -> list[list[str]]:
    """Rows of the table of worked examples: total, refunded, currency, kind, tier, points."""
    text = (ROOT / "docs" / "points.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    start = next(at for at, row in enumerate(rows) if row[:3] == ["Total", "Refunded", "Currency"])
    taken = []
    for row in rows[start + 2 :]:
        if len(row) != len(rows[start]):
            break
        taken.append(row)
    return taken


@pytest.mark.parametrize("example", worked_examples(), ids=" ".join)
def test_worked_example(example: list[str]) -> None:
    total, refunded, currency, kind, tier, points = example[:6]
    at = datetime(2026, 5, 1, tzinfo=UTC)
    scale = Decimal(10) ** EXPONENTS[currency]
    row = {
        "system": "xero",
        "account": "A",
        "external_id": "1",
        "member_id": 1,
        "kind": kind,
        "status": "paid",
        "currency": currency,
        "total_minor": int(Decimal(total) * scale),
        "subtotal_minor": None,
        "amount_refunded_minor": int(Decimal(refunded) * scale),
        "issued_at": at,
        "page_id": 1,
        "record_no": 0,
    }
    tiers = pl.DataFrame([(1, at, tier.lower())], schema=TIERS, orient="row")
    program = Program(
        version=1,
        base_rate_bps=dict.fromkeys(EXPONENTS, 100_000),
        unlinked_credits="own_date",  # a credit by itself; no sale is told with it
        tier_rate_bps=dict(TIER_RATE_BPS),
        entry_tier="lead",
    )
    due = award(pl.DataFrame([row], schema=HISTORY), tiers, [program])["due"].item()
    assert due == int(points.replace("−", "-").replace(" ", ""))
