"""Exports left in a folder, through the whole synchronisation."""

import io
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import stamina
from cryptography.fernet import Fernet

from connectors.kit.errors import Misconfigured
from connectors.kit.spec import Account
from sql.db import connect
from sql.sealing import keyring
from tasks.job import Job
from tasks.load.invoices import Loaded
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import run

__all__ = ["databases", "dsn"]
KEY = Fernet.generate_key()
HEADER = "Factura;Data;Telefone;Produto;Qtd;Total linha\n"
PATHS = {
    "external_id": "/Factura",
    "customer_phone": "/Telefone",
    "issued_at": "/Data",
    "lines.name": "/Produto",
    "lines.quantity": "/Qtd",
    "lines.amount_minor": "/Total linha",
}
OPTIONS = {"amounts": "decimal comma", "dates": "day first", "totals": "sum of the lines"}


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4):
        yield


def sync(
    dsn: str,
    folder: Path,
    options: dict[str, Any] | None = None,
    paths: dict[str, str] | None = None,
    **request: Any,
) -> Loaded:
    settings = {"folder": str(folder), "settle_seconds": 0, **(options or {})}
    vendor = Account("file", "caixa", default_currency="AOA", options=settings, paths=paths or {})
    return run(Job(dsn, vendor, key=KEY, run_id="test", **request))[1]


def points(dsn: str) -> dict[str, int]:
    with connect(dsn) as opened:
        return dict(
            opened.execute(
                "SELECT external_id, sum(points)::bigint FROM loyalty.award_entry GROUP BY 1 HAVING sum(points) <> 0"
            ).fetchall()
        )


def rejects(dsn: str) -> list[tuple[Any, ...]]:
    with connect(dsn) as opened:
        return opened.execute(
            "SELECT file, record_no, reason FROM analytics.reject WHERE resolved_at IS NULL ORDER BY 1 NULLS FIRST, 2"
        ).fetchall()


def bodies(dsn: str) -> dict[str, bytes]:
    """Pages by the file they are of."""
    with connect(dsn) as opened:
        rows = opened.execute(
            "SELECT request -> 'params' ->> 'file', body_zstd FROM billing.raw_page WHERE request -> 'params' ? 'file'"
        ).fetchall()
    return {name: keyring().unpack(body) for name, body in rows}


def test_one_row_per_line_with_decimal_commas(dsn: str, tmp_path: Path) -> None:
    """Rows of an invoice need not be together; the file is kept as it was."""
    text = (
        HEADER
        + "FT 1;31/01/2026;923 456 789;Água 5L;3;1.500,00\n"
        + "FT 2;01/02/2026;923456780;Água 5L;1;500,00\n"
        + 'FT 1;31/01/2026;923 456 789;"Água; 20L";1;2.450,50\n'
    )
    body = text.encode("cp1252")
    (tmp_path / "Vendas de Março (1).CSV").write_bytes(body)
    loaded = sync(dsn, tmp_path, OPTIONS | {"encoding": "windows-1252"}, PATHS)
    assert (loaded.accepted, loaded.rejected) == (2, 0)
    assert points(dsn) == {"FT 1": 39505, "FT 2": 5000}
    assert bodies(dsn) == {"Vendas de Março (1).CSV": body}
    with connect(dsn) as opened:
        lines = opened.execute(
            "SELECT external_id, line_no, name, quantity::int FROM analytics.sale_line ORDER BY 1, 2"
        ).fetchall()
    assert lines == [
        ("FT 1", 1, "Água 5L", 3),
        ("FT 1", 2, "Água; 20L", 1),
        ("FT 2", 1, "Água 5L", 1),
    ]


def test_one_row_per_invoice_and_the_usual_names(dsn: str, tmp_path: Path) -> None:
    """The documented names need no mapping."""
    (tmp_path / "a.csv").write_text(
        "invoice_number,customer_phone,total_amount,sale_date,status\r\n"
        "INV-001,+244 923 456 789,150.00,2024-01-15T14:30:00Z,\r\nINV-002,923456789,10.5,2024-01-16,cancelled\r\n"
    )
    sync(dsn, tmp_path)
    assert points(dsn) == {"INV-001": 1500}
    with connect(dsn) as opened:
        assert opened.execute("SELECT count(*) FROM billing.invoice_line").fetchone() == (0,)


