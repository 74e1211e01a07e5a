"""The command line: help that helps, exit codes that mean something, a start that takes no time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    ["up"],
    ["part"],
    ["demo"],
    ["sync"],
    ["replay"],
    ["status"],
    ["explain"],
    ["psql"],
    ["analyst", "on"],
    ["analyst", "rotate"],
    ["analyst", "off"],
    ["report", "month"],
    ["mapping", "try"],
    ["connect"],
    ["connection", "test"],
    ["api"],
    ["keys", "create"],
    ["keys", "list"],
    ["keys", "rotate"],
    ["keys", "revoke"],
    ["import", "balances"],
    ["import", "tiers"],
    ["import", "referrals"],
    ["webhooks", "create"],
    ["webhooks", "list"],
    ["webhooks", "subscriptions"],
    ["webhooks", "subscribe"],
    ["webhooks", "rotate"],
    ["webhooks", "disable"],
    ["webhooks", "replay"],
    ["points", "adjust"],
    ["points", "void"],
    ["points", "reverse"],
    ["points", "value"],
    ["points", "try"],
    ["program", "check"],
    ["program", "diff"],
    ["program", "apply"],
    ["program", "show"],
    ["duplicates", "find"],
    ["duplicates", "declare"],
    ["fx", "load"],
    ["member", "find"],
    ["member", "merge"],
    ["member", "unmerge"],
    ["member", "phone"],
    ["member", "event"],
    ["member", "birthday"],
    ["member", "code"],
    ["member", "consent"],
    ["member", "certificate"],
    ["hold", "place"],
    ["hold", "lift"],
    ["hold", "list"],
    ["key", "rotate"],
    ["key", "status"],
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for the commands that need a database."""
    return tmp_path_factory.mktemp("home")


def twezah(
    *arguments: str, home: Path | None = None, extra: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("TWEZAH_", "PREFECT_"))}
    given = {
        **base,
        "COLUMNS": "200",
        **({"TWEZAH_HOME": str(home)} if home else {}),
        **(extra or {}),
    }
    command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=given, timeout=60, check=False
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    """Someone who has read nothing else can copy a line that works."""
    result = twezah(*command, "--help")
    assert result.returncode == 0
    assert f"twezah {' '.join(command)}" in result.stdout
    assert "Example" in result.stdout


def test_all_rejects_have_no_period() -> None:
    result = twezah("replay", "xero", "--rejects", "--since", "2026-01-01")
    assert result.returncode == 2
    assert "all open rejects" in result.stderr


def test_help_is_quick() -> None:
    """No heavy import on the way to the help: those take seconds."""
    assert twezah("--help").returncode == 0
    heavy = {"prefect", "polars", "pandas", "psycopg", "rich"}
    code = f"import sys, twezah.cli; print(sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "told"),
    [
        (["mapping", "try", "sap", os.devnull], {}, 2, "quickbooks"),
        (["connect", "sap"], {}, 2, "quickbooks"),
        (["sync", "xero", "--since", "yesterday"], {}, 2, "2026-01-31"),
        (["sync", "xero", "--since", "2026-02-01", "--until", "2026-01-01"], {}, 2, "later than"),
        (["sync"], {}, 2, "SYSTEM"),
        (["points", "adjust", "1", "0", "--reason", "r", "--author", "a"], {}, 2, "must not be 0"),
        (["up", "--evolve-every", "5"], {}, 2, "needs --simulator"),
        (["up", "--simulator", "--evolve-every", "0"], {}, 2, "--evolve-every"),
        (["part", "worker"], {}, 2, "TWEZAH_SECRET_KEY"),
        (["part", "database"], {}, 2, "caretaker"),
        (["part", "api", "--simulator-url", "http://127.0.0.1:9"], {}, 2, "caretaker"),
        (["status"], {"TWEZAH_PREFECT_PORT": "many"}, 2, "TWEZAH_PREFECT_PORT"),
        (
            ["status"],
            {"TWEZAH_DATABASE_URL": "postgresql://a:hunter2@127.0.0.1:9/x"},
            4,
            "TWEZAH_DATABASE_URL",
        ),
        (["status"], {"TWEZAH_HOME": "/proc/nowhere"}, 4, "TWEZAH_HOME"),
    ],
    ids=[
        "unknown system",
        "unknown system to connect",
        "no date",
        "window backwards",
        "no argument",
        "no points",
        "nothing to evolve",
        "never",
        "part without settings",
        "no part",
        "no caretaker",
        "bad port",
        "no database",
        "no home",
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], environment: dict[str, str], code: int, told: str
) -> None:
    """Exit code by who must act; no traceback, no secret."""
    result = twezah(*arguments, extra=environment)
    assert result.returncode == code
    assert told in result.stderr
    assert "Traceback" not in result.stderr and "hunter2" not in result.stderr


def test_psql_passes_arguments_and_exit_code_through(home: Path) -> None:
    """On the embedded database, started for the purpose, with the ledger's schemas in it."""
    result = twezah(
        "psql", "-At", "-c", "SELECT current_database(), count(*) FROM billing.invoice", home=home
    )
    assert result.stdout.strip() == "twezah|0"
    assert twezah("psql", "-v", "ON_ERROR_STOP=1", "-c", "SELECT 1/0", home=home).returncode == 1


def test_status_of_an_empty_ledger(home: Path) -> None:
    """An answer, not an error; JSON when a program asks."""
    assert "not up" in twezah("status", home=home).stdout
    answer = json.loads(twezah("status", "--json", home=home).stdout)
    assert answer["stack"] is None


def test_explaining_an_unknown_invoice_is_a_no(home: Path) -> None:
    """Exit code 1 and a sentence."""
    result = twezah("explain", "xero", "INV-404", home=home)
    assert result.returncode == 1
    assert "INV-404" in result.stderr


def test_adjusting_nobody_is_refused(home: Path) -> None:
    """A negative number is an argument; what cannot be done is said in a line."""
    result = twezah("points", "adjust", "404", "-5", "--reason", "r", "--author", "a", home=home)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "there is no member 404" in result.stderr
