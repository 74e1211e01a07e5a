"""`twezah up`, as an operator uses and abuses it: deep folders, edits in the UI, SIGTERM, kill -9."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connectors.kit.errors import block_name
from connectors.registry import declaration
from simulator import SYSTEMS
from simulator.registry import announcing
from tests.support import waiting
from tests.support.ports import free_ports
from tests.support.prefect_login import auth_string, login_headers
from tests.support.private import readable_by_others
from twezah.stack.locks import FileLock
from twezah.stack.pginstall import python_environment

wait_until = partial(waiting.wait_until, seconds=240)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
READY = "Ctrl-C stops everything."


def is_certified(system: str) -> bool:
    """Whether the system signs its webhooks with a certificate."""
    hook = declaration(system, {})
    return hook is not None and hook.scheme.certified is not None


def announced() -> str:
    """The connections whose system sends webhooks; a certificate is the real vendor's to give."""
    return ", ".join(
        sorted(block_name(system) for system in announcing() if not is_certified(system))
    )


def said_after(lines: Iterable[str], words: str) -> str:
    """The rest of the first line with these words."""
    return next(line for line in lines if words in line).partition(words)[2].strip()


@pytest.fixture(scope="module", autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell makes what it starts in the background deaf to SIGINT; it would be inherited."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A state folder with a space, deeper than a socket path may be, and ports of its own.

    An older version has left a log there that everybody can read.
    """
    base = {
        k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PREFECT_"))
    }
    home = tmp_path_factory.mktemp("state of") / ("x" * 120)
    ports = dict(
        zip(
            ("TWEZAH_PREFECT_PORT", "TWEZAH_SIMULATOR_PORT", "TWEZAH_API_PORT"),
            free_ports(3),
            strict=True,
        )
    )
    log = home / "logs" / "worker.log"
    log.parent.mkdir(parents=True)
    log.parent.chmod(0o755)
    log.touch(0o644)
    return {**base, **ports, "TWEZAH_HOME": str(home), "COLUMNS": "200"}


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """`twezah` with these arguments."""
    command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Exit code and output of a command that ends by itself."""
    with start(environment, *arguments) as process:
        out, err = process.communicate(timeout=400)
    return process.returncode, out, err


@contextmanager
def started(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`twezah up --simulator`, once it serves; ended after the block, if the block did not."""
    with start(environment, "up", "--simulator") as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            if not any(READY in line for line in process.stdout):
                pytest.fail(process.stderr.read())
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=180)
            wait_until(lambda: not left_behind(environment))


def left_behind(environment: dict[str, str]) -> dict[int, str]:
    """Process number -> command line of what belongs to this state folder."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes()
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue
        marks = [
            environment["TWEZAH_HOME"].encode(),
            f"TWEZAH_PREFECT_PORT={environment['TWEZAH_PREFECT_PORT']}".encode(),
        ]
        if command and int(folder.name) != os.getpid() and any(mark in variables for mark in marks):
            found[int(folder.name)] = command
    return found


def api(environment: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    """One request to the stack's Prefect API."""
    url = f"http://127.0.0.1:{environment['TWEZAH_PREFECT_PORT']}/api{path}"
    data = None if body is None else json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        **login_headers(Path(environment["TWEZAH_HOME"])),
    }
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def deployments(environment: dict[str, str]) -> dict[str, Any]:
    """All deployments by name."""
    return {d["name"]: d for d in api(environment, "POST", "/deployments/filter", {})}


def schedules_of(deployment: dict[str, Any]) -> list[tuple[str, bool]]:
    """Slug, and whether it is on, of each schedule."""
    return [(one["slug"], one["active"]) for one in deployment["schedules"]]


CONNECTED = sorted(name.replace("_", "-") for name in SYSTEMS)
BY_HAND = [
    "connect",
    "duplicates",
    "test-connection",
    "adjust-points",
    "redeem-points",
    "import-members",
    "merge-members",
    "member-phone",
    "set-tier",
    "set-referral",
    "member-event",
    "member-birthday",
    "enter-code",
    "award-waiting",
    "consent",
    "legal-hold",
    "program",
    "erase-member",
    "export",
    "export-member",
    "reconcile",
    "recompute-points",
    "replay",
    "try-mapping",
    "backfill",
    "webhook-address",
    "app-webhooks",
    "webhook-events",
    "test-alerts",
]
SCHEDULES = (
    {f"sync-{system}": "[('poll', True)]" for system in CONNECTED}
    | {"sync-file": "[('poll', False)]"}  # nothing is connected
    | dict.fromkeys((*BY_HAND, "sync-push"), "[]")
    | {
        "fx-rates": "[('daily', False)]",
        "webhooks": "[('sweep', True)]",
        "pages": "[('renew', True)]",
    }
    | dict.fromkeys(("audit-log", "check-alerts"), "[('look', True)]")
    | {"evaluate-tiers": "[('daily', True)]", "maintenance": "[('weekly', True)]"}
    | {"refresh-analytics": "[('hourly', True)]", "month-end": "[('monthly', True)]"}
)


def test_serves_until_it_is_ended_and_keeps_what_operators_edit(
    environment: dict[str, str],
) -> None:
    """One deployment per system, schedules on for connected ones; an edited schedule survives a restart.

    SIGTERM, SIGINT and kill -9 leave nothing running, and the next start is an ordinary one.
    """
    with started(environment) as first:
        found = deployments(environment)
        assert {name: str(schedules_of(one)) for name, one in found.items()} == SCHEDULES
        synced = [one for name, one in found.items() if name.startswith("sync-")]
        assert {one["global_concurrency_limit"]["limit"] for one in synced} == {1}
        all_parts_answer(environment)
        the_front_page_is_complete(environment)
        edited = found["sync-xero"]
        change = {"active": False, "schedule": {"interval": 1800}}
        api(
            environment,
            "PATCH",
            f"/deployments/{edited['id']}/schedules/{edited['schedules'][0]['id']}",
            change,
        )
        code, _, err = finish(environment, "up")
        assert code == 4 and "TWEZAH_HOME" in err
        all_is_private(environment)
        code, out, _ = finish(environment, "psql", "-Atc", "SELECT 1")
        assert (code, out.strip()) == (0, "1")
        assert first.stderr is not None
        assert said_after(first.stderr, "send webhooks: ") == f"{announced()}."
        vendors = f"http://127.0.0.1:{environment['TWEZAH_SIMULATOR_PORT']}/evolve?steps=5"
        with urllib.request.urlopen(
            urllib.request.Request(vendors, b"", method="POST"), timeout=20
        ) as answer:
            assert json.load(answer)["happened"]
        done = "coalesce(bool_and(state = 'done'), false) FROM billing.webhook_event"
        wait = f"DO $$ BEGIN FOR n IN 1..160 LOOP EXIT WHEN (SELECT {done}); PERFORM pg_sleep(0.25); END LOOP; END $$"
        code, out, _ = finish(environment, "psql", "-Atqc", wait, "-c", f"SELECT {done}")
        assert (code, out.strip()) == (0, "t"), "what happens there is announced and becomes points"
        first.terminate()
        assert first.wait(180) == 0
    assert left_behind(environment) == {}
    assert FileLock(Path(environment["TWEZAH_HOME"]) / "pg.keeper").is_free()
    with started(environment) as second:
        (schedule,) = deployments(environment)["sync-xero"]["schedules"]
        assert schedule["active"] is False and schedule["schedule"]["interval"] == 1800
        a_dead_worker_is_replaced(environment, second)
        second.send_signal(signal.SIGKILL)
        wait_until(lambda: not left_behind(environment))
    with started(environment) as third:
        third.send_signal(signal.SIGINT)
        assert third.wait(180) == 0


def all_parts_answer(environment: dict[str, str]) -> None:
    """Prefect's pages, and the API."""
    with urllib.request.urlopen(f"http://127.0.0.1:{environment['TWEZAH_PREFECT_PORT']}/") as page:
        assert b"<div id=" in page.read()
    health = f"http://127.0.0.1:{environment['TWEZAH_API_PORT']}/health"
    with urllib.request.urlopen(health) as answer:
        assert json.load(answer) == {"status": "ok", "database": "ok"}


def the_front_page_is_complete(environment: dict[str, str]) -> None:
    """It is there as soon as its address is printed; each connection is synchronised by itself."""
    url = f"http://127.0.0.1:{environment['TWEZAH_API_PORT']}/"
    login = login_headers(Path(environment["TWEZAH_HOME"]))

    def page() -> str:
        """ "" where a busy machine answers that it is too slow."""
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=login), timeout=60
            ) as got:
                return str(got.read().decode())
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return ""

    rows = re.findall(r'data-label="Connection" data-text="([^"]+)"', wait_until(page))
    assert sorted(rows) == CONNECTED

    def is_synchronised() -> bool:
        times = re.findall(r'data-label="Last success" data-text="([^"]+)"', page())
        return len(times) == len(CONNECTED) and all("ago" in time for time in times)

    waiting.wait_until(is_synchronised, seconds=900)
    # Each by a run that the connection got at once, and not by its schedule.
    wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    runs = api(environment, "POST", "/flow_runs/filter", wanted)
    by_itself = {run["deployment_id"] for run in runs if not run["auto_scheduled"]}
    found = deployments(environment)
    assert {found[f"sync-{name}"]["id"] for name in CONNECTED} <= by_itself


