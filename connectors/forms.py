"""The forms of the billing systems: each `connectors/<system>/form.py` gives a `FORM`.

Apart from the registry, because who only reads sales or verifies webhooks needs no forms, and their
models take a moment to build.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from connectors.kit.spec.form import Form
from connectors.registry import modules


@cache
def forms() -> Mapping[str, Form]:
    """The form of every system, by its name: first the vendors, then what operators describe."""
    by_name = {name: module.FORM for name, module in modules("form")}
    ordered = sorted(by_name, key=lambda name: (by_name[name].access == "described", name))
    return MappingProxyType({name: by_name[name] for name in ordered})
