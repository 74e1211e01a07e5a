"""Identifiers as they are shown: one that is somebody's phone or e-mail address is masked like one.

Small shops number documents and customers by the customer's phone. Such a number is a key in the
tables, and personal data wherever people read it: reports, messages, logs.
"""

import re
from typing import Final

import phonenumbers

#: The country of numbers without a country code, by default.
_REGION: Final = "AO"
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
#: Digits in one piece, or with gaps where they begin as no amount does.
_DIALLED: Final = re.compile(
    r"(?<![A-Za-z0-9.,+])"
    r"(?:(?:\+|00)\d[\d\s().\-/]{6,18}\d|\d{8,15})"
    r"(?![A-Za-z0-9])(?![.,]\d)"
)
#: A whole identifier that is nothing but digits and what is written between them.
_ONLY: Final = re.compile(r"[+\d][\d\s().\-/]{6,20}\d")
#: Digits left at the end, so that two documents can be distinguished.
_LEFT: Final = 2


def identifier(value: str | None, region: str = _REGION) -> str:
    """A document's or customer's number, a reference or a file's name, as it may be shown."""
    if not value:
        return ""
    if _ONLY.fullmatch(value) and _is_phone(value, region):
        return _masked(value)
    return message(value, region)


def message(text: str, region: str = _REGION) -> str:
    """A text without the phones and e-mail addresses in it."""
    without = _MAIL.sub(lambda match: f"{match.group()[0]}•••@•••", text)
    return _DIALLED.sub(
        lambda match: _masked(match.group()) if _is_phone(match.group(), region) else match.group(),
        without,
    )


def _is_phone(value: str, region: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def _masked(value: str) -> str:
    kept = len(value) - _LEFT
    return re.sub(r"\d", "•", value[:kept]) + value[kept:]
