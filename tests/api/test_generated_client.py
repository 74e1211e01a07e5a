"""A client that is generated from the served description: it plays the loyalty app."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks.award.members import award_members
from tasks.run_database import RunDatabase
from tests.api.office import Office
from tests.api.test_members import phone
from tests.support.books import HOUR, NOON, Books, invoice

PACKAGE = "generated_twezah_client"


@pytest.fixture(scope="module")
def client(office: Office, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package, made without a warning from what the API serves."""
    folder: Path = tmp_path_factory.mktemp("client")
    scripts = Path(sys.executable).parent
    made = subprocess.run(
        [scripts / "openapi-python-client", "generate", "--url", f"{office.url}/openapi.json",
         "--output-path", folder / PACKAGE, "--meta", "none", "--fail-on-warning"],
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert "arning" not in made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(PACKAGE)
    finally:
        sys.path.remove(str(folder))


def module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def award(office: Office) -> None:
    """What the run does that the API asks for."""
    award_members(RunDatabase(office.dsn, "test"), None)


def test_the_app_registers_sells_raises_the_tier_spends_and_hears_of_a_return(
    office: Office, client: ModuleType
) -> None:
    secret = office.key(
        "members:read",
        "members:write",
        "members:merge",
        "tiers:write",
        "referrals:write",
        "points:spend",
        "changes:read",
    )["Authorization"].removeprefix("Bearer ")
    models, number = module("models"), phone()
    with client.AuthenticatedClient(base_url=office.url, token=secret) as app:

        def ask(operation: str, tag: str = "members", **values: Any) -> Any:
            answer = module(f"api.{tag}.{operation}").sync(client=app, **values)
            assert not isinstance(answer, models.ProblemDetails), answer
            return answer

        member = ask("register_member", body=models.RegistrationBody(phone=number))
        assert member.tier == "lead"
        books = Books(office.dsn)
        books.store(invoice(external_id=f"app-{number}", customer_phone=number))
        award(office)
        balance = ask("balance", member_id=member.public_id)
        assert (balance.member_id, balance.balance_points) == (member.member_id, 1500)

        silver = models.TierBody(tier="silver", valid_from=NOON, reason="Invited")
        tiers = ask("set_tier", member_id=member.public_id, body=silver, idempotency_key="silver-1")
        assert [(each.tier, each.valid_from) for each in tiers.items] == [("silver", NOON)]
        award(office)
        assert ask("balance", member_id=member.public_id).balance_points == 1800
        history = ask("history", member_id=str(member.member_id))
        assert [entry.points for entry in history.items] == [300, 1500]
        assert history.items[0].explanation.endswith("= base 1500 + tier 300 = 1800")

        bottle = models.RedemptionBody(points=1000, reference="order 5512", reason="Free bottle")
        order = {"member_id": member.public_id, "body": bottle, "idempotency_key": f"o-{number}"}
        spent = [ask("redeem", "spending", **order) for _ in range(2)]
        assert spent[0] == spent[1] and spent[0].balance.balance_points == 800
        books.store(
            invoice(
                external_id=f"back-{number}", kind="credit_note", total_minor=5_000,
                customer_phone=number, issued_at=NOON + HOUR,
            )
        )  # fmt: skip
        award(office)
        assert ask("balance", member_id=member.public_id).balance_points == 200
        told = ask("list_changes", "changes", member_id=member.member_id).items
        assert [each.balance_points for each in told][-1] == 200
        assert {each.type_ for each in told} == {"points.changed", "tier.changed"}

        friend = ask("register_member", body=models.RegistrationBody(phone=phone()))
        referral = models.ReferralBody(referrer=member.public_id, reason="Said so")
        shown = ask("set_referral", member_id=friend.public_id, body=referral)
        assert shown.referral.referrer_id == member.member_id
        back = models.ReferralBody(referrer=friend.public_id, reason="Said so")
        problem = module("api.members.set_referral").sync(
            client=app, member_id=member.public_id, body=back
        )
        assert problem.type_ == "urn:problem-type:twezah:referral_circle"
