"""Deletions that nobody tells: found by comparing what the vendor lists with what is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from connectors.kit.mapping.frames import DELETION
from connectors.kit.spec import ConnectorSpec
from sql import store
from sql.db import Connection
from sql.sync import Account


@dataclass(frozen=True)
class Unlisted:
    """Stored documents that no list names, as deletions, and how many documents were looked at."""

    deletions: pl.DataFrame
    alive_count: int


class Census:
    """Collects what the census lists of a synchronisation name. Only all of them together say what is gone."""

    def __init__(self, spec: ConnectorSpec) -> None:
        self._lists = {stream.name for stream in spec.streams if stream.census}
        self._read: set[str] = set()
        self._listed: list[pl.Series] = []

    def take(self, stream: str, listed: pl.DataFrame) -> None:
        """Notes one batch of any stream."""
        if stream in self._lists:
            self._read.add(stream)
            self._listed.append(listed["external_id"])

    def unlisted(
        self, connection: Connection, account: Account, sync_id: int, streams: Mapping[str, Any]
    ) -> Unlisted | None:
        """What is stored and not listed; None if no census was taken this time.

        A document counts as deleted when the census began: a version of it that was read earlier cannot bring it back.
        """
        if not self._lists or self._read != self._lists:
            return None
        began = min(datetime.fromisoformat(streams[name]["started_at"]) for name in self._lists)
        alive_count, gone = store.unlisted(connection, account, sync_id, pl.concat(self._listed).to_list())
        times = [began] * len(gone)
        return Unlisted(pl.DataFrame({"external_id": gone, "deleted_at": times}, schema=DELETION), alive_count)
