"""The store transaction: newer versions in, older ones ignored, rejects kept, members marked."""

from datetime import timedelta
from typing import Any

import polars as pl
import psycopg
import pytest

from connectors import SYSTEMS
from connectors.kit.mapping import Mapped
from loyalty.schema import LINE, PROBLEM
from sql import store, sync
from sql.copying import copy_in
from sql.sync import AccountKey
from sql.versions import READING
from tasks.load.invoices import judged
from tests.support.books import (
    HOUR,
    NOON,
    OTHER_PHONE,
    PHONE,
    Books,
    deletions,
    invoice,
    invoices,
    line,
    lines,
)

FACTS = (
    "SELECT external_id, total_minor, status, updated_at FROM billing.invoice ORDER BY external_id"
)
LINES = "SELECT external_id, line_no, name FROM analytics.sale_line ORDER BY external_id, line_no"


def test_a_new_invoice(books: Books) -> None:
    done = books.store(invoice(), lines=[line(), line(line_no=2, name="Garrafão")])
    assert (done.new, done.changed, done.unchanged, done.members) == (1, 0, 0, {books.member()})
    assert books.rows(FACTS) == [("A", 15_000, "open", NOON)]
    assert books.rows(LINES) == [("A", 1, "Água 5 L"), ("A", 2, "Garrafão")]
    assert books.dirty() == [books.member()]


def test_the_same_again_writes_nothing(books: Books) -> None:
    books.store(invoice(), lines=[line()])
    before = (
        books.rows("SELECT xmin::text, * FROM billing.invoice"),
        books.rows("SELECT xmin::text FROM billing.invoice_line"),
    )
    books.award()
    done = books.store(invoice(page_id=2, record_no=7), lines=[line()])
    assert (done.new, done.changed, done.unchanged, done.members) == (0, 0, 1, set())
    assert before == (
        books.rows("SELECT xmin::text, * FROM billing.invoice"),
        books.rows("SELECT xmin::text FROM billing.invoice_line"),
    )  # fmt: skip
    assert books.dirty() == []


def test_a_newer_version_replaces_the_older_one_and_its_lines(books: Books) -> None:
    books.store(invoice(), invoice(external_id="B"), lines=[line(), line(line_no=2), line("B")])
    books.award()
    done = books.store(
        invoice(total_minor=20_000, updated_at=NOON + HOUR), lines=[line(name="Rótulo")]
    )
    assert (done.new, done.changed, done.unchanged, done.members) == (0, 1, 0, {books.member()})
    assert books.rows(FACTS)[0] == ("A", 20_000, "open", NOON + HOUR)
    assert books.rows(LINES) == [("A", 1, "Rótulo"), ("B", 1, "Água 5 L")]


@pytest.mark.parametrize("expect_new", [True, False])
def test_what_is_expected_to_be_new_and_is_not_is_compared_all_the_same(
    books: Books, expect_new: bool
) -> None:
    books.store(invoice(), lines=[line()])
    into = store.Stored()
    with books.transaction() as connection:
        later = books.job().account, books.begin(connection)
        rows = [
            invoice(page_id=later[1], total_minor=20_000, updated_at=NOON + HOUR),
            invoice(external_id="B", page_id=later[1], record_no=1),
        ]
        found = store.with_members(books._own(invoices(*rows)), books.transaction)
        store.store_invoices(connection, *later, found, lines(), into=into, expect_new=expect_new)
    assert (into.new, into.changed, into.unchanged) == (1, 1, 0)
    assert [row[:2] for row in books.rows(FACTS)] == [("A", 20_000), ("B", 15_000)]


def test_the_first_load_is_the_one_before_any_was_stored(books: Books) -> None:
    with books.transaction() as connection:
        sync.begin(connection, books.account, "run", (None, None), {})
        assert store.is_first_load(connection, books.account)
        books.begin(connection)
        assert not store.is_first_load(connection, books.account)
        assert store.is_first_load(connection, AccountKey("xero", "another"))


def test_an_older_version_never_replaces_a_newer_one(books: Books) -> None:
    books.store(invoice(total_minor=20_000, updated_at=NOON + HOUR), lines=[line(name="new")])
    books.award()
    done = books.store(invoice(), lines=[line(name="old"), line(line_no=2, name="old")])
    assert (done.new, done.changed, done.unchanged, done.members) == (0, 0, 0, set())
    assert (done.older, done.older_documents) == (1, ["INV-1"]), (
        "it is said, and not called unchanged"
    )
    assert books.rows(FACTS) == [("A", 20_000, "open", NOON + HOUR)]
    assert books.rows(LINES) == [("A", 1, "new")]
    assert books.dirty() == []


