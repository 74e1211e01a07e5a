"""Decodes what vendors send as JSON, with small damages mended.

Known damages: a text cut in the middle of a character, and NaN or Infinity as a number.

Such a slip sits in one field, mostly one that nobody maps, and the decoder refuses the whole page
for it: every sale of it, in every run, until somebody edits that document. It is mended where
decoding failed, and nowhere else: the stored page stays as sent.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

#: Escaped backslashes and whole pairs are passed over; what is left is half of a pair.
_ESCAPES: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_HALF_BYTES: Final = len(rb"\ud83d")
#: Texts are passed over (also one that is cut off: else each quote in it would be tried to the
#: end); what is left was a number in Python or JavaScript.
_NO_NUMBERS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|-?\b(?:NaN|Infinity)\b', re.DOTALL)


class Decoder:
    """A JSON decoder for one type.

    Numbers with a fraction or exponent stay the text that was sent: money is never a float.

    Args:
        kind: What is decoded to.
        fraction: Makes something else of that text.
    """

    __slots__ = ("_decode",)

    def __init__(self, kind: Any, fraction: Callable[[str], Any] = str) -> None:
        self._decode = msgspec.json.Decoder(kind, float_hook=fraction).decode

    def decode(self, sent: "bytes | str | msgspec.Raw") -> Any:
        """The value.

        Raises:
            msgspec.DecodeError: It is no JSON, or (ValidationError) of another type.
            RecursionError: It is nested too deeply.
        """
        try:
            return self._decode(sent)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            mended = mend(
                sent.encode("utf-8", "surrogatepass") if isinstance(sent, str) else bytes(sent)
            )
            if mended is None:
                raise
        return self._decode(mended)


def mend(sent: bytes) -> bytes | None:
    """The JSON with its damages mended; None if there are none.

    U+FFFD stands for half a character, null for NaN and Infinity.
    """
    mended = _ESCAPES.sub(_whole, sent)
    if b"NaN" in mended or b"Infinity" in mended:
        mended = _NO_NUMBERS.sub(_number, mended)
    return None if mended == sent else mended


def _whole(match: "re.Match[bytes]") -> bytes:
    return rb"\ufffd" if len(match[0]) == _HALF_BYTES else match[0]


def _number(match: "re.Match[bytes]") -> bytes:
    return match[0] if match[0].startswith(b'"') else b"null"
