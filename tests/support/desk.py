"""An operator at Prefect's UI: a headless Chromium, and the few things that a person does there."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from settings import Settings
from tests.support.prefect_login import auth_string

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: `required`: a machine without a browser fails the tests that need one. Otherwise they are skipped
#:     there.
WANTED = "TWEZAH_BROWSER"
#: Without these a fresh profile talks to its maker, or does not start as root or without a graphics
#: card.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
)
#: How long an element of a page may take to appear.
WAIT_SECONDS = 90
#: How long a run may take from the click to its end.
RUN_SECONDS = 180


def chromium() -> str | None:
    """The browser that is installed, if one is."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def absence() -> str:
    """Why the browser tests cannot run; "" where they can."""
    if chromium():
        return ""
    return f"no Chromium found (looked for {', '.join(BROWSERS)}; Debian, Ubuntu: apt-get install chromium)"


def require_browser() -> None:
    """Skips the test where there is no browser, or fails it where there must be one."""
    if reason := absence():
        (pytest.fail if os.environ.get(WANTED) == "required" else pytest.skip)(reason)


@contextmanager
def browsing(width: int, height: int, *arguments: str) -> Iterator[Page]:
    """An empty page of a fresh Chromium, `width` x `height` pixels, in English and UTC.

    `arguments` are further ones of its command line.

    Raises:
        RuntimeError: none is installed.
    """
    if reason := absence():
        raise RuntimeError(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*QUIET, *arguments])
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                locale="en-GB",
                timezone_id="UTC",
                reduced_motion="reduce",
            )
            context.set_default_timeout(WAIT_SECONDS * 1000)
            yield context.new_page()
        finally:
            browser.close()


def open_front_page(page: Page, stack: Settings) -> None:
    """Opens the front page of a stack and logs in there."""
    user, _, password = auth_string(stack.home).partition(":")
    login = f"{user}:{password}@"
    page.goto(f"{stack.http_url.replace('://', f'://{login}')}/")


