"""The front page as an operator meets it first: nothing is connected, on a desk and on a phone."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from settings import Settings
from tests.support.desk import WAIT_SECONDS, browsing, open_front_page
from tests.support.prefect_login import auth_string

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(params=[(1400, 1000), (390, 844)], ids=["desk", "phone"])
def front(request: pytest.FixtureRequest, stack: Settings) -> Iterator[Page]:
    """The first address that `twezah up` prints, with nobody logged in to Prefect."""
    with browsing(*request.param) as page:
        open_front_page(page, stack)
        yield page


def test_it_is_there_and_leads_to_the_form_of_a_connection(front: Page, stack: Settings) -> None:
    """Read without a program, within the screen, and a link followed through Prefect's login."""
    expect(front.get_by_role("heading", name="Billing systems", exact=True)).to_be_visible()
    expect(front.get_by_text("Not connected yet")).to_be_visible()
    assert front.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    front.get_by_role("link", name="Shopify", exact=True).click()
    front.get_by_placeholder("admin:pass").fill(auth_string(stack.home))
    front.get_by_role("button", name="Login", exact=True).click()
    expect(front.get_by_text("Block Name").first).to_be_visible(timeout=WAIT_SECONDS * 1_000)
    assert front.url.startswith(stack.ui_url) and "shopify-connection" in front.url


def test_it_can_be_installed(front: Page) -> None:
    """The browser itself reads the manifest, and finds nothing wrong with it."""
    session = front.context.new_cdp_session(front)
    found: dict[str, Any] = session.send("Page.getAppManifest")
    assert found["errors"] == []
    assert json.loads(found["data"])["display"] == "standalone"
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # A fresh profile of a test counts as private browsing, where nothing is installed.
    assert {error["errorId"] for error in errors} <= {"in-incognito"}


def test_without_the_password_nothing_is_shown(front: Page, stack: Settings) -> None:
    browser = front.context.browser
    assert isinstance(browser, Browser)
    stranger = browser.new_context().new_page()
    answer = stranger.request.get(f"{stack.http_url}/")
    assert answer.status == 401 and "Not connected yet" not in answer.text()
