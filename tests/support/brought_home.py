"""Credits without lines brought home to their sales, the slow, obvious way. It imports nothing of ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Document:
    """A sale, or a credit (`takes`), of one member in one currency (`whose`)."""

    key: Any
    whose: Any
    account: Any
    #: Place in time; ties are broken.
    order: Any
    issued: Any
    #: The last moment at which it can have been.
    until: Any
    takes: bool
    left: int
    #: Key of the sale that a credit names.
    link: Any = None


def counted_elsewhere(documents: Sequence[Document]) -> dict[Any, int]:
    """Of each sale what came back; of each credit all of it."""
    before = {one.key: one.left for one in documents}
    sales = sorted((one for one in documents if not one.takes), key=lambda one: one.order)
    notes = sorted((one for one in documents if one.takes), key=lambda one: one.order)
    named = {(one.whose, one.key): one for one in sales}

    def lower(sale: Document, wanted: int) -> int:
        part = min(sale.left, wanted)
        sale.left -= part
        return wanted - part

    unnamed = []
    for note in notes:
        sale = named.get((note.whose, note.link)) if note.link is not None else None
        if sale is None:
            unnamed.append(note)
        else:
            lower(sale, note.left)
    for note in sorted(unnamed, key=lambda one: one.until):
        open_sales = [
            one for one in sales
            if one.whose == note.whose and one.left and one.issued <= note.until
        ]  # fmt: skip
        accounts = sorted({one.account for one in open_sales})
        accounts.sort(key=lambda account: account != note.account)
        ranked = [
            one for account in accounts for one in reversed(open_sales) if one.account == account
        ]
        wanted = note.left
        enough = [one for one in ranked if one.left >= wanted]
        for sale in enough[:1] or ranked:
            wanted = lower(sale, wanted)
    return {
        one.key: before[one.key] if one.takes else before[one.key] - one.left for one in documents
    }
