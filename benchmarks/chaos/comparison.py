"""The ledger beside the oracle: what is lost, doubled, wrong, or in the wrong hands."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from benchmarks.chaos.oracle import Expected, Key

#: Points of each document by the phone of the member who has them; zeros are left out.
Ledger = Mapping[Key, Mapping[str, int]]

_LEDGER: Final = b"""
SELECT system, external_id, coalesce(phone, '?'), sum(points)::bigint
FROM loyalty.award_entry JOIN loyalty.member USING (member_id)
GROUP BY 1, 2, 3 HAVING sum(points) <> 0
"""
#: A chain of entries whose numbers or amounts do not follow each other.
_BROKEN_CHAINS: Final = b"""
SELECT count(*) FROM (
    SELECT entry_no, row_number() OVER chain AS position, due_before,
           lag(due_after, 1, 0::bigint) OVER chain AS due_so_far
    FROM loyalty.award_entry
    WINDOW chain AS (PARTITION BY system, account, external_id, member_id ORDER BY entry_no)
) AS entry WHERE entry_no <> position OR due_before <> due_so_far
"""
_WAITING: Final = b"SELECT count(*) FROM loyalty.member_dirty"
_CONNECT_SECONDS_MAX: Final = 5
_STATEMENT_SECONDS_MAX: Final = 20


@dataclass(frozen=True)
class Difference:
    """One document that is not as it should be; `kind` says how."""

    kind: str  # lost | doubled | unknown | wrong | wrong member
    key: Key
    expected: int
    posted: int


@dataclass(frozen=True)
class Comparison:
    """What came of one comparison."""

    documents: int
    points: int
    differences: list[Difference] = field(default_factory=list)
    #: Entries that do not continue their chain.
    broken_chains: int = 0
    #: Members whose points are still to be computed.
    waiting_members: int = 0

    def problems(self) -> list[str]:
        """What is wrong, one sentence each; nothing when all is well."""
        counts = Counter(one.kind for one in self.differences)
        sentences = [f"{count} documents {kind}" for kind, count in sorted(counts.items())]
        if self.broken_chains:
            sentences.append(f"{self.broken_chains} entries do not continue their chain")
        if self.waiting_members:
            sentences.append(f"{self.waiting_members} members wait for their points")
        return sentences


def compare(expected: Mapping[Key, Expected], ledger: Ledger) -> Comparison:
    """Each document of the books, and each of the ledger."""
    differences = [
        difference
        for key in sorted({*expected, *ledger})
        if (difference := _difference(key, expected.get(key), ledger.get(key, {}))) is not None
    ]
    points = sum(one.points for one in expected.values())
    return Comparison(len(expected), points, differences)


def _difference(
    key: Key, expected: Expected | None, posted: Mapping[str, int]
) -> Difference | None:
    total = sum(posted.values())
    due = 0 if expected is None else expected.points
    if expected is None:
        kind = "unknown" if posted else ""
    elif total == due:
        is_split = len(posted) > 1 or not set(posted) <= expected.phones
        kind = "wrong member" if is_split else ""
    elif total in expected.earlier:
        kind = ""
    elif total == 0:
        kind = "lost"
    else:
        kind = "doubled" if total == 2 * due else "wrong"
    return Difference(kind, key, due, total) if kind else None


def compare_with_database(expected: Mapping[Key, Expected], dsn: str) -> Comparison:
    """`compare`, with what the database at `dsn` holds. Raises psycopg.Error if it is away."""
    options = f"-c statement_timeout={_STATEMENT_SECONDS_MAX}s"
    with psycopg.connect(dsn, connect_timeout=_CONNECT_SECONDS_MAX, options=options) as connection:
        ledger: defaultdict[Key, dict[str, int]] = defaultdict(dict)
        for system, external_id, phone, points in connection.execute(_LEDGER):
            ledger[system, external_id][phone] = points
        comparison = compare(expected, ledger)
        return Comparison(
            comparison.documents,
            comparison.points,
            comparison.differences,
            broken_chains=_count(connection, _BROKEN_CHAINS),
            waiting_members=_count(connection, _WAITING),
        )


def _count(connection: psycopg.Connection[tuple[Any, ...]], statement: bytes) -> int:
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
