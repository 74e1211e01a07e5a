"""An operator who has never seen the code, in Prefect's UI from an empty stack to a repaired failure."""

import json
import re
import urllib.request
from functools import partial
from typing import Any

import psycopg
import pytest
from playwright.sync_api import expect

import simulator
from settings import Settings
from tests.browser.conftest import Inbox, Vendor
from tests.support import waiting
from tests.support.database import with_older_rules
from tests.support.desk import Desk, open_front_page
from tests.support.prefect_login import login_headers
from tests.sync.conftest import expected

eventually = partial(waiting.wait_until, seconds=240)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WRONG_KEY = "wr0ng-s3cret"


def test_connect_run_read_break_be_told_repair_and_retry(
    desk: Desk, stack: Settings, vendor: Vendor, inbox: Inbox
) -> None:
    """Nothing but the browser is touched; the database says what came of it."""
    no_poll_meanwhile(stack)
    with_older_rules(stack.dsn())
    with desk.step("create the block that alerts go to"):
        alerts = desk.create_alerts(inbox.url)
    block = connect(desk, vendor)
    report = first_report(desk, stack)
    assert points(stack) == expected(vendor.world, "custom")
    assert f"+{sum(points(stack).values()):,} points".replace(",", " ") in re.sub(
        r"\s", " ", report
    )
    assert shown(vendor, report) == []

    read_front_page(desk, stack)

    change_the_mapping(desk, stack)

    await_automations(stack, alerts)
    before = entries(stack)
    vendor.world.evolve(steps=20)
    assert points(stack) != expected(vendor.world, "custom"), "there is something to bring"
    run = break_credentials(desk, block)
    assert entries(stack) == before, "a run that is refused posts nothing"
    with desk.step("be told"):
        (alert,) = eventually(lambda: inbox.messages)
    assert alert["subject"] == "Twezah: sync-custom failed"
    assert (
        "KeyRejected" in alert["body"]
        and "press Retry" in alert["body"]
        and WRONG_KEY not in alert["body"]
    )
    assert run in alert["body"].split()

    with desk.step("repair, and retry where the alert leads"):
        desk.edit_block(block, API_key=simulator.CLIENT_SECRET)
        desk.page.goto(run)
        desk.retry()
        desk.await_state("Completed")
    assert points(stack) == expected(vendor.world, "custom")
    after = entries(stack)
    assert after[: len(before)] == before and len(after) > len(before)
    assert len(inbox.messages) == 1


def connect(desk: Desk, vendor: Vendor) -> str:
    """The block, filled in and edited, and the test of the connection; returns the address of the block's page."""
    with desk.step("connect the billing system"):
        values = {"API_base_URL": vendor.url, "API_key": simulator.CLIENT_SECRET}
        block = desk.create_block("custom-connection", "custom", **values)
        expect(desk.page.get_by_text("********")).to_be_visible()
        assert simulator.CLIENT_SECRET not in desk.page.content()
    with desk.step("edit another field: the secret stays, though the form shows stars"):
        desk.edit_block(block, Page_size="25")
    with desk.step("test the connection with a form"):
        desk.custom_run("test-connection", connection="custom")
        desk.await_state("Completed")
        assert "passed" in desk.read_report()
    return block


def first_report(desk: Desk, stack: Settings) -> str:
    """What the run says that a new connection starts by itself."""
    with desk.step("see the first run finish, read the report"):
        (run,) = eventually(lambda: started_runs(stack))
        desk.open(f"/runs/flow-run/{run}")
        desk.await_state("Completed")
        return desk.read_report()


def started_runs(stack: Settings) -> list[str]:
    """Ids of the runs of the connection that its schedule did not start."""
    wanted = {"deployments": {"name": {"any_": ["sync-custom"]}}}
    runs = call(stack, "POST", "/flow_runs/filter", wanted)
    return [run["id"] for run in runs if not run["auto_scheduled"]]


def read_front_page(desk: Desk, stack: Settings) -> None:
    """The connection on the front page, on a desk and on a phone, and where it leads."""
    with desk.step("read the front page"):
        front = desk.page.context.new_page()
        open_front_page(front, stack)

        def is_fine() -> bool:
            front.reload()
            state = front.locator("tr", has_text="custom").locator('td[data-label="State"]')
            return state.all_inner_texts() == ["fine"]

        eventually(is_fine)
        card = front.locator("tr", has=front.get_by_role("link", name="custom", exact=True))
        expect(card.locator('td[data-label="Last success"]')).to_contain_text("ago")
        front.set_viewport_size({"width": 390, "height": 844})
        assert front.evaluate("document.documentElement.scrollWidth") <= 390
        for cell in card.locator("td").all():  # each value, and its heading, is on the screen
            box = cell.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
            heading = "element => getComputedStyle(element, '::before').content"
            assert str(cell.get_attribute("data-label")) in cell.evaluate(heading)
    with desk.step("follow a link to a form that is filled in"):
        card.get_by_role("link", name="test", exact=True).click()
        expect(front.locator("input, textarea").first).to_be_visible()
        values = "() => [...document.querySelectorAll('input, textarea')].map(one => one.value)"
        front.wait_for_function(f"({values})().includes('custom')")
        front.close()


