"""Failures of the local stack that an operator can act on."""

import errno
from typing import Final

_OUT_OF_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
#: Errors of the system that somebody must correct before another attempt can succeed.
PERMANENT_ERRNOS: Final = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, *_OUT_OF_SPACE,
)  # fmt: skip


def is_out_of_space(error: OSError) -> bool:
    """True where the disk, or what one user may have of it, is full."""
    return error.errno in _OUT_OF_SPACE


def explained(error: OSError) -> str:
    """What the error says; where there is no space left, what to do."""
    if is_out_of_space(error):
        return "The disk is full. Free some space and start again; nothing committed is lost."
    return str(error)


class StackError(RuntimeError):
    """Something around the program is wrong, and an operator can correct it.

    The message says what is wrong, and names the setting or the command that helps.
    """


class PortTaken(StackError):
    """Another program listens where one of ours should."""


class DatabaseFailed(StackError):
    """PostgreSQL could not be started or reached.

    Where `permanent` is true, another attempt would change nothing before somebody has acted.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class AlreadyUp(StackError):
    """Another `twezah up` serves from the same state folder."""
