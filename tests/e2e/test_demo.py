"""The first minutes of a newcomer: the demo on a fresh folder, and the questions one asks after it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_ports
from twezah.stack.pginstall import python_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
#: Entries and points of some runs.
ROUND_2 = "SELECT count(*), sum(points) FROM loyalty.award_entry WHERE run_id IN ({})"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = {
        k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PREFECT_"))
    }
    home: Path = tmp_path_factory.mktemp("demo home")
    prefect, simulator = free_ports(2)
    return {
        **base,
        "TWEZAH_HOME": str(home),
        "TWEZAH_PREFECT_PORT": prefect,
        "TWEZAH_SIMULATOR_PORT": simulator,
    }


def twezah(environment: dict[str, str], *arguments: str) -> str:
    """Output of a command that must succeed."""
    command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def counted(environment: dict[str, str]) -> list[dict[str, Any]]:
    """What psql counts, in the shape of the demo's summary."""
    statement = (
        "SELECT json_agg(s ORDER BY s.system) FROM (SELECT i.system, count(*) AS sales, (SELECT count(*) FROM loyalty.award_entry e"
        " WHERE e.system = i.system) AS entries, (SELECT sum(points) FROM loyalty.award_entry e WHERE e.system = i.system) AS points"
        " FROM billing.invoice i GROUP BY i.system) s"
    )
    return json.loads(twezah(environment, "psql", "-XAtc", statement))


def test_the_demo_says_what_the_database_holds_twice_in_a_row(environment: dict[str, str]) -> None:
    first = json.loads(twezah(environment, "demo", "--json"))
    systems = {
        "quickbooks",
        "xero",
        "freshbooks",
        "netsuite",
        "sage_intacct",
        "custom",
        "wave",
        "woocommerce",
    }
    assert {row["system"] for row in first["systems"]} == systems
    assert all(run["ok"] for run in first["runs"])
    shown = [
        {name: row[name] for name in ("system", "sales", "entries", "points")}
        for row in first["systems"]
    ]
    assert shown == counted(environment)
    assert min(row["points"] for row in shown) > 0

    assert len(first["runs"]) == 2 * len(shown)
    corrected = {row["cause"]: row for row in first["second_round"]}
    assert corrected.keys() >= {"award", "tier", "edit", "refund", "void"}
    assert all(corrected[cause]["taken_back"] < 0 for cause in ("edit", "refund", "void"))
    assert {row["cause"] for row in first["examples"]} == corrected.keys()
    posted = twezah(
        environment,
        "psql",
        "-XAtc",
        ROUND_2.format(", ".join(repr(r["flow_run_id"]) for r in first["runs"][len(shown) :])),
    )
    assert posted.strip() == "|".join(
        str(sum(row[name] for row in corrected.values())) for name in ("entries", "points")
    )
    tiers = {row["tier"]: row for row in first["tiers"]}
    assert {tier: row["multiplier"] for tier, row in tiers.items()} == {
        "lead": "1", "silver": "1.2", "gold": "1.5", "platinum": "2",
    }  # fmt: skip
    assert sum(row["points"] for row in tiers.values()) == sum(row["points"] for row in shown)
    for row in tiers.values():
        assert row["points"] == row["base_points"] + row["tier_points"]
        assert (
            abs(row["points"] - row["base_points"] * float(row["multiplier"])) <= 2 * row["sales"]
        )

    second = json.loads(twezah(environment, "demo", "--json"))
    assert all(run["ok"] for run in second["runs"])
    assert "tier" not in {row["cause"] for row in second["second_round"]}
    again = [
        {name: row[name] for name in ("system", "sales", "entries", "points")}
        for row in second["systems"]
    ]
    assert again == counted(environment)
    # The simulated world went on where it stopped: its first round had nothing to tell.
    assert all("; 0 entries, +0 points" in run["message"] for run in second["runs"][:3])

    why = json.loads(twezah(environment, "explain", "quickbooks", "INV-001", "--json"))
    assert (why["points"], why["entries"][0]["breakdown"]) == (1500, {"base": 1500})
