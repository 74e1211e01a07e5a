"""Erasure of a member's personal data.

The phone is nowhere in what is stored, the figures stay, and later sales are a new member's.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

import tasks.erase
from loyalty.corrections import Decision
from settings import Settings
from sql import audit, certificates, corrections
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from sql.erasure import Erased, erase
from sql.sealing import Keyring, keyring
from tasks.erase import erase_everywhere
from tests.support.books import HOUR, NOON, OTHER_PHONE, PHONE, Books, invoice

WHY = Decision(reason="Request 12", author="Ana, support")


def erased(books: Books, member: int, *, dry_run: bool = False) -> Erased:
    with connect(books.dsn) as connection:
        done = erase(connection, member, WHY, "run", dry_run=dry_run)
        connection.commit()
    return done


@pytest.fixture
def sold(books: Books) -> Books:
    """A sale of the member, with its raw page and the customer's phone."""
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE, record_no=1))
    books.award()
    page = {
        "Invoices": [
            {"Id": "A", "Name": "Ana", "Phone": PHONE, "Total": 150.00},
            {"Id": "B", "Phone": OTHER_PHONE},
        ]
    }
    body = zstandard.compress(json.dumps(page).encode())
    with connect(books.dsn) as connection:
        row = connection.execute("SELECT max(sync_id) FROM billing.sync_run").fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO billing.raw_page (sync_id, system, account, stream, page_no, "
            "record_count, request, content_type, body_bytes,"
            " body_zstd, fetched_at) VALUES (%s, 'xero', 'books', 'invoices', 1, 2, '{}', "
            "'application/json', 9, %s, %s)",
            [row[0], body, datetime.now(UTC)],
        )
        connection.execute(
            "INSERT INTO billing.customer VALUES ('xero', 'books', 'C1', %s, now()), ('xero', "
            "'books', 'C2', %s, now())",
            [PHONE, OTHER_PHONE],
        )
        connection.commit()
    return books


def add_page(books: Books, records: list[dict[str, object]]) -> None:
    """A further page of the account's invoices."""
    body = zstandard.compress(json.dumps({"Invoices": records}).encode())
    with connect(books.dsn) as connection:
        connection.execute(
            "INSERT INTO billing.raw_page (sync_id, system, account, stream, page_no, "
            "record_count, request, content_type, body_bytes, body_zstd, fetched_at) "
            "SELECT max(sync_id), 'xero', 'books', 'invoices', 2, %s, '{}', "
            "'application/json', 9, %s, now() FROM billing.sync_run",
            [len(records), body],
        )
        connection.commit()


def everything(books: Books) -> str:
    """All that the database says, stored pages included."""
    with connect(books.dsn) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname IN ('billing', 'loyalty', 'audit')"
        ).fetchall()
        said = [
            repr(connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall())
            for (table,) in tables
        ]
        bodies = connection.execute("SELECT body_zstd FROM billing.raw_page").fetchall()
    return "".join(said) + "".join(
        keyring().unpack(bytes(body)).decode() for (body,) in bodies if body
    )


def test_a_dry_run_says_what_would_go_and_keeps_it(sold: Books) -> None:
    done = erased(sold, sold.member(), dry_run=True)
    assert (done.phones, done.customers, done.pages) == (1, 1, 1)
    assert PHONE in everything(sold)


def test_nothing_says_the_phone_any_more_and_the_numbers_stay(sold: Books) -> None:
    member = sold.member()
    before = sold.rows("SELECT * FROM loyalty.award_entry ORDER BY 1, 2, 3")
    done = erased(sold, member)
    assert (done.phones, done.customers, done.pages) == (1, 1, 1)
    said = everything(sold)
    assert PHONE[4:] not in said
    assert 'Ana"' not in said
    assert OTHER_PHONE in said
    assert sold.rows("SELECT * FROM loyalty.award_entry ORDER BY 1, 2, 3") == before
    with connect(sold.dsn) as connection:
        (entry,) = audit.entries(connection, audit.Filter(operation="member.erase"), limit=5)
        assert audit.verify(connection).ok
    assert (entry.subject, entry.details["author"]) == (f"member {member}", WHY.author)
    assert not erased(sold, member).phones


def test_a_sale_that_comes_later_is_a_new_members_and_the_old_ones_stay(sold: Books) -> None:
    member = sold.member()
    erased(sold, member)
    sold.store(invoice(total_minor=20_000, updated_at=NOON + HOUR), invoice(external_id="NEW"))
    sold.award()
    found = dict(sold.rows("SELECT external_id, member_id FROM billing.invoice"))
    assert found["A"] == member
    assert found["NEW"] not in (member, None)
    assert (
        dict(sold.rows("SELECT member_id, balance_points FROM loyalty.member_balance"))[member]
        == 2000
    )


def test_reading_an_old_sale_again_brings_no_member_back(sold: Books) -> None:
    erased(sold, sold.member())
    count = sold.rows("SELECT count(*) FROM loyalty.member")
    sold.store(invoice(updated_at=NOON + HOUR))
    assert sold.rows("SELECT count(*) FROM loyalty.member") == count
    assert PHONE[4:] not in everything(sold)


