"""The floor: COPY to a temporary stage and INSERT ... ON CONFLICT of rows that are already frames.

The tables have the columns, types and primary keys of billing.invoice and billing.invoice_line.
Decoding is not timed, nothing is mapped or validated, no points, no raw pages: what is left is what
any loader has to do.
"""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec
import polars as pl
import psycopg

from benchmarks.harness import PagesFactory

SCHEMA: Final = "bench_copy"
#: Pages per transaction: enough to make its fixed cost vanish, few enough to keep memory flat.
PAGES_PER_MERGE: Final = 20

_INVOICE: Final = {
    "external_id": "text", "account": "text", "system": "text", "invoice_number": "text", "kind": "text",
    "customer_external_id": "text", "customer_phone": "text", "currency": "text", "total_minor": "bigint",
    "subtotal_minor": "bigint", "tax_minor": "bigint", "amount_paid_minor": "bigint",
    "amount_refunded_minor": "bigint", "status": "text", "issued_at": "timestamptz",
    "updated_at": "timestamptz", "page_id": "bigint", "record_no": "integer",
}  # fmt: skip
_LINE: Final = {
    "external_id": "text", "line_no": "integer", "account": "text", "system": "text", "sku": "text",
    "item_external_id": "text", "name": "text", "quantity": "numeric(20,6)", "unit_price": "numeric(20,6)",
    "amount_minor": "bigint",
}  # fmt: skip
_KEYS: Final = {
    "invoice": ("external_id", "account", "system"),
    "invoice_line": ("external_id", "line_no", "account", "system"),
}
_TABLES: Final = {"invoice": _INVOICE, "invoice_line": _LINE}


def run(pages_factory: PagesFactory, dsn: str) -> float:
    """Seconds of encoding, COPY, merge and commit together, into empty tables.

    Raises:
        RuntimeError: not every invoice arrived.
    """
    seconds, count = 0.0, 0
    with psycopg.connect(dsn) as connection:
        _create(connection)
        for frames in _frames(pages_factory()):
            started = time.perf_counter()
            with connection.transaction():
                for table, frame in frames.items():
                    _merge(connection, table, frame)
            seconds += time.perf_counter() - started
            count += frames["invoice"].height
        stored = tuple(_rows(connection, table) for table in _TABLES)
    if stored != (count, 2 * count):
        message = f"{count} invoices of two lines were sent, (invoices, lines) stored: {stored}"
        raise RuntimeError(message)
    return seconds


def _create(connection: psycopg.Connection[Any]) -> None:
    """Empty tables, and a stage per table without constraints."""
    connection.autocommit = True
    connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
    connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
    for table, columns in _TABLES.items():
        definition = ", ".join(
            f'"{name}" {kind}' + (' COLLATE "C"' if kind == "text" else "")
            for name, kind in columns.items()
        )
        key = ", ".join(_KEYS[table])
        connection.execute(
            f"CREATE TABLE {SCHEMA}.{table} ({definition}, PRIMARY KEY ({key}))".encode()
        )
        connection.execute(f"CREATE TEMPORARY TABLE stage_{table} ({definition})".encode())
    connection.execute("CHECKPOINT")


def _rows(connection: psycopg.Connection[Any], table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table}".encode()).fetchone()
    return int(row[0]) if row else 0


def _merge(connection: psycopg.Connection[Any], table: str, frame: pl.DataFrame) -> None:
    columns = tuple(_TABLES[table])
    names = ", ".join(f'"{name}"' for name in columns)
    updates = ", ".join(
        f'"{name}" = excluded."{name}"' for name in columns if name not in _KEYS[table]
    )
    connection.execute(f"TRUNCATE stage_{table}".encode())
    with connection.cursor().copy(
        f"COPY stage_{table} ({names}) FROM STDIN (FORMAT csv)".encode()
    ) as copy:
        copy.write(frame.select(columns).write_csv(include_header=False).encode())
    connection.execute(
        f"INSERT INTO {SCHEMA}.{table} ({names}) SELECT {names} FROM stage_{table} "
        f"ON CONFLICT ({', '.join(_KEYS[table])}) DO UPDATE SET {updates}".encode()
    )


def _frames(bodies: Iterator[bytes]) -> Iterator[dict[str, pl.DataFrame]]:
    """Rows as any mapper would deliver them, PAGES_PER_MERGE pages at a time."""
    page_id = 0
    while chunk := list(islice(bodies, PAGES_PER_MERGE)):
        invoices: list[tuple[Any, ...]] = []
        lines: list[tuple[Any, ...]] = []
        for body in chunk:
            page_id += 1
            for record_no, record in enumerate(msgspec.json.decode(body)["Invoices"]):
                invoices.append(_invoice(record, page_id, record_no))
                lines.extend(
                    _line(record, line_no, line)
                    for line_no, line in enumerate(record["LineItems"], 1)
                )
        yield {
            "invoice": pl.DataFrame(invoices, schema=list(_INVOICE), orient="row"),
            "invoice_line": pl.DataFrame(lines, schema=list(_LINE), orient="row"),
        }


def _invoice(record: dict[str, Any], page_id: int, record_no: int) -> tuple[Any, ...]:
    contact = record["Contact"]
    phone = contact["Phones"][0]
    return (
        record["InvoiceID"], "tenant", "xero", record["InvoiceNumber"], "invoice", contact["ContactID"],
        f"+{phone['PhoneCountryCode']}{phone['PhoneAreaCode']}{phone['PhoneNumber']}", record["CurrencyCode"],
        _minor(record["Total"]), _minor(record["SubTotal"]), _minor(record["TotalTax"]),
        _minor(record["AmountPaid"]), _minor(record["AmountCredited"]), record["Status"].lower(),
        _time(record["Date"]), _time(record["UpdatedDateUTC"]), page_id, record_no,
    )  # fmt: skip


def _line(record: dict[str, Any], line_no: int, line: dict[str, Any]) -> tuple[Any, ...]:
    return (
        record["InvoiceID"], line_no, "tenant", "xero", line["ItemCode"], line["ItemCode"],
        line["Description"], line["Quantity"], line["UnitAmount"], _minor(line["LineAmount"]),
    )  # fmt: skip


def _minor(amount: float) -> int:
    """Good enough for generated amounts; the product never goes through a float."""
    return round(amount * 100)


def _time(value: str) -> str:
    """`/Date(ms+0000)/` as text that PostgreSQL reads."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(value[6:-7]) / 1000))
