"""Rows of a table to documents.

Rows with the same id are one document. Each document is used whole or refused by name, and no row
is lost.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from connectors.kit.files.csv_text import TableRow
from connectors.kit.mapping.ids import (
    EXPONENT,
    SEPARATOR,
    UNSEEN,
    content_digest,
    is_exponent,
    joined_id,
    normal_id,
)
from connectors.kit.mapping.parse import currency_text, dialled
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.spec.records import Broken

#: What becomes of a row without an id that stands below a document.
RowsWithoutId = Literal["refuse the document", "part of the document above"]
#: What the fields of a document, as against those of its lines, are called in a message.
_FACTS: Final = {
    "customer_phone": "phone", "customer_external_id": "customer", "issued_at": "date",
    "currency": "currency", "kind": "kind", "status": "status",
}  # fmt: skip
#: Fields that say when or to whom something was sold. Without any of them a row is no document of
#: its own.
_OWN: Final = ("issued_at", "customer_phone", "customer_external_id")
#: How a row begins that sums up others, in Portuguese or English.
_TOTAL: Final = re.compile(
    r"(?i)\W*(?:(?:sub[\s-]*)?tota(?:l|is)|grand total|soma(?:t[óo]rio)?|sum|saldo|a transportar"
    r"|transporte)\b"
)
#: The same as the whole text, for columns that may hold a product's name.
_TOTAL_ALONE: Final = re.compile(
    r"(?i)\W*(?:(?:sub[\s-]*)?tota(?:l|is)|grand total|soma|somat[óo]rio)"
    r"(?: (?:geral|general|final|global|acumulado|(?:d[aeo]s?|por|of"
    r"|for) .{1,60}))?\W*(?:\([^)]{1,20}\))?\W*"
)
#: What reports write above, below and between their rows.
_REMARK: Final = re.compile(
    r"(?i)\W*(?:(?:documento )?processado|programa|emitid[oa]|impress[oa]|gerad[oa]|exportad[oa]"
    r"|p[áa]g(?:ina|\.)?\b"
    r"|page\b|printed|generated|exported|relat[óo]rio|report|listagem|lista de|mapa de|extrac?to"
    r"|per[íi]odo|period"
    r"|filtro|filter|utilizador|usu[áa]rio|user\b|notas?\b|notes?\b|obs\b|observa|fim d|end of"
    r"|software|licen"
    r"|empresa|loja|armaz[ée]m|cliente|vendedor|s[ée]rie|ano\b|m[êe]s\b|registos|quantidade"
    r"|documentos|n\.?[ºo°]? de"
    r"|(?:janeiro|fevereiro|mar[çc]o|abril|maio|junho|julho|agosto|setembro|outubro|novembro"
    r"|dezembro)\b)"
)
#: A text of as many words is a remark.
_WORDS_OF_REMARK: Final = 5
#: The time of day behind a date.
_CLOCK: Final = re.compile(r"[T ,]\s*\d{1,2}:\d{2}.*$", re.DOTALL)
#: A document and the number of the row at which it begins.
Row = tuple[int, Any]
#: Stands for an id that names nothing.
LOST: Final = "\x01"


@dataclass(frozen=True)
class Layout:
    """Which columns hold what.

    Paths are pointers to a row's cells; of several the first that holds something counts.
    """

    #: Paths of the id.
    key: tuple[str, ...] = ()
    #: Whether all of `key` together make the id.
    joined: bool = False
    #: Paths of the document's fields, by their names.
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Paths of the fields of its lines, by their names.
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Paths of the total, which all rows of a document repeat; empty: rows may differ.
    total: tuple[str, ...] = ()
    #: The block's words for kinds and statuses, by the field's name.
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: Where the rows of a document are put, as its lines.
    put_at: str = "/lines"
    #: Other places for lines. A row that has a list there, or at `put_at`, is a whole document.
    also: tuple[str, ...] = ()
    #: What becomes of a row without an id below a document.
    without_id: RowsWithoutId = "refuse the document"
    #: Country of phone numbers without a country code.
    region: str = "AO"


@dataclass
class _Group:
    """The rows of one document so far, and rows for which it is refused, each with its reason."""

    #: The id.
    document: str
    #: The parts of the id, as the first row writes them.
    parts: list[str]
    rows: list[TableRow] = field(default_factory=list)
    #: The id, as each of the rows writes it.
    spelled: list[str] = field(default_factory=list)
    refused: list[tuple[TableRow, str]] = field(default_factory=list)

    def add(self, row: TableRow, parts: Sequence[str]) -> None:
        """One more row with this id, written as `parts` say."""
        self.rows.append(row)
        self.spelled.append(SEPARATOR.join(parts))
        if row.refusal:
            self.refused.append((row, row.refusal))


class Grouping:
    """Puts the rows of one file together to documents."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._key = [segments(path) for path in layout.key]
        self._facts = {
            name: [segments(path) for path in paths] for name, paths in layout.facts.items()
        }
        self._own = [self._facts[name] for name in _OWN if name in self._facts]
        self._lines = {
            name: [segments(path) for path in paths] for name, paths in layout.lines.items()
        }
        self._lists = [segments(path) for path in (layout.put_at, *layout.also)]
        self._seen: Counter[str] = Counter()
        #: Ids by how they are written, because a table repeats each as often as it has lines.
        self._ids: dict[str, str | None] = {}

    def documents(self, rows: Iterable[TableRow]) -> Iterator[Row]:
        """(number, record) per document, in the order in which the documents begin.

        A row that cannot be used becomes a `Broken`.
        """
        groups: dict[Any, _Group | Row] = {}
        above: _Group | None = None
        for row in rows:
            if self._has_lines(row.cells):
                groups[row.number,] = row.number, row.cells
                continue
            parts = self._parts(row.cells)
            document = self._id(parts)
            if document is not None and document != LOST:
                above = self._of(groups, document, parts)
                above.add(row, parts)
            elif document == LOST or not self._is_remark(row):
                above = self._without_id(groups, row, parts, above, lost=document == LOST)
        for entry in groups.values():
            if isinstance(entry, _Group):
                yield from self._document(entry)
            else:
                yield entry

    def _of(self, groups: dict[Any, "_Group | Row"], document: str, parts: list[str]) -> _Group:
        group = groups.get(document)
        if not isinstance(group, _Group):
            group = groups[document] = _Group(document, parts)
        return group

    def _without_id(
        self,
        groups: dict[Any, "_Group | Row"],
        row: TableRow,
        parts: list[str],
        above: _Group | None,
        *,
        lost: bool,
    ) -> _Group | None:
        """Puts a row without a usable id where it belongs.

        Returns the document it is a part of, None where it is of none.
        """
        if not lost and above is not None and not self._is_own(row, parts, above):
            self._add_below(above, row)
            return above
        refusal = f"its id {EXPONENT}" if lost else row.refusal
        broken = self._broken(row, None, refusal or "missing")
        groups[row.number,] = (
            row.number,
            broken if refusal else replace(broken, field="external_id"),
        )
        return None  # rows below it are not of an earlier document

    def _parts(self, cells: Mapping[str, Any]) -> list[str]:
        """The parts of a row's id, as they are written; "" for a part that is not there."""
        texts = [_text(_at(cells, path)) for path in self._key]
        return texts if self._layout.joined or len(texts) == 1 else [next(filter(None, texts), "")]

    def _id(self, parts: Sequence[str]) -> str | None:
        """The id that the parts make, None without one of them, `LOST` where it names nothing."""
        spelled = "\0".join(parts)
        if spelled not in self._ids:
            document = joined_id(parts)
            self._ids[spelled] = (
                LOST if document is not None and is_exponent(document) else document
            )
        return self._ids[spelled]

    def _add_below(self, above: _Group, row: TableRow) -> None:
        """Adds a row without an id to the document above it, or refuses that document with it.

        The setting "Rows without an id" decides.
        """
        above.add(row, above.parts)
        if not row.refusal and self._layout.without_id == "refuse the document":
            first = above.rows[0].number
            reason = (
                f"has no id and stands below a document (row {first}), which is refused with it: "
                "write the id in every "
                'row, or choose "part of the document above" under "Rows without an id" in the '
                "block"
            )
            above.refused.append((row, reason))

    def _is_own(self, row: TableRow, parts: Sequence[str], above: _Group) -> bool:
        """Whether a row without an id is a document by itself, not a part of the one above it."""
        if any(part and part != other for part, other in zip(parts, above.parts, strict=True)):
            return True
        names = [name for name in ("customer_phone", "customer_external_id") if name in self._facts]
        customer = {name: self._fact(row, name) for name in names}
        customers_above = {
            name: [self._fact(row_above, name) for row_above in above.rows] for name in names
        }
        if any(
            text and any(customers_above[name]) and text not in customers_above[name]
            for name, text in customer.items()
        ):
            return True
        whole = any(customer.values()) and self._fact(row, "issued_at") and self._total(row)
        return bool(whole) and self._total(row) not in {
            self._total(row_above) for row_above in above.rows
        }

    def _total(self, row: TableRow) -> str:
        return next(
            filter(None, (_text(dig(row.cells, segments(path))) for path in self._layout.total)), ""
        )

    def _document(self, group: _Group) -> Iterator[Row]:
        rows = self._without_totals(group)
        if not rows:
            return
        for row, reason in group.refused:
            yield row.number, self._broken(row, group.document, reason)
        if group.refused:  # a document of which a row cannot be read is not read in part
            return
        first = rows[0]
        if len(group.rows) == 1:
            yield first.number, self._record(rows)
            return
        problem = self._spelling(group) or self._disagreement(rows) or self._totals(rows)
        if problem is not None:
            path, reason = problem
            yield first.number, Broken(0, first.number, path, reason, group.document)
            return
        copies = self._one_copy(group)
        kept = rows if copies is None else copies
        yield first.number, self._record(kept)

    def _record(self, rows: Sequence[TableRow]) -> dict[str, Any]:
        """The document that the rows make.

        Where the first row leaves a field empty, the first later row that fills it counts.
        """
        document: dict[str, Any] = dict(rows[0].cells)
        if len(rows) > 1:
            for paths in self._facts.values():
                for path in paths:
                    if len(path) == 1 and path[0] in document and not _text(document[path[0]]):
                        _fill(document, path[0], rows)
        *above, last = self._lists[0]
        place: dict[str, Any] = document
        for part in above:
            place[part] = {}
            place = place[part]
        place[last] = [row.cells for row in rows]
        return document

    def _without_totals(self, group: _Group) -> list[TableRow]:
        """The rows without those that only sum up others, or hold a remark about them."""
        have_facts = [self._has_own(row) for row in group.rows]
        if all(have_facts):
            return group.rows
        if any(have_facts):
            pairs = zip(group.rows, have_facts, strict=True)
            return [row for row, has_own in pairs if has_own or not self._is_total_line(row)]
        first_id = group.parts[0]
        if group.refused:
            return group.rows
        if _TOTAL.match(first_id) or all(self._is_alone(row, first_id) for row in group.rows):
            return []
        return group.rows

    def _is_alone(self, row: TableRow, id_text: str) -> bool:
        """Whether a row has only the cell of the id, and that reads like a remark."""
        texts = [text for value in row.cells.values() if (text := _text(value))]
        return len(texts) == 1 and _reads_like_remark(id_text)

    def _is_total_line(self, row: TableRow) -> bool:
        names = [self._first_text(row, self._lines.get(name, ())) for name in ("name", "sku")]
        return any(_TOTAL_ALONE.fullmatch(name) for name in names if name)

    def _is_remark(self, row: TableRow) -> bool:
        """Whether a row without an id is a total or a remark of the report, and of no document."""
        if row.refusal:
            return False
        texts = {name: text for name, value in row.cells.items() if (text := _text(value))}
        of_lines = {path[0] for paths in self._lines.values() for path in paths}
        if any(
            _TOTAL_ALONE.fullmatch(text) for name, text in texts.items() if name not in of_lines
        ):
            return True
        if self._has_own(row):
            return False
        if self._is_total_line(row):
            return True
        mapped = of_lines | {path[0] for paths in self._facts.values() for path in paths}
        return not mapped.intersection(texts)

    def _has_own(self, row: TableRow) -> bool:
        """Whether a row says when or to whom something was sold."""
        return any(self._first_text(row, paths) for paths in self._own)

    def _fact(self, row: TableRow, name: str) -> str:
        """The text of a document's field in a row, "" where there is none."""
        return self._first_text(row, self._facts.get(name, ()))

    def _first_text(self, row: TableRow, paths: Iterable[Sequence[str]]) -> str:
        for path in paths:
            if text := _text(_at(row.cells, path)):
                return text
        return ""

    def _disagreement(self, rows: Sequence[TableRow]) -> tuple[str, str] | None:
        """Where and why rows of one id cannot be one document."""
        if len(rows) == 1:
            return None
        differing: dict[str, list[int]] = {}
        for name in _FACTS:
            if all(self._is_same(rows, path) for path in self._facts.get(name, ())):
                continue
            texts = {text: row.number for row in reversed(rows) if (text := self._fact(row, name))}
            if len(texts) > 1:
                different = {self._meaning(name, text): number for text, number in texts.items()}
                if len(different) > 1:
                    differing[name] = sorted(different.values())
        if not differing:
            return None
        names = " and ".join(_FACTS[name] for name in differing)
        numbers = sorted({number for row_numbers in differing.values() for number in row_numbers})
        shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
        path = " or ".join(
            dict.fromkeys(path for name in differing for path in self._layout.facts[name])
        )
        reason = (
            f"rows of one id disagree on {names} (rows {shown}), so they are not one document: "
            "correct them, or, if "
            "numbers begin anew in every series, make the id of both columns in the field mapping, "
            'e.g. "Serie + Number"'
        )
        return path, reason

    def _is_same(self, rows: Sequence[TableRow], path: Sequence[str]) -> bool:
        """Whether all rows have the same text in a cell."""
        first = _at(rows[0].cells, path)
        return all(_at(row.cells, path) == first for row in rows)

    def _meaning(self, name: str, text: str) -> str:
        """A field's text in one form: the same phone, day or word, however it is written."""
        match name:
            case "customer_phone":
                return dialled(text, self._layout.region) or re.sub(r"\W", "", text).casefold()
            case "customer_external_id":
                return normal_id(text)
            case "issued_at":
                return normal_id(_CLOCK.sub("", text))
            case "currency":
                return currency_text(text)
            case _:
                word = normal_id(text).lower()
                return self._layout.words.get(name, {}).get(word, word)

    def _totals(self, rows: Sequence[TableRow]) -> tuple[str, str] | None:
        if not self._layout.total or len(rows) == 1:
            return None
        if len({total for row in rows if (total := self._total(row))}) < 2:
            return None
        reason = (
            'its rows have different totals; if they are those of the lines, choose totals "sum of '
            'the lines"'
        )
        return " or ".join(self._layout.total), reason

    def _spelling(self, group: _Group) -> tuple[str, str] | None:
        """A problem where one id is written as `1001` and as `1001.0`, with different rows each.

        Nobody can tell which of them is right.
        """
        if len(set(group.spelled)) == 1 or self._one_copy(group) is not None:
            return None
        if len({_unspaced(spelling) for spelling in group.spelled}) == 1:
            return None
        return (
            self._layout_path(),
            "its id is written in several ways (with and without .0), with different rows each",
        )

    def _one_copy(self, group: _Group) -> list[TableRow] | None:
        """One of the copies of a document that is there once per spelling of its id.

        None if the rows of the spellings differ, or there is one spelling only.
        """
        ways = list(dict.fromkeys(group.spelled))
        if len(ways) == 1:
            return None
        of_way: dict[str, list[TableRow]] = {way: [] for way in ways}
        for row, way in zip(group.rows, group.spelled, strict=True):
            of_way[way].append(row)
        contents = [Counter(self._content(row) for row in rows) for rows in of_way.values()]
        return of_way[ways[0]] if all(content == contents[0] for content in contents) else None

    def _content(self, row: TableRow) -> str:
        keys = {path[0] for path in self._key}
        return repr([(name, _text(value)) for name, value in row.cells.items() if name not in keys])

    def _broken(self, row: TableRow, document: str | None, reason: str) -> Broken:
        return Broken(
            0, row.number, self._layout_path(), reason, document, self._row_key(document, row)
        )

    def _layout_path(self) -> str:
        return (" + " if self._layout.joined else " or ").join(self._layout.key) or "/"

    def _row_key(self, document: str | None, row: TableRow) -> str:
        key = f"{document or ''} row {content_digest(row.cells)}".strip()
        self._seen[key] += 1
        return key if self._seen[key] == 1 else f"{key} #{self._seen[key]}"

    def _has_lines(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is a whole document, as in a JSON file."""
        return any(isinstance(_at(row, path), list) for path in self._lists)


def _fill(document: dict[str, Any], name: str, rows: Sequence[TableRow]) -> None:
    """Fills a field with the value of the first row that has one."""
    for row in rows:
        if _text(row.cells.get(name)):
            document[name] = row.cells[name]
            return


def _reads_like_remark(text: str) -> bool:
    words = len(text.split())
    if _REMARK.match(text) or words >= _WORDS_OF_REMARK or not any(map(str.isdigit, text)):
        return True
    return text.endswith(":") or ": " in text


def _unspaced(spelled: str) -> str:
    return re.sub(r"\s", "", UNSEEN.sub("", spelled))


def _at(cells: Mapping[str, Any], path: Sequence[str]) -> Any:
    return cells.get(path[0]) if len(path) == 1 else dig(cells, path)


def _text(value: Any) -> str:
    if value.__class__ is str:
        return value.strip()
    return "" if value is None else str(value).strip()
