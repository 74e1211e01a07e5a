"""How every list of every system learns that a document was deleted, and that its points are taken back then."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from connectors import DESCRIBED, spec_for
from connectors.kit.spec import Account
from sql.db import connect
from tests.support.systems import SIMULATED
from tests.sync.conftest import Shop, expected

#: Systems that let drafts alone be deleted, which have no points; each has a test of its own.
DRAFTS_ONLY = ("stripe",)
#: Lists of which nothing can be deleted or cancelled, in the simulator at least: it has no sales
#: receipts of Zoho Books (test_zoho_books has a server that does).
FINAL = (
    ("square", "returns"),
    ("paypal", "transactions"),
    ("zoho_books", "sales_receipts"),
)
STREAMS = [
    (system, stream.name)
    for system, spec in sorted(SIMULATED.items())
    for stream in spec.streams
    if system not in DRAFTS_ONLY
    and stream.deleted is None
    and not stream.name.startswith("deleted_")
    # Recent documents are those of another list, read again.
    and not stream.name.startswith("recent_")
    # Lists of changes bring in the documents of another list.
    and not (stream.by_id and stream.by_id.named)
    and (system, stream.name) not in FINAL
]


def specs() -> list[Any]:
    """Every system; those that an operator describes, as they come."""
    key = {"api_key": SecretStr("k")}
    described = [
        spec_for(
            Account(name, name, "https://a.test", "", "", SecretStr(""), SecretStr(""), secrets=key)
        )
        for name in DESCRIBED
        if name != "file"
    ]
    return [*SIMULATED.values(), *described]


def test_every_list_says_how_it_learns_of_deletions() -> None:
    """(A folder does not: a file that is gone says nothing about its documents.

    Nor do sales that are only pushed: there is no list, and a webhook says what is deleted.)
    """
    for spec in (one for one in specs() if one.name != "push"):
        names = {stream.name for stream in spec.streams}
        for stream in spec.streams:
            if stream.deleted is None:
                assert stream.deletions, (spec.name, stream.name)
                assert set(stream.deletions) <= names, (spec.name, stream.name)


def documents_of(shop: Shop, stream: str) -> list[str]:
    """Stored documents of a list that are not void, by the vendor's id."""
    with connect(shop.dsn) as connection:
        rows = connection.execute(
            "SELECT i.external_id FROM billing.invoice i JOIN billing.raw_page p USING (page_id)"
            " WHERE p.stream = %s AND i.status <> 'void' ORDER BY 1",
            (stream,),
        ).fetchall()
    return [key.rpartition("/")[2] for (key,) in rows]


def status_of(shop: Shop, key: str) -> set[str]:
    with connect(shop.dsn) as connection:
        rows = connection.execute(
            "SELECT status FROM billing.invoice WHERE external_id = %s OR external_id LIKE '%%/' || %s",
            (key, key),
        ).fetchall()
    return {status for (status,) in rows}


def take_some_back(shop: Shop, system: str) -> None:
    """So that there is at least one document of every list."""
    books, now = shop.world.books[system], datetime.now(UTC).replace(microsecond=0)
    for document in [one for one in books.all() if one.source is None and not one.deleted][:30]:
        books.take_back(document, [line.quantity for line in document.lines], now)


@pytest.mark.parametrize(("system", "stream"), STREAMS)
def test_a_deleted_document_is_void_after_the_next_run(
    shop: Shop, system: str, stream: str
) -> None:
    take_some_back(shop, system)
    shop.sync(system)
    books, known = shop.world.books[system], set(documents_of(shop, stream))
    assert known, stream
    now = datetime.now(UTC).replace(microsecond=0)
    candidates = [one for one in books.all() if one.id in known]
    gone = next(one for one in candidates if books.delete(one, now) or books.void(one, now))
    shop.sync(system)
    assert "void" in status_of(shop, gone.id), (system, stream, gone.id)
    assert shop.points() == expected(shop.world, system)
