"""What a message may say about a vendor's answer: the names of fields, never a value.

Even a key may be somebody's name or number, so not every key is shown.
"""

import re
from typing import Any, Final

from connectors.kit.mapping.pointers import dig, segments

#: An object with more keys, or with keys that do not look like the name of a field, is a table of
#: something. Its keys may be personal data, and are not shown.
KEYS_MAX: Final = 100
NAME: Final = re.compile(r"(?!.*\d{4})[^\W\d][\w .:@$#/()%-]{0,60}", re.DOTALL)
_SHOWN_MAX: Final = 8
#: Keys that a message may name. Messages reach more people than a report, so keys with spaces, dots
#: or at signs, as names of people and addresses have, are left out.
_TOLD: Final = re.compile(r"(?!.*\d{4})[^\W\d][\w-]{0,39}")


def what_is_there(value: Any, pointer: str) -> str:
    """What an answer has where a list was expected, in words.

    An example is `there is an object with the keys "id", "total"`.
    """
    at = dig(value, segments(pointer))
    if isinstance(at, dict) and pointer:
        return f"there is an object{_keys(at)}"
    if at is not None:
        return "there is something else" if pointer else f"the answer is an object{_keys(at)}"
    return (
        f"the answer has nothing there; it is an object{_keys(value)}"
        if isinstance(value, dict)
        else ""
    )


def _keys(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    if not value:
        return " without keys"
    names = [key for key in value if _TOLD.fullmatch(key)]
    # Several objects and nothing else are records by their keys, which may be those of customers.
    table = len(value) > 1 and all(isinstance(entry, dict) for entry in value.values())
    if len(value) > KEYS_MAX or not names or table:
        return f" with {len(value)} entries; records must be in a list"
    shown = ", ".join(f'"{name}"' for name in names[:_SHOWN_MAX])
    return f" with the keys {shown}{', ...' if len(value) > len(names[:_SHOWN_MAX]) else ''}"
