"""Redis Sentinel, with the files of deploy/: clients are told the name of the next primary."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.lint_deploy import DEPLOY, folder_with_certificate
from tests.support import waiting
from tests.support.deploy_tools import found
from tests.support.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
wait_until = partial(waiting.wait_until, seconds=300)
PASSWORD = "of-this-test"


class Machines:
    """Two with Redis and one with Sentinel, all by the name that the certificate has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first, self.second, self.sentinel = free_ports(3)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "passwords.conf").write_text(f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\n")

    def start(self, file: str, port: str, *more: str) -> None:
        """A program of Redis with a file of deploy/, and lines for this machine."""
        home = self.folder / port
        home.mkdir()
        text = (DEPLOY / file).read_text()
        for place in ("/etc/twezah", "/etc/redis"):
            text = text.replace(place, str(self.folder))
        for before, after in (
            ("/var/lib/redis", str(home)),
            ("change-me", PASSWORD),
            ("tls-port 26379", f"tls-port {port}"),
            ("tls-port 6379", f"tls-port {port}"),
            ("box1.example.com 6379 2", f"localhost {self.first} 1"),  # one sentinel decides
            ("box1.example.com", "localhost"),
        ):
            text = text.replace(before, after)
        (home / file).write_text("\n".join([text, "bind 127.0.0.1", *more, ""]))
        command = [found("redis-server"), str(home / file)]
        command += ["--sentinel"] if file == "sentinel.conf" else []
        with (home / "log").open("wb") as log:
            self.processes[port] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self, port: str) -> None:
        process = self.processes.pop(port)
        process.kill()
        process.wait()

    def asked(self, *question: str) -> list[Any]:
        """What Sentinel answers, by a connection that looks at the name; [] while it does not."""
        import redis

        client = redis.Redis(
            host="localhost", port=int(self.sentinel), password=PASSWORD, ssl=True,
            ssl_ca_certs=str(self.folder / "ca.crt"), ssl_check_hostname=True,
            decode_responses=True, protocol=3,
        )  # fmt: skip
        with suppress(redis.ConnectionError), client:
            connection = client.connection_pool.get_connection()
            connection.send_command("SENTINEL", *question)
            answer: list[Any] = connection.read_response()
            client.connection_pool.release(connection)
            return answer
        return []


@pytest.fixture
def machines() -> Iterator[Machines]:
    with folder_with_certificate() as folder:
        made = Machines(folder)
        try:
            yield made
        finally:
            for port in list(made.processes):
                made.kill(port)


def test_the_replica_becomes_the_primary_and_is_known_by_its_name(machines: Machines) -> None:
    machines.start("redis.conf", machines.first)
    machines.start("redis.conf", machines.second, f"replicaof localhost {machines.first}")
    machines.start("sentinel.conf", machines.sentinel)
    asked = partial(machines.asked, "GET-MASTER-ADDR-BY-NAME", "twezah")
    wait_until(lambda: asked() == ["localhost", machines.first])
    wait_until(lambda: is_linked(machines.asked("REPLICAS", "twezah"), machines.second))
    machines.kill(machines.first)
    wait_until(lambda: asked() == ["localhost", machines.second])


def is_linked(replicas: list[dict[str, str]], port: str) -> bool:
    """Whether the replica has reached its primary, as Sentinel tells it of that name."""
    status = {row["name"]: row["master-link-status"] for row in replicas}
    return status == {f"localhost:{port}": "ok"}
