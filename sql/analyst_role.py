"""The login of the role `analyst` on the bundled server: what it may do there, and for how long."""

from typing import Any

from psycopg import sql

from sql.db import DbConnection
from sql.named_queries import query

#: Made by the migrations.
ROLE = "analyst"


class NotSafeError(RuntimeError):
    """The role could become another one: nobody gets a password for it."""


def give_password(connection: DbConnection, password: str) -> None:
    """Lets the role log in with this password and closes what else it could do.

    The server gets the password only as a hash. The caller commits.

    Raises:
        NotSafeError: somebody made the role a member of another one.

    """
    roles = [name for (name,) in connection.execute(query("analyst_role", "memberships"))]
    if roles:
        raise NotSafeError(
            f"The role {ROLE} is a member of {', '.join(roles)}: "
            f"REVOKE {', '.join(roles)} FROM {ROLE} first"
        )
    connection.execute(query("analyst_role", "defaults"))
    connection.execute(query("analyst_role", "close_side_doors").replace(b"%%", b"%"))
    set_password(connection, password)


def set_password(connection: DbConnection, password: str | None) -> None:
    """Another password from now on, or none: then nobody logs in by password. Caller commits."""
    verifier = None
    if password is not None:
        encrypt = connection.pgconn.encrypt_password
        verifier = encrypt(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
        sql.Identifier(ROLE), sql.Literal(verifier)
    )
    connection.execute(statement)


def end_sessions(connection: DbConnection) -> int:
    """Ends the sessions of analysts over TCP; how many."""
    return _count(connection.execute(query("analyst_role", "end_sessions")).fetchone())


def end_overlong(connection: DbConnection, minutes: int) -> int:
    """Ends sessions of analysts with a transaction that is older than this; how many.

    A session may switch its own timeouts off; an old transaction keeps the database from tidying
    up and makes migrations wait.
    """
    parameters = {"minutes": minutes}
    return _count(connection.execute(query("analyst_role", "end_overlong"), parameters).fetchone())


def _count(row: tuple[Any, ...] | None) -> int:
    return int(row[0]) if row else 0
