"""The kinds of block there are, by billing system: made of `connectors/<system>/form.py`."""

import types
from typing import Any, Final

from connectors.forms import forms
from connectors.kit.spec.form import Announced, Form, Subscribed
from connectors.registry import WEBHOOKS
from panel.blocks.base import BillingConnection
from panel.blocks.consented import ConsentedConnection
from panel.blocks.described import DescribedConnection

_BASES: Final[dict[str, type[BillingConnection]]] = {
    "consent": ConsentedConnection,
    "key": BillingConnection,
    "described": DescribedConnection,
}


def block_class(system: str, form: Form) -> type[BillingConnection]:
    """The block of a system's form.

    Pydantic takes the fields from the last base to the first: the system's own stand on top of the
    form, and what it changes counts before what is general.
    """
    bases: list[type] = [_BASES[form.access], form.fields]
    if form.webhook_secret:
        bases.insert(0, Announced)
    hook = WEBHOOKS.get(system)
    if hook is not None and hook.subscriptions is not None:
        bases.insert(0, Subscribed)
    if form.changed is not None:
        bases.insert(0, form.changed)
    members: dict[str, Any] = {
        "__module__": "panel.blocks",  # which finds it by its name
        "__doc__": form.summary,
        "_block_type_name": form.block,
        "_block_type_slug": form.slug,
        "_description": form.description,
        "system": system,
        "made_from": form,
        "form_begins": form.begins,
        "form_lacks": form.lacks,
    }
    if form.mapping_example:
        members["mapping_example"] = form.mapping_example
    made = types.new_class(form.class_name, tuple(bases), {}, lambda space: space.update(members))
    assert issubclass(made, BillingConnection)
    return made


BLOCKS: Final[dict[str, type[BillingConnection]]] = {
    system: block_class(system, form) for system, form in forms().items()
}


def register_blocks() -> None:
    """Makes the block types appear in Prefect's catalogue."""
    for block in BLOCKS.values():
        block.register_type_and_schema()


def account_field(system: str) -> str:
    """The field of the system's block that names the account.

    Raises:
        KeyError: If there is no such system, or its block's name is the account.
    """
    field = BLOCKS[system].made_from.account_field
    if not field:
        raise KeyError(system)
    return field
