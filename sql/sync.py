"""The life of one synchronisation: its row, its raw pages, its lookups and its cursors.

In: what a billing system answered. Out: raw pages, stored before anyone interprets them; phones and
SKUs that were looked up; and, once the sales are stored, cursors that say up to when each list is
complete. An interrupted synchronisation is continued by the next run of the same request.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
import zstandard
from psycopg.types.json import Jsonb

from sql.db import DbConnection, connect
from sql.named_queries import query
from sql.sealing import keyring

#: An interrupted extraction is continued within this time; later it starts anew from the cursor.
RESUME_HOURS = 24
#: A customer without a usable phone, or an item without SKU, is asked for again after this time.
MISSING_MINUTES = 10


class SyncBusyError(RuntimeError):
    """Another synchronisation of the same account is running and did not end in time."""


@dataclass(frozen=True)
class AccountKey:
    """Which account of which billing system: the first half of every key."""

    #: Billing system, e.g. xero.
    system: str
    #: Realm, tenant or shop at the billing system.
    account: str

    def parameters(self, **more: Any) -> dict[str, Any]:
        """Query parameters naming the account, and `more`."""
        return {"system": self.system, "account": self.account, **more}


@contextmanager
def exclusive(dsn: str, account: AccountKey, *, wait_seconds: float) -> Iterator[None]:
    """Holds the account's synchronisation lock, which vanishes with its holder.

    Raises SyncBusyError after `wait_seconds`.
    """
    key = {"key": f"{account.system}/{account.account}"}
    with connect(dsn) as connection:
        connection.autocommit = True
        try:
            deadline = time.monotonic() + wait_seconds
            while not _scalar(connection, "lock_sync", key):
                if time.monotonic() >= deadline:
                    message = (
                        f"another synchronisation of {account.system} is running; "
                        f"this one waited {wait_seconds:.0f} s"
                    )
                    raise SyncBusyError(message)
                time.sleep(0.5)
            try:
                yield
            finally:
                if not connection.closed:
                    connection.execute(query("sync", "unlock_sync"), key)
        finally:
            if not connection.closed:
                connection.autocommit = False


def begin(
    connection: DbConnection,
    account: AccountKey,
    run_id: str,
    requested: tuple[datetime | None, datetime | None],
    streams: Mapping[str, Any],
) -> tuple[int, dict[str, Any]]:
    """Continues the account's interrupted synchronisation of the same request, or begins a new one.

    Returns (sync_id, streams): per stream its window and whether its extraction is complete.
    """
    parameters = account.parameters(since=requested[0], until=requested[1], hours=RESUME_HOURS)
    resumable = connection.execute(query("sync", "resumable"), parameters).fetchone()
    if resumable is not None and set(resumable[1]) == set(streams):
        sync_id, streams = resumable
        connection.execute(query("sync", "continue"), {"sync_id": sync_id, "run_id": run_id})
    else:
        parameters |= {"run_id": run_id, "streams": Jsonb(dict(streams))}
        sync_id = int(_scalar(connection, "begin", parameters))
    connection.execute(query("sync", "abandon_older"), account.parameters(keep=sync_id))
    return sync_id, dict(streams)


def cursors(connection: DbConnection, account: AccountKey) -> dict[str, datetime]:
    """Per stream the instant up to which it is complete."""
    return dict(connection.execute(query("sync", "cursors"), account.parameters()).fetchall())


def move_cursors(
    connection: DbConnection, account: AccountKey, sync_id: int, to: Mapping[str, datetime]
) -> None:
    """Moves the cursors of these streams forward; backward only if one is in the future."""
    for stream, cursor_at in sorted(to.items()):
        parameters = account.parameters(stream=stream, cursor_at=cursor_at, sync_id=sync_id)
        connection.execute(query("sync", "move_cursor"), parameters)


def save_streams(connection: DbConnection, sync_id: int, streams: Mapping[str, Any]) -> None:
    """Remembers which streams are complete."""
    connection.execute(
        query("sync", "set_streams"), {"sync_id": sync_id, "streams": Jsonb(dict(streams))}
    )


def set_state(
    connection: DbConnection,
    sync_id: int,
    state: str,
    *,
    error: str | None = None,
    summary: Any = None,
) -> None:
    """Notes that the synchronisation is extracted, stored or failed (with the reason)."""
    parameters = {
        "sync_id": sync_id,
        "state": state,
        "error": error,
        "summary": None if summary is None else Jsonb(summary),
    }
    connection.execute(query("sync", "set_state"), parameters)


def set_summary(connection: DbConnection, sync_id: int, summary: Mapping[str, Any]) -> None:
    """Stores the counts of the finished synchronisation."""
    connection.execute(
        query("sync", "set_summary"), {"sync_id": sync_id, "summary": Jsonb(dict(summary))}
    )


def latest(connection: DbConnection, account: AccountKey) -> int:
    """The number of the latest synchronisation of an account that has one."""
    return int(_scalar(connection, "latest", account.parameters()))


def fail(dsn: str, run_id: str, error: str) -> None:
    """The run's synchronisation failed; if its invoices were stored by then, they stay."""
    with connect(dsn) as connection:
        connection.execute(query("sync", "fail"), {"run_id": run_id, "error": error})
        connection.commit()


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A raw page, compressed to a tenth, and unpacked only when it is read."""

    #: Number of the page.
    page_id: int
    record_count: int
    #: The answer as received, compressed with zstd.
    body_zstd: bytes = field(repr=False)

    @property
    def body_bytes(self) -> int:
        """Size of the body as received, in bytes."""
        return zstandard.frame_content_size(self.body_zstd)

    def body(self) -> bytes:
        """The body as received."""
        return zstandard.decompress(self.body_zstd)


def save_page(
    connection: DbConnection, account: AccountKey, sync_id: int, page: Mapping[str, Any]
) -> StoredPage:
    """Stores one answer as received.

    The transaction's commit does not wait for the disk: a page lost with the machine is fetched
    again, and whatever is committed later, invoices and cursors, has it on disk before.

    `page`: stream, page_no, record_count, request, next_request, content_type, body, fetched_at;
        asked_at, where it is known.
    """
    body: bytes = page["body"]
    # (A compressor of its own for each: one must not be used by two threads.)
    packed = zstandard.compress(body, level=1)
    following = page["next_request"]
    parameters = account.parameters(
        sync_id=sync_id,
        stream=page["stream"],
        page_no=page["page_no"],
        record_count=page["record_count"],
        request=Jsonb(page["request"]),
        next_request=None if following is None else Jsonb(following),
        content_type=page["content_type"],
        body_bytes=len(body),
        body_zstd=keyring().seal(packed),
        fetched_at=page["fetched_at"],
        asked_at=page.get("asked_at"),
    )
    connection.execute(query("sync", "commit_lazily"))
    return StoredPage(
        int(_scalar(connection, "save_page", parameters)), page["record_count"], packed
    )


def last_page(
    connection: DbConnection, sync_id: int, stream: str
) -> tuple[dict[str, Any], bytes, dict[str, Any] | None] | None:
    """The last page stored of a stream; None if there is none.

    Returns its request, its body, and the request for the next page.
    """
    parameters = {"sync_id": sync_id, "stream": stream}
    row = connection.execute(query("sync", "last_page"), parameters, binary=True).fetchone()
    return None if row is None else (row[0], keyring().unpack(row[1]), row[2])


def pages(
    connection: DbConnection, sync_id: int, stream: str, *, batch: int
) -> Iterator[list[StoredPage]]:
    """The stored pages of a stream, some at a time, in order."""
    after = 0
    while True:
        parameters = {"sync_id": sync_id, "stream": stream, "after": after, "limit": batch}
        rows = connection.execute(query("sync", "pages"), parameters, binary=True).fetchall()
        if not rows:
            return
        yield [_opened(*row) for row in rows]
        after = rows[-1][0]


def stored_pages(
    connection: DbConnection,
    account: AccountKey,
    stream: str,
    since: datetime | None,
    until: datetime | None,
    *,
    batch: int,
) -> Iterator[StoredPage]:
    """All pages of a stream that were fetched in [since, until), in order.

    Reads `batch` pages at a time.
    """
    after = 0
    while True:
        parameters = account.parameters(
            stream=stream, since=since, until=until, after=after, limit=batch
        )
        rows = connection.execute(query("sync", "stored_pages"), parameters, binary=True).fetchall()
        yield from (_opened(*row) for row in rows)
        if len(rows) < batch:
            return
        after = rows[-1][0]


def _opened(page_id: int, record_count: int, stored: bytes) -> StoredPage:
    return StoredPage(page_id, record_count, keyring().open(stored))


def page_counts(connection: DbConnection, sync_id: int) -> dict[str, tuple[int, int, int]]:
    """Per stream: pages, records, bytes as received."""
    rows = connection.execute(query("sync", "page_counts"), {"sync_id": sync_id}).fetchall()
    return {stream: (int(count), int(records), int(size)) for stream, count, records, size in rows}


def unknown(
    connection: DbConnection,
    account: AccountKey,
    lookup: str,
    ids: Sequence[str],
    *,
    by_name: bool,
    again: bool = False,
) -> list[str]:
    """Which of `ids` are not cached, or too old.

    Those with a value are asked for again after a day, those without one after ten minutes, or at
    once (`again`).
    """
    if by_name:
        statement = query("sync", "known_item_names")
    else:
        table, wanted_column = {"customers": (b"customer", b"phone"), "items": (b"item", b"sku")}[
            lookup
        ]
        statement = (
            query("sync", "known_lookups")
            .replace(b"{table}", table)
            .replace(b"{found}", wanted_column)
        )
    parameters = account.parameters(ids=list(ids), missing_minutes=0 if again else MISSING_MINUTES)
    rows = connection.execute(statement, parameters).fetchall()
    return sorted(set(ids) - {row[0] for row in rows})


def save_lookup(
    connection: DbConnection, account: AccountKey, lookup: str, frame: pl.DataFrame
) -> None:
    """Caches customers (external_id, phone) or items (external_id, name, sku)."""
    rows = frame.unique("external_id", keep="last").sort("external_id")
    parameters = account.parameters(external_ids=rows["external_id"].to_list())
    if lookup == "customers":
        connection.execute(
            query("sync", "save_customers"), parameters | {"phones": rows["phone"].to_list()}
        )
    else:
        parameters |= {"skus": rows["sku"].to_list(), "names": rows["name"].to_list()}
        connection.execute(query("sync", "save_items"), parameters)


def customers(connection: DbConnection, account: AccountKey, ids: Sequence[str]) -> pl.DataFrame:
    """Cached customers: external_id, phone."""
    rows = connection.execute(
        query("sync", "customers"), account.parameters(ids=list(ids))
    ).fetchall()
    return pl.DataFrame(rows, schema={"external_id": pl.String, "phone": pl.String}, orient="row")


def items(
    connection: DbConnection, account: AccountKey, ids: Sequence[str], names: Sequence[str]
) -> pl.DataFrame:
    """Cached items: external_id, name, sku."""
    parameters = account.parameters(ids=list(ids), names=list(names))
    rows = connection.execute(query("sync", "items"), parameters).fetchall()
    return pl.DataFrame(
        rows, schema=dict.fromkeys(("external_id", "name", "sku"), pl.String), orient="row"
    )


def _scalar(connection: DbConnection, name: str, parameters: Mapping[str, Any]) -> Any:
    row = connection.execute(query("sync", name), parameters).fetchone()
    return None if row is None else row[0]