def test_a_correction_without_a_newer_time_is_taken(books: Books) -> None:
    """A change that does not move the invoice's own time is stored.

    A phone corrected at the customer is one, a mapping corrected here another.
    """
    books.store(invoice())
    assert books.store(invoice(customer_phone=OTHER_PHONE)).changed == 1


def test_only_the_written_of_a_mixed_batch_get_lines(books: Books) -> None:
    books.store(invoice(), lines=[line(name="kept")])
    done = books.store(
        invoice(), invoice(external_id="B"), lines=[line(name="not written"), line("B", name="new")]
    )
    assert (done.new, done.unchanged) == (1, 1)
    assert books.rows(LINES) == [("A", 1, "kept"), ("B", 1, "new")]


def test_a_reassigned_invoice_marks_both_members(books: Books) -> None:
    books.store(invoice())
    books.award()
    done = books.store(invoice(customer_phone=OTHER_PHONE, updated_at=NOON + HOUR))
    both = {books.member(), books.member(OTHER_PHONE)}
    assert done.members == both
    assert set(books.dirty()) == both
    books.award()
    assert (books.points(PHONE), books.points(OTHER_PHONE)) == (0, 1500)
    assert [row[1:] for row in books.entries()] == [
        (books.member(), 1, "award", 1500), (books.member(), 2, "moved", -1500),
        (books.member(OTHER_PHONE), 1, "award", 1500),
    ]  # fmt: skip


def test_a_void_that_lost_its_customer_takes_the_points_back(books: Books) -> None:
    books.store(invoice())
    books.award()
    books.store(invoice(status="void", customer_phone=None, updated_at=NOON + HOUR))
    books.award()
    assert books.points() == 0


def test_unlisted_are_those_that_live_and_were_stored_before(books: Books) -> None:
    """Documents that are not listed, of those that the list could have.

    Void ones do not count, nor those of another account, nor what a synchronisation that began
    later has stored.
    """
    books.store(invoice(), invoice(external_id="B"), invoice(external_id="C", status="void"))
    (sync_id,) = {row[0] for row in books.rows("SELECT sync_id FROM billing.invoice")}
    Books(books.dsn, AccountKey("quickbooks", "9130")).store(invoice(external_id="D"))
    books.store(invoice(external_id="E"))
    with books.transaction() as connection:
        assert store.unlisted(connection, books.account, sync_id, ["B", "B", "Z"]) == (2, ["A"])
        assert store.unlisted(connection, books.account, sync_id, []) == (2, ["A", "B"])
        assert store.unlisted(connection, books.account, sync_id + 100, ["A", "B"]) == (3, ["E"])


def test_the_same_number_in_two_accounts(books: Books) -> None:
    other = Books(books.dsn, AccountKey("quickbooks", "9130"))
    books.store(invoice(), lines=[line()])
    other.store(invoice(total_minor=1_000), lines=[line(), line(line_no=2)])
    other.store(
        invoice(total_minor=2_000, updated_at=NOON + HOUR), lines=[line()], gone=[("B", NOON)]
    )
    assert books.rows("SELECT system, total_minor FROM billing.invoice ORDER BY 1") == [
        ("quickbooks", 2_000),
        ("xero", 15_000),
    ]
    assert books.rows("SELECT system, count(*) FROM analytics.sale_line GROUP BY 1 ORDER BY 1") == [
        ("quickbooks", 1),
        ("xero", 1),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        '"',
        'a"b',
        "line\nbreak",
        "\\.",
        "\\N",
        "NULL",
        "tab\t",
        "Ångström – é",
        "😀",
        "'",
        "\r\n",
    ],
)
def test_any_text_survives_the_way_in(books: Books, text: str) -> None:
    books.store(invoice(invoice_number=text), lines=[line(name=text, sku=None)])
    assert books.rows("SELECT invoice_number FROM billing.invoice") == [(text,)]
    assert books.rows("SELECT name, sku FROM billing.invoice_line") == [(text, None)]


