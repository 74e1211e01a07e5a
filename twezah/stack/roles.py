"""The database roles of the stack's processes: each may do what it is there for, and no more.

The migrations make the roles and say what they may do. On the embedded server they log in by its
socket; on another one their sessions take the role (`TWEZAH_DATABASE_ROLES`).
"""

from typing import TYPE_CHECKING, Final

from settings import Settings
from twezah.stack.errors import DatabaseFailed

# For an annotation only: starting a command should not wait for the database driver.
if TYPE_CHECKING:
    import psycopg

#: The role of each kind of process.
API: Final = "twezah_api"
WORKER: Final = "twezah_worker"
PANEL: Final = "twezah_panel"
ROLES: Final = (API, WORKER, PANEL)


def role_environment(settings: Settings, role: str) -> dict[str, str]:
    """The variable that gives a process its role; empty where roles are not used."""
    return {"TWEZAH_DATABASE_ROLE": role} if _are_used(settings) else {}


def with_role(settings: Settings, role: str) -> Settings:
    """The settings with which a part of a process works in that role, where roles are used."""
    return settings.model_copy(update={"database_role": role}) if _are_used(settings) else settings


def _are_used(settings: Settings) -> bool:
    return settings.is_embedded or settings.database_roles


def prepare(settings: Settings, dsn: str) -> None:
    """Lets the roles log in at the embedded server; on another one, checks that they can be taken.

    Raises:
        DatabaseFailed: the user of TWEZAH_DATABASE_URL may not take one of them.
    """
    import psycopg
    from psycopg import sql

    if not _are_used(settings):
        return
    with psycopg.connect(dsn, autocommit=True) as connection:
        for role in ROLES:
            if settings.is_embedded:
                name = sql.Identifier(role)
                connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(name))
            elif not _may_take(connection, role):
                raise DatabaseFailed(
                    f"TWEZAH_DATABASE_ROLES: the user of TWEZAH_DATABASE_URL may not take the role "
                    f"{role}. Ask the server's administrator for: GRANT {role} TO that user.",
                    permanent=True,
                )


def _may_take(connection: "psycopg.Connection", role: str) -> bool:
    import psycopg
    from psycopg import sql

    try:
        with connection.transaction():
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    except psycopg.Error:
        return False
    return True
