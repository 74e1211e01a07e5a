"""The forms about members: what they enter counts at once, and no phone stays in Prefect."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import FlowRunSort
from psycopg.types.json import Jsonb

from flows.member_events import enter_code, member_birthday, member_event
from flows.members import (
    award_waiting,
    member_phone,
    merge_members,
    set_referral,
    set_tier,
)
from panel.runs.private_parameters import FORGOTTEN
from tests.db.test_rules import program, promote
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


def test_what_the_app_did_not_tell_is_entered_at_the_desk(books: Books) -> None:
    books.store(invoice())
    books.award()
    member = books.member()
    program(books, events=Jsonb({"review": {"points": 20}, "birthday": {"points": 200}}))
    bonus = {"kind": "purchase_bonus", "points": 50}
    promote(books, "summer", "purchase_bonus", bonus, when={"code": {"code": "VERAO"}})
    form = {"member": member, "name": "review", "event_id": "r1", "happened_at": NOON}
    name, message = ran(member_event, **form)
    assert name == "Completed" and message.endswith(". 0 entries, +0 points; events: review +20")
    assert "it was so before. 0 entries, +0 points" in ran(member_event, **form)[1]
    refused = {
        "the program notes birthday by itself": (member_event, {"name": "birthday"}),
        "no promotion has this code; `twezah program show`": (enter_code, {"code": "NONE"}),
    }
    for said, (flow, values) in refused.items():
        name, message = ran(flow, member=member, **values)
        assert name == "Refused" and said in message
    name, message = ran(enter_code, member=member, code="verao", entered_at=NOON.replace(hour=11))
    assert name == "Completed" and message.endswith("by summer. 1 entries, +50 points")
    assert "already, and may not again: the last time was" in ran(
        enter_code, member=member, code="VERAO"
    )[1]  # fmt: skip
    assert books.points() == 1570


def test_a_birthday_is_in_no_run(books: Books) -> None:
    """Not in its parameters, not in its log; and no points that would tell that it is today."""
    books.store(invoice())
    books.award()
    member = books.member()
    program(books, events=Jsonb({"birthday": {"points": 200}}))
    today = datetime.now(UTC).astimezone(ZoneInfo("Africa/Luanda"))
    begun = datetime.now(UTC)
    entered = {"month": f"{today.month:02}", "day": f"{today.day:02}"}
    assert ran(member_birthday, member=member, **entered) == (
        "Completed", f"The birthday of member {member} is entered"
    )  # fmt: skip
    assert books.points() == 1500
    for wrong in ({"month": "2", "day": "30"}, {"month": "13", "day": "1"}, {}, {"month": "x"}):
        name, message = ran(member_birthday, member=member, **wrong)
        assert name == "Refused" and "13" not in message and "30" not in message
    both = entered | {"remove": True}
    assert ran(member_birthday, member=member, **both)[0] == "Refused"
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["member-birthday"])),
            flow_run_filter=FlowRunFilter(start_time=FlowRunFilterStartTime(after_=begun)),
            sort=FlowRunSort.START_TIME_DESC,
            limit=20,
        )
    assert len(runs) == 6
    for run in runs:
        assert run.name == f"birthday of member {member}"
        assert {run.parameters[name] for name in ("month", "day")} == {FORGOTTEN}
    assert ran(member_birthday, member=member, remove=True)[1] == (
        f"The birthday of member {member} is removed"
    )
