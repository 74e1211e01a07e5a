"""JSON pointers, and typed decoders generated from them.

A decoder that knows which keys are wanted skips all others without building them. This is several
times faster than plain dictionaries, and the garbage collector has nothing to trace.
"""

import gc
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

#: Reads one pointer's values from a list of decoded records.
Column = Callable[[Sequence[Any]], list[Any]]
#: The wanted keys by their names, nested as in JSON. The key "" holds the type of a leaf.
_Tree = dict[str, Any]
#: Stands between two pointers. A plus in a name is not followed by a slash.
_AND = re.compile(r"\s+\+\s+(?=/)")
#: As a part of a pointer: every entry of a list.
EACH = "*"


def segments(pointer: str) -> tuple[str, ...]:
    """The parts of a pointer such as `/a/0/b` (RFC 6901).

    Raises:
        ValueError: If it does not start with a slash.
    """
    if pointer == "":
        return ()
    if not pointer.startswith("/"):
        raise ValueError(f"a path starts with a slash: {pointer!r}")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def joined_paths(path: str) -> tuple[str, ...]:
    """The pointers of a path such as `/serie + /numero`, of which one value is made.

    Any other path is one pointer.
    """
    return tuple(_AND.split(path))


def dig(value: Any, parts: Iterable[str]) -> Any:
    """The value at a pointer's parts, None where there is none.

    With a part `*`, the list of the values that the rest of the pointer has in each entry.
    """
    parts = iter(parts)
    for part in parts:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part == EACH:
            rest = tuple(parts)
            return [dig(entry, rest) for entry in value]
        elif (
            isinstance(value, list)
            and part.lstrip("-").isdigit()
            and -len(value) <= int(part) < len(value)
        ):
            value = value[int(part)]
        else:
            return None
    return value


@dataclass(frozen=True, eq=False)
class Shape:
    """A generated type, and how the values at its pointers are read."""

    type: Any
    #: By pointer.
    columns: Mapping[str, Column]


def shape(
    pointers: Iterable[str],
    lists: Mapping[str, Any] | None = None,
    *,
    raw: Iterable[str] = (),
    required: str = "",
    may_be_null: bool = False,
) -> Shape:
    """Generates the type that holds exactly these pointers.

    Args:
        pointers: Leaves of any JSON type. From the first array index on, they are resolved in plain
            values.
        lists: Pointers to arrays of a given element type.
        raw: Pointers whose values are left as the bytes that were sent (msgspec.Raw), unless one of
            `pointers` needs the same value or a part of it.
        required: Pointer whose keys must be there.
        may_be_null: Whether null may stand there.
    """
    tree: _Tree = {}
    wanted = {pointer: segments(pointer) for pointer in pointers}
    for parts in wanted.values():
        _grow(tree, parts)
    for pointer in raw:
        wanted[pointer] = segments(pointer)
        _grow(tree, wanted[pointer], msgspec.Raw)
    for pointer, element in (lists or {}).items():
        _grow(tree, segments(pointer))
        _put(tree, segments(pointer), types.GenericAlias(list, (element,)))
        wanted[pointer] = segments(pointer)
    kind, names = _struct(tree, segments(required), may_be_null=may_be_null)
    return Shape(kind, {pointer: _column(names, parts) for pointer, parts in wanted.items()})


def _grow(tree: _Tree, parts: Sequence[str], kind: Any = Any) -> None:
    for part in parts:
        if part.isdigit() or part in ("-1", EACH):
            tree[""] = Any
            return
        tree = tree.setdefault(part, {})
    if kind is Any or not tree:
        tree[""] = kind


def _put(tree: _Tree, parts: Sequence[str], kind: Any) -> None:
    for part in parts:
        tree = tree[part]
    tree[""] = kind


def _struct(
    tree: _Tree, required: Sequence[str], *, may_be_null: bool = False
) -> tuple[Any, dict[str, Any]]:
    fields: list[Any] = []
    rename: dict[str, str] = {}
    names: dict[str, Any] = {}
    for number, (key, below) in enumerate((key, below) for key, below in tree.items() if key):
        attribute = f"f{number}"
        rename[attribute] = key
        must = bool(required) and key == required[0]
        if "" in below:  # a leaf: what lies deeper is resolved in its plain value
            kind, names[key] = below[""], (attribute, None)
        else:
            kind, inner = _struct(below, required[1:] if must else (), may_be_null=may_be_null)
            names[key] = (attribute, inner)
        if must:
            fields.insert(0, (attribute, kind | None if may_be_null else kind))
        else:
            # (Raw can hold a null by itself.)
            fields.append((attribute, kind if kind in (Any, msgspec.Raw) else kind | None, None))
    return msgspec.defstruct("Record", fields, rename=rename, gc=False), names


def _column(names: Mapping[str, Any], parts: Sequence[str]) -> Column:
    attributes: list[str] = []
    inner: Any = names
    for depth, part in enumerate(parts):
        attribute, inner = inner[part]
        attributes.append(attribute)
        if inner is None:
            return _reader(tuple(attributes), tuple(parts[depth + 1 :]))
    raise ValueError("a pointer ends inside the tree")


def _reader(attributes: tuple[str, ...], rest: tuple[str, ...]) -> Column:
    first, *others = [attrgetter(attribute) for attribute in attributes]

    def read(records: Sequence[Any]) -> list[Any]:
        values = list(map(first, records))
        for get in others:
            values = [None if value is None else get(value) for value in values]
        return [dig(value, rest) for value in values] if rest else values

    return read


@contextmanager
def paused_gc() -> Iterator[None]:
    """Pauses the garbage collector, which only costs time while pages are decoded.

    Decoding makes many objects and no reference cycles.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
