"""What the readers of lists and of lookups share: lists that move, or repeat a page.

`pages` reads a list and `look_up` reads ids in batches; both go through the same generators of
requests (`pagination`).
"""

from collections.abc import Sequence
from typing import Any

from connectors.kit.errors import Transient

#: How often a list is read again that moved while it was read, or whose own numbers say that
#: records are missing.
READ_AGAIN_LIMIT = 2


def moves_too_fast(system: str, operation: str, *, call: str = "") -> Transient:
    """The error for a list that was read `READ_AGAIN_LIMIT` times more and moved every time."""
    detail = (
        "the list moves faster than it can be read, or says of itself what is not so; the next "
        "run reads it again"
    )
    return Transient(system, operation, detail, call=call)


class SeenPages:
    """The pages that one reading of a list has seen, to notice a server that repeats one."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._latest = 0

    def repeats(self, ids: Sequence[Any], body: bytes, purpose: str) -> bool:
        """Whether a page holds the same records as one that it must differ from.

        A page that does not is remembered.

        Args:
            ids: The ids of its records.
            body: The page; it tells pages apart whose records have no ids.
            purpose: As `Special.purpose`, "" for the next page. "overlap": it must differ from the
                page before alone. "again": it may hold what any page held, because the list moved
                and the reading went back.
        """
        if purpose == "again":
            self._seen.clear()
            self._latest = 0
            return False
        has_ids = any(record_id is not None for record_id in ids)
        fingerprint = hash(tuple(map(str, ids))) if has_ids else hash(body)
        others = {self._latest} if purpose == "overlap" else self._seen
        if ids and fingerprint in others:
            return True
        self._seen.add(fingerprint)
        self._latest = fingerprint
        return False
