"""The fields of the blocks as tables, for docs/configuration.md.

`python -m scripts.systems` renews them; so does `python -m panel.blocks.guide FILE`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from panel.blocks.base import BillingConnection
from panel.blocks.kinds import BLOCKS
from panel.markdown import table

BEGIN: Final = "<!-- fields: begin -->"
END: Final = "<!-- fields: end -->"
_LONGEST_DEFAULT: Final = 40


def renewed(text: str) -> str:
    """The text with the tables of now between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def tables() -> str:
    """What all systems have in common, then what each has besides, or otherwise."""
    parts = ["### All systems", _table(BillingConnection, list(_form(BillingConnection)))]
    for kind in BLOCKS.values():
        title = (kind._block_type_name or "").removesuffix(" Connection")
        parts += [f"### {title}", own_table(kind.system)]
        if kind.form_lacks:
            titles = (BillingConnection.model_fields[name].title for name in kind.form_lacks)
            parts.append(f"Its form has no {', '.join(f'*{title}*' for title in titles)}.")
    return "\n\n".join(parts)


def own_table(system: str) -> str:
    """What the system's form has besides the general fields, or with another default."""
    kind = BLOCKS[system]
    return _table(kind, [name for name in _form(kind) if not _is_common(kind, name)])


def _is_common(kind: type[BillingConnection], name: str) -> bool:
    """The same field as of all systems."""
    field, general = kind.model_fields[name], BillingConnection.model_fields.get(name)
    if general is None:
        return False
    return (field.default, field.description) == (general.default, general.description)


def _form(kind: type[BillingConnection]) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = kind.model_json_schema()["properties"]
    return {name: fields[name] for name in fields if name in kind.model_fields}


def _table(kind: type[BillingConnection], names: list[str]) -> str:
    form = _form(kind)
    rows = [
        [
            f"*{form[name]['title']}*",
            f"`{name}`",
            _default(kind.model_fields[name]),
            form[name].get("description", "").replace("<", "&lt;"),
        ]
        for name in names
    ]
    return table(["Field", "In code", "Default", "What it is"], rows)


def _default(field: FieldInfo) -> str:
    secret = field.annotation is SecretStr
    if field.is_required():
        return "**needed**, secret" if secret else "**needed**"
    if secret:
        return "secret"
    value = field.get_default(call_default_factory=True)
    if value in ("", None) or value == {}:
        return ""
    choices = get_args(field.annotation) if get_origin(field.annotation) is not None else ()
    others = [choice for choice in choices if isinstance(choice, str) and choice != value]
    shown = f"`{value}`" if len(str(value)) <= _LONGEST_DEFAULT else "see the form"
    return shown + (f"; or {', '.join(f'`{choice}`' for choice in others)}" if others else "")


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
