"""One account's books in a test database: versions of documents in, ledger out."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from pydantic import SecretStr

from connectors.kit.mapping.frames import DELETION
from connectors.kit.spec import Account as Vendor
from loyalty.schema import INVOICE, LINE
from sql import store, sync
from sql.db import DbConnection, connect
from sql.sync import AccountKey
from tasks.award.members import Awarded, award_members
from tasks.job import Job

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PHONE = "+244923000001"
OTHER_PHONE = "+244923000002"


def invoice(**changes: Any) -> dict[str, Any]:
    """One row of INVOICE: an open invoice of 150.00 AOA, unless `changes` say otherwise."""
    return {
        "system": "xero", "account": "books", "external_id": "A", "invoice_number": "INV-1", "kind": "invoice",
        "customer_external_id": "C1", "customer_phone": PHONE, "currency": "AOA", "total_minor": 15_000,
        "subtotal_minor": None, "tax_minor": None, "amount_paid_minor": 0, "amount_refunded_minor": 0, "status": "open",
        "issued_at": NOON, "updated_at": NOON, "reference_ids": None, "page_id": 1, "record_no": 0,
    } | changes  # fmt: skip


def line(external_id: str = "A", line_no: int = 1, **changes: Any) -> dict[str, Any]:
    """One row of LINE."""
    return {
        "system": "xero", "account": "books", "external_id": external_id, "line_no": line_no, "sku": "AGUA-5L",
        "item_external_id": None, "name": "Água 5 L", "quantity": 2, "unit_price": 5, "amount_minor": 1_000,
    } | changes  # fmt: skip


def invoices(*rows: dict[str, Any]) -> pl.DataFrame:
    """INVOICE of some rows."""
    return pl.DataFrame(rows, schema=INVOICE, orient="row")


def lines(*rows: dict[str, Any]) -> pl.DataFrame:
    """LINE of some rows."""
    return pl.DataFrame(rows, schema=LINE, orient="row")


def deletions(*rows: tuple[str, datetime | None]) -> pl.DataFrame:
    """Documents that the vendor deleted, and when."""
    return pl.DataFrame([(*row, None) for row in rows], schema=DELETION, orient="row")


@dataclass
class Books:
    """The books of one account; everything goes through the store and award steps of the product."""

    dsn: str
    account: AccountKey = AccountKey("xero", "books")
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def job(self, *, dry_run: bool = False) -> Job:
        """A run of its own; it never asks a vendor."""
        vendor = Vendor(
            self.account.system, self.account.account, "", "", "id", SecretStr("s"), SecretStr("r")
        )
        return Job(self.dsn, vendor, key=b"", run_id=f"run-{next(self._numbers)}", dry_run=dry_run)

    @contextmanager
    def transaction(self) -> Iterator[DbConnection]:
        """A connection whose work is committed at the end."""
        with connect(self.dsn) as connection:
            yield connection
            connection.commit()

    def begin(self, connection: DbConnection) -> int:
        """A new synchronisation with one raw page; returns its number.

        The page's number is the same as its.
        """
        sync_id, _ = sync.begin(
            connection, self.account, "run", (None, None), {"invoices": {"complete": True}}
        )
        sync.set_state(connection, sync_id, "stored")
        page = {
            "stream": "invoices", "page_no": 1, "record_count": 0, "request": {}, "next_request": None,
            "content_type": "application/json", "body": b"{}", "fetched_at": NOON,
        }  # fmt: skip
        sync.save_page(connection, self.account, sync_id, page)
        return sync_id

    def put(
        self, connection: DbConnection, versions: Iterable[dict[str, Any]], *more: dict[str, Any],
        gone: Sequence[tuple[str, datetime | None]] = (),
    ) -> store.Stored:  # fmt: skip
        """What the store step does in its transaction; `more` are lines, `gone` are deletions."""
        into = store.Stored()
        store.lock_account(connection, self.account)
        sync_id = self.begin(connection)
        placed = [
            one | {"page_id": sync_id, "record_no": number} for number, one in enumerate(versions)
        ]
        places = {one["external_id"]: one["record_no"] for one in placed}
        sold = [one | {"page_id": sync_id, "record_no": places[one["external_id"]]} for one in more]
        store.store_invoices(
            connection, self.account, sync_id,
            store.with_members(self._own(invoices(*placed)), self.transaction), self._own(lines(*sold)), into=into,
            expect_new=sync_id % 2 == 1,  # what is expected changes how, and never what
        )  # fmt: skip
        store.void_deleted(connection, self.account, sync_id, deletions(*gone), into=into)
        store.mark_dirty(connection, into.members)
        return into

    def store(
        self, *versions: dict[str, Any], lines: Iterable[dict[str, Any]] = (), **gone: Any
    ) -> store.Stored:
        """Stores and commits."""
        with self.transaction() as connection:
            return self.put(connection, versions, *lines, **gone)

    def award(self, *, dry_run: bool = False) -> Awarded:
        """Runs the award step."""
        with self.transaction() as connection:
            sync_id = self.begin(connection)
        job = self.job(dry_run=dry_run)
        with job.scope():
            return award_members(job, sync_id)

    def rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        with connect(self.dsn) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def run(self, statement: str, **parameters: Any) -> None:
        """Executes and commits."""
        with self.transaction() as connection:
            connection.execute(statement.encode(), parameters)

    def set_tier(self, member_id: int, tier: str, valid_from: datetime) -> None:
        """Enters a tier, as the loyalty app does."""
        values = {"member": member_id, "tier": tier, "at": valid_from}
        self.run(
            "INSERT INTO loyalty.member_tier (member_id, tier, valid_from) VALUES (%(member)s, %(tier)s, %(at)s)",
            **values,
        )

    def member(self, phone: str = PHONE) -> int:
        """The member with the phone."""
        return int(
            self.rows("SELECT member_id FROM loyalty.member WHERE phone = %(phone)s", phone=phone)[
                0
            ][0]
        )

    def points(self, phone: str = PHONE) -> int:
        """The member's balance."""
        found = self.rows(
            "SELECT coalesce(sum(balance_points), 0) FROM loyalty.member_balance WHERE member_id = %(m)s",
            m=self.member(phone),
        )
        return int(found[0][0])

    def dirty(self) -> list[int]:
        """Members waiting for their points."""
        return [
            row[0] for row in self.rows("SELECT member_id FROM loyalty.member_dirty ORDER BY 1")
        ]

    def entries(self) -> list[tuple[Any, ...]]:
        """(external_id, member_id, entry_no, reason, points) of all entries, as they were posted."""
        return self.rows(
            "SELECT external_id, member_id, entry_no, reason, points FROM loyalty.award_entry "
            "ORDER BY posted_at, external_id, member_id, entry_no"
        )

    def _own(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            pl.lit(self.account.system).alias("system"),
            pl.lit(self.account.account).alias("account"),
        )
