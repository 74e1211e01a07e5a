"""The example of a loyalty app as a customer uses it: on a phone, against the served API.

The app is started as its README says, a process of its own.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect
from psycopg.types.json import Jsonb

from settings import PROJECT_ROOT
from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.db.test_rules import program, promote
from tests.support.books import PHONE, Books, invoice
from tests.support.database import Databases, databases
from tests.support.desk import WAIT_SECONDS, browsing
from tests.support.ports import free_ports
from tests.support.waiting import wait_until

__all__ = ["databases"]
pytestmark = pytest.mark.timeout(600)
EXAMPLE = PROJECT_ROOT / "examples" / "loyalty-app"
PHONE_SCREEN = (390, 844)
DAY = timedelta(days=1)
LUANDA = ZoneInfo("Africa/Luanda")
NOW = datetime.now(UTC)
TIERS = {"thresholds": {"silver": 5_000, "gold": 20_000}, "period": "month", "window_days": 365}


@pytest.fixture(scope="module")
def shop(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Office, Books]]:
    """The API, on a database whose program has tiers and one promotion."""
    dsn = databases.migrated()
    databases.made.remove(dsn.split("/")[-1].split("?")[0])  # it outlives the first test
    books = Books(dsn)
    program(books, tier_policy=Jsonb(TIERS))
    bonus = {"kind": "purchase_bonus", "points": 50}
    since = NOW - 2 * DAY
    promote(books, "rain", "purchase_bonus", bonus, title="Rainy days", valid_from=since)
    with open_office(settings_for(tmp_path_factory.mktemp("api"), dsn)) as office:
        yield office, books


@dataclass
class Customer:
    """A member, and their app."""

    office: Office
    books: Books
    phone: str
    pictures: Path
    #: Where the app is, the API key that it has, and what it writes.
    url: str = ""
    secret: str = ""
    log: Path = Path()
    sales: int = 0

    def number(self, sale: int) -> str:
        """On the invoice of a sale, from 1."""
        return f"INV-{self.phone[-2:]}-{sale}"

    def sale(self, total_minor: int, days_ago: int, **changes: Any) -> dict[str, Any]:
        """A new one; or a version of the one with the `invoice_number` in `changes`."""
        self.sales += 1
        at = NOW - days_ago * DAY
        number = changes.setdefault("invoice_number", self.number(self.sales))
        return invoice(
            external_id=number, customer_phone=self.phone, customer_external_id=self.phone,
            total_minor=total_minor, issued_at=at, **({"updated_at": at} | changes),
        )  # fmt: skip

    def buys(self, *sales: dict[str, Any]) -> None:
        """The sales are stored, and their points posted."""
        self.books.store(*sales)
        self.books.award()

    @property
    def public_id(self) -> str:
        """What the app knows the member by."""
        return str(self._asked("SELECT public_id FROM loyalty.member WHERE phone = %(phone)s"))

    def redemptions(self) -> int:
        """How often points were spent."""
        member_id = self.books.member(self.phone)
        return int(
            self._asked(
                "SELECT count(*) FROM loyalty.redemption WHERE member_id = %(member)s",
                member=member_id,
            )
        )

    def balance(self) -> int:
        """In the ledger, as the API tells."""
        url = f"/api/members/{self.public_id}/balance"
        found = self.office.http.get(url, headers=self.office.key("members:read"))
        return int(found.json()["balance_points"])

    def spends_elsewhere(self, points: int) -> None:
        """At the till, or with another phone."""
        headers = {**self.office.key("points:spend"), "Idempotency-Key": f"till-{self.phone}"}
        body = {"points": points, "reference": "till 3", "reason": "Discount"}
        url = f"/api/members/{self.public_id}/redemptions"
        assert self.office.http.post(url, headers=headers, json=body).status_code == 201

    def _asked(self, statement: str, **more: Any) -> Any:
        ((value,),) = self.books.rows(statement, phone=self.phone, **more)
        return value


@contextmanager
def app_of(customer: Customer, folder: Path, key: dict[str, str]) -> Iterator[None]:
    """The app of this customer, started by hand; its log names no person and no key."""
    (port,) = free_ports(1)
    customer.url = f"http://127.0.0.1:{port}"
    customer.log = folder / "app.log"
    customer.secret = key["Authorization"].removeprefix("Bearer ")
    given = {
        **os.environ, "LOYALTY_APP_API_URL": customer.office.url, "LOYALTY_APP_PORT": port,
        "LOYALTY_APP_API_KEY": customer.secret, "LOYALTY_APP_MEMBER": customer.public_id,
    }  # fmt: skip
    with customer.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, EXAMPLE / "loyalty_app.py"], cwd=folder, env=given, stderr=log,
            stdout=log,
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or _serves(customer.url), seconds=60)
        assert process.poll() is None, customer.log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(30)
    written = customer.log.read_text()
    for private in (customer.public_id, customer.phone, customer.phone[-9:], customer.secret):
        assert private not in written
    assert "Traceback" not in written


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/icon.svg").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def customer(
    shop: tuple[Office, Books],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Customer]:
    """Somebody who bought for 600.00 AOA ten days ago: 6000 points."""
    office, books = shop
    ((members,),) = books.rows("SELECT count(*) FROM loyalty.member")
    phone = f"{PHONE[:-2]}{members + 10}"
    own = Customer(office, books, phone, tmp_path_factory.getbasetemp() / "pictures")
    own.buys(own.sale(60_000, 10))
    per_minute = getattr(request, "param", 6_000)
    key = office.key("members:read", "points:spend", per_minute=per_minute)
    with app_of(own, tmp_path, key):
        yield own


class Screen:
    """The page on the customer's phone, in English at first."""

    def __init__(self, page: Page) -> None:
        self.page = page
        #: Idempotency-Keys of the requests that spend, in their order.
        self.keys: list[str] = []
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if request.url.endswith("/api/spend"):
            self.keys.append(request.headers["idempotency-key"])

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def choose(self, title: str) -> None:
        """Chooses a reward; the page asks whether it is meant."""
        self.button(f"Spend on: {title}").click()
        expect(self.page.get_by_role("dialog")).to_be_visible()

    def spend(self, title: str) -> None:
        self.choose(title)
        self.button("Spend").click()

    def says(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_role("status")).to_contain_text(text)

    def has(self, points: str) -> None:
        expect(self.page.locator("#balance")).to_have_text(f"{points} points")

    def movement(self, number: int) -> Locator:
        """Of the history, from 0, the latest first."""
        return self.page.locator("#history > li").nth(number)


