"""Failures of the local stack that an operator can act on."""


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
