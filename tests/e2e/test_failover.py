"""PostgreSQL fails over, with Patroni, etcd and HAProxy as deploy/ has them: nothing is lost.

The machines are addresses of the loopback network, so that the files are used as they are.
"""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
import yaml

from scripts.lint_deploy import DEPLOY, folder_with_certificate
from sql.part_lock import PartLock
from tests.support import waiting
from tests.support.deploy_tools import found, found_postgres
from tests.support.ports import free_ports
from twezah.stack import pginstall

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
wait_until = partial(waiting.wait_until, seconds=600)
PASSWORD = "of-this-test"


class Boxes:
    """Three machines: two with PostgreSQL, the third with etcd."""

    def __init__(self, network: str, folder: Path, certificates: Path) -> None:
        self.network = network
        self.folder = folder
        self.certificates = certificates
        self.user = pginstall.account()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (self.front, self.other_front, self.database) = free_ports(3)

    def address(self, box: str) -> str:
        """Of box1, box2 or box3."""
        return f"{self.network}.1{box[-1]}"

    def start_etcd(self) -> None:
        here = self.address("box3")
        urls = {
            "listen-client-urls": f"https://{here}:2379",
            "advertise-client-urls": f"https://{here}:2379",
            "listen-peer-urls": f"https://{here}:2380",
        }
        tls = {"cert-file": "tls.crt", "key-file": "tls.key", "trusted-ca-file": "ca.crt"}
        command = [found("etcd"), "--data-dir", str(self.folder / "etcd"), "--client-cert-auth"]
        command += [f"--{name}={value}" for name, value in urls.items()]
        command += [f"--{name}={self.certificates / file}" for name, file in tls.items()]
        command += [f"--peer-{name}={self.certificates / file}" for name, file in tls.items()]
        self._start("etcd", command, {})

    def start_database(self, box: str) -> None:
        """Patroni with the file of deploy/: this box's name, addresses and places."""
        home = self.folder / box
        home.mkdir(exist_ok=True)
        text = (DEPLOY / "patroni.yml").read_text().replace(",127.0.0.1:5432", ":5432")
        text = text.replace("/etc/twezah", str(home)).replace("10.0.0.11:2379", "")
        text = text.replace("hosts: ,10.0.0.12:2379,", "hosts: ")
        text = text.replace("10.0.0.11", self.address(box)).replace("10.0.0", self.network)
        text = text.replace("name: box1", f"name: {box}")
        # Whoever connects on the loopback network comes from its first address.
        text = text.replace(f"{self.network}.0/24", "127.0.0.0/8")
        config = yaml.safe_load(text)
        config["postgresql"] |= {
            "data_dir": str(home / "data"),
            "pgpass": str(home / "pgpass"),
            "bin_dir": str(found_postgres().parent),
        }
        config["postgresql"].setdefault("parameters", {})["unix_socket_directories"] = str(home)
        (home / "patroni.yml").write_text(yaml.safe_dump(config))
        for name in ("tls.crt", "tls.key", "ca.crt"):
            shutil.copy(self.certificates / name, home / name)
        for entry in (home, *home.iterdir()):
            if entry.name != "data" and self.user is not None:
                shutil.chown(entry, self.user)
                entry.chmod(0o700)
        passwords = dict.fromkeys(
            [f"PATRONI_{who}_PASSWORD" for who in ("SUPERUSER", "REPLICATION", "REWIND")]
            + ["PATRONI_RESTAPI_PASSWORD"],
            PASSWORD,
        )
        self._start(box, [found("patroni"), str(home / "patroni.yml")], passwords, own=True)

    def start_proxy(self) -> None:
        both = {
            f"TWEZAH_{kind}_{number}": f"{self.address(f'box{number}')}:{port}"
            for kind, port in (("PREFECT", 4200), ("API", 8080), ("POSTGRES", 5432))
            for number in (1, 2)
        }
        self._start(
            "haproxy",
            [found("haproxy"), "-db", "-f", str(DEPLOY / "haproxy.cfg")],
            {
                **both,
                "TWEZAH_PREFECT_BIND": f"127.0.0.1:{self.front}",
                "TWEZAH_API_BIND": f"127.0.0.1:{self.other_front}",
                "TWEZAH_POSTGRES_BIND": f"127.0.0.1:{self.database}",
                "TWEZAH_PREFECT_NAME": "localhost",
                "TWEZAH_API_NAME": "localhost",
                "TWEZAH_CERTIFICATE": str(self.certificates / "tls.pem"),
                "TWEZAH_CA": str(self.certificates / "ca.crt"),
            },
        )

    def _start(
        self, name: str, command: list[str], more: dict[str, str], *, own: bool = False
    ) -> None:
        drop = {} if self.user is None or not own else pginstall.identity(self.user)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **drop,
            )

    @property
    def dsn(self) -> str:
        """Of the primary, by the proxy, with TLS and a password."""
        return (
            f"postgresql://postgres:{PASSWORD}@localhost:{self.database}/postgres"
            f"?sslmode=verify-full&sslrootcert={self.certificates / 'ca.crt'}&connect_timeout=5"
        )

    def primary(self) -> str | None:
        """Which box has it; None where none answers."""
        try:
            with psycopg.connect(self.dsn) as connection:
                row = connection.execute("SELECT inet_server_addr()::text").fetchone()
        except psycopg.OperationalError:
            return None
        assert row is not None
        return f"box{row[0].partition('/')[0][-1]}"

    def has_standby(self) -> bool:
        """A synchronous one, so that no commit is on one server alone."""
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            ).fetchone()
        return row == (1,)

    def write(self) -> bool:
        """Commits a row; raises psycopg.OperationalError where it may not have been."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS number")
        return True

    def has_kept(self) -> bool:
        """Whether that row is there, now."""
        with psycopg.connect(self.dsn) as connection:
            assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]
        return True

    def kill(self, box: str) -> None:
        """Everything of the box at once, as without power."""
        process = self.processes.pop(box)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with suppress(OSError):  # PostgreSQL leads a group of its own
            text = (self.folder / box / "data" / "postmaster.pid").read_text()
            os.kill(int(text.split()[0]), signal.SIGKILL)

    def stop(self) -> None:
        """In order; what does not end, or a failed test has left, by force."""
        for name in reversed(list(self.processes)):
            self.processes[name].terminate()
            with suppress(subprocess.TimeoutExpired):
                self.processes[name].wait(60)
            self.kill(name)

    def log_end(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-2000:]


@pytest.fixture
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
    """The third box and the proxy run; the databases do not yet."""
    network = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"
    addresses = [f"{network}.{number}" for number in (11, 12, 13)]
    folder = tmp_path_factory.mktemp("boxes")
    with folder_with_certificate(*addresses) as certificates:
        made = Boxes(network, folder, certificates)
        if made.user is not None:
            pginstall.open_to(made.user, folder)
        try:
            made.start_etcd()
            made.start_proxy()
            yield made
        finally:
            made.stop()


def eventually(attempt: Callable[[], bool]) -> None:
    """Until it is true; on a busy machine, and while a server moves, connections fail."""

    def once() -> bool:
        with suppress(psycopg.OperationalError):
            return attempt()
        return False

    wait_until(once)


def test_the_standby_takes_over_and_nothing_is_lost(boxes: Boxes) -> None:
    """What was committed is there, a lock of the dead box is gone, and that box joins again."""
    boxes.start_database("box1")
    wait_until(lambda: boxes.primary() == "box1", boxes.log_end("box1"))
    boxes.start_database("box2")
    eventually(boxes.has_standby)
    lock = PartLock(boxes.dsn, "caretaker")
    eventually(lock.acquire)
    eventually(boxes.write)

    boxes.kill("box1")
    wait_until(lambda: not lock.is_held())
    lock.release()
    wait_until(lambda: boxes.primary() == "box2")
    eventually(boxes.has_kept)
    eventually(lock.acquire)

    boxes.start_database("box1")
    eventually(boxes.has_standby)
    wait_until(lambda: boxes.primary() == "box2")
    lock.release()
