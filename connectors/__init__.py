"""The billing systems: one folder each, read by the functions in `connectors.kit`."""

from connectors.registry import DESCRIBED, SYSTEMS, spec_for

__all__ = ["DESCRIBED", "SYSTEMS", "spec_for"]
