"""The parts of the product alone, as on several machines, against one PostgreSQL outside of them.

Each has a state folder and a process of its own; nothing starts them but their command.
"""

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from scripts.lint_deploy import DEPLOY, folder_with_certificate
from settings import Settings
from tests.support import waiting
from tests.support.database import Databases, databases
from tests.support.deploy_tools import found
from tests.support.ports import free_ports
from twezah.stack.leftover_processes import end_marked, marked
from twezah.stack.prefect_health import is_healthy

__all__ = ["databases"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3000)]
wait_until = partial(waiting.wait_until, seconds=900)
#: Of Prefect's servers, and of Redis.
PASSWORD = "of-this-test"


class Running:
    """One part, or another program, and what it has written."""

    def __init__(self, home: Path, command: list[str], environment: dict[str, str]) -> None:
        self.home = home
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            env={**environment, "TWEZAH_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        self.lines.extend(line.rstrip() for line in self.process.stdout or ())

    def has_said(self, words: str) -> bool:
        assert self.process.poll() is None, self.lines[-20:]
        return any(words in line for line in self.lines)

    def end(self) -> int:
        """As a service manager does; returns its exit status."""
        self.process.terminate()
        return self.process.wait(180)


class Machines:
    """Starts parts; all get the same environment."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.running: list[Running] = []

    def start(self, part: str, machine: str, *arguments: str, **more: str) -> Running:
        command = [sys.executable, "-c", "from twezah.cli import main; main()", "part", part]
        home = self.folder / machine / part
        made = Running(home, [*command, *arguments], self.environment | more)
        self.running.append(made)
        return made

    def other(self, command: list[str], **more: str) -> Running:
        """A program that is none of our parts."""
        made = Running(self.folder, command, self.environment | more)
        self.running.append(made)
        return made

    def simulator(self) -> tuple[str, str]:
        """Starts it; returns the option with which a caretaker connects it."""
        port = self.environment["TWEZAH_SIMULATOR_PORT"]
        command = [sys.executable, "-m", "simulator", "--port", port]
        command += ["--state", str(self.folder / "simulator.json")]
        self.other([*command, "--parent-pid", str(os.getpid())])
        return "--simulator-url", f"http://127.0.0.1:{port}"

    def twezah(self, *arguments: str) -> tuple[int, str]:
        """An operator's command on one of the machines: its exit code, and all that it printed."""
        command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
        result = subprocess.run(
            command,
            env={**self.environment, "TWEZAH_HOME": str(self.folder / "operator")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    def end(self) -> None:
        """Whatever a failed test has left."""
        for one in self.running:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
            end_marked(one.home)


@pytest.fixture
def machines(databases: Databases, tmp_path: Path) -> Iterator[Machines]:
    """An empty ledger database, an empty database of Prefect, and what all parts are told."""
    ledger, prefect = databases.create(), databases.create()
    names = ("TWEZAH_PREFECT_PORT", "TWEZAH_SIMULATOR_PORT", "TWEZAH_API_PORT")
    ports = dict(zip(names, free_ports(3), strict=True))
    base = {k: v for k, v in os.environ.items() if not k.startswith(("TWEZAH_", "PREFECT_"))}
    made = Machines(
        tmp_path,
        {
            **base,
            **ports,
            "TWEZAH_DATABASE_URL": ledger,
            "TWEZAH_DATABASE_ROLES": "true",
            "TWEZAH_SECRET_KEY": Settings(home=tmp_path / "key").fernet_key().decode(),
            "TWEZAH_DATA_KEY": os.environ["TWEZAH_DATA_KEY"],
            "PREFECT_API_DATABASE_CONNECTION_URL": prefect.replace("://", "+asyncpg://", 1),
            "PREFECT_API_AUTH_STRING": f"admin:{PASSWORD}",
            "PREFECT_API_URL": f"http://127.0.0.1:{ports['TWEZAH_PREFECT_PORT']}/api",
            "COLUMNS": "200",
        },
    )
    yield made
    made.end()
    databases.drop()


def points_of(machines: Machines, system: str) -> int:
    """How many entries the ledger has of a system's sales."""
    with psycopg.connect(machines.environment["TWEZAH_DATABASE_URL"]) as connection:
        row = connection.execute(
            "SELECT count(*) FROM loyalty.award_entry WHERE system = %s", [system]
        ).fetchone()
    assert row is not None
    return int(row[0])


def sales_become_points(machines: Machines, system: str) -> None:
    """Something happens at a billing system; an operator runs its deployment, the worker takes it."""
    synchronised(machines, system)
    before = points_of(machines, system)
    url = f"http://127.0.0.1:{machines.environment['TWEZAH_SIMULATOR_PORT']}/evolve"
    httpx.post(url, params={"steps": 20, "systems": system}).raise_for_status()
    synchronised(machines, system)
    assert points_of(machines, system) > before > 0


def synchronised(machines: Machines, system: str) -> None:
    code, text = machines.twezah("sync", system)
    assert code == 0, text


def tell_no_secret(machines: Machines, *secrets: str) -> None:
    written = "\n".join(line for one in machines.running for line in one.lines)
    wanted = [machines.environment["TWEZAH_SECRET_KEY"], PASSWORD, *secrets]
    assert not [secret for secret in wanted if secret in written]


def killed(part: Running) -> None:
    """As a machine that loses its power, but for what its own watchdog still ends."""
    os.kill(part.process.pid, signal.SIGKILL)
    part.process.wait()


def test_parts_alone_make_points_and_a_second_caretaker_takes_over(machines: Machines) -> None:
    simulated = machines.simulator()
    api = machines.start("api", "one")
    worker = machines.start("worker", "one")
    wait_until(lambda: worker.has_said("Waiting for the caretaker"))
    first = machines.start("caretaker", "one", *simulated)
    wait_until(lambda: first.has_said("this machine's turn"))
    second = machines.start("caretaker", "two", *simulated)
    prefect = machines.start("prefect", "one")
    wait_until(lambda: second.has_said("Standing by"))
    wait_until(lambda: first.has_said("caretaker: ready"))
    wait_until(lambda: api.has_said("api: ready") and worker.has_said("worker: ready"))
    assert is_healthy(f"http://127.0.0.1:{machines.environment['TWEZAH_API_PORT']}")
    sales_become_points(machines, "xero")

    killed(first)
    wait_until(lambda: second.has_said("caretaker: ready"))
    wait_until(lambda: not marked(first.home))  # nothing of it goes on
    sales_become_points(machines, "square")

    for part in (worker, api, second, prefect):
        assert part.end() == 0, part.lines[-20:]
        assert marked(part.home) == []
    tell_no_secret(machines)


@pytest.fixture
def certified() -> Iterator[Path]:
    """A folder with a certificate of localhost, as deploy/ names its files."""
    with folder_with_certificate() as folder:
        yield folder


def start_redis(machines: Machines, folder: Path, port: str) -> None:
    """With the file of deploy/: TLS, and a password."""
    (folder / "passwords.conf").write_text(f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\n")
    text = (DEPLOY / "redis.conf").read_text()
    for place in ("/etc/twezah", "/etc/redis", "/var/lib/redis"):
        text = text.replace(place, str(folder))
    text = text.replace("tls-port 6379", f"tls-port {port}")
    (folder / "redis.conf").write_text(f"{text}\nbind 127.0.0.1\n")
    redis = machines.other([found("redis-server"), str(folder / "redis.conf")])
    wait_until(lambda: redis.has_said("Ready to accept connections"))
    machines.environment["TWEZAH_PREFECT_REDIS_URL"] = (
        f"rediss://:{PASSWORD}@localhost:{port}/0?ssl_ca_certs={folder / 'ca.crt'}"
    )


def start_proxy(machines: Machines, folder: Path, fronts: list[str], servers: list[str]) -> None:
    """With the file of deploy/: TLS to the outside, and TLS to the servers."""
    prefect, api, postgres = fronts
    certificate, key = str(folder / "tls.crt"), str(folder / "tls.key")
    names = ("TWEZAH_PREFECT_1", "TWEZAH_PREFECT_2", "TWEZAH_API_1", "TWEZAH_API_2")
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, servers, strict=True)}
    machines.other(
        [found("haproxy"), "-db", "-f", str(DEPLOY / "haproxy.cfg")],
        **addresses,
        TWEZAH_PREFECT_BIND=f"127.0.0.1:{prefect}",
        TWEZAH_API_BIND=f"127.0.0.1:{api}",
        TWEZAH_POSTGRES_BIND=f"127.0.0.1:{postgres}",
        TWEZAH_POSTGRES_1="127.0.0.1:1",  # the tests' server listens on no port
        TWEZAH_POSTGRES_2="127.0.0.1:1",
        TWEZAH_PREFECT_NAME="localhost",
        TWEZAH_API_NAME="localhost",
        TWEZAH_CERTIFICATE=str(folder / "tls.pem"),
        TWEZAH_CA=certificate,
    )
    machines.environment |= {
        "PREFECT_API_URL": f"https://localhost:{prefect}/api",
        "PREFECT_API_SSL_CERT_FILE": certificate,
        "TWEZAH_PREFECT_PUBLIC_URL": f"https://localhost:{prefect}",
        "TWEZAH_PREFECT_TLS_CERTIFICATE": certificate,
        "TWEZAH_PREFECT_TLS_KEY": key,
        "TWEZAH_PREFECT_TRUSTED_PROXIES": "127.0.0.1",
        "TWEZAH_API_PUBLIC_URL": f"https://localhost:{api}",
        "TWEZAH_API_TLS_CERTIFICATE": certificate,
        "TWEZAH_API_TLS_KEY": key,
        "TWEZAH_API_TRUSTED_PROXIES": "127.0.0.1",
    }


def ask(machines: Machines, url: str, body: Any = None) -> Any:
    """A request as others send it: by the proxy, with the authority's certificate."""
    token = base64.b64encode(machines.environment["PREFECT_API_AUTH_STRING"].encode()).decode()
    headers = {"authorization": f"Basic {token}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    context = ssl.create_default_context(cafile=machines.environment["PREFECT_API_SSL_CERT_FILE"])
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        return json.load(answer)


def events_since(machines: Machines, begun: datetime) -> list[str]:
    """What Prefect's services have written of runs since then."""
    wanted = {"occurred": {"since": begun.isoformat()}, "event": {"prefix": ["prefect.flow-run."]}}
    url = f"{machines.environment['PREFECT_API_URL']}/events/filter"
    page = ask(machines, url, {"filter": wanted, "limit": 50})
    return [event["event"] for event in page["events"]]


def test_two_servers_behind_a_proxy_share_what_they_know_and_one_may_die(
    machines: Machines, certified: Path
) -> None:
    """Redis, HAProxy and TLS as deploy/ has them; the services wait for each other as well."""
    *fronts, redis, prefect_one, prefect_two, api_one, api_two = free_ports(8)
    start_redis(machines, certified, redis)
    start_proxy(machines, certified, fronts, [prefect_one, prefect_two, api_one, api_two])
    simulated = machines.simulator()
    one = machines.start("prefect", "one", TWEZAH_PREFECT_PORT=prefect_one)
    two = machines.start("prefect", "two", TWEZAH_PREFECT_PORT=prefect_two)
    caretaker = machines.start("caretaker", "one", *simulated)
    services = machines.start("services", "one")
    wait_until(lambda: services.has_said("services: ready"))
    waiting_services = machines.start("services", "two")
    worker = machines.start("worker", "one")
    api = machines.start("api", "one", TWEZAH_API_PORT=api_one)
    wait_until(lambda: waiting_services.has_said("Standing by"))
    wait_until(lambda: one.has_said("prefect: ready") and two.has_said("prefect: ready"))
    wait_until(lambda: caretaker.has_said("caretaker: ready"))
    wait_until(lambda: worker.has_said("worker: ready") and api.has_said("api: ready"))
    sales_become_points(machines, "xero")

    begun = datetime.now(UTC)
    killed(one)
    killed(services)
    wait_until(lambda: waiting_services.has_said("services: ready"))
    sales_become_points(machines, "square")
    wait_until(lambda: "prefect.flow-run.Completed" in events_since(machines, begun))
    health = ask(machines, f"{machines.environment['TWEZAH_API_PUBLIC_URL']}/health")
    assert health == {"status": "ok", "database": "ok"}

    for part in (worker, api, caretaker, waiting_services, two):
        assert part.end() == 0, part.lines[-20:]
    tell_no_secret(machines)
