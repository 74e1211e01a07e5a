"""Logs in as the role `analyst`.

The role itself logs in, so the session has no stronger role to return to.
"""

import base64
import hashlib
import hmac

import psycopg
from psycopg import sql

from settings import Settings
from sql.analyst_role import ROLE
from twezah.stack.errors import StackError
from twezah.stack.postgres import libpq_environment


def analyst_environment(settings: Settings, dsn: str) -> dict[str, str]:
    """`os.environ` with the connection of an analyst as PG* variables.

    The embedded server knows who asks by its socket. On another server the role gets a password of
    this installation, made from its secret key, unless TWEZAH_ANALYST_DATABASE_URL says how to log
    in.

    Raises:
        StackError: the role cannot log in, or could become another one; says what to do.

    """
    if settings.analyst_database_url is not None:
        configured = settings.analyst_database_url.get_secret_value()
        _require_analyst(configured)
        return libpq_environment(configured)
    password = None if settings.is_embedded else _password(settings)
    login = psycopg.conninfo.make_conninfo(dsn, user=ROLE, password=password)
    if not _can_log_in(login):
        _allow_login(dsn, password)
    _require_analyst(login)
    return libpq_environment(login)


def _can_log_in(login: str) -> bool:
    try:
        psycopg.connect(login, connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True


def _allow_login(dsn: str, password: str | None) -> None:
    """Lets the role log in; the server gets the password only as a hash."""
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            statement = sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(ROLE))
            if password is not None:
                encrypt = connection.pgconn.encrypt_password
                verifier = encrypt(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
                statement += sql.SQL(" PASSWORD {}").format(sql.Literal(verifier))
            connection.execute(statement)
    except psycopg.Error as error:
        raise StackError(
            f"The role {ROLE} cannot be given a login ({type(error).__name__}). Ask the server's "
            f"administrator for one, and name it in TWEZAH_ANALYST_DATABASE_URL."
        ) from None


def _require_analyst(login: str) -> None:
    """Raises StackError unless this login is the role itself, with no way to be another."""
    try:
        with psycopg.connect(login, connect_timeout=10) as connection:
            row = connection.execute(
                """SELECT session_user::text, rolsuper OR rolcreaterole OR rolbypassrls
                          OR EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid)
                   FROM pg_roles r WHERE rolname = session_user"""
            ).fetchone()
    except psycopg.OperationalError:
        raise StackError(
            f"The role {ROLE} cannot log in: the server refuses it (pg_hba.conf), or does not "
            "answer."
        ) from None
    if row is None or row[0] != ROLE:
        raise StackError(f"TWEZAH_ANALYST_DATABASE_URL does not log in as {ROLE}.")
    if row[1]:
        raise StackError(
            f"The role {ROLE} may become another role on this server. Revoke that first."
        )


def _password(settings: Settings) -> str:
    """The role's password: the same for an installation, and it does not reveal the secret key."""
    digest = hmac.digest(settings.fernet_key(), b"password of the role analyst", hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
