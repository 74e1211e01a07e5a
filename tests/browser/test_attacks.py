"""What a page that an operator merely opens can do to Prefect's server and to our API: nothing.

The operator is logged in, in the same browser. Each attack is also tried on a server that protects
nothing, which shows that it is one.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from settings import Settings
from tests.browser.test_operator import call
from tests.support.desk import WAIT_SECONDS, Desk, browsing, open_front_page
from tests.support.prefect_login import auth_string

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

JEWELS = "the crown jewels"
#: A deployment whose first step is a shell command: what an attacker wants.
EVIL = json.dumps({"name": "evil", "flow_id": "00000000-0000-0000-0000-000000000000"})
PREFECT_PATHS = [
    ("POST", "/api/block_documents/filter"),
    ("POST", "/api/flows/"),
    ("POST", "/api/deployments/"),
    ("POST", "/api/flow_runs/filter"),
    ("GET", "/api/admin/settings"),
    ("GET", "/api/openapi.json"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
]
API_PATHS = [
    ("GET", "/"),
    ("GET", "/api/billing/status"),
    ("GET", "/api/billing/transactions"),
    ("POST", "/api/billing/sync"),
    ("POST", "/api/webhooks/billing/none"),
    ("GET", "/metrics"),
]
SOCKETS = ["/api/events/out", "/api/events/in", "/api/logs/out"]
#: What each way of asking brought: a text that could be read, or why there is none.
ASK = """async ([url, method, mode, type, body]) => {
    const options = {method, mode, headers: {'content-type': type}, credentials: 'include'}
    if (method !== 'GET') options.body = body
    try {
        const answer = await fetch(url, options)
        return answer.ok ? await answer.text() : `refused ${answer.status}`
    } catch (error) { return 'refused by the browser' }
}"""
LISTEN = """async ([url, protocols]) => new Promise(done => {
    const socket = new WebSocket(url, protocols)
    socket.onopen = () => socket.send(JSON.stringify({type: 'auth', token: ''}))
    socket.onmessage = event => done(event.data)
    socket.onclose = () => done('closed')
})"""
FORM = """([url, body]) => {
    const form = document.createElement('form')
    Object.assign(form, {method: 'POST', action: url, enctype: 'text/plain'})
    const field = document.createElement('input')
    Object.assign(field, {name: body, value: ''})
    form.append(field)
    document.body.append(form)
    form.submit()
}"""


@pytest.fixture
def page(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page beside that of an operator who is logged in; two names of the attacker lead here."""
    rules = "--host-resolver-rules=MAP evil.test 127.0.0.1,MAP rebound.test 127.0.0.1"
    # Newer browsers ask before a page may reach this machine; older ones, and others, do not.
    unasked = "--disable-features=LocalNetworkAccessChecks"
    with browsing(1200, 900, rules, unasked) as own:
        pictures = tmp_path_factory.getbasetemp() / "pictures"
        Desk(own, stack.ui_url, pictures, auth_string(stack.home)).log_in()
        front = own.context.new_page()
        open_front_page(front, stack)  # the browser sends its password by itself from now on
        expect(front.get_by_role("heading", name="Billing systems", exact=True)).to_be_visible()
        yield own.context.new_page()


@contextmanager
def unprotected() -> Iterator[str]:
    """A server that answers everybody, as Prefect's does by itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            # Also for requests with which the browser sends a password (then `*` would not do).
            allowed = {"origin": self.headers.get("origin", "*"), "credentials": "true"}
            allowed |= {"methods": "GET, POST", "headers": "content-type"}
            for name, value in allowed.items():
                self.send_header(f"access-control-allow-{name}", value)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(JEWELS.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def do_OPTIONS(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def evil() -> Iterator[str]:
    """The attacker's own server."""
    with unprotected() as url:
        yield url


def targets(stack: Settings) -> list[tuple[str, str, str]]:
    """Base URL, method and path of everything that is attacked."""
    api = f"http://127.0.0.1:{stack.api_port}"
    prefect = [(stack.ui_url, method, path) for method, path in PREFECT_PATHS]
    return prefect + [(api, method, path) for method, path in API_PATHS]


def known(stack: Settings) -> list[list[str]]:
    """What an attacker would have added to."""
    return [
        sorted(one["name"] or "" for one in call(stack, "POST", f"/{kind}/filter", {}))
        for kind in ("deployments", "flows", "block_documents", "work_pools")
    ]


def asked(page: Page, url: str, method: str) -> set[str]:
    """What came of asking in every way that a page has."""
    ways = [("cors", "application/json"), ("cors", "text/plain"), ("no-cors", "text/plain")]
    return {page.evaluate(ASK, [url, method, mode, kind, EVIL]) for mode, kind in ways}


def read(found: set[str]) -> set[str]:
    """Of that, what a page could read. (An opaque answer is an empty text.)"""
    return {text for text in found if text and not text.startswith("refused")}


