"""The simulated world itself: deterministic, alive, and honest about what is in it."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from simulator import SYSTEMS, Faults, ManualClock, World, handler, seed_refresh_token
from simulator.limits import Limits

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def make_world(**arguments: object) -> World:
    clock = arguments.pop("clock", None) or ManualClock(NOW)
    return World(**{"seed": 5, "customers": 60, "invoices": 150, "now": clock} | arguments)  # type: ignore[arg-type]


def test_same_seed_same_world_also_after_changes() -> None:
    one, two, other = make_world(), make_world(), make_world(seed=6)
    for world in (one, two, other):
        world.evolve(120)
    assert one.truth() == two.truth()
    assert one.truth() != other.truth()


def test_the_documented_example_is_in_quickbooks_only() -> None:
    (example,) = [row for row in make_world().truth() if row.invoice_number == "INV-001"]
    assert (example.system, example.phone, example.total, example.tax) == (
        "quickbooks",
        "+244 923 456 789",
        "150.00",
        "0.00",
    )
    assert example.skus == (("ATW-5L", 3),)
    assert example.date.isoformat() == "2024-01-15"


def test_a_world_holds_what_bookkeepers_do() -> None:
    world = make_world(invoices=600)
    world.evolve(400, systems=("quickbooks", "xero", "freshbooks"))
    seen = Counter((row.system, row.kind, row.status) for row in world.truth())
    for expected in (
        ("quickbooks", "sale", "paid"),
        ("quickbooks", "refund", "paid"),
        ("quickbooks", "invoice", "void"),
        ("quickbooks", "credit_note", "open"),
        ("xero", "invoice", "draft"),
        ("xero", "credit_note", "paid"),
        ("freshbooks", "invoice", "draft"),
        ("freshbooks", "credit_note", "paid"),
    ):
        assert seen[expected], expected
    assert any(row.deleted for row in world.truth())
    assert {row.customer_id for row in world.truth() if not row.phone_e164}


def test_external_ids_are_unique_and_credits_never_exceed_what_they_take_back() -> None:
    world = make_world(invoices=500)
    world.evolve(500)
    keys = Counter((row.system, row.external_id) for row in world.truth())
    assert max(keys.values()) == 1
    for books in world.books.values():
        for document in books.all():
            # Magento's credit memos give back what was paid; elsewhere both settle what is due.
            paid_minor = 0 if books.system == "magento" else document.paid_minor
            assert 0 <= document.credited_minor + paid_minor <= document.total_minor
            if document.source is not None:
                assert document.total_minor <= document.source.total_minor


def test_changes_move_the_stamp_to_now_and_never_back() -> None:
    clock = ManualClock(NOW)
    world = make_world(clock=clock)
    before = {(row.system, row.external_id): row for row in world.truth()}
    clock.advance(hours=3)
    world.evolve(60)
    changed = [row for row in world.truth() if before.get((row.system, row.external_id)) != row]
    assert changed
    moved = [
        row
        for row in changed
        if row.phone == getattr(before.get((row.system, row.external_id)), "phone", "")
    ]
    assert all(row.updated_at == NOW + timedelta(hours=3) for row in moved)


def test_faults_are_seeded_and_let_a_retry_through() -> None:
    def statuses() -> list[int]:
        world = make_world(faults=Faults(seed=9, rate_429=0.3, rate_500=0.3), invoices=5)
        token = world.grants["xero"].issue_access()
        serve = handler(world, "xero")
        request = httpx.Request(
            "GET", "http://x/connections", headers={"authorization": f"Bearer {token}"}
        )
        return [serve(request).status_code for _ in range(60)]

    first = statuses()
    assert first == statuses()
    assert {200, 429, 500} <= set(first)
    assert all(200 in first[at : at + 3] for at in range(58))


def test_timeouts_raise_and_bodies_are_spoiled() -> None:
    def answer(**rates: float) -> httpx.Response:
        world = make_world(invoices=5, faults=Faults(**rates))  # type: ignore[arg-type]
        token = world.grants["freshbooks"].issue_access()
        url = "http://x/freshbooks/accounting/account/TwZh01/items/items"
        return handler(world, "freshbooks")(
            httpx.Request("GET", url, headers={"authorization": f"Bearer {token}"})
        )

    with pytest.raises(httpx.ReadTimeout):
        answer(timeouts=1)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        answer(truncated_json=1).json()
    assert answer(html=1).text.startswith("<html>")
    assert "errors" in answer(errors_in_200=1).json()["response"]


def test_limits_count_on_the_worlds_clock() -> None:
    clock = ManualClock(NOW)
    limits = Limits("xero", clock, 0.1)
    assert [limits.enter("/x") for _ in range(1)] == [None]
    limits.leave()
    for _ in range(5):
        assert limits.enter("/x") is None
        limits.leave()
    throttled = limits.enter("/x")
    assert throttled is not None
    assert (throttled.name, throttled.retry_after_seconds) == ("minute", 60)
    clock.advance(seconds=60)
    assert limits.enter("/x") is None


def test_a_page_of_a_thousand_is_quick() -> None:
    world = make_world(invoices=1600)
    token = world.grants["quickbooks"].issue_access()
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    query = {"query": "SELECT * FROM Invoice ORDERBY MetaData.LastUpdatedTime MAXRESULTS 1000"}
    url = "http://x/quickbooks/v3/company/9130350000000001/query"
    began = time.process_time()
    body = handler(world, "quickbooks")(
        httpx.Request("GET", url, params=query, headers=headers)
    ).content
    assert time.process_time() - began < 2  # seconds of the processor: 0.05 as a rule
    assert len(json.loads(body, parse_float=Decimal)["QueryResponse"]["Invoice"]) == 1000


def start_server(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, object]]:
    command = [
        sys.executable,
        "-m",
        "simulator",
        "--port",
        "0",
        "--customers",
        "5",
        "--invoices",
        "10",
        *arguments,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as announcement:
        return process, json.loads(announcement.readline())


def refresh(url: object, token: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token, "redirect_uri": "https://x"}
    form |= {"client_id": "sim-client", "client_secret": "sim-secret"}
    return httpx.post(f"{url}/freshbooks/auth/oauth/token", data=form)


def test_the_server_stops_cleanly_and_carries_on_from_its_state(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state.json"
    process, hello = start_server("--state", str(state), "--evolve-every", "0.05")
    try:
        assert httpx.get(str(hello["url"])).json()["status"] == "ok"
        rotated = refresh(hello["url"], seed_refresh_token("freshbooks")).json()["refresh_token"]
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    process, hello = start_server("--state", str(state))
    try:
        assert refresh(hello["url"], seed_refresh_token("freshbooks")).status_code == 400
        assert refresh(hello["url"], rotated).status_code == 200
        assert json.loads(state.read_text())["evolved"]
    finally:
        process.terminate()
        process.wait(60)


def test_one_request_lets_things_happen_and_they_are_remembered(tmp_path: Path) -> None:
    process, hello = start_server("--state", str(tmp_path / "state.json"))
    try:
        happened = httpx.post(f"{hello['url']}/evolve?steps=200").json()["happened"]
        assert len(happened) == 200
        assert {system for system, _ in happened} == set(SYSTEMS)
        for wrong in ("0", "1001", "-1", "many", ""):
            assert httpx.post(f"{hello['url']}/evolve?steps={wrong}").status_code == 400
        assert httpx.get(f"{hello['url']}/evolve?steps=1").status_code == 404
        some = httpx.post(f"{hello['url']}/evolve?steps=50&systems=xero,stripe").json()["happened"]
        assert {system for system, _ in some} == {"xero", "stripe"}
        assert httpx.post(f"{hello['url']}/evolve?steps=1&systems=xero,Xero").status_code == 400
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert len(json.loads((tmp_path / "state.json").read_text())["evolved"]) == 250


def test_what_happened_is_remembered_before_anybody_hears_of_it(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept.json", tmp_path / "state.json"
    link.symlink_to(kept)
    process, hello = start_server("--state", str(link))
    try:
        for count in range(1, 6):
            httpx.post(f"{hello['url']}/evolve?steps=1")
            assert len(json.loads(kept.read_text())["evolved"]) == count
    finally:
        process.kill()
        process.wait(60)
    assert link.is_symlink()


def test_faults_come_and_go_while_it_serves() -> None:
    process, hello = start_server()
    url = str(hello["url"])
    try:
        never_ending = {"rate_500": 1, "max_in_a_row": 1_000}
        assert httpx.put(f"{url}/faults", json=never_ending).status_code == 204
        assert {httpx.get(f"{url}/custom/v1/sales").status_code for _ in range(5)} == {500}
        assert httpx.put(f"{url}/faults", json={"no such": 1}).status_code == 400
        assert httpx.put(f"{url}/faults", json={}).status_code == 204
        assert httpx.get(f"{url}/custom/v1/sales").status_code < 500
    finally:
        process.terminate()
        process.wait(60)


def test_the_server_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process, _ = start_server("--parent-pid", str(parent.pid))
    parent.kill()
    parent.wait()
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
