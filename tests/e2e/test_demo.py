"""The first minutes of a newcomer: two shells at once, the demo, and the questions after it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulator import SYSTEMS
from tests.support.ports import free_ports
from twezah.cli.demo import CHANGED_SYSTEMS
from twezah.stack.commands import SHARED_SALES
from twezah.stack.locks import FileLock
from twezah.stack.pginstall import python_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
#: Entries and points of some runs.
POSTED = "SELECT count(*), sum(points) FROM loyalty.award_entry WHERE run_id IN ({})"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = {
        k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PREFECT_"))
    }
    home: Path = tmp_path_factory.mktemp("demo home")
    prefect, simulator, api = free_ports(3)
    return {
        **base,
        "TWEZAH_HOME": str(home),
        "TWEZAH_PREFECT_PORT": prefect,
        "TWEZAH_SIMULATOR_PORT": simulator,
        "TWEZAH_API_PORT": api,
    }


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """A command in a session of its own, as from another shell."""
    command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def twezah(environment: dict[str, str], *arguments: str) -> str:
    """Output of a command that must succeed."""
    with start(environment, *arguments) as process:
        out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err[-2000:]
    return out


def rows(environment: dict[str, str], statement: str) -> list[list[Any]]:
    """What psql answers."""
    select = f"SELECT json_agg(array_to_json(ARRAY[{statement}]))"
    return list(json.loads(twezah(environment, "psql", "-XAtc", select)))


def counted(environment: dict[str, str]) -> list[dict[str, Any]]:
    """What psql counts, in the shape of the demo's summary."""
    statement = (
        "SELECT json_agg(s ORDER BY s.system) FROM (SELECT i.system, count(*) AS sales, (SELECT count(*) FROM loyalty.award_entry e"
        " WHERE e.system = i.system) AS entries, (SELECT sum(points) FROM loyalty.award_entry e WHERE e.system = i.system) AS points"
        " FROM billing.invoice i GROUP BY i.system) s"
    )
    return json.loads(twezah(environment, "psql", "-XAtc", statement))


def posted_by(environment: dict[str, str], runs: list[dict[str, Any]]) -> str:
    """Entries and points of these runs, as psql prints them; without points where there are none."""
    ids = ", ".join(repr(run["flow_run_id"]) for run in runs)
    return twezah(environment, "psql", "-XAtc", POSTED.format(ids)).strip()


def test_two_syncs_at_once_start_one_stack_and_post_the_points_once(
    environment: dict[str, str],
) -> None:
    """No stack runs: one of them starts it, both use it."""
    processes = [start(environment, "sync", "xero", "--simulator", "--json") for _ in range(2)]
    ended = [(process, *process.communicate(timeout=900)) for process in processes]
    for process, _, err in ended:
        assert process.returncode == 0, err[-2000:]
        assert "Traceback" not in err
    answers = [json.loads(out) for _, out, _ in ended]
    assert all(answer["ok"] for answer in answers)
    assert len({answer["flow_run_id"] for answer in answers}) == 2

    # One of them posted everything, the other found nothing left to post.
    first, second = sorted(
        answers, key=lambda answer: "; 0 entries, +0 points" in answer["message"]
    )
    assert "; 0 entries, +0 points" not in first["message"]
    assert "; 0 entries, +0 points" in second["message"]
    (system,) = second["systems"]
    assert f"; {system['entries']} entries, +" in first["message"]
    found = (
        "(SELECT count(*) FROM loyalty.award_entry), (SELECT sum(points) FROM loyalty.award_entry), "
        "(SELECT count(DISTINCT (external_id, member_id)) FROM loyalty.award_entry), "
        "(SELECT count(DISTINCT run_id) FROM loyalty.award_entry)"
    )
    ((entries, points, chains, runs),) = rows(environment, found)
    assert (entries, points) == (system["entries"], system["points"])
    assert chains == entries > 300
    assert runs == 1

    # Nothing was left running.
    home = Path(environment["TWEZAH_HOME"])
    assert all(FileLock(home / name).is_free() for name in ("up.lock", "up.guests", "pg.keeper"))
    assert not (home / "up.json").exists()


def test_the_demo_says_what_the_database_holds_twice_in_a_row(environment: dict[str, str]) -> None:
    first = json.loads(twezah(environment, "demo", "--json"))
    assert {row["system"] for row in first["systems"]} == set(SYSTEMS)
    assert all(run["ok"] for run in first["runs"])
    shown = [
        {name: row[name] for name in ("system", "sales", "entries", "points")}
        for row in first["systems"]
    ]
    assert shown == counted(environment)
    assert min(row["points"] for row in shown) > 0

    assert len(first["runs"]) == len(shown) + CHANGED_SYSTEMS
    corrected = {row["cause"]: row for row in first["second_round"]}
    assert corrected.keys() >= {"award", "tier", "edit", "refund", "void"}
    assert all(corrected[cause]["taken_back"] < 0 for cause in ("edit", "refund", "void"))
    assert {row["cause"] for row in first["examples"]} == corrected.keys()
    assert posted_by(environment, first["runs"][len(shown) :]) == "|".join(
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

    told = {row["system"]: row for row in first["told_twice"]}
    assert {system: row["sale_at"] for system, row in told.items()} == {
        "stripe": "shopify", "quickbooks": "shopify", "paypal": "woocommerce",
    }  # fmt: skip
    assert sum(row["documents"] for row in told.values()) == 3 * SHARED_SALES // 2

    second = json.loads(twezah(environment, "demo", "--json"))
    assert all(run["ok"] for run in second["runs"])
    assert "tier" not in {row["cause"] for row in second["second_round"]}
    again = [
        {name: row[name] for name in ("system", "sales", "entries", "points")}
        for row in second["systems"]
    ]
    assert again == counted(environment)
    # The simulated world went on where it stopped: its first round had nothing to tell, and posted
    # nothing. Its reports count what runs of other connections had posted for their sales before.
    first_round = second["runs"][: len(again)]
    assert all(run["message"].startswith("0 new, 0 changed, ") for run in first_round)
    assert posted_by(environment, first_round) == "0|"

    why = json.loads(twezah(environment, "explain", "quickbooks", "INV-001", "--json"))
    assert (why["points"], why["entries"][0]["breakdown"]) == (1500, {"base": 1500})