def test_json_lines_and_parquet(dsn: str, tmp_path: Path) -> None:
    sale = {
        "invoice_number": "J-1",
        "customer_phone": "923456789",
        "total_amount": 0.1,
        "sale_date": "2026-01-01",
    }
    products = [{"name": "Água", "quantity": 1, "unit_price": 0.1, "sku": "ATW-5L"}]
    (tmp_path / "a.json").write_text(
        json.dumps([{**sale, "total_amount": 150, "products": products}])
    )
    lines = [
        {**sale, "invoice_number": "N-1", "total_amount": 20},
        {**sale, "invoice_number": "N-2"},
    ]
    (tmp_path / "b.ndjson").write_text("\n".join(map(json.dumps, lines)) + "\n\nnot json\n")
    frame = pl.DataFrame(
        {
            "invoice_number": ["P-1", "P-1", "P-2"],
            "customer_phone": ["923456789"] * 3,
            "total_amount": pl.Series(
                [Decimal("33.30"), Decimal("33.30"), Decimal("0.10")], dtype=pl.Decimal(10, 2)
            ),
            "sale_date": [datetime(2026, 1, 1, 10, tzinfo=UTC)] * 3,
            "sku": ["A", "B", None],
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    (tmp_path / "c.parquet").write_bytes(buffer.getvalue())
    sync(dsn, tmp_path)
    assert points(dsn) == {"J-1": 1500, "N-1": 200, "N-2": 1, "P-1": 333, "P-2": 1}
    assert rejects(dsn) == [("b.ndjson", 4, "Record, looked for at /: is no JSON")]


def test_the_same_file_again_and_a_corrected_one(dsn: str, tmp_path: Path) -> None:
    """However often and under whatever name: a document counts once, as the latest file has it."""
    row = "FT 1;31/01/2026;923456789;Água;1;100,00\n"
    (tmp_path / "z-first.csv").write_text(HEADER + row)
    sync(dsn, tmp_path, OPTIONS, PATHS)
    (tmp_path / "copy.csv").write_text(HEADER + row)
    assert sync(dsn, tmp_path, OPTIONS, PATHS).stored.new == 0
    assert points(dsn) == {"FT 1": 1000}
    # Its name sorts before the others, and its content is older by its own date.
    corrected = tmp_path / "a-correction.csv"
    corrected.write_text(HEADER + row.replace("100,00", "70,00"))
    os.utime(corrected, (0, 0))
    sync(dsn, tmp_path, OPTIONS, PATHS)
    assert points(dsn) == {"FT 1": 700}
    sync(dsn, tmp_path, OPTIONS, PATHS, since=datetime.now(UTC) - timedelta(days=1))
    assert points(dsn) == {"FT 1": 700}


def test_bad_rows_and_bad_files_are_named_and_do_not_hold_up_the_others(
    dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "good.csv").write_text(
        HEADER
        + "FT 1;31/01/2026;923456789;Água;1;100,00\n"
        + "FT 2;31/02/2026;923456789;Água;1;100,00\n"
        + "FT 3;31/01/2026;923456789;Água;1;100,00\n"
        + "FT 3;31/01/2026;923456789;Água\n"
        + "FT 4;31/01/2026;923456789;Água;1;cem\n"
    )
    (tmp_path / "broken.csv").write_bytes("Factura;Cidade\n1;São\n".encode("cp1252"))
    (tmp_path / "cut.json").write_text('[{"invoice_number": "J-1", "total')
    (tmp_path / "cut.parquet").write_bytes(b"PAR1\x00\x01\x02garbagePAR1")
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04...")
    (tmp_path / "renamed.csv").write_bytes(b"PK\x03\x04...")
    (tmp_path / "twice.csv").write_text("Factura;Factura\n1;2\n")
    loaded = sync(dsn, tmp_path, OPTIONS, PATHS)
    assert points(dsn) == {"FT 1": 1000}
    found = rejects(dsn)
    of_rows = [(file, row) for file, row, _ in found if file]
    assert of_rows == [("good.csv", 3), ("good.csv", 4), ("good.csv", 6)]
    reasons = {
        reason.partition(",")[2].partition(": ")[0].strip(): reason
        for file, _, reason in found
        if file is None
    }
    assert set(reasons) == {
        f"looked for at /{name}"
        for name in (
            "broken.csv",
            "cut.json",
            "cut.parquet",
            "sheet.xlsx",
            "renamed.csv",
            "twice.csv",
        )
    }
    assert "choose another encoding" in reasons["looked for at /broken.csv"]
    assert "save it as CSV" in reasons["looked for at /renamed.csv"]
    assert loaded.rejected == 9
    # Corrected: the rejects of documents close by themselves.
    (tmp_path / "again.csv").write_text(HEADER + "FT 4;31/01/2026;923456789;Água;1;100,00\n")
    assert sync(dsn, tmp_path, OPTIONS, PATHS).resolved == 1


def test_rows_with_different_totals_are_no_invoice(dsn: str, tmp_path: Path) -> None:
    """Line totals taken for totals would give wrong points: it is said, not guessed."""
    (tmp_path / "a.csv").write_text(
        HEADER + "FT 1;31/01/2026;923456789;A;1;1,00\nFT 1;31/01/2026;923456789;B;1;2,00\n"
    )
    sync(
        dsn, tmp_path, {**OPTIONS, "totals": "as written"}, {**PATHS, "total_minor": "/Total linha"}
    )
    assert points(dsn) == {}
    ((file, row, reason),) = rejects(dsn)
    assert (file, row) == ("a.csv", 2)
    assert 'choose totals "sum of the lines"' in reason


def test_nothing_outside_of_the_folder(dsn: str, tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "out"
    (folder / "below").mkdir(parents=True)
    outside.mkdir()
    good = HEADER + "FT 1;31/01/2026;923456789;Água;1;100,00\n"
    (outside / "secret.csv").write_text(good)
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "linked").symlink_to(outside)
    (folder / "below" / "deep.csv").write_text(good)
    os.mkfifo(folder / "pipe.csv")
    for name in (".hidden.csv", "export.csv.part", "export.csv~", "x.tmp"):
        (folder / name).write_text(good)
    sync(dsn, folder, OPTIONS, PATHS)
    assert points(dsn) == {}
    assert bodies(dsn) == {}
    assert sorted(reason.partition(": ")[0] for _, _, reason in rejects(dsn)) == [
        "Record, looked for at /link.csv", "Record, looked for at /linked", "Record, looked for at /pipe.csv"
    ]  # fmt: skip


def test_a_file_being_written_is_left_to_a_later_run(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + "FT 1;31/01/2026;923456789;Água;1;100,00\n")
    assert sync(dsn, tmp_path, {**OPTIONS, "settle_seconds": 3600}, PATHS).records == 0
    assert sync(dsn, tmp_path, OPTIONS, PATHS).records == 1
    assert points(dsn) == {"FT 1": 1000}


def test_a_large_file_is_refused(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * (2**20 + 1))
    sync(dsn, tmp_path, {**OPTIONS, "megabytes_max": 1}, PATHS)
    assert "larger than 1 MB" in rejects(dsn)[0][2]


def test_a_folder_that_is_not_there(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r'field "Folder" \(folder\): there is no such folder'):
        sync(dsn, tmp_path / "nowhere")


def test_separators_of_lines_inside_of_a_text_end_no_line(dsn: str, tmp_path: Path) -> None:
    """JSON allows them as they are; only a line feed ends a document."""
    rows = [
        {
            "id": n,
            "customer_phone": "923456789",
            "total": "10.00",
            "issued_at": "2026-05-01",
            "note": f"a{mark}b",
        }
        for n, mark in enumerate("\u2028\u2029\x85")
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "sales.ndjson").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    assert sync(dsn, tmp_path).rejected == 0
    assert points(dsn) == {"0": 100, "1": 100, "2": 100}


def test_a_parquet_file_with_lists_and_numbers_as_pandas_writes_them(
    dsn: str, tmp_path: Path
) -> None:
    """Whole numbers are fractions where some are missing, and lines may be a column of lists."""
    lines = [
        [
            {"name": "5L", "quantity": 1.5, "amount": Decimal("10.00")},
            {"name": "20L", "quantity": 1.0},
        ]
    ] * 2
    frame = pl.DataFrame({
        "id": [1.0, 2.0], "customer_phone": [923456789.0, None], "customer_id": ["a", "b"], "total": [10.0, 20.5], "issued_at": ["2026-05-01"] * 2,
        "products": lines,
    })  # fmt: skip
    frame.write_parquet(tmp_path / "sales.parquet")
    assert sync(dsn, tmp_path).rejected == 1  # no phone
    assert points(dsn) == {"1": 100}
    with connect(dsn) as opened:
        found = opened.execute(
            "SELECT name, quantity::text FROM billing.invoice_line ORDER BY line_no"
        ).fetchall()
    assert [(name, Decimal(quantity)) for name, quantity in found] == [
        ("5L", Decimal("1.5")),
        ("20L", Decimal(1)),
    ]


def test_the_line_that_tells_excel_the_delimiter(dsn: str, tmp_path: Path) -> None:
    rows = "id;customer_phone;total;issued_at\n1;923456789;10;2026-05-01\n2;no;10;2026-05-01\n"
    (tmp_path / "sales.csv").write_text("sep=;\n" + rows, encoding="utf-8")
    (tmp_path / "nothing-else.csv").write_text("sep=;\n", encoding="utf-8")
    assert sync(dsn, tmp_path).rejected == 1
    assert points(dsn) == {"1": 100}
    with connect(dsn) as opened:
        assert opened.execute("SELECT record_no FROM billing.reject").fetchall() == [(4,)]