@pytest.fixture
def screen(customer: Customer) -> Iterator[Screen]:
    """The page is opened; it asks nobody else, and the browser has nothing to complain about."""
    expect.set_options(timeout=WAIT_SECONDS * 1_000)
    with browsing(*PHONE_SCREEN) as page:
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if "Policy" in said.text else None,
        )
        page.goto(customer.url)
        shown = Screen(page)
        shown.has("6,000")
        yield shown
        assert complaints == []
        assert {url for url in asked if not url.startswith(f"{customer.url}/")} == set()
        kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        assert customer.secret not in page.content() + kept
    expect.set_options(timeout=None)


def picture(screen: Screen, customer: Customer, name: str) -> None:
    customer.pictures.mkdir(exist_ok=True)
    screen.page.screenshot(path=customer.pictures / f"loyalty-app-{name}.png", full_page=True)


def fits(page: Page) -> bool:
    """Whether nothing has to be scrolled sideways, also on the narrowest phone."""
    wide = "document.documentElement.scrollWidth > window.innerWidth"
    found = []
    for width in (320, PHONE_SCREEN[0]):
        page.set_viewport_size({"width": width, "height": PHONE_SCREEN[1]})
        found.append(page.evaluate(wide))
    return not any(found)


def test_the_whole_day(customer: Customer, screen: Screen) -> None:
    sees_balance_tier_and_history(screen)
    buys_and_sees_why(customer, screen)
    spends(customer, screen)
    returns_what_was_spent(customer, screen)
    picture(screen, customer, "en")
    reads_portuguese(screen)
    screen.page.reload()
    expect(screen.page.get_by_role("heading", level=1)).to_have_text("Os seus pontos")
    expect(screen.page.locator("#history")).to_contain_text("Compra anulada INV-")
    picture(screen, customer, "pt")


