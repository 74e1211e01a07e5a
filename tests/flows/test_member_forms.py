"""The forms about members: what they enter counts at once, and no phone stays in Prefect."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.members import (
    award_waiting,
    member_phone,
    merge_members,
    set_referral,
    set_tier,
)
from tests.flows.office import Office
from tests.flows.test_erasure import NATIONAL, said_in_prefect
from tests.support.books import NOON, OTHER_PHONE, PHONE, Books, invoice

WHY: dict[str, Any] = {"reason": "campaign", "author": "Ana, support"}


def ran(form: Callable[..., State[Any]], **values: Any) -> tuple[str, str]:
    """Name and message of the run's last state."""
    state = form(**values, **WHY, return_state=True)
    return state.name or "", state.message or ""


@pytest.fixture
def books(office: Office, monkeypatch: pytest.MonkeyPatch) -> Books:
    monkeypatch.setenv("TWEZAH_DATABASE_URL", office.dsn)
    return Books(office.dsn)


def test_a_phone_is_registered_and_changed_and_leaves_prefect(
    books: Books, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name, message = ran(member_phone, phone=f"  {NATIONAL}")
    assert (name, message) == ("Completed", f"Member {books.member()} is new. 0 entries, +0 points")
    assert ran(member_phone, phone=PHONE)[1].startswith(f"Member {books.member()} was here already")
    member = books.member()
    assert ran(member_phone, phone=OTHER_PHONE, member=member)[0] == "Completed"
    assert books.member(OTHER_PHONE) == member
    assert ran(member_phone, phone="+244 1")[0] == "Refused"
    time.sleep(3)  # logs and events arrive a moment later
    home: Path = tmp_path_factory.getbasetemp() / "ledger"
    assert said_in_prefect(home) == []


def test_tiers_referrals_and_merges_post_their_points(books: Books) -> None:
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
    books.award()
    one, two = books.member(), books.member(OTHER_PHONE)
    at: datetime = NOON
    assert ran(set_tier, member=one, tier="gold", valid_from=at)[1].endswith(
        "1 entries, +750 points"
    )
    assert ran(set_tier, member=one, tier="vip")[0] == "Refused"
    assert ran(set_referral, member=two, referrer=one)[0] == "Completed"
    assert ran(set_referral, member=one, referrer=two)[0] == "Refused"
    assert ran(set_referral, member=two)[1].startswith(f"Member {two} was referred by nobody")
    name, message = ran(merge_members, member=one, into=two, dry_run=True)
    assert name == "Completed"
    assert message == (
        f"Not merged: member {one}: 2250 -> 0 points, gold -> gold; "
        f"member {two}: 1500 -> 4500 points, lead -> gold"
    )
    assert books.points() == 2250
    assert ran(merge_members, member=one, into=two)[1].endswith("+750 points")
    assert books.points(OTHER_PHONE) == 4500
    assert award_waiting(return_state=True).message == "0 members, 0 entries, +0 points"
