"""The embedded PostgreSQL: shared by processes, gone when the last one is, whatever became of them."""

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from benchmarks.chaos.disk import Disk
from settings import Settings, embedded_dsn
from tests.support import waiting
from twezah.stack.errors import PERMANENT_ERRNOS, DatabaseFailed, explained
from twezah.stack.locks import FileLock
from twezah.stack.pginstall import explain, python_environment
from twezah.stack.postgres import is_running, libpq_environment, running

wait_until = partial(waiting.wait_until, seconds=15)

USER = """
import sys, time
from pathlib import Path
from settings import Settings
from twezah.stack.postgres import running
with running(Settings(home=Path(sys.argv[1]))) as dsn:
    print(dsn, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with spaces, deeper than a socket path may be."""
    return tmp_path_factory.mktemp("a b") / ("deep" * 30) / "home"


@pytest.fixture
def user(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the database."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        env=python_environment(),
    )
    with process:
        assert process.stdout is not None and process.stdout.readline().startswith("postgresql://")
        yield process
        process.kill()
    wait_until(FileLock(home / "pg.keeper").is_free)


def server_pid(home: Path) -> int:
    """Process of the running server."""
    return int((home / "pg" / "postmaster.pid").read_text().split()[0])


def test_runs_safely_and_privately_and_stops(home: Path) -> None:
    """PostgreSQL 18 with fsync, no TCP port, a private socket; stopped when the block ends; data stays."""
    for expected in (None, "kept"):
        with (
            running(Settings(home=home)) as dsn,
            psycopg.connect(dsn, autocommit=True) as connection,
        ):
            facts = connection.execute(
                "SELECT current_setting('server_version_num')::int, current_setting('fsync')"
            )
            version, fsync = facts.fetchone() or (0, "")
            assert version >= 180000 and fsync == "on"
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
            folder = Path(str(connection.info.get_parameters()["host"]))
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            if expected is None:
                connection.execute("COMMENT ON DATABASE twezah IS 'kept'")
            comment = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'twezah'"
            )
            assert comment.fetchone() == ("kept",)
            psycopg.connect(embedded_dsn(home, "prefect")).close()
        assert not is_running(home)
        assert not folder.exists()


def test_a_second_user_keeps_it_running(home: Path, user: subprocess.Popen[str]) -> None:
    """The first to leave does not stop it for the others."""
    with running(Settings(home=home)) as dsn:
        pid = server_pid(home)
        psycopg.connect(dsn).close()
    assert is_running(home) and server_pid(home) == pid
    user.terminate()


def test_kill_9_of_the_last_user_stops_it(home: Path, user: subprocess.Popen[str]) -> None:
    """Nothing is left behind, and the next start is an ordinary one."""
    pid = server_pid(home)
    user.kill()
    wait_until(FileLock(home / "pg.keeper").is_free)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with running(Settings(home=home)) as dsn:
        psycopg.connect(dsn).close()


@pytest.mark.usefixtures("user")
def test_a_server_that_dies_is_started_again(home: Path) -> None:
    """The keeper restarts it; committed data is there."""
    pid = server_pid(home)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (home / "pg" / "postmaster.pid").exists() and server_pid(home) != pid)

    def answers() -> bool:
        try:
            psycopg.connect(embedded_dsn(home, "twezah")).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_until(answers)


def test_a_stale_pid_file_is_no_obstacle(home: Path) -> None:
    """After a power cut its number may belong to any process, here to this one."""
    with running(Settings(home=home)):
        text = (home / "pg" / "postmaster.pid").read_text()
    (home / "pg" / "postmaster.pid").write_text(
        "\n".join([str(os.getppid()), *text.splitlines()[1:]]) + "\n"
    )
    with running(Settings(home=home)) as dsn:
        psycopg.connect(dsn).close()


def test_lock_is_shared_or_exclusive(tmp_path: Path) -> None:
    """Shared holders exclude an exclusive one, until the last lets go."""
    first, second, alone = (FileLock(tmp_path / "lock") for _ in range(3))
    assert first.acquire(shared=True) and second.acquire(shared=True)
    assert not alone.acquire(timeout_seconds=0)
    first.release()
    assert not alone.is_free()
    second.release()
    assert alone.acquire(timeout_seconds=0)


def test_full_disk_is_said_in_words() -> None:
    """The remedy, not a log line."""
    assert "disk is full" in explain(
        'FATAL:  could not write lock file "postmaster.pid": No space left on device'
    )


@pytest.mark.skipif(not Disk.is_possible(), reason="mounting needs root")
def test_a_start_on_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    """And the data is there afterwards."""
    disk = Disk(tmp_path / "disk", 500 * 2**20)
    try:
        disk.mount()
    except subprocess.CalledProcessError:
        pytest.skip("this system lets nobody mount")
    try:
        settings = Settings(home=disk.folder / "home")
        with running(settings) as dsn, psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        wait_until(FileLock(settings.home / "pg.keeper").is_free)
        disk.fill()
        with pytest.raises(DatabaseFailed, match=r"disk is full\. Free some space") as caught:
            running(settings).__enter__()
        assert caught.value.permanent
        disk.free()
        with running(settings) as dsn, psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
        wait_until(FileLock(settings.home / "pg.keeper").is_free)
    finally:
        disk.unmount()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_an_error_of_the_system_is_said_with_its_remedy(number: int) -> None:
    """Whichever of our own files is the first that cannot be written."""
    full = OSError(number, os.strerror(number))
    assert explained(full).startswith("The disk is full. Free some space")
    assert number in PERMANENT_ERRNOS
    assert explained(OSError(errno.EIO, "Input/output error")) == "[Errno 5] Input/output error"


def test_unreachable_server_is_reported_without_its_password() -> None:
    """A configured database that does not answer is named by its setting."""
    wrong = Settings(database_url="postgresql://app:hunter2@127.0.0.1:9/ledger")  # type: ignore[arg-type]
    with pytest.raises(DatabaseFailed, match="TWEZAH_DATABASE_URL") as caught, running(wrong):
        pass
    assert "hunter2" not in str(caught.value)


def test_connection_goes_to_psql_through_the_environment() -> None:
    """Other users of the machine see command lines, not environments."""
    given = libpq_environment("postgresql://app:hunter2@db.example:6432/ledger?sslmode=require")
    wanted = {
        "PGHOST": "db.example",
        "PGPORT": "6432",
        "PGUSER": "app",
        "PGPASSWORD": "hunter2",
        "PGDATABASE": "ledger",
    }
    assert given | wanted == given and given["PGSSLMODE"] == "require"