def sees_balance_tier_and_history(screen: Screen) -> None:
    page = screen.page
    expect(page.locator("#balance-notes")).to_have_text("You can spend 6,000 points.")
    expect(page.locator("#tier-name")).to_have_text("Silver")
    expect(page.locator("#tier-multiplier")).to_have_text("You earn 1.2 times the points.")
    expect(page.locator("#tier-next")).to_have_text("14,000 points to go until Gold.")
    bar = page.get_by_role("progressbar", name="Your tier")
    assert bar.evaluate("bar => [bar.value, bar.max]") == [6_000, 20_000]
    promotion = page.locator("#promotions-list")
    expect(promotion).to_contain_text("Rainy days")
    expect(promotion).to_contain_text("50 points extra for a purchase.")
    for text in ("Purchase INV-", "Purchase of AOA 600.00: +6,000", "Balance: 6,000"):
        expect(screen.movement(0)).to_contain_text(text)


def buys_and_sees_why(customer: Customer, screen: Screen) -> None:
    customer.buys(customer.sale(15_000, 1))
    screen.button("Refresh").click()
    screen.has("7,850")
    for text in ("AOA 150.00: +1,500", "Silver tier: +300", "Rainy days: +50", "+1,850"):
        expect(screen.movement(0)).to_contain_text(text)


def spends(customer: Customer, screen: Screen) -> None:
    screen.choose("Free 5 L bottle")
    asking = screen.page.get_by_role("dialog", name="Free 5 L bottle for 1,000 points?")
    expect(asking).to_contain_text("You have 6,850 points left then.")
    screen.button("Cancel").click()
    expect(asking).to_be_hidden()
    assert screen.keys == []
    screen.spend("Free 5 L bottle")
    screen.says(re.compile(r"Done: Free 5 L bottle\. Show this code .*: [0-9A-F]{8}$"))
    expect(screen.page.get_by_role("status")).to_be_focused()
    screen.has("6,850")
    code = screen.page.get_by_role("status").inner_text()[-8:]
    for text in ("Spent points", f"Free 5 L bottle (app {code})", "-1,000", "Balance: 6,850"):
        expect(screen.movement(0)).to_contain_text(text)
    assert (customer.balance(), customer.redemptions()) == (6_850, 1)


def returns_what_was_spent(customer: Customer, screen: Screen) -> None:
    """Most points are spent at the till; then the first purchase comes back."""
    page = screen.page
    customer.spends_elsewhere(6_500)
    first = {"invoice_number": customer.number(1), "status": "void", "updated_at": NOW}
    customer.buys(customer.sale(60_000, 10, **first))
    screen.button("Refresh").click()
    expect(page.locator("#balance-notes")).to_contain_text("The balance is below zero")
    balance = customer.balance()
    assert balance < 0
    screen.has(f"{balance:,}")
    expect(screen.button("Spend on: Free 5 L bottle")).to_be_disabled()
    expect(page.locator("#rewards")).to_contain_text(f"{1_000 - balance:,} points missing")
    void = page.locator("#history > li", has_text="Cancelled purchase")
    expect(void).to_contain_text("This purchase was worth 6,000 points, and now 0.")
    assert fits(page)


def reads_portuguese(screen: Screen) -> None:
    page = screen.page
    screen.button("Português").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Os seus pontos")
    expect(page.locator("html")).to_have_attribute("lang", "pt")
    expect(page.locator("#balance-notes")).to_contain_text("O saldo está abaixo de zero")
    expect(page.locator("#promotions-list")).to_contain_text("Mais 50 pontos por uma compra.")
    expect(page.locator("#history")).to_contain_text("Compra anulada INV-")
    expect(page.locator("#history")).to_contain_text("Compra de 600,00 AOA: +6 000")
    assert fits(page)


def test_a_long_history_comes_in_pages(customer: Customer, screen: Screen) -> None:
    customer.buys(*(customer.sale(100, 5) for _ in range(21)))
    screen.button("Refresh").click()
    expect(screen.page.locator("#history > li")).to_have_count(20)
    screen.button("Show more").click()
    expect(screen.page.locator("#history > li")).to_have_count(22)
    expect(screen.button("Show more")).to_be_hidden()
    expect(screen.movement(21)).to_contain_text("Purchase of AOA 600.00: +6,000")


