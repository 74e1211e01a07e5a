"""Failures of the local stack that an operator can act on."""


class StackError(RuntimeError):
    """Something around the project is wrong.

    The message says what, and names the setting or command that helps.
    """


class PortTaken(StackError):
    """Another program listens where one of ours should."""


class DatabaseFailed(StackError):
    """PostgreSQL could not be started or reached."""


class AlreadyUp(StackError):
    """Another `twezah up` serves from the same state folder."""