def change_the_mapping(desk: Desk, stack: Settings) -> None:
    """See where each field of the latest sale came from, change a path, see it again, save it."""
    with desk.step("see where the fields come from"):
        desk.custom_run("try-mapping", system="custom")
        desk.await_state("Completed")
        assert "/number" in desk.read_report()
    with desk.step("try a path that is wrong: nothing is saved"):
        desk.custom_run(
            "try-mapping", system="custom", paths="total_minor = /no_such_total", save=True
        )
        desk.await_state("Refused")
        assert "/no_such_total" in desk.read_report()
    with desk.step("try another one, and save it"):
        right = "customer_phone =, invoice_number = /id"
        desk.custom_run("try-mapping", system="custom", paths=right, save=True)
        desk.await_state("Completed")
        assert "Saved in Field mapping" in desk.read_report()
    assert rows(
        stack, "SELECT details FROM audit.entry WHERE operation = 'connection.mapping'"
    ) == [({"fields": ["invoice_number"]},)]


def break_credentials(desk: Desk, block: str) -> str:
    """A wrong key in the block, and the run that it costs; returns the address of the run."""
    with desk.step("break the credentials"):
        desk.edit_block(block, API_key=WRONG_KEY)
    with desk.step("see the failed run, and what it says"):
        desk.quick_run("sync-custom")
        desk.await_state("Failed")
        run = desk.page.url.partition("?")[0]
        desk.open_tab("Details")
        expect(desk.page.get_by_text("KeyRejected").first).to_be_visible()
        desk.page.get_by_text("See More").first.click()
        expect(desk.page.get_by_text('block "custom"').first).to_be_visible()
        assert WRONG_KEY not in desk.page.locator("body").inner_text()
    return run


def no_poll_meanwhile(stack: Settings) -> None:
    """The schedule switches itself on once the system is connected; a run of its own would be the first to fail."""
    (found,) = call(
        stack, "POST", "/deployments/filter", {"deployments": {"name": {"any_": ["sync-custom"]}}}
    )
    (schedule,) = found["schedules"]
    daily = {"schedule": {"interval": 86_400}}
    call(stack, "PATCH", f"/deployments/{found['id']}/schedules/{schedule['id']}", daily)


def call(stack: Settings, method: str, path: str, body: Any) -> Any:
    """What Prefect's API answers."""
    data = json.dumps(body).encode()
    headers = {"content-type": "application/json", **login_headers(stack.home)}
    request = urllib.request.Request(f"{stack.ui_url}/api{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def await_automations(stack: Settings, block: str) -> None:
    """Until the alert of a failed run goes to this block: within half a minute, docs/alerts.md says."""

    def known() -> bool:
        found = call(stack, "POST", "/automations/filter", {})
        return any(block in json.dumps(one["actions"]) for one in found)

    eventually(known)


def rows(stack: Settings, statement: str) -> list[tuple[Any, ...]]:
    """What the ledger answers."""
    with psycopg.connect(stack.dsn()) as connection:
        return connection.execute(statement.encode()).fetchall()


def points(stack: Settings) -> dict[tuple[str, str], int]:
    """Points posted per sale, the zeros left out."""
    found = rows(
        stack, "SELECT system, external_id, sum(points)::int FROM loyalty.award_entry GROUP BY 1, 2"
    )
    return {(system, sale): total for system, sale, total in found if total}


def entries(stack: Settings) -> list[tuple[Any, ...]]:
    """All ledger entries, in the order in which they were posted."""
    return rows(
        stack,
        "SELECT system, account, external_id, member_id, entry_no, points FROM loyalty.award_entry ORDER BY posted_at, external_id, entry_no",
    )


def shown(vendor: Vendor, report: str) -> list[str]:
    """What of the secrets and phone numbers a report shows all the same."""
    private = [
        simulator.CLIENT_SECRET,
        *(one.phone_e164[4:] for one in vendor.world.truth() if one.phone_e164),
    ]
    return [value for value in private if value in report.replace(" ", "")]
