"""Ids in one form, however vendors, spreadsheets and people write them.

The same document has the same id everywhere.

`billing.normal_id` in the database does the same (migration 0053), for ids that were stored before.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

#: Characters that nobody sees: zero width, direction marks, soft hyphens, byte order marks.
UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
#: One or more spaces of any kind, as Unicode knows them.
SPACES: Final = re.compile("[\t-\r \x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
#: A spreadsheet or data frame took the number for one with a fraction.
_POINT_ZERO: Final = re.compile(r"(-?[0-9]+)[.,]0{1,2}")
#: Numbers as spreadsheets show long ones. An `E` without a plus may be part of an id ("2E-17").
_EXPONENT: Final = re.compile(
    r"[+-]?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+|[+-]?[0-9]+[.,][0-9]+[eE][+-]?[0-9]+|[1-9][eE][0-9]{2}"
)
#: Ids that `normal_id` may change or `is_exponent` refuse. All others are passed over, which costs
#: one search per column.
ODD: Final = r"[^!-~ ]|  |^ | $|[.,]0{1,2}$|^[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+$"
EXPONENT: Final = (
    "is a number in exponent notation, as spreadsheets show long ones: digits are lost, and it "
    "names no document. Format the column as text, and export again"
)
#: Between the parts of an id that is made of several fields.
SEPARATOR: Final = "/"


def normal_id(text: str) -> str:
    """An id in its normal form; "" where nothing is left.

    Unseen characters, surplus or odd spaces, and the `.0` of a number are left out.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", UNSEEN.sub("", text))
    text = SPACES.sub(" ", text.replace("\x00", "")).strip(" ")
    whole = _POINT_ZERO.fullmatch(text)
    return whole[1] if whole else text


def is_exponent(external_id: str) -> bool:
    """Whether an id is a number in exponent notation: digits are lost, so it names no document."""
    return any(_EXPONENT.fullmatch(part) for part in external_id.split(SEPARATOR))


def joined_id(parts: Iterable[str | None]) -> str | None:
    """One id made of several parts; None where one of them is missing."""
    normal = [normal_id(part) if part else "" for part in parts]
    return SEPARATOR.join(normal) if all(normal) else None


def content_digest(
    cells: Mapping[str, Any], leave_out: Callable[[str], bool] = lambda _: False
) -> str:
    """A short fingerprint of a record's content, wherever in a file or list it stands.

    Args:
        cells: The record's values by their names; empty ones do not count.
        leave_out: Says by its name whether a value does not count.
    """
    pairs = (
        (name, str(value).strip())
        for name, value in cells.items()
        if value is not None and not leave_out(name)
    )
    return hashlib.sha256(
        repr([pair for pair in pairs if pair[1]]).encode("utf-8", "replace")
    ).hexdigest()[:16]
