"""A person's data for the person: one page that a browser shows, beside the same as tables.

In Portuguese and English. It says what is kept, where it came from, how long it is kept, and what
the person may ask for.
"""

import csv
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final

from settings import Settings
from sql.db import connect
from sql.erasure import Said, said_of
from sql.export import Exported, export
from sql.retention import KINDS

#: The page's name in the folder of the export.
PAGE: Final = "your-data.html"
#: The tables of the export, as their headings.
_TABLES: Final = {
    "phones": "Quem é · Who you are",
    "members": "Pontos e nível · Points and tier",
    "sales": "Compras · Sales",
    "sale_lines": "O que comprou · What you bought",
    "points_history": "Movimentos de pontos · What moved your points",
    "awards": "Como os pontos foram calculados · How points were computed",
    "redemptions": "Pontos gastos · Points you spent",
    "opening_balances": "Pontos de um programa anterior · Points of an earlier program",
    "events": "O que fez além de comprar · What you did beside buying",
    "codes": "Códigos que introduziu · Codes you entered",
    "lists": "Listas em que está · Lists you are on",
    "tiers": "Níveis · Tiers",
    "referrals": "Recomendações · Referrals",
    "changes": "O que a aplicação soube · What the app was told",
    "audit": "Decisões sobre si · Decisions about you",
}
_STYLE: Final = (
    "body{font:16px sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left}pre{background:#f4f4f4;"
    "padding:1em;white-space:pre-wrap}"
)


def hand_over(config: Settings, member_id: int, run_id: str) -> Exported:
    """Writes all that is kept of a member, with the page; returns where.

    Raises CorrectionRefusedError for an unknown member, ExportTooLargeError, psycopg.Error.
    """
    with connect(config.dsn()) as connection:
        done = export(connection, config.home, run_id, member_id=member_id, personal=True)
        said = list(said_of(connection, member_id))
        connection.rollback()
    folder = Path(done.folder)
    text = "\n".join(_page(folder, said, config.retention_days()))
    descriptor = os.open(folder / PAGE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return done


def _page(folder: Path, said: list[Said], days: dict[str, int | None]) -> Iterator[str]:
    yield "<!doctype html><html lang=pt><meta charset=utf-8>"
    yield f"<title>Os seus dados · Your data</title><style>{_STYLE}</style>"
    yield "<h1>Os seus dados · Your data</h1>"
    yield f"<p>Água Twezah, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC</p>"
    yield (
        "<p>Guardamos estes dados para lhe dar pontos pelas suas compras. Pode pedir a correcção, a "
        "eliminação, ou retirar o consentimento.<br>We keep these data to give you points for what "
        "you buy. You may ask us to correct or erase them, or withdraw your consent.</p>"
    )
    for name, heading in _TABLES.items():
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        yield f"<h2>{heading}</h2>"
        yield from _table(header, rows)
    yield "<h2>O que os sistemas de facturação disseram · What billing systems told us</h2>"
    yield from _told(said)
    yield "<h2>Quanto tempo · How long</h2><ul>"
    for kind, what in KINDS.items():
        kept = "sem limite · for good" if days[kind] is None else f"{days[kind]} dias · days"
        yield f"<li>{escape(what)}: {kept}</li>"
    yield "</ul></html>"


def _table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    if not rows:
        yield "<p>—</p>"
        return
    yield f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row)}</tr>"
    yield "</table>"


def _told(said: list[Said]) -> Iterator[str]:
    if not said:
        yield "<p>—</p>"
    for page in said:
        yield f"<h3>{escape(page.system)} {escape(page.stream)}</h3>"
        for record in page.records:
            yield f"<pre>{escape(record)}</pre>"
