"""The access of analysts to the bundled database: a TCP port on this machine, and a password.

The port is open while a file of the state folder names it. Whoever keeps the server looks at that
file and starts the server again when it changes (a second or two; whoever works with the database
connects again). Only the role `analyst` may use the port, and only for the ledger's database.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from settings import Settings, embedded_dsn
from sql import analyst_role, audit
from sql.db import connect
from twezah.stack import pginstall
from twezah.stack.errors import PortTaken, StackError

#: How long to wait until the server listens, or has ceased to.
WAIT_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Access:
    """What an analyst needs. The password is shown once and kept nowhere."""

    #: The loopback port of this machine.
    port: int
    #: A new password.
    password: str

    @property
    def url(self) -> str:
        """The connection string."""
        return f"postgresql://{analyst_role.ROLE}:{self.password}@127.0.0.1:{self.port}/twezah"


def switch_on(settings: Settings, port: int, run_id: str) -> Access:
    """Opens the port and makes a new password; an older one works no more.

    Raises:
        PortTaken: another program listens there.
        StackError: the database is not the bundled one, or does not listen in time.
        NotSafeError: the role could become another one.

    """
    _require_bundled(settings)
    changed = pginstall.tcp_port(settings.home) != port
    if changed and not pginstall.is_free(port):
        raise PortTaken(f"Port {port} belongs to another program. Choose another one: --port")
    password = secrets.token_urlsafe(24)
    with connect(embedded_dsn(settings.home, "twezah")) as connection:
        analyst_role.give_password(connection, password)
        analyst_role.end_sessions(connection)
        audit.record(
            connection, "analyst.access", "access of analysts", run_id=run_id,
            details={"port": port, "password": "made"},
        )  # fmt: skip
        connection.commit()
    if changed:
        _write(settings.home / pginstall.TCP_PORT_FILE, str(port))
    access = Access(port, password)
    _wait(lambda: _answers(access.url), f"The database does not listen on port {port}")
    return access


def switch_off(settings: Settings, run_id: str) -> None:
    """Takes the password away, ends the sessions and closes the port.

    Raises:
        StackError: the database is not the bundled one, or goes on listening.

    """
    _require_bundled(settings)
    port = pginstall.tcp_port(settings.home)
    with connect(embedded_dsn(settings.home, "twezah")) as connection:
        analyst_role.set_password(connection, None)
        analyst_role.end_sessions(connection)
        audit.record(
            connection, "analyst.access", "access of analysts", run_id=run_id,
            details={"password": "taken away"},
        )  # fmt: skip
        connection.commit()
    if port is not None:
        (settings.home / pginstall.TCP_PORT_FILE).unlink(missing_ok=True)
        _wait(lambda: pginstall.is_free(port), f"The database still listens on port {port}")
        _wait(lambda: _answers(embedded_dsn(settings.home, "twezah")), "The database is not back")


def _require_bundled(settings: Settings) -> None:
    if not settings.is_embedded:
        raise StackError(
            "This is for the bundled database. On a PostgreSQL server of your own, give analysts "
            "a login there: docs/analysts.md."
        )


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text + "\n")
    draft.replace(path)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _wait(condition: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"{message}; see keeper.log and postgres.log in the folder logs.")
        time.sleep(_POLL_SECONDS)