def test_ids_with_separators(books: Books) -> None:
    names = ["a,b", 'q"x', "{1}", "%s", "back\\slash", "credit_note/55"]
    books.store(
        *(invoice(external_id=name) for name in names), lines=[line(name) for name in names]
    )
    done = books.store(
        *(invoice(external_id=name, total_minor=1, updated_at=NOON + HOUR) for name in names)
    )
    assert done.changed == len(names)
    assert books.rows("SELECT count(*) FROM billing.invoice_line") == [(0,)]


class TestDeletions:
    def test_a_deleted_document_is_void(self, books: Books) -> None:
        books.store(invoice())
        books.award()
        done = books.store(gone=[("A", NOON + HOUR), ("never seen", NOON)])
        assert (done.voided, done.members) == (1, {books.member()})
        assert books.rows(FACTS) == [("A", 15_000, "void", NOON + HOUR)]
        books.award()
        assert [row[2:] for row in books.entries()] == [(1, "award", 1500), (2, "void", -1500)]

    def test_without_a_time_it_counts_as_now(self, books: Books) -> None:
        books.store(invoice())
        assert books.store(gone=[("A", None)]).voided == 1
        assert books.rows(FACTS) == [("A", 15_000, "void", NOON)]

    def test_an_older_deletion_does_not_undo_a_newer_version(self, books: Books) -> None:
        books.store(invoice(updated_at=NOON + HOUR))
        assert books.store(gone=[("A", NOON)]).voided == 0

    def test_again_it_changes_nothing(self, books: Books) -> None:
        books.store(invoice(), gone=[("A", NOON + HOUR)])
        assert (again := books.store(gone=[("A", NOON + HOUR)])).voided == 0
        assert again.members == set()

    def test_an_older_version_does_not_bring_it_back_but_a_newer_one_does(
        self, books: Books
    ) -> None:
        books.store(invoice(), gone=[("A", NOON + HOUR)])
        assert books.store(invoice(), invoice(external_id="B")).older == 1
        assert books.store(invoice(updated_at=NOON + 2 * HOUR)).changed == 1
        assert books.rows(FACTS)[0][2] == "open"

    def test_a_void_one_is_deleted_too(self, books: Books) -> None:
        """It was restored between the void and the deletion, and that version arrives last."""
        books.store(invoice(status="void"))
        books.store(gone=[("A", NOON + 2 * HOUR)])
        assert books.store(invoice(updated_at=NOON + HOUR)).older == 1
        assert books.rows(FACTS)[0][2] == "void"


def reject(key: str = "A", reason: str = "total: missing", **changes: Any) -> dict[str, Any]:
    return {
        "stream": "invoices", "record_key": key, "external_id": key, "reason": reason,
        "problems": '[{"field": "total"}]', "page_id": 1, "record_no": 0,
    } | changes  # fmt: skip


class TestRejects:
    ROWS = (
        "SELECT record_key, reason, times_seen, resolved_at IS NULL FROM billing.reject "
        "ORDER BY reject_id"
    )

    def save(self, books: Books, *rejects: dict[str, Any]) -> int:
        with books.transaction() as connection:
            sync_id = books.begin(connection)
            frame = pl.DataFrame(rejects, schema_overrides={"record_no": pl.Int32})
            store.save_rejects(connection, books.account, sync_id, frame)
        return sync_id

    def resolve(self, books: Books, *ids: str, awards: bool = False) -> int:
        with books.transaction() as connection:
            sync_id = books.begin(connection)
            return store.resolve_rejects(connection, books.account, sync_id, ids, awards=awards)

    def test_seen_again_it_is_the_same_reject(self, books: Books) -> None:
        first = self.save(books, reject(), reject("page 1 record 4", external_id=None))
        last = self.save(books, reject(reason="total: not a number"))
        assert books.rows(self.ROWS) == [
            ("A", "total: not a number", 2, True),
            ("page 1 record 4", "total: missing", 1, True),
        ]
        assert books.rows(
            "SELECT first_sync_id, last_sync_id FROM billing.reject ORDER BY 1, 2 DESC"
        )[0] == (
            first,
            last,
        )

    def test_twice_in_one_batch_it_is_one(self, books: Books) -> None:
        self.save(books, reject(), reject(reason="later", record_no=3))
        assert books.rows(self.ROWS) == [("A", "later", 1, True)]

    def test_resolved_and_rejected_again(self, books: Books) -> None:
        self.save(books, reject(), reject("B"))
        with books.transaction() as connection:
            assert store.has_open_rejects(connection, books.account)
        assert self.resolve(books, "A", "C") == 1
        self.save(books, reject())
        assert books.rows(self.ROWS) == [
            ("A", "total: missing", 1, False), ("B", "total: missing", 1, True),
            ("A", "total: missing", 1, True),
        ]  # fmt: skip
        assert self.resolve(books, "A", "B") == 2
        with books.transaction() as connection:
            assert not store.has_open_rejects(connection, books.account)

    def test_each_step_resolves_its_own(self, books: Books) -> None:
        self.save(books, reject(), reject(stream="awards"))
        assert self.resolve(books, "A") == 1
        assert books.rows("SELECT stream FROM billing.reject WHERE resolved_at IS NULL") == [
            ("awards",)
        ]
        assert self.resolve(books, "A", awards=True) == 1

    def test_another_account_keeps_its_rejects(self, books: Books) -> None:
        self.save(books, reject())
        assert self.resolve(Books(books.dsn, AccountKey("xero", "other")), "A") == 0


