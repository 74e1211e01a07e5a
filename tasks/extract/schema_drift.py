"""Whether the vendor's records still look as they did.

New fields, other types, and fields that are gone are each noted once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from connectors.kit.mapping.outline import Outline, read_as
from sql import fields
from sql.db import DbConnection
from sql.fields import Known, Seen
from tasks.job import Job

#: Fields kept per list; a vendor that sends more is watched for those only.
FIELDS_MAX: Final = 600
#: A field counts as gone once this many records in a row lack it, each weighed by the share of
#: records that had it before. A mapped field that was nearly always there counts as gone sooner.
_MISSED, _MISSED_SOON, _NEARLY_ALWAYS = 12, 3, 0.95
#: Of several fields that are read below one object, so many are named.
_NAMED: Final = 3


@dataclass(frozen=True)
class Change:
    """One change of the records of a list."""

    #: The list.
    stream: str
    #: Where in the record, as a JSON pointer.
    path: str
    #: What happened, for an operator.
    what: str
    #: Our field that the mapping reads there; "" for none.
    read_as: str = ""

    def to_text(self) -> str:
        """For an operator."""
        if self.read_as:
            return (
                f"{self.what}; it is read as {self.read_as}: "
                "if records are rejected or wrong, correct the field mapping"
            )
        return f"{self.what} - ignored; map it in the block if it matters"


def note(
    connection: DbConnection, job: Job, sync_id: int, outlines: Mapping[str, Outline]
) -> list[Change]:
    """Compares the fields that a read saw with those seen before; stores them; returns the changes.

    The first records of a list are what later ones are compared with. The caller commits.
    """
    looked_at = {name: outline for name, outline in outlines.items() if outline.records}
    if not looked_at:
        return []
    before: dict[str, list[Known]] = defaultdict(list)
    for field in fields.known(connection, job.account, looked_at):
        before[field.stream].append(field)
    mapped = read_as(job.spec, job.vendor)
    changes: list[Change] = []
    rows: list[Seen] = []
    gone: set[tuple[str, str]] = set()
    for stream, outline in looked_at.items():
        seen = _seen(stream, outline, before[stream])
        rows += seen
        if before[stream]:
            changes += _new(seen, before[stream], mapped.get(stream, {}))
            missed = _missed(seen, before[stream], mapped.get(stream, {}))
            changes += [change for change in missed.values() if not _above(change.path, missed)]
            gone |= {(stream, path) for path in missed}
    fields.save(connection, job.account, sync_id, rows)
    if gone:
        fields.mark_gone(connection, job.account, gone)
    return sorted(changes, key=lambda change: (not change.read_as, change.stream, change.path))


def _seen(stream: str, outline: Outline, known_fields: Sequence[Known]) -> list[Seen]:
    """What the list's known fields and its new ones were this time, within the limit."""
    rows = {
        (field.path, field.json_type): Seen(stream, field.path, field.json_type, 0, outline.records)
        for field in known_fields
    }
    for (path, kind), count in sorted(outline.fields.items()):
        if (path, kind) in rows:
            rows[path, kind] = replace(rows[path, kind], records_with=count)
        elif len(rows) < FIELDS_MAX:
            rows[path, kind] = Seen(
                stream, path, kind, count, outline.records, base_line=not known_fields
            )
    return list(rows.values())


def _new(
    seen: Iterable[Seen], known_fields: Sequence[Known], mapped: Mapping[str, str]
) -> list[Change]:
    """Fields with a path or type that was not there before.

    Of a new object only the object itself is named, and nothing that the mapping awaits.
    """
    types: dict[str, set[str]] = defaultdict(set)
    for old in known_fields:
        types[old.path].add(old.json_type)
    fresh = [field for field in seen if field.json_type not in types.get(field.path, ())]
    new_paths = {field.path for field in fresh if field.path not in types}
    changes = []
    for field in fresh:
        if field.path in types:
            was = " or ".join(sorted(types[field.path]))
            what = f"{field.path} is {field.json_type} now, it was {was}"
            changes.append(Change(field.stream, field.path, what, _reader(field.path, mapped)))
        elif not _above(field.path, new_paths) and not _awaited(field.path, mapped):
            changes.append(
                Change(field.stream, field.path, f"new field {field.path} ({field.json_type})")
            )
    return changes


def _missed(
    seen: Sequence[Seen], known_fields: Sequence[Known], mapped: Mapping[str, str]
) -> dict[str, Change]:
    """Fields that no record has any more, by path."""
    present = {field.path for field in seen if field.records_with}
    records = max((field.records for field in seen), default=0)
    of_path: dict[str, list[Known]] = defaultdict(list)
    for field in known_fields:
        of_path[field.path].append(field)
    lost: dict[str, Change] = {}
    for path, rows in of_path.items():
        if path in present or any(row.gone for row in rows):
            continue
        without = min(row.records_without for row in rows) + records
        share = sum(row.records_with for row in rows) / max(row.records_since for row in rows)
        reader = _reader(path, mapped)
        soon = bool(reader) and share >= _NEARLY_ALWAYS
        if without * share >= (_MISSED_SOON if soon else _MISSED):
            kinds = " or ".join(sorted({row.json_type for row in rows}))
            what = f"{path} ({kinds}) is in none of the last {without} records that were looked at"
            lost[path] = Change(rows[0].stream, path, what, reader)
    return lost


def _reader(path: str, mapped: Mapping[str, str]) -> str:
    """What the mapping reads at a path, or above or below it."""
    if path in mapped:
        return mapped[path]
    near = [
        name
        for place, name in mapped.items()
        if path.startswith(f"{place}/") or place.startswith(f"{path}/")
    ]
    return ", ".join(list(dict.fromkeys(near))[:_NAMED])


def _awaited(path: str, mapped: Mapping[str, str]) -> bool:
    return bool(_reader(path, mapped))


def _above(path: str, others: Iterable[str]) -> bool:
    """Whether an object or list above the path is among the others."""
    return any(path.startswith(f"{other}/") for other in others)
