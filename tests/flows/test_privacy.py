"""What people may ask about their data, as an operator answers it in Prefect's UI."""

from pathlib import Path

from flows.exports import export_member
from flows.maintenance import maintenance
from flows.members import erase_member
from flows.privacy import consent, legal_hold
from settings import settings
from tasks.person import PAGE
from tests.flows.office import Office
from tests.support.books import PHONE, Books, invoice

WHY = {"reason": "Request 12", "author": "Ana, support"}


def test_data_on_request_consent_and_a_hold(office: Office) -> None:
    books = Books(office.dsn)
    books.store(invoice())
    books.award()
    member = books.member()

    state = export_member(member, personal=True, return_state=True)
    assert state.is_completed() and PHONE not in (state.message or "")
    (page,) = (settings().home / "exports").glob(f"*-member-{member}-personal-*/{PAGE}")
    assert PHONE in page.read_text(encoding="utf-8")

    state = consent(member, **WHY, return_state=True)
    assert "earn no points" in (state.message or "")
    assert "takes part" in (consent(member, **WHY, given=True, return_state=True).message or "")
    refused = consent(999_999, **WHY, return_state=True)
    assert "Refused: there is no member 999999" in (refused.message or "")

    state = legal_hold(**WHY, member=member, return_state=True)
    assert "Hold 1 on member" in (state.message or "")
    state = erase_member(member, **WHY, dry_run=False, return_state=True)
    assert "Refused: legal hold 1 forbids it" in (state.message or "")
    assert "Lifted." in (legal_hold(**WHY, lift=1, return_state=True).message or "")
    refused = legal_hold(**WHY, lift=1, return_state=True)
    assert "there is no hold 1 in force" in (refused.message or "")

    state = maintenance(dry_run=True, return_state=True)
    assert state.is_completed(), state.message
    assert Path(page).exists()
