"""The files of a month-end report: CSV, Parquet, and a PDF to forward."""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from fpdf import FPDF
from fpdf.fonts import FontFace

from sql import audit, month_report
from sql.db import DbConnection
from sql.draft_folder import draft_of
from tasks.month_report import MonthReport, collect

_BLUE: Final = (21, 74, 117)
_HEADINGS: Final = FontFace(emphasis="BOLD", color=255, fill_color=_BLUE)


def make(connection: DbConnection, home: Path, month: Any, run_id: str) -> tuple[Path, MonthReport]:
    """Collects the report of a month and writes it into a new folder of `home`/reports.

    Only its owner can read the folder. Commits the audit entry before the folder has its name:
    there is no report without an entry.

    Raises:
        NotTiedOutError: the figures do not fit; nothing is written.
        ValueError: the month has not ended.

    """
    report = collect(connection, month, datetime.now(UTC))
    connection.rollback()
    name = f"{report.month:%Y-%m}-{report.made_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    folder = home / "reports" / name
    with draft_of(connection, folder) as draft:
        _write(report, draft)
        opening, closing = report.points("opening"), report.points("closing")
        month_report.save(connection, report.month, opening, closing, run_id)
        audit.record(
            connection, "report.month", f"month {report.month:%Y-%m}", run_id=run_id,
            records=len(report.frames),
            details={"folder": name, "opening_points": opening, "closing_points": closing},
        )  # fmt: skip
    return folder, report


def summary(folder: Path, report: MonthReport) -> str:
    """One line."""
    lines = ", ".join(f"{name} {_number(report.points(name))}" for name in _lines(report))
    return f"Report of {report.month:%Y-%m} in {folder}: {lines}"


def _lines(report: MonthReport) -> list[str]:
    return report.roll_forward["line"].to_list()


def _write(report: MonthReport, folder: Path) -> None:
    for name, frame in report.frames.items():
        frame.write_csv(_private(folder / f"{name}.csv"))
        frame.write_parquet(_private(folder / f"{name}.parquet"))
    _private(folder / "report.pdf").write_bytes(pdf(report))


def _private(path: Path) -> Path:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


class _Page(FPDF):
    """A page with a foot."""

    foot = ""

    def footer(self) -> None:
        """Which report it is, and the number of the page."""
        self.set_y(-15)
        self.set_font("Helvetica", size=8)
        self.set_text_color(110)
        self.cell(0, 5, f"{self.foot} - page {self.page_no()} of {{nb}}", align="C")


def pdf(report: MonthReport) -> bytes:
    """The report for people: figures and what they were checked against, on a page or two."""
    page = _Page(format="A4")
    page.foot = f"Loyalty points {report.month:%Y-%m}, made {report.made_at:%Y-%m-%d %H:%M} UTC"
    page.set_creation_date(report.made_at)
    page.set_title(f"Loyalty points {report.month:%Y-%m}")
    page.set_lang("en")
    page.add_page()
    page.set_font("Helvetica", style="B", size=18)
    page.set_text_color(*_BLUE)
    page.cell(0, 10, f"Loyalty points, {report.month:%B %Y}", new_x="LMARGIN", new_y="NEXT")
    _text(
        page,
        f"Movements posted from {report.since:%Y-%m-%d %H:%M} until before "
        f"{report.until:%Y-%m-%d %H:%M} UTC.",
    )
    _section(page, "What is owed: roll-forward of points", report.roll_forward)
    _section(page, "By kind of movement", report.kinds)
    _section(page, "Points that are not used: breakage", report.breakage)
    _section(page, "Sales and points per system", report.systems)
    _text(page, "Sales by their own date; points by the date on which they were posted.")
    operations = report.audit.group_by("operation", "status").len("entries")
    _section(page, "Audit log", operations.sort("operation", "status"))
    _heading(page, "What was checked")
    for check in report.checks:
        _text(page, f"- {check}")
    return bytes(page.output())


def _heading(page: FPDF, title: str) -> None:
    page.ln(4)
    page.set_font("Helvetica", style="B", size=12)
    page.set_text_color(*_BLUE)
    page.cell(0, 8, title, new_x="LMARGIN", new_y="NEXT")


def _text(page: FPDF, text: str) -> None:
    page.set_font("Helvetica", size=9)
    page.set_text_color(0)
    page.multi_cell(0, 5, _latin(text), new_x="LMARGIN", new_y="NEXT")


def _section(page: FPDF, title: str, frame: pl.DataFrame) -> None:
    _heading(page, title)
    if frame.is_empty():
        _text(page, "None.")
        return
    page.set_font("Helvetica", size=9)
    page.set_text_color(0)
    align = tuple("RIGHT" if dtype.is_numeric() else "LEFT" for dtype in frame.dtypes)
    with page.table(text_align=align, headings_style=_HEADINGS, line_height=5) as table:
        table.row([name.replace("_", " ") for name in frame.columns])
        for values in frame.iter_rows():
            table.row([_latin(_number(value)) for value in values])


def _number(value: Any) -> str:
    """Digits in groups of three, divided by blanks; texts as they are."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,}".replace(",", " ")


def _latin(text: str) -> str:
    """What the fonts that every PDF reader has can show."""
    return text.encode("latin-1", "replace").decode("latin-1")