class Desk:
    """What an operator does in Prefect's UI at `ui_url`; a step that fails leaves a picture in `pictures`."""

    def __init__(self, page: Page, ui_url: str, pictures: Path, auth_string: str) -> None:
        self.page = page
        self.ui_url = ui_url
        self.pictures = pictures
        self.auth_string = auth_string

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Names what is being done; if it fails, the error says which picture shows the page."""
        try:
            yield
        except BaseException as error:
            self.pictures.mkdir(parents=True, exist_ok=True)
            picture = self.pictures / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.png"
            self.page.screenshot(path=picture)
            error.add_note(f"while: {name}; the page then, {self.page.url}: {picture}")
            raise

    def open(self, path: str) -> None:
        """Goes to a page by its address."""
        self.page.goto(self.ui_url + path)

    def log_in(self) -> None:
        """Pastes what `twezah password` prints where the pages ask for it, which is once."""
        with self.step("log in"):
            self.open("/login")
            self.page.get_by_placeholder("admin:pass").fill(self.auth_string)
            self.press("Login")
            self.page.wait_for_url(lambda url: not url.partition("?")[0].endswith("/login"))

    def field(self, title: str) -> Locator:
        """The input below a title. (Prefect's labels do not name their inputs.)"""
        label = self.page.locator(
            "label", has_text=re.compile(rf"^\s*{re.escape(title)}( \(Optional\))?\s*$")
        )
        return (
            self.page.locator(".p-label")
            .filter(has=label)
            .last.locator("input, textarea, select")
            .first
        )

    def json_field(self, title: str) -> Locator:
        """The input of a value that may be of several types, by its heading."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        return (
            self.page.locator(".schema-form-property-any-of")
            .filter(has=heading)
            .locator("textarea")
            .first
        )

    def press(self, button: str) -> None:
        """Presses a button by what is written on it; in the dialog, if one is open."""
        self.page.get_by_role("button", name=button, exact=True).last.click()

    def create_block(self, kind: str, name: str, **fields: str) -> str:
        """Fills in and saves the form of a new block, by titles with `_` for spaces; returns the address of its page."""
        self.open(f"/blocks/catalog/{kind}/create")
        self.field("Block Name").fill(name)
        for title, value in fields.items():
            self.field(title.replace("_", " ")).fill(value)
        self.press("Create")
        self.page.wait_for_url("**/blocks/block/*")
        return self.page.url.removeprefix(self.ui_url)

    def create_alerts(self, url: str) -> str:
        """Has alerts sent to a web hook, as docs/alerts.md says; returns the block's id."""
        self.open("/blocks/catalog/custom-webhook/create")
        self.field("Block Name").fill("alerts")
        self.field("Name").fill("office")
        self.field("Webhook URL").fill(url)
        self.json_field("JSON Data").fill('{"subject": "{{subject}}", "body": "{{body}}"}')
        self.press("Create")
        self.page.wait_for_url("**/blocks/block/*")
        return self.page.url.rpartition("/")[2]

    def edit_block(self, block: str, **fields: str) -> None:
        """Changes fields of a saved block, and nothing else of it."""
        self.open(f"{block}/edit")
        for title, value in fields.items():
            self.field(title.replace("_", " ")).fill(value)
        self.press("Save")
        self.page.wait_for_url(f"**{block}")

    def open_deployment(self, name: str) -> None:
        """Finds a deployment in the list, and opens it."""
        self.open("/deployments")
        self.page.get_by_role("searchbox").fill(name)
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.wait_for_url("**/deployments/deployment/*")
        expect(self.page.get_by_role("banner").get_by_text(name, exact=True).first).to_be_visible()

    def quick_run(self, deployment: str) -> None:
        """Run, Quick run, and the page of that run."""
        self._run(deployment, "Quick run")
        asked = self.page.get_by_role("dialog").get_by_role("button", name="Run", exact=True)
        started = self.page.get_by_role("button", name="View run")
        expect(asked.or_(started).first).to_be_visible()
        if asked.is_visible():  # a flow without parameters starts without a word
            asked.click()
        self._view_run()

    def custom_run(self, deployment: str, **values: str | bool) -> None:
        """Run, Custom run, with a form filled in, and the page of that run."""
        self._run(deployment, "Custom run")
        self.page.wait_for_url("**/run?*")
        for parameter, value in values.items():
            field = self.field(parameter)
            if isinstance(value, bool):
                if field.is_checked() != value:  # a switch is drawn, and the input is hidden
                    field.dispatch_event("click")
            else:
                field.fill(value)
        self.press("Submit")
        self._view_run()

    def _run(self, deployment: str, how: str) -> None:
        self.open_deployment(deployment)
        self.press("Run")
        self.page.get_by_role("button", name=how, exact=True).click()

    def _view_run(self) -> None:
        # The notice slides in and out, so that a click by place would miss it.
        self.page.get_by_role("button", name="View run").last.dispatch_event("click")
        try:
            self.page.wait_for_url("**/runs/flow-run/*", timeout=20_000)
        except PlaywrightTimeoutError:
            # On a busy machine the notice is gone before the click reaches it; the page of the
            # deployment lists the run.
            self.page.locator("a[href*='/runs/flow-run/']").first.click()
            self.page.wait_for_url("**/runs/flow-run/*")

    def await_state(self, name: str) -> None:
        """Until the page of the run shows this state."""
        badge = self.page.get_by_role("banner").get_by_text(name, exact=True).first
        expect(badge).to_be_visible(timeout=RUN_SECONDS * 1000)

    def retry(self) -> None:
        """Presses Retry on the page of a run, and confirms."""
        self.press("Retry")
        self.page.get_by_role("dialog").get_by_role("button", name="Retry", exact=True).click()

    def open_tab(self, name: str) -> None:
        """One of the tabs of a page."""
        self.page.get_by_role("tablist").get_by_text(name, exact=True).click()

    def read_report(self) -> str:
        """Opens the artifact of the run whose page is open; returns what it says."""
        self.open_tab("Artifacts")
        self.page.locator("a[href*='/artifacts/artifact/']").first.click()
        self.page.wait_for_url("**/artifacts/artifact/*")
        content = self.page.locator(".artifact-data-view")
        expect(content.get_by_role("heading").first).to_be_visible()
        return content.inner_text()