def test_a_page_of_another_origin_reads_nothing(page: Page, stack: Settings, evil: str) -> None:
    """Not even with the operator logged in beside it."""
    before = known(stack)
    page.goto(evil.replace("127.0.0.1", "evil.test"))
    assert read(asked(page, evil, "POST")) == {JEWELS}, "the attack works where nothing protects"
    brought = {url + path: read(asked(page, url + path, how)) for url, how, path in targets(stack)}
    assert {url: texts for url, texts in brought.items() if texts} == {}
    assert known(stack) == before


def test_dns_rebinding_reads_nothing(page: Page, stack: Settings, evil: str) -> None:
    """A page whose name now leads to us is of our origin, as far as the browser knows."""
    before = known(stack)
    for url, ways in (
        (evil, [("POST", "/")]),
        *((url, [(how, path)]) for url, how, path in targets(stack)),
        (stack.ui_url, [("GET", "/"), ("GET", "/ui-settings"), ("GET", "/api/health")]),
    ):
        base = url.replace("127.0.0.1", "rebound.test")
        page.route(f"{base}/attack", lambda route: route.fulfill(body="", content_type="text/html"))
        page.goto(f"{base}/attack")
        for method, path in ways:
            brought = read(asked(page, base + path, method))
            assert brought == ({JEWELS} if url == evil else set()), (url, path)
    assert known(stack) == before


def test_a_form_changes_nothing(page: Page, stack: Settings, evil: str) -> None:
    """A form may be sent anywhere; the browser shows what came of it."""
    before = known(stack)
    for url, how, path in [(evil, "POST", "/"), *targets(stack)]:
        if how != "POST":
            continue
        page.goto(evil.replace("127.0.0.1", "evil.test"))
        with page.expect_navigation() as sent:
            page.evaluate(FORM, [url + path, EVIL])
        assert sent.value is not None
        assert (sent.value.status == 200) == (url == evil), (url, path, sent.value.status)
    assert known(stack) == before


def test_a_websocket_hears_nothing(page: Page, stack: Settings, evil: str) -> None:
    """CORS does not hold for websockets: the server itself refuses another origin and another name."""
    own = stack.ui_url.replace("http:", "ws:")
    page.goto(evil.replace("127.0.0.1", "evil.test"))
    for base in (own, own.replace("127.0.0.1", "rebound.test")):
        for path in SOCKETS:
            for protocols in (["prefect"], []):
                assert page.evaluate(LISTEN, [base + path, protocols]) == "closed", (base, path)
    page.goto(stack.ui_url)
    heard = page.evaluate(LISTEN, [f"{own}/api/events/out", ["prefect"]])
    assert heard == "closed", "our own page needs the password as well"


def test_ours_is_not_shown_in_a_frame(page: Page, stack: Settings, evil: str) -> None:
    """Or an operator could be made to press its buttons."""
    page.goto(evil.replace("127.0.0.1", "evil.test"))
    for url in (f"{stack.ui_url}/runs", f"{stack.http_url}/"):
        page.set_content(f'<iframe src="{url}"></iframe>')
        page.wait_for_timeout(1_500)
        framed = page.frames[1]
        text = "" if framed.url.startswith("chrome-error:") else framed.content()
        assert "<div" not in text and "<main" not in text


@pytest.mark.parametrize(
    ("login", "pages"),
    [("/login", ("/runs", "/v2/runs")), ("/v2/login", ("/v2/runs", "/runs"))],
    ids=["V1", "V2"],
)
def test_the_interface_asks_once(
    stack: Settings, login: str, pages: tuple[str, ...], tmp_path: Path
) -> None:
    """Both of Prefect's interfaces; a wrong password is not enough, the right one is for both."""
    (deployment,) = call(
        stack, "POST", "/deployments/filter", {"deployments": {"name": {"any_": ["pages"]}}}
    )
    run = call(stack, "POST", f"/deployments/{deployment['id']}/create_flow_run", {})
    with browsing(1200, 900) as own:
        own.goto(f"{stack.ui_url}{pages[0]}")
        field = own.get_by_placeholder("admin:pass")
        field.fill("admin:wrong")
        with own.expect_response(lambda answer: answer.status == 401):
            own.get_by_role("button", name="Login", exact=True).click()
        # The page forgets the password when it is refused: until then it would forget a right one.
        own.wait_for_function("localStorage.getItem('prefect-password') === null")
        said = own.get_by_text("Authentication failed").or_(own.get_by_text("Invalid credentials"))
        expect(said.first).to_be_visible(timeout=WAIT_SECONDS * 1_000)
        expect(field).to_be_visible(timeout=WAIT_SECONDS * 1_000)
        assert login in own.url
        field.fill(auth_string(stack.home))
        own.get_by_role("button", name="Login", exact=True).click()
        expect(field).to_be_hidden(timeout=WAIT_SECONDS * 1_000)
        for path in pages:
            own.goto(f"{stack.ui_url}{path}")
            link = own.locator(f"a[href*='{run['id']}']")  # its name changes when it starts
            expect(link.first).to_be_visible(timeout=WAIT_SECONDS * 1_000)
            expect(field).to_be_hidden(timeout=WAIT_SECONDS * 1_000)
