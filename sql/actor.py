"""Who acts, for the audit log.

Each connection is told once, and whatever writes to the audit log takes the actor from there.
"""

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Longer names are cut: the column is bounded.
LENGTH_MAX = 200
_said: ContextVar[str | None] = ContextVar("actor", default=None)
_resolvers: list[Callable[[], str | None]] = []


#: Label of a Prefect run that says for whom it was started.
LABEL = "twezah.actor"


def actor(otherwise: str | None = None) -> str:
    """Who acts here and now.

    In this order: the actor of `acting_as`, what a resolver answers, `otherwise`, the user of the
    operating system.
    """
    name = _said.get()
    for resolve in () if name else _resolvers:
        name = name or resolve()
    return (name or otherwise or _user())[:LENGTH_MAX]


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """What is done in the block is recorded as done by `name`."""
    token = _said.set(name)
    try:
        yield
    finally:
        _said.reset(token)


def resolve_with(resolver: Callable[[], str | None]) -> None:
    """Asks `resolver` too, which returns None where it does not know."""
    if resolver not in _resolvers:
        _resolvers.append(resolver)


def _user() -> str:
    # Not from environment variables: everybody can set those.
    number = os.getuid()
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:  # a container's user may have no name
        return f"user {number}"
