"""Decoded records to columns of text, page by page.

The objects of a page are read while the processor's cache still has them, and freed at once.

Reading field after field from twenty thousand objects takes twice as long in all, because it waits
for memory most of the time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, Final, Self

import polars as pl

from connectors.kit.mapping.columns import Columns
from connectors.kit.mapping.joined import JOINED
from connectors.kit.mapping.reader import Plan
from connectors.kit.spec.records import Broken, Records

#: Smaller pages are put together: a column costs some microseconds however short it is.
RECORDS_AT_ONCE: Final = 500
_PLACE: Final = pl.Schema({"page_id": pl.Int64(), "record_no": pl.Int32()})


@dataclass(frozen=True)
class Raw:
    """The columns of some pages, as the vendor wrote them."""

    #: One column of text per field and helper.
    records: pl.DataFrame
    #: page_id and record_no of the same rows.
    places: pl.DataFrame
    #: One column of text per field of a line.
    lines: pl.DataFrame
    #: For each line the row of its record.
    owners: pl.Series
    #: Records that could not be decoded.
    broken: list[Broken]

    @property
    def count(self) -> int:
        """All records, broken ones as well."""
        return self.places.height + len(self.broken)

    def only(self, mask: pl.Series) -> Self:
        """The records for which the mask is true, with their lines."""
        if mask.all():
            return self
        kept = mask.fill_null(value=False)
        owned = self.owners.filter(kept.gather(self.owners))
        rows = kept.cum_sum().cast(pl.UInt32) - 1
        return replace(
            self,
            records=self.records.filter(kept),
            places=self.places.filter(kept),
            lines=self.lines.filter(kept.gather(self.owners)),
            owners=rows.gather(owned).rename(self.owners.name),
        )


def gather(plan: Plan, pages: Iterable[Records]) -> Raw:
    """The columns of some pages' records and of their lines."""
    records = Columns(plan.record, {**plan.fields, **plan.helpers})
    lines = Columns(plan.nested or plan.line, plan.lines.fields if plan.lines else {})
    owners = [pl.Series("row", (), dtype=pl.UInt32)]
    places = [_PLACE.to_frame()]
    broken: list[Broken] = []
    for page in _grouped(pages):
        items, rows = flat_lines(plan, page.items)
        owners.append(pl.Series("row", rows, dtype=pl.UInt32) + records.height)
        places.append(
            pl.DataFrame({"page_id": page.page_ids, "record_no": page.numbers}, schema=_PLACE)
        )
        records.add(page.items)
        lines.add(items)
        broken += page.broken
        del page, items  # freed before the next page is decoded, which takes their memory
    return Raw(records.frame(), pl.concat(places), lines.frame(), pl.concat(owners), broken)


def _grouped(pages: Iterable[Records]) -> Iterator[Records]:
    """Small pages put together to at least `RECORDS_AT_ONCE` records."""
    ready: list[Records] = []
    for page in pages:
        if ready:
            ready[0].extend(page)
        else:
            ready.append(page)
        del page
        if len(ready[0].items) >= RECORDS_AT_ONCE:
            yield ready.pop()
    yield from ready


def flat_lines(plan: Plan, items: list[Any]) -> tuple[list[Any], list[int]]:
    """All lines of all records, with the row of the record each belongs to.

    Lines inside a line take the place of the line that holds them.
    """
    if plan.lines is None or plan.line is None:
        return [], []
    of_record = [lines or () for lines in plan.record.columns[plan.lines.path](items)]
    if plan.joined is not None:
        beside = plan.record.columns[JOINED](items)
        of_record = [lines or joined or () for lines, joined in zip(of_record, beside, strict=True)]
    for other in plan.lines.also:
        lines_there = plan.record.columns[other](items)
        of_record = [
            lines or more or () for lines, more in zip(of_record, lines_there, strict=True)
        ]
    flat = list(chain.from_iterable(of_record))
    rows = list(chain.from_iterable(map(repeat, range(len(items)), map(len, of_record))))
    if plan.lines.nested is None:
        return flat, rows
    inner = plan.line.columns[plan.lines.nested](flat)
    if not any(inner):
        return flat, rows
    spread = [
        (deep, row)
        for line, row, below in zip(flat, rows, inner, strict=True)
        for deep in (below or [line])
    ]
    return [line for line, _ in spread], [row for _, row in spread]
