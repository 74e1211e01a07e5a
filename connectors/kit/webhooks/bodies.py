"""Bodies of webhooks, which anyone may write.

They are opened within bounds; every oddity is named by its place and never by its value.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from connectors.kit.mapping.json_text import Decoder, mend
from connectors.kit.mapping.pointers import dig, segments

#: Limits of a body: levels of nesting, and values in all.
DEPTH_MAX: Final = 32
VALUES_MAX: Final = 200_000
#: Digits of a number, characters of an id, fields of a form.
_NUMBER_MAX: Final = 40
_ID_MAX: Final = 200
_FIELDS_MAX: Final = 50
#: What mending puts in place of half a character. No id has one.
_HALF: Final = "\ufffd"
_LIST: Final = Decoder(list[msgspec.Raw])
_ENTRIES: Final = Decoder(dict[str, msgspec.Raw])


class BadBody(ValueError):
    """A delivery that is not what its system sends.

    The message says where and why, without a value.
    """


class NotJson(BadBody):
    """A body that no JSON reader can read."""


def opened(body: bytes) -> Any:
    """The JSON of a body, mended as that of a list is.

    No key comes twice, numbers have a sensible length, and nothing is nested deeply.

    A key that comes twice would mean one thing to one reader and another to the next.

    Raises:
        BadBody: If it is anything else.
    """
    try:
        value = json.loads(
            (mend(body) or body).decode("utf-8-sig"),
            object_pairs_hook=_without_repeats,
            parse_int=_number,
            parse_float=_number,
        )
    except UnicodeDecodeError:
        raise NotJson("it is not UTF-8") from None
    except RecursionError:
        raise BadBody("it is nested too deeply") from None
    except BadBody:
        raise
    except ValueError:
        raise NotJson("it is not valid JSON") from None
    _measure(value)
    return value


def form(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form in their order, none twice.

    Raises:
        BadBody: If it is no form.
    """
    try:
        text = body.decode("ascii")
        fields = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            max_num_fields=_FIELDS_MAX,
            errors="strict",
        )
    except UnicodeDecodeError:
        raise BadBody("it is not a form in ASCII") from None
    except ValueError:
        raise BadBody("it is not a form") from None
    if len({name for name, _ in fields}) < len(fields):
        raise BadBody("a field of the form is given twice")
    return fields


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise BadBody("an object has the same key twice")
    return entries


def _number(text: str) -> str:
    """A number as text: nothing is computed with numbers here."""
    if len(text) > _NUMBER_MAX:
        raise BadBody(f"it holds a number of more than {_NUMBER_MAX} digits")
    return _Number(text)


class _Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


def _measure(value: Any) -> None:
    """Raises BadBody where a value is nested too deeply, or holds too many values."""
    level, count, depth = [value], 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > DEPTH_MAX:
            raise BadBody(f"it is nested more than {DEPTH_MAX} deep")
        if count > VALUES_MAX:
            raise BadBody(f"it holds more than {VALUES_MAX} values")
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]


def objects(value: Any, place: str, *, at_most: int) -> list[dict[str, Any]]:
    """A list of objects.

    Raises:
        BadBody: If it is none, or longer than `at_most`.
    """
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise BadBody(f"{place} is not a list of objects")
    if len(value) > at_most:
        raise BadBody(f"{place} holds more than {at_most} entries")
    return value


def word(record: Any, pointer: str, *, place: str = "", longest: int = _ID_MAX) -> str:
    """A text or a number at a pointer, as text of one line.

    Args:
        record: What the pointer goes into.
        pointer: A JSON pointer.
        place: Put before the pointer in messages.
        longest: The limit of its characters.

    Raises:
        BadBody: If there is none, or it is empty, too long, or has control characters in it.
    """
    text = optional_word(record, pointer, place=place, longest=longest)
    if text is None:
        raise BadBody(f"{place}{pointer} is missing")
    return text


def optional_word(
    record: Any, pointer: str, *, place: str = "", longest: int = _ID_MAX
) -> str | None:
    """As `word`; None where there is nothing."""
    value = dig(record, segments(pointer))
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadBody(f"{place}{pointer} is neither text nor a number")
    if len(value) > longest or not value.isprintable() or not value.strip() or _HALF in value:
        raise BadBody(
            f"{place}{pointer} is longer than {longest} characters, or has control characters in it"
        )
    return str(value)


def moment(record: Any, pointer: str) -> datetime | None:
    """An instant at a pointer, UTC where no zone is written.

    None where there is none that can be read.
    """
    value = dig(record, segments(pointer))
    if not isinstance(value, str):
        return None
    if isinstance(value, _Number):
        whole = value.split(".")[0]
        return (
            datetime.fromtimestamp(int(whole), UTC)
            if whole.isdigit() and len(whole) <= 11
            else None
        )
    try:
        moment_there = datetime.fromisoformat(value)
        return (
            moment_there.astimezone(UTC)
            if moment_there.tzinfo
            else moment_there.replace(tzinfo=UTC)
        )
    except (ValueError, OverflowError):
        return None


def raw_at(body: bytes, parts: Sequence[str]) -> bytes | None:
    """The JSON value at a pointer's parts; None where there is none.

    It is kept byte for byte as received. `body` was `opened` before.
    """
    raw = msgspec.Raw(body.removeprefix(b"\xef\xbb\xbf"))
    for part in parts:
        inner = _entries(raw)
        if part not in inner:
            return None
        raw = inner[part]
    return bytes(raw).strip()


def raw_list(raw: bytes) -> list[bytes]:
    """The entries of a JSON list, byte for byte; of anything else, itself."""
    if not raw.startswith(b"["):
        return [raw]
    return [bytes(entry).strip() for entry in _LIST.decode(raw)]


def _entries(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        entries: dict[str, msgspec.Raw] = _ENTRIES.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return entries


def list_page(records: str, entries: Sequence[bytes]) -> bytes:
    """A page as a list would send it, with these records in it byte for byte.

    So the code that reads lists reads them.
    """
    body = b"[" + b",".join(entries) + b"]"
    for part in reversed(segments(records)):
        body = b"{" + json.dumps(part).encode() + b":" + body + b"}"
    return body
