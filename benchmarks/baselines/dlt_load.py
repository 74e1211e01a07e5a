"""dlt merging the pages into PostgreSQL: invoices keyed by InvoiceID, lines and phones as child tables.

It infers the schema, normalises and merges; it validates nothing and computes no points. msgspec
decodes the pages, the fastest way known. Twice: as it comes, and tuned at 10k and 100k invoices on
two cores (`TUNED`).
"""

import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness import PagesFactory

DATASET: Final = "bench_dlt"
#: Not part of the job, however it is set.
ASIDE: Final = {
    "LOAD__DELETE_COMPLETED_JOBS": "true",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
}
TUNED: Final = {
    # A third faster than gzip between the steps.
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
    # Keeps memory flat; larger is not faster.
    "DATA_WRITER__FILE_MAX_ITEMS": "20000",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
    # A pool of two takes 5 s to start and is no faster at 100k, where PostgreSQL wants the other
    # core.
    "NORMALIZE__WORKERS": "1",
}


def run_default(pages_factory: PagesFactory, dsn: str) -> float:
    """As `run_tuned`, with nothing set but the destination and the key: INSERT statements, delete and insert."""
    return _run(pages_factory, dsn, file_format=None, merge_strategy=None)


def run_tuned(pages_factory: PagesFactory, dsn: str) -> float:
    """Seconds of extract, normalise and load together, into an empty dataset.

    Sets dlt's environment.

    COPY of csv files loads 2.6 times as fast as INSERT statements; upsert is as fast as delete and
    insert on a first load, and without the deletes on the next one.

    Raises:
        RuntimeError: not every invoice arrived.
    """
    os.environ.update(TUNED)
    return _run(pages_factory, dsn, file_format="csv", merge_strategy="upsert")


def _run(
    pages_factory: PagesFactory,
    dsn: str,
    *,
    file_format: Literal["csv"] | None,
    merge_strategy: Literal["upsert"] | None,
) -> float:
    os.environ.update(ASIDE)
    import dlt
    from dlt.destinations import postgres

    _drop(dsn)
    count = 0

    def records_of_pages() -> Iterator[list[dict[str, Any]]]:
        nonlocal count
        for body in pages_factory():
            records = msgspec.json.decode(body)["Invoices"]
            count += len(records)
            yield records

    invoices = dlt.resource(
        records_of_pages,
        name="invoices",
        primary_key="InvoiceID",
        write_disposition={"disposition": "merge", "strategy": merge_strategy}
        if merge_strategy
        else "merge",
    )
    with tempfile.TemporaryDirectory(prefix="dlt-") as state:
        pipeline = dlt.pipeline(
            "bench", destination=postgres(_url(dsn)), dataset_name=DATASET, pipelines_dir=state
        )
        started = time.perf_counter()
        pipeline.run(invoices, loader_file_format=file_format)
        seconds = time.perf_counter() - started
    _check(dsn, count)
    return seconds


def _url(dsn: str) -> str:
    """The same database the way dlt accepts it: it insists on a host and a password, even for a socket."""
    part = conninfo_to_dict(dsn)
    host, port = str(part.get("host", "localhost")), part.get("port", 5432)
    user, password = (
        quote(str(part.get("user", "postgres"))),
        quote(str(part.get("password", "unused"))),
    )
    name, socket = ("localhost", f"?host={quote(host)}") if host.startswith("/") else (host, "")
    return f"postgresql://{user}:{password}@{name}:{port}/{part['dbname']}{socket}"


def _drop(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for schema in (DATASET, f"{DATASET}_staging"):
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
        connection.execute("CHECKPOINT")


def _check(dsn: str, invoices: int) -> None:
    with psycopg.connect(dsn) as connection:
        query = "SELECT (SELECT count(*) FROM {0}.invoices), (SELECT count(*) FROM {0}.invoices__line_items)"
        stored = connection.execute(query.format(DATASET).encode()).fetchone()
    if stored != (invoices, 2 * invoices):
        message = f"{invoices} invoices of two lines were sent, (invoices, lines) stored: {stored}"
        raise RuntimeError(message)