def all_is_private(environment: dict[str, str]) -> None:
    """Files are their owner's; the password is printed on demand, and nowhere else."""
    assert readable_by_others(Path(environment["TWEZAH_HOME"])) == []
    code, out, _ = finish(environment, "password")
    assert (code, out.strip()) == (0, auth_string(Path(environment["TWEZAH_HOME"])))
    secret = out.strip().partition(":")[2]
    assert not any(secret in command for command in left_behind(environment).values())
    logs = (Path(environment["TWEZAH_HOME"]) / "logs").glob("*")
    assert [log.name for log in logs if secret in log.read_text(errors="replace")] == []


def a_dead_worker_is_replaced(environment: dict[str, str], up: subprocess.Popen[str]) -> None:
    """The operator reads about it."""
    (worker,) = [
        pid
        for pid, command in left_behind(environment).items()
        if re.search(r"-m (twezah\.worker|prefect worker) ", command)
    ]
    os.kill(worker, signal.SIGKILL)
    assert up.stderr is not None
    assert any("worker ended" in line for line in up.stderr)
    assert len(left_behind(environment)) >= 4


def test_a_taken_port_is_said_before_anything_starts(environment: dict[str, str]) -> None:
    """The message names the setting."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(environment["TWEZAH_PREFECT_PORT"])))
        other.listen()
        code, _, err = finish(environment, "up")
    assert code == 4
    assert "TWEZAH_PREFECT_PORT=" in err and "Traceback" not in err
    assert left_behind(environment) == {}