def test_whoever_was_merged_goes_too(sold: Books) -> None:
    first, second = (
        number for (number,) in sold.rows("SELECT member_id FROM loyalty.member ORDER BY 1")
    )
    with connect(sold.dsn) as connection:
        corrections.merge(connection, second, first, WHY, "run")
        connection.commit()
    done = erased(sold, second)
    assert (done.member_id, done.members, done.phones) == (first, [first, second], 2)
    assert sold.rows("SELECT count(*) FROM loyalty.member WHERE phone IS NOT NULL") == [(0,)]


@pytest.fixture
def installation(sold: Books, tmp_path: Path) -> Settings:
    """The books beside a state folder with a log; Prefect is elsewhere."""
    log = tmp_path / "logs" / "careless.log"
    log.parent.mkdir()
    log.write_text(f"phone {PHONE}\n")
    return Settings(home=tmp_path, database_url=sold.dsn)


def test_an_interrupted_erasure_finds_the_person_again(
    sold: Books, installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger forgets the phone last: else nobody would know what to look for elsewhere."""
    member, log = sold.member(), installation.home / "logs" / "careless.log"
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(tasks.erase, "_in_files", stop)
        erase_everywhere(installation, member, WHY, "run", dry_run=False)
    done = erase_everywhere(installation, member, WHY, "run", dry_run=False)
    assert done.phones == 1 and PHONE not in log.read_text()


def test_a_certificate_that_an_interruption_left_out_is_issued_once(
    sold: Books, installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = sold.member()
    sold.run("UPDATE billing.invoice SET customer_external_id = NULL")
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(tasks.erase, "_old_rows", stop)
        erase_everywhere(installation, member, WHY, "run", dry_run=False)
    for _ in range(2):
        erase_everywhere(installation, member, WHY, "run", dry_run=False)
    with connect(sold.dsn) as connection:
        assert len(certificates.of_member(connection, member)) == 1


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_certificate_says_what_could_not_be_cleaned(
    sold: Books, installation: Settings
) -> None:
    """A stored file that is no text keeps the phone."""
    body = keyring().pack(b"PK\x00" + PHONE.encode())
    sold.run("UPDATE billing.raw_page SET body_zstd = %(b)s WHERE stream = 'invoices'", b=body)
    done = erase_everywhere(installation, sold.member(), WHY, "run", dry_run=False)
    with connect(sold.dsn) as connection:
        (certificate,) = certificates.of_member(connection, done.member_id)
    assert any("hold the phone" in place for place in certificate.not_reached)
    assert "stored files that hold the phone" in certificate.to_text()


def test_what_no_key_opens_holds_up_no_erasure(sold: Books, installation: Settings) -> None:
    """And the certificate says that it could not be looked through."""
    lost = Keyring(lambda: [b"k" * 32]).pack(PHONE.encode())
    sold.run("UPDATE billing.raw_page SET body_zstd = %(b)s WHERE stream = 'invoices'", b=lost)
    done = erase_everywhere(installation, sold.member(), WHY, "run", dry_run=False)
    assert "sealed with a key that is not here, could not be looked through" in done.to_text()
    with connect(sold.dsn) as connection:
        (certificate,) = certificates.of_member(connection, done.member_id)
    assert any("sealed with a key" in place for place in certificate.not_reached)


def test_an_unknown_member_is_refused(sold: Books) -> None:
    with pytest.raises(CorrectionRefusedError, match="no member 999"):
        erased(sold, 999)


@pytest.mark.parametrize(
    "mail",
    [
        "ana.silva+agua@example.org",
        "o'brien_a@exa-mple.co.ao",
        "a{1}(b)*@[10.0.0.1]",
        "josé.água@exemplo.co.ao",
    ],
)
def test_an_address_in_their_records_leads_to_what_says_nothing_else(
    sold: Books, mail: str
) -> None:
    """Also where it is written in capitals, and in texts that only the database looks through."""
    add_page(
        sold,
        [
            {"Id": "C", "Phone": PHONE, "Name": "Ana (Água) [Silva]", "Email": mail},
            {"Id": "D", "Email": mail.upper()},
            {"Id": "E", "Email": "another@example.org"},
        ],
    )
    sold.run(
        "UPDATE billing.sync_run SET error = %(error)s",
        error=f"{mail.upper()} of Ana (Água) [Silva] was refused",
    )
    done = erased(sold, sold.member())
    assert done.pages == 2
    (body,) = sold.rows("SELECT body_zstd FROM billing.raw_page WHERE page_no = 2")
    said = keyring().unpack(bytes(body[0])).decode()
    assert mail.casefold() not in said.casefold()
    assert "another@example.org" in said
    errors = {error for (error,) in sold.rows("SELECT error FROM billing.sync_run")}
    assert errors == {"(erased) of (erased) was refused"}
    assert [place for place in done.remains if not place.startswith("audit.")] == []
