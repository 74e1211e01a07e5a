"""Two processes of the API under load, and kills.

One process is killed with -9, and PostgreSQL is killed with -9 in the middle.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from cryptography.fernet import Fernet

from settings import Settings
from sql.migrate import migrate
from tests.api.office import (
    Office,
    office_on,
    own_process,
    sale,
    served,
    settings_for,
    signed,
    wait_until_ready,
)
from tests.support.ports import free_ports
from twezah.stack.errors import DatabaseFailed
from twezah.stack.postgres import ensure_started, running

EVENTS = 240
SENDERS = 6
SECONDS_MAX = 60.0


@dataclass
class Two:
    """Two processes of the API on a PostgreSQL of their own.

    One of them is the test's process, the other one can be killed.
    """

    home: Path
    dsn: str
    office: Office
    urls: list[str]
    pid: int


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    home, key = tmp_path / "pg", Fernet.generate_key().decode()
    with ExitStack() as leaving:
        dsn = leaving.enter_context(running(Settings(home=home)))
        migrate(dsn)
        settings = settings_for(tmp_path / "api", dsn, secret_key=key)
        app, config, runs = office_on(settings)
        (port,) = free_ports(1)
        process = leaving.enter_context(own_process(settings, int(port), TWEZAH_SECRET_KEY=key))
        urls = [f"http://127.0.0.1:{port}", leaving.enter_context(served(app, settings))]
        wait_until_ready(urls[0])
        yield Two(
            home,
            dsn,
            Office("", dsn, config, runs, leaving.enter_context(httpx.Client(timeout=30))),
            urls,
            process.pid,
        )


def kill_postgres(dsn: str) -> None:
    """The postmaster, as the kernel does it when memory is short."""
    with psycopg.connect(dsn) as connection:
        backend = connection.info.backend_pid
        parent = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)


def start_postgres(home: Path, dsn: str) -> None:
    """As the stack does, every second; the old server's processes leave one by one."""
    deadline = time.monotonic() + 30
    while True:
        try:
            ensure_started(home)
            psycopg.connect(dsn).close()
        except (DatabaseFailed, psycopg.OperationalError):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@dataclass
class Senders:
    """Some who send all events, each until it is acknowledged."""

    two: Two
    endpoint_id: str
    acknowledged: list[str] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    deadline: float = field(default_factory=lambda: time.monotonic() + SECONDS_MAX)

    def send(self, sender: int) -> None:
        """Every so-manieth event, to one process or the other."""
        choose = random.Random(sender)
        with httpx.Client(timeout=10) as http:
            for number in range(sender, EVENTS, SENDERS):
                while not self._acknowledged(
                    http, f"m{number}", sale(str(number)), choose.choice(self.two.urls)
                ):
                    assert time.monotonic() < self.deadline

    def _acknowledged(self, http: httpx.Client, name: str, body: bytes, url: str) -> bool:
        try:
            at = f"{url}/api/webhooks/billing/{self.endpoint_id}"
            status = http.post(at, content=body, headers=signed(body, name)).status_code
        except httpx.TransportError:  # this process was killed
            return False
        if status == 200:
            self.acknowledged.append(name)
            return True
        self.refused.add(status)
        time.sleep(0.1)
        return False

    def wait_for(self, share: float) -> None:
        """Until so many are acknowledged."""
        while len(self.acknowledged) < EVENTS * share:
            assert time.monotonic() < self.deadline
            time.sleep(0.01)


@pytest.mark.timeout(600)
def test_whatever_is_killed_nothing_acknowledged_is_lost_and_nothing_doubled(two: Two) -> None:
    office = two.office
    header = office.key(per_minute=1)
    codes = [
        office.http.get(f"{url}/api/billing/transactions", headers=header).status_code
        for url in two.urls * 2
    ]
    assert sorted(codes) == [200, 429, 429, 429], "one a minute, whichever process is asked"
    all_ = Senders(two, office.endpoint())
    with ThreadPoolExecutor(SENDERS) as pool:
        sent = [pool.submit(all_.send, sender) for sender in range(SENDERS)]
        all_.wait_for(0.3)
        kill_postgres(two.dsn)
        known = list(all_.acknowledged)
        time.sleep(0.5)
        start_postgres(two.home, two.dsn)
        stored = set(office.events(all_.endpoint_id))
        assert {f"id:{name}" for name in known} <= stored, (
            "acknowledged before the database was killed"
        )
        all_.wait_for(0.6)
        os.kill(two.pid, signal.SIGKILL)
        for one in sent:
            one.result()
    assert len(all_.acknowledged) == EVENTS
    assert all_.refused <= {503}, (
        "while the database is away, the sender waits, or is asked to come back"
    )
    assert sorted(office.events(all_.endpoint_id)) == sorted(
        f"id:m{number}" for number in range(EVENTS)
    )
    assert dict(office.attempts(all_.endpoint_id))["stored"] == EVENTS, (
        "the audit is written with the event"
    )
