"""Failures of the local stack that an operator can act on."""


class StackError(RuntimeError):
    """Something around the project is wrong.

    The message says what, and names the setting or command that helps.
    """


class PortTaken(StackError):
    """Another program listens where one of ours should."""


class DatabaseFailed(StackError):
    """PostgreSQL could not be started or reached.

    `permanent`: trying again would change nothing; somebody must act first.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class AlreadyUp(StackError):
    """Another `twezah up` serves from the same state folder."""
