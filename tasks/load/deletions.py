"""Deletions that the vendor does not report.

They are found by comparing what the vendor lists with what is stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from connectors.kit.errors import block_name
from connectors.kit.mapping.frames import DELETION
from connectors.kit.spec import ConnectorSpec
from sql import store
from sql.db import DbConnection
from sql.sync import AccountKey
from tasks.job import Job


@dataclass(frozen=True)
class Unlisted:
    """Stored documents that no list names any more."""

    #: `connectors.kit.mapping.frames.DELETION`, as of when the census began.
    deletions: pl.DataFrame
    #: Stored documents that were looked for.
    alive_count: int

    def too_many(self, job: Job) -> str:
        """Why this is refused, for an operator, where so many documents are missing; else "".

        So many missing documents are probably not deleted, but hidden from the connected user.
        """
        count, limit = self.deletions.height, job.policy.reject_percent_max
        if (
            self.alive_count < job.policy.reject_records_min
            or count * 100 <= limit * self.alive_count
        ):
            return ""
        return (
            f"{job.account.system}: {count} of {self.alive_count} documents are not listed any "
            f"more, more than the {limit} % "
            f"allowed in block {block_name(job.vendor.name or job.vendor.system)!r}. "
            "Nothing was stored and no cursor moved. Usually the connected "
            "user sees less than before (another role, entity or company). "
            "If they really were deleted, raise the limit in the "
            "block for one run."
        )


class Census:
    """Collects what a census names: lists of all documents that exist.

    Only all census lists of a connector together show what is gone. Another list may name all
    existing documents of one kind, where the vendor could not say what was deleted of it.
    """

    def __init__(self, spec: ConnectorSpec) -> None:
        self._lists = {stream.name for stream in spec.streams if stream.census}
        self._read: set[str] = set()
        self._listed: list[pl.DataFrame] = []

    def take(self, stream: str, listed: pl.DataFrame) -> None:
        """Notes one batch of any stream."""
        if stream in self._lists or not listed.is_empty():
            self._read.add(stream)
            self._listed.append(listed)

    def unlisted(
        self,
        connection: DbConnection,
        account: AccountKey,
        sync_id: int,
        streams: Mapping[str, Any],
    ) -> Unlisted | None:
        """What is stored and not listed; None if no census was taken this time.

        A document counts as deleted when the census began: a version of it that was read earlier
        cannot bring it back.
        """
        if not self._read or (self._read & self._lists and not self._lists <= self._read):
            return None
        began = min(datetime.fromisoformat(streams[name]["started_at"]) for name in self._read)
        listed = pl.concat(self._listed)
        kinds = None if listed["kind"].null_count() else listed["kind"].unique().sort().to_list()
        alive_count, gone = store.unlisted(
            connection, account, sync_id, listed["external_id"].to_list(), kinds=kinds
        )
        times = [began] * len(gone)
        return Unlisted(
            pl.DataFrame(
                {"external_id": gone, "deleted_at": times, "page_id": [None] * len(gone)},
                schema=DELETION,
            ),
            alive_count,
        )