def mapped(found: pl.DataFrame, belonging: pl.DataFrame) -> Mapped:
    return Mapped(found, belonging, PROBLEM.to_frame(), deletions(), found.height)


def owned(row: dict[str, Any], **place: int) -> dict[str, Any]:
    """A line of the record at a place, where lines know it."""
    return row | {name: value for name, value in place.items() if name in LINE}


@pytest.mark.parametrize("newest_page", [1, 2])
def test_lines_are_those_of_the_newest_version(newest_page: int) -> None:
    """Of a document that is edited while it is read, the newest version counts.

    It is read twice, and has the lines of that version.
    """
    oldest_page = 3 - newest_page
    versions = invoices(
        invoice(page_id=newest_page, updated_at=NOON + HOUR),
        invoice(page_id=oldest_page, updated_at=NOON),
    )
    new = [owned(line(name="new"), page_id=newest_page, record_no=0)]
    old = [owned(line(line_no=n, name="old"), page_id=oldest_page, record_no=0) for n in (1, 2)]
    in_order = new + old if newest_page == 1 else old + new
    batch = judged(
        SYSTEMS["xero"].streams[0], mapped(versions, lines(*in_order)), READING.to_frame()
    )
    assert batch.invoices["page_id"].to_list() == [newest_page]
    assert batch.lines["name"].to_list() == ["new"]


class TestWhatTheTableRefuses:
    @pytest.mark.parametrize(
        "change",
        [
            {"kind": "quote"}, {"status": "sent"}, {"currency": "aoa"}, {"total_minor": -1},
            {"amount_refunded_minor": 15_001}, {"customer_phone": None},
        ],
    )  # fmt: skip
    def test_an_invoice(self, books: Books, change: dict[str, Any]) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            books.store(invoice(**change))
        assert books.rows(FACTS) == []

    def test_a_phone_that_is_none(self, books: Books) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            books.store(invoice(customer_phone="923 000 001"))

    def test_a_draft_needs_no_customer(self, books: Books) -> None:
        assert books.store(invoice(status="draft", customer_phone=None)).new == 1


def test_copying_nothing(books: Books) -> None:
    with books.transaction() as connection:
        copy_in(
            connection,
            "billing.invoice",
            pl.DataFrame({"external_id": []}, schema={"external_id": pl.String}),
        )


def test_microseconds_survive(books: Books) -> None:
    at = NOON + timedelta(microseconds=123_457)
    books.store(invoice(issued_at=at, updated_at=at))
    assert books.rows("SELECT issued_at, updated_at FROM billing.invoice") == [(at, at)]
    assert books.store(invoice(issued_at=at, updated_at=at)).unchanged == 1


def test_a_version_that_arrives_after_its_deletion_was_read_is_void(books: Books) -> None:
    """A webhook that waited for its next attempt, and a poll that read the deletion meanwhile."""
    books.store(gone=[("A", NOON + 2 * HOUR)])
    books.store(invoice(updated_at=NOON))
    books.store(invoice(updated_at=NOON + HOUR, total_minor=99_000))
    books.award()
    assert books.rows("SELECT status FROM billing.invoice") == [("void",)]
    assert books.entries() == []
    books.store(invoice(updated_at=NOON + 3 * HOUR))  # and yet it was restored
    books.award()
    assert books.points() == 1500
