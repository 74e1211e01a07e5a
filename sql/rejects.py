"""Open rejects on their way back into the ledger.

Which are worth another attempt, from which raw pages, and what became of them.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sql.db import DbConnection
from sql.named_queries import query
from sql.sealing import keyring
from sql.sync import MISSING_MINUTES, AccountKey

#: Customers asked for at once because documents of theirs are rejected for want of a phone.
PHONES_AT_ONCE = 100


@dataclass(frozen=True)
class Waiting:
    """An open reject, and the place of its record."""

    reject_id: int
    #: Which list of the vendor.
    stream: str
    #: Raw page it was read from.
    page_id: int
    #: Position of the record in that page, from 0.
    record_no: int
    #: Id of the document at the billing system.
    external_id: str | None


def waiting(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    *,
    mapping: str,
    streams: Collection[str],
    every: bool,
    after: int,
    pages: int,
) -> list[Waiting]:
    """Open rejects that are worth another attempt, by raw page.

    Another mapping rejected them, or their customer has a phone by now (`every`: all of them).
    Those of this synchronisation are left out.

    Those of the next `pages` raw pages after the page `after`, in order.
    """
    parameters = account.parameters(
        sync_id=sync_id,
        mapping=mapping,
        streams=list(streams),
        every=every,
        after=after,
        pages=pages,
    )
    return [
        Waiting(*row)
        for row in connection.execute(query("rejects", "waiting"), parameters).fetchall()
    ]


def bodies(connection: DbConnection, pages: Collection[int]) -> dict[int, bytes]:
    """The raw pages, as received."""
    rows = connection.execute(
        query("rejects", "bodies"), {"pages": sorted(pages)}, binary=True
    ).fetchall()
    return {page_id: keyring().unpack(body) for page_id, body in rows}


def page_of(
    connection: DbConnection, account: AccountKey, document: str
) -> tuple[str, bytes] | None:
    """The stream and the latest stored page with the document of that number or id.

    The page is as received; None if there is none.
    """
    parameters = account.parameters(document=document)
    row = connection.execute(query("rejects", "page_of"), parameters, binary=True).fetchone()
    return None if row is None else (row[0], keyring().unpack(row[1]))


def newest_document(connection: DbConnection, account: AccountKey) -> str | None:
    """The id of the document with the latest date; None: nothing was fetched yet."""
    row = connection.execute(query("rejects", "newest_document"), account.parameters()).fetchone()
    return None if row is None else str(row[0])


def close(connection: DbConnection, sync_id: int, rejects: Collection[int]) -> int:
    """Closes those of the rejects that this synchronisation did not reject again.

    Returns how many.
    """
    parameters = {"sync_id": sync_id, "rejects": list(rejects)}
    return connection.execute(query("rejects", "close"), parameters).rowcount


def keep(connection: DbConnection, sync_id: int, rejects: Collection[int], *, mapping: str) -> None:
    """These cannot even be read with this mapping: they stay, and wait for another one."""
    parameters = {"sync_id": sync_id, "rejects": list(rejects), "mapping": mapping}
    connection.execute(query("rejects", "keep"), parameters)


@dataclass(frozen=True)
class OfFile:
    """An open reject of a row of a file that was read again since, as `new_page_id`.

    `whole`: it is of the file itself.
    """

    reject_id: int
    #: Which list of the vendor.
    stream: str
    #: Position of the record in that page, from 0.
    record_no: int
    #: Raw page it was read from.
    page_id: int
    #: The page as it was read again.
    new_page_id: int
    #: Whether the whole file was rejected, and not one row.
    whole: bool
    #: Whether the row is of a document with an id.
    of_document: bool


def of_files(connection: DbConnection, account: AccountKey, sync_id: int) -> list[OfFile]:
    """Open rejects of files that this synchronisation read again without the same reject."""
    rows = connection.execute(
        query("rejects", "of_files"), account.parameters(sync_id=sync_id)
    ).fetchall()
    return [OfFile(*row) for row in rows]


def refused_of(
    connection: DbConnection, sync_id: int, pages: Collection[int]
) -> set[tuple[int, int]]:
    """Pages and numbers of the records that this synchronisation rejected."""
    parameters = {"sync_id": sync_id, "pages": sorted(pages)}
    return set(connection.execute(query("rejects", "refused_of"), parameters).fetchall())


def newer(
    connection: DbConnection, account: AccountKey, documents: Collection[tuple[str, int]]
) -> set[str]:
    """Those of the documents (id, page) that are stored as a later page had them."""
    parameters = account.parameters(
        ids=[document for document, _ in documents], pages=[page for _, page in documents]
    )
    return {row[0] for row in connection.execute(query("rejects", "newer"), parameters).fetchall()}


def phones_missing(connection: DbConnection, account: AccountKey) -> set[str]:
    """Customers of open rejects that had no phone when they were last looked up.

    Only customers whose next look-up is due, at most `limit`.
    """
    parameters = account.parameters(minutes=MISSING_MINUTES, limit=PHONES_AT_ONCE)
    return {
        row[0]
        for row in connection.execute(query("rejects", "phones_missing"), parameters).fetchall()
    }
