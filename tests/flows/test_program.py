"""The rules, exchange rates and decisions from Prefect's forms: what a run says, keeps and leaves."""

from typing import Any

from prefect.client.orchestration import get_client

from flows.fx import load_fx_rates
from flows.members import adjust_points, merge_members, redeem_points
from flows.program import ProgramForm, PromotionForm, change_program
from tests.flows.office import Office
from tests.support.books import NOON, OTHER_PHONE, Books, invoice

BONUS: dict[str, Any] = {
    "promotion_id": "welcome", "valid_from": "2026-01-01T00:00:00Z", "rule": {"kind": "purchase_bonus", "points": 100},
}  # fmt: skip


def report() -> str:
    """The newest report about the rules."""
    wanted = {
        "artifacts": {"key": {"any_": ["program"]}},
        "sort": "CREATED_DESC",
        "limit": 1,
        "offset": 0,
    }
    with get_client(sync_client=True) as client:
        found = client._client.post("/artifacts/filter", json=wanted).json()
    return f"{found[0]['description']}\n{found[0]['data']}"


def ended(flow: Any, **parameters: Any) -> tuple[str, str]:
    """How a run ended: the state's name and message."""
    state = flow(return_state=True, **parameters)
    return state.name, state.message


def test_rules_are_looked_at_then_applied(office: Office) -> None:
    books = Books(office.dsn)
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
    books.award()
    form = PromotionForm.model_validate(BONUS)
    assert ended(change_program, promotion=form) == (
        "Completed",
        "Not applied: 2 members, +200 points for stored sales",
    )
    assert (
        "welcome: new (version 1" in report()
        and f"member {books.member()}: 1500 -> 1600 (+100)" in report()
    )
    who = {"apply": True, "author": "Ana", "reason": "Welcome"}
    name, message = ended(change_program, promotion=form, **who)
    assert name == "Refused" and "reaches into the past" in message and message in report()
    name, message = ended(change_program, promotion=form, recompute=True, confirm_points=200, **who)
    assert (name, message) == (
        "Completed",
        "Applied as change 1: 2 members, +200 points for stored sales",
    )
    assert books.points() == 1600
    name, message = ended(change_program, text="[program]\nentry_tier = 1", **who)
    assert (
        name == "Refused"
        and "program.entry_tier" in message
        and "program.points_per_unit" not in message
    )
    name, message = ended(change_program, promotion=form, text="x")
    assert name == "Refused" and "one of both" in message
    euro = ProgramForm.model_validate(
        {
            "base_rate_bps": {"AOA": 100_000},
            "tier_rate_bps": {"lead": 10_000},
            "entry_tier": "lead",
            "base_currency": "AOA",
            "valid_from": "2026-02-01T00:00:00Z",
        }
    )
    assert ended(change_program, program=euro, **who)[0] == "Completed"
    books.store(invoice(external_id="E", currency="EUR", total_minor=1_000))
    assert books.award().rejected == 1
    lines = f"date,currency,base_currency,rate\n{NOON.date()},EUR,AOA,900\n"
    assert ended(load_fx_rates, text=lines) == (
        "Completed", "1 new exchange rates, 0 corrected, 0 known before; 1 entries, +90100 points",
    )  # fmt: skip
    name, message = ended(load_fx_rates, text=lines.replace("900", "901"))
    assert name == "Failed" and "900 is known, 901 is new" in message


def test_decisions_about_members(office: Office) -> None:
    books = Books(office.dsn)
    books.store(invoice(), invoice(external_id="B", customer_phone=OTHER_PHONE))
    books.award()
    one, other = books.member(), books.member(OTHER_PHONE)
    who = {"author": "Ana", "reason": "goodwill"}
    name, message = ended(adjust_points, member=one, points=50, **who)
    assert (name, message) == (
        "Completed",
        f"Adjustment 1: +50 points to member {one}, balance 1550",
    )
    assert ended(adjust_points, member=one, points=0, void=1, **who)[0] == "Completed"
    assert ended(adjust_points, member=404, points=1, **who)[0] == "Refused"
    assert (
        ended(adjust_points, member=one, points=1, reason="call +244 923 000 001", author="Ana")[0]
        == "Refused"
    )
    spend = {"member": one, "points": 400, "reference": "reward 7", **who}
    name, message = ended(redeem_points, **spend, key="k1")
    assert (name, message) == (
        "Completed",
        f"Redemption 1 (400 points of member {one}) is redeemed; balance 1100, available 1100",
    )
    assert "nothing was added now" in ended(redeem_points, **spend, key="k1")[1]
    name, message = ended(redeem_points, **spend | {"points": 1101})
    assert name == "Refused" and "1100 can be spent" in message
    assert ended(redeem_points, **spend, reverse=1)[0] == "Refused"
    assert ended(redeem_points, member=one, **who)[0] == "Refused"  # 0 points
    assert ended(redeem_points, member=other, reverse=1, **who)[0] == "Refused"
    name, message = ended(redeem_points, member=one, reverse=1, **who)
    assert name == "Completed" and "is reversed; balance 1500" in message
    assert books.rows("SELECT requested_by FROM loyalty.redemption") == [("Ana",)]
    name, message = ended(merge_members, member=one, into=other, **who)
    assert name == "Completed" and "2 entries, +0 points" in message
    assert (books.points(), books.points(OTHER_PHONE)) == (0, 3000)
    assert ended(merge_members, member=one, into=other, undo=True, **who)[0] == "Completed"
    assert (books.points(), books.points(OTHER_PHONE)) == (1500, 1500)
    assert ended(merge_members, member=one, into=other, undo=True, **who)[0] == "Refused"
