"""The form that imports what an earlier program knows: looked at first, no phones pasted, once."""

from typing import Any

from flows.bulk_import import import_members
from settings import settings
from tests.flows.office import Office
from tests.support.books import PHONE, Books, invoice

WHY = {"kind": "balances", "reason": "Earlier program", "author": "Ana, marketing"}


def ended(**parameters: Any) -> tuple[str, str]:
    state = import_members(**WHY, **parameters, return_state=True)
    return state.name or "", state.message or ""


def test_a_file_is_looked_at_then_imported_and_phones_are_not_pasted(office: Office) -> None:
    books = Books(office.dsn)
    books.store(invoice())
    member = books.member()
    text = f"member_id,points,earned_at\n{member},500,2026-01-10\n"
    name, message = ended(text=f"phone,points,earned_at\n{PHONE},500,2026-01-10\n")
    assert name == "Refused" and "must name members by number" in message and PHONE not in message
    assert ended(text=text, file="x.csv")[0] == "Refused"
    name, message = ended(text=text)
    assert name == "Completed" and message.startswith("Nothing was kept. It would be: 1 balances")
    folder = settings().home / "imports"
    folder.mkdir(exist_ok=True)
    (folder / "old.csv").write_text(f"phone,points,earned_at\n{PHONE},500,2026-01-10\n")
    assert "without a folder" in ended(file="../old.csv", dry_run=False)[1]
    assert ended(file="old.csv", dry_run=False)[1].startswith("1 balances added")
    assert ended(text=text, dry_run=False)[1].startswith("0 balances added, 0 corrected, 1 known")
    assert books.rows("SELECT kind, points FROM loyalty.adjustment") == [("opening balance", 500)]