def test_points_that_are_being_computed_come_by_themselves(
    customer: Customer, screen: Screen
) -> None:
    customer.books.store(customer.sale(10_000, 5))
    screen.button("Refresh").click()
    expect(screen.page.locator("#balance-notes")).to_contain_text("are being computed anew")
    customer.books.award()
    screen.has("7,200")
    expect(screen.page.locator("#balance-notes")).not_to_contain_text("are being computed anew")


def test_points_that_wait_say_for_what(
    customer: Customer, screen: Screen, shop: tuple[Office, Books]
) -> None:
    """By a version of the program that has just begun, so that it concerns no other purchase."""
    shop[1].run(
        "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
        "entry_tier, tier_policy, pending) SELECT version + 1, %(at)s, base_rate_bps, "
        "tier_rate_bps, entry_tier, tier_policy, %(pending)s "
        "FROM loyalty.program ORDER BY version DESC LIMIT 1",
        at=NOW - DAY / 24, pending=Jsonb({"days": 3, "until_paid": True}),
    )  # fmt: skip
    customer.buys(customer.sale(10_000, 0))

    def with_unpaid(route: Route) -> None:
        answer = route.fetch()
        assert answer.json()["unpaid_points"] == 0
        route.fulfill(response=answer, json={**answer.json(), "unpaid_points": 300})

    screen.page.route("**/api/account", with_unpaid)
    screen.button("Refresh").click()
    screen.has("7,250")
    notes = screen.page.locator("#balance-notes")
    for text in (
        "You can spend 6,000 points.",
        "You cannot spend 1,250 points yet: the history says why.",
        "300 more points once your purchases are paid.",
    ):
        expect(notes).to_contain_text(text)
    day = (NOW.astimezone(LUANDA) + 4 * DAY).strftime("%-d %b %Y")
    told = f"You can only spend 1,250 points once the purchase is paid and from {day} on."
    expect(screen.movement(0)).to_contain_text(told)
    screen.button("Português").click()
    expect(screen.movement(0)).to_contain_text(
        "Só pode gastar 1 250 pontos quando a compra estiver paga e a partir de"
    )
    assert fits(screen.page)


def test_a_double_click_spends_once(customer: Customer, screen: Screen) -> None:
    screen.choose("Free 5 L bottle")
    screen.button("Spend").dblclick()
    screen.says("Done:")
    screen.has("5,000")
    screen.choose("Free 5 L bottle")
    screen.button("Spend").evaluate("button => { button.click(); button.click() }")
    screen.has("4,000")
    assert (len(screen.keys), customer.redemptions(), customer.balance()) == (2, 2, 4_000)


def test_points_that_were_spent_elsewhere_are_not_spent_again(
    customer: Customer, screen: Screen
) -> None:
    customer.spends_elsewhere(5_500)
    screen.spend("Free 5 L bottle")
    screen.says("Too few points: your balance is 500, and you can spend 500. Nothing was spent.")
    screen.has("500")
    expect(screen.button("Spend on: Free 5 L bottle")).to_be_disabled()
    screen.spend("Free 1.5 L bottle")
    screen.says("Done:")
    screen.has("100")
    assert (customer.redemptions(), customer.balance()) == (2, 100)


@pytest.mark.parametrize("is_reloaded", [False, True])
def test_an_answer_that_is_lost_is_asked_for_again(
    customer: Customer, screen: Screen, *, is_reloaded: bool
) -> None:
    """The points were spent, and the customer's phone does not know."""

    def lose(route: Route) -> None:
        if len(screen.keys) == 1:
            assert route.fetch().status == 200
            route.abort()
        else:
            route.continue_()

    screen.page.route("**/api/spend", lose)
    screen.spend("Free 5 L bottle")
    screen.says("It takes a while.")
    if is_reloaded:
        screen.page.reload()
    screen.says("Done: Free 5 L bottle.")
    screen.has("5,000")
    assert len(screen.keys) == 2 and len(set(screen.keys)) == 1
    assert (customer.redemptions(), customer.balance()) == (1, 5_000)


