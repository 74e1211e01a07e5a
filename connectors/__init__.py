"""The billing systems: one folder each, read by the functions in `connectors.kit`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.registry import DESCRIBED, SYSTEMS, spec_for

__all__ = ["DESCRIBED", "SYSTEMS", "spec_for"]


def __getattr__(name: str) -> Any:
    """What the registry gives: all systems are imported when the first of it is asked for.

    Commands that only look into the ledger need `connectors.kit.errors` and none of them.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connectors import registry

    return getattr(registry, name)
