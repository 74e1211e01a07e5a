"""Rejects of rows without an id: one per bad row, seen as often as it is read, closed when it is read well."""

import os
from pathlib import Path

import pytest

from connectors.kit.described.documents import column_pointer
from connectors.kit.spec.records import Place
from sql.db import connect
from tasks.load.retry_rejects import is_corrected
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.test_file import no_waiting, points, sync
from tests.unit.test_file_tables import CASES, LINES, needs_cases

__all__ = ["databases", "dsn", "no_waiting"]
HEADER = "Factura;Data;Telefone;Produto;Valor\n"
GOOD = "FT 1;02/11/2026;923100001;Água;10,00\n"
OPTIONS = {"amounts": "decimal comma", "dates": "day first", "totals": "sum of the lines"}
PATHS = {name: column_pointer(path) for name, path in LINES.items()}


def opened(dsn: str) -> list[tuple[int, int]]:
    """Row and number of times seen of every open reject."""
    with connect(dsn) as connection:
        return connection.execute(
            "SELECT record_no, times_seen FROM billing.reject WHERE resolved_at IS NULL ORDER BY 1"
        ).fetchall()


def left(folder: Path, text: str, name: str = "vendas.csv") -> None:
    (folder / name).write_text(HEADER + text, encoding="utf-8")


@needs_cases
def test_the_field_case(dsn: str, tmp_path: Path) -> None:
    case = CASES / "rejects-without-id"
    for _ in range(3):
        (tmp_path / "vendas.csv").write_bytes((case / "before.csv").read_bytes())
        sync(dsn, tmp_path, OPTIONS, PATHS)
    assert opened(dsn) == [(3, 3), (4, 3)]
    assert points(dsn) == {"FT 10": 10000}
    (tmp_path / "vendas.csv").write_bytes((case / "after.csv").read_bytes())
    sync(dsn, tmp_path, OPTIONS, PATHS)
    assert opened(dsn) == []
    assert points(dsn) == {"FT 9": 55000, "FT 10": 10000}


@needs_cases
def test_the_corrected_file_may_have_another_name(dsn: str, tmp_path: Path) -> None:
    case = CASES / "rejects-without-id"
    for name in ("before.csv", "after.csv"):
        (tmp_path / name).write_bytes((case / name).read_bytes())
        sync(dsn, tmp_path, OPTIONS, PATHS)
    assert opened(dsn) == []
    assert points(dsn) == {"FT 9": 55000, "FT 10": 10000}


def test_rows_that_move_are_the_same_and_close_when_they_are_right(
    dsn: str, tmp_path: Path
) -> None:
    bad = ";03/11/2026;923100002;Copo;5,00\n"
    left(tmp_path, bad + GOOD)
    sync(dsn, tmp_path, OPTIONS, PATHS)
    left(tmp_path, GOOD + GOOD.replace("FT 1;", "FT 2;") + bad)
    sync(dsn, tmp_path, OPTIONS, PATHS)
    assert opened(dsn) == [(4, 2)]
    left(tmp_path, GOOD + "FT 3" + bad)
    loaded = sync(dsn, tmp_path, OPTIONS, PATHS)
    assert (opened(dsn), loaded.resolved) == ([], 1)
    assert points(dsn) == {"FT 1": 100, "FT 2": 100, "FT 3": 50}


def test_another_file_under_the_same_name_corrects_nothing(dsn: str, tmp_path: Path) -> None:
    left(tmp_path, GOOD + "4,5E+12;03/11/2026;923100002;Copo;5,00\n")
    sync(dsn, tmp_path, OPTIONS, PATHS)
    left(tmp_path, "FT 8;04/11/2026;923100008;Copo;5,00\n")
    sync(dsn, tmp_path, OPTIONS, PATHS)
    assert opened(dsn) == [(3, 1)]


def test_a_file_that_cannot_be_read_is_one_reject(dsn: str, tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "vendas.csv").write_bytes(b"PK\x03\x04...")
        sync(dsn, tmp_path, OPTIONS, PATHS)
    assert len(opened(dsn)) == 1
    left(tmp_path, GOOD)
    sync(dsn, tmp_path, OPTIONS, PATHS)
    assert opened(dsn) == []


def test_another_setting_brings_the_document_without_a_new_file(dsn: str, tmp_path: Path) -> None:
    """The rows of a document are its reject; the document itself begins in another row."""
    left(
        tmp_path,
        GOOD + ";;;Copo;5,00\n17;05/11/2026;923100003;A;1,00\n17;06/11/2026;923100004;B;2,00\n",
    )
    sync(dsn, tmp_path, OPTIONS, PATHS)
    assert points(dsn) == {}
    assert len(opened(dsn)) == 2
    os.utime(tmp_path, None)
    paths = {**PATHS, "external_id": column_pointer("Factura + Data"), "invoice_number": "/Factura"}
    sync(dsn, tmp_path, {**OPTIONS, "rows_without_id": "part of the document above"}, paths)
    assert points(dsn) == {"FT 1/02/11/2026": 150, "17/05/11/2026": 10, "17/06/11/2026": 20}
    assert opened(dsn) == []


def test_a_mapping_without_the_ids_column_is_mended_in_the_block(dsn: str, tmp_path: Path) -> None:
    left(tmp_path, GOOD)
    sync(dsn, tmp_path, OPTIONS, {**PATHS, "external_id": "/Documento"})
    assert opened(dsn) == [(0, 1)]
    sync(dsn, tmp_path, OPTIONS, PATHS)
    assert points(dsn) == {"FT 1": 100}
    assert opened(dsn) == []


def places(text: str) -> list[Place]:
    """A letter per row: capitals and small ones differ in their id only."""
    return [Place(number, letter, letter.lower()) for number, letter in enumerate(text, start=2)]


@pytest.mark.parametrize(
    ("before", "after", "refused", "corrected"),
    [
        ("abXcd", "abxcd", "", True),
        ("abXcd", "abycd", "", True),
        ("abXcd", "abcd", "", True),
        ("abX", "aby", "", True),
        ("Xab", "yab", "", True),
        ("Xab", "ab", "", False),
        ("abX", "ab", "", False),
        ("abXcd", "efgh", "", False),
        ("abXcd", "cdef", "", False),
        ("abXcd", "abycd", "y", False),
        ("abXcd", "abXcd", "X", False),
        ("abXcd", "abXcd", "", True),
    ],
)
def test_what_corrects_a_row(before: str, after: str, refused: str, corrected: bool) -> None:
    """Of a file that only lost its first rows, as one of the last days does, nothing is corrected."""
    now = places(after)
    bad = {place.number for place in now if place.content in refused}
    assert is_corrected(before.index("X") + 2, places(before), now, bad) is corrected