def test_a_long_wait_is_said_and_the_next_tap_is_the_same_request(
    customer: Customer, screen: Screen
) -> None:
    def busy(route: Route) -> None:
        if len(screen.keys) == 1:
            assert route.fetch().status == 200
            route.fulfill(status=503, headers={"Retry-After": "3600"}, json={"code": "wait"})
        else:
            route.continue_()

    screen.page.route("**/api/spend", busy)
    screen.spend("Free 5 L bottle")
    screen.says("We do not know yet whether it was done.")
    screen.has("5,000")
    screen.spend("Free 5 L bottle")
    screen.says("Done:")
    assert len(screen.keys) == 2 and len(set(screen.keys)) == 1
    assert (customer.redemptions(), customer.balance()) == (1, 5_000)


def test_a_database_that_was_away(customer: Customer, screen: Screen) -> None:
    screen.choose("Free 5 L bottle")
    with customer.office.without_database():
        screen.button("Spend").click()
        screen.says("It takes a while.")
    screen.says(re.compile("Done:|We do not know yet"))
    if "We do not" in screen.page.get_by_role("status").inner_text():
        screen.spend("Free 5 L bottle")
        screen.says("Done:")
    screen.has("5,000")
    assert len(set(screen.keys)) == 1 and customer.redemptions() == 1


def test_a_key_that_is_refused(customer: Customer, screen: Screen) -> None:
    with httpx.Client(base_url=customer.url) as browser:
        assert browser.get("/api/account").json()["balance_points"] == 6_000
        customer.books.run(
            "UPDATE billing.api_key SET revoked_at = now() WHERE prefix = %(prefix)s",
            prefix=customer.secret[:14],
        )
        refused = wait_until(
            lambda: (answer := browser.get("/api/account")).is_error and answer, seconds=90
        )
        assert (refused.status_code, refused.json()) == (500, {"code": "out_of_order"})
    screen.button("Refresh").click()
    screen.says("This is not possible just now. We are looking into it.")
    screen.has("6,000")
    assert "'key_refused'" in customer.log.read_text()


@pytest.mark.parametrize("customer", [6], indirect=True)
def test_the_rate_limit_of_the_api_is_passed_on(customer: Customer) -> None:
    with httpx.Client(base_url=customer.url) as browser:
        limited = wait_until(
            lambda: (answer := browser.get("/api/account")).is_error and answer, seconds=60
        )
    assert (limited.status_code, limited.json()) == (503, {"code": "wait"})
    assert int(limited.headers["retry-after"]) >= 1


def test_what_other_sites_and_other_programs_get(customer: Customer) -> None:
    key = {"Idempotency-Key": "6f1c3c52-8a77-4c86-9a86-0a2b3c4d5e6f"}
    bottle = {"reward_id": "bottle-5l", "language": "pt"}
    with httpx.Client(base_url=customer.url) as browser:
        assert browser.get("/", headers={"Host": "evil.test"}).status_code == 400
        assert browser.post("/api/spend", json=bottle).status_code == 422, "no key"
        cheaper = browser.post("/api/spend", json={**bottle, "points": 1}, headers=key)
        assert cheaper.status_code == 422, "the price is not the browser's to say"
        unknown = browser.post("/api/spend", json={**bottle, "reward_id": "car"}, headers=key)
        assert (unknown.status_code, unknown.json()) == (404, {"code": "unknown_reward"})
        assert browser.post("/api/spend", json=bottle, headers=key).status_code == 200
        other = browser.post("/api/spend", json={**bottle, "reward_id": "delivery"}, headers=key)
        assert (other.status_code, other.json()) == (422, {"code": "idempotency_key_reused"})
        page = browser.get("/")
        told = browser.get("/api/account")
        assert told.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert "member_id" not in told.text + browser.get("/api/history").text
    assert customer.redemptions() == 1


def test_both_languages_say_the_same(customer: Customer, screen: Screen) -> None:
    names = screen.page.evaluate(
        """async () => {
            const { WORDS } = await import("/words.js");
            const names = (words) => Object.entries(words).flatMap(([name, word]) =>
                typeof word === "object" ? names(word).map((inner) => `${name}.${inner}`) : [name]);
            return [names(WORDS.pt), names(WORDS.en)];
        }"""
    )
    assert names[0] == names[1] and len(names[0]) > 60


def test_the_example_imports_nothing_of_the_product() -> None:
    tree = ast.parse((EXAMPLE / "loyalty_app.py").read_text(encoding="utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    ours = {path.stem for path in PROJECT_ROOT.iterdir() if path.suffix in ("", ".py")}
    assert imported & ours == set() and "httpx" in imported
