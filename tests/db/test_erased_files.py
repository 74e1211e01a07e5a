"""After an erasure, no file of the state folder holds the person any more."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import zstandard

from loyalty.corrections import Decision
from settings import Settings, embedded_dsn
from sql import certificates, holds, maintenance
from sql.corrections import CorrectionRefusedError
from sql.db import connect, engine
from sql.export import export
from sql.migrate import migrate
from tasks.erase import EXPORTS, HISTORY, LOGS, erase_everywhere
from tests.support.books import OTHER_PHONE, PHONE, Books, invoice
from twezah.stack.postgres import embedded

WHY = Decision(reason="Request 12", author="Ana, support")
NAME = "Josefina Kiala dos Santos"
PAGE = f'{{"Invoices":[{{"InvoiceID":"A","Contact":{{"ContactID":"C1","Name":"{NAME}"}}}}]}}'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder of its own, with people in every place."""
    folder = tmp_path_factory.mktemp("erased")
    with embedded(folder):
        dsn = embedded_dsn(folder, "twezah")
        migrate(dsn)
        books = Books(dsn)
        other = {"customer_external_id": "C2", "customer_phone": OTHER_PHONE}
        books.store(invoice(), invoice(external_id="B", **other))
        page = {"body": zstandard.compress(PAGE.encode()), "size": len(PAGE)}
        books.run("UPDATE billing.raw_page SET body_zstd = %(body)s, body_bytes = %(size)s", **page)
        books.run(
            "INSERT INTO billing.customer VALUES ('xero', 'books', 'C1', %(phone)s, now())",
            phone=PHONE,
        )
        books.award()
        with connect(dsn) as connection:
            maintenance.analyze(connection)
            connection.commit()
            export(connection, folder, "run", personal=True)
            export(connection, folder, "run", member_id=books.member(), personal=True)
            export(connection, folder, "run", member_id=2, personal=True)
        (folder / "logs" / "careless.log").write_text(f"phone {PHONE} of {NAME}\n")
        (folder / "psql_history").write_text(f"SELECT '{PHONE}'\n")
        yield folder
        engine(dsn).dispose()


def files_with(home: Path, *texts: str) -> list[str]:
    """Files of the whole state folder that hold one of the texts, in any encoding of ours."""
    pattern = re.compile(
        b"|".join(re.escape(t.encode(c)) for t in texts for c in ("utf-8", "utf-16-le"))
    )
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and pattern.search(path.read_bytes())
    )


def test_a_hold_comes_first(home: Path) -> None:
    config = Settings(home=home)
    with connect(config.dsn()) as connection:
        hold = holds.place(connection, 1, WHY, "run")
        general = holds.place(connection, None, WHY, "run")
        connection.commit()
    for lifted in (hold, general):
        with pytest.raises(CorrectionRefusedError, match=f"legal hold {lifted.hold_no} forbids"):
            erase_everywhere(config, 1, WHY, "run", dry_run=False)
        with connect(config.dsn()) as connection:
            holds.lift(connection, lifted.hold_no, WHY, "run")
            connection.commit()
    with connect(config.dsn()) as connection:
        assert holds.in_force(connection) == []
        with pytest.raises(CorrectionRefusedError, match="no hold 1 in force"):
            holds.lift(connection, 1, WHY, "run")
        connection.rollback()
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute("DELETE FROM loyalty.legal_hold")


def test_no_file_holds_the_person(home: Path) -> None:
    config = Settings(home=home)
    with psycopg.connect(config.dsn(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    before = files_with(home, PHONE[4:], NAME)
    kinds = ("pg/base/", "pg/pg_wal/", "exports/", "logs/careless.log", "psql_history")
    assert [kind for kind in kinds if not any(path.startswith(kind) for path in before)] == []
    dry = erase_everywhere(config, 1, WHY, "run", dry_run=True)
    assert files_with(home, PHONE[4:], NAME) == before
    done = erase_everywhere(config, 1, WHY, "run", dry_run=False)
    assert done.places() == dry.places()
    assert {LOGS: 1, HISTORY: 1, EXPORTS: 2}.items() <= done.elsewhere.items()
    assert files_with(home, PHONE[4:], NAME) == []
    assert any("exports/" in path for path in files_with(home, OTHER_PHONE[4:]))


def test_the_certificate_says_what_was_erased_where(home: Path) -> None:
    with connect(Settings(home=home).dsn()) as connection:
        (certificate,) = certificates.of_member(connection, 1)
        audited = connection.execute(
            "SELECT details -> 'erased' FROM audit.entry WHERE operation = 'member.certificate'"
        ).fetchall()
    text = certificate.to_text()
    assert "| phone numbers of members | 1 |" in text and f"| {EXPORTS} | 2 |" in text
    assert "| stored pages | 1 |" in text and "Ana, support" in text
    assert PHONE[4:] not in text and NAME not in text
    assert audited == [(certificate.erased,)]
