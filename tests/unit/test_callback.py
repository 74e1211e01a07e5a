"""The page on this machine that takes a consent's answer, over real sockets, with a simulated vendor behind it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.kit.errors import ConsentFailed, Misconfigured
from connectors.kit.http.consent import ConsentLink
from connectors.kit.spec import Account
from panel.connect.callback import Address, ConsentReceiver, address_of, serving


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Office:
    """A vendor, an application, and a person with a browser."""

    def __init__(self, opened: ExitStack) -> None:
        self.vendor = simulator.handler(simulator.World(customers=2, invoices=2), "xero")
        self.opened = opened
        self.address = Address(free_port(), "/callback")
        self.desk = self.open(self.address)

    def open(self, address: Address) -> ConsentReceiver:
        started = ConsentLink(
            Account(
                "xero", "", "http://vendor.test/xero", "http://vendor.test/xero/connect/token", simulator.CLIENT_ID,
                SecretStr(simulator.CLIENT_SECRET), authorize_url="http://vendor.test/xero/identity/connect/authorize",
            ),
            SYSTEMS["xero"], f"http://localhost:{address.port}/callback", transport=httpx.MockTransport(self.vendor),
        )  # fmt: skip
        return self.opened.enter_context(serving(ConsentReceiver(started, "Xero"), address))

    def decide(self, decision: str = "allow") -> str:
        """Where the vendor sends the browser."""
        link = httpx.URL(self.desk.started.url).copy_merge_params({"decision": decision})
        return str(self.vendor(httpx.Request("GET", link)).headers["location"])


@pytest.fixture
def office() -> Iterator[Office]:
    with ExitStack() as opened:
        yield Office(opened)


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10, trust_env=False) as client:
        yield client


def test_the_browser_brings_the_answer(office: Office, browser: httpx.Client) -> None:
    shown = browser.get(office.decide())
    assert shown.status_code == 200
    assert "gave its consent" in shown.text
    assert "code=" not in shown.text
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert shown.headers["cache-control"] == "no-store"
    granted = office.desk.wait(20)
    assert [one.account for one in granted.accounts] == [simulator.ACCOUNTS["xero"]]


def test_a_refusal_is_told_on_both_sides(office: Office, browser: httpx.Client) -> None:
    assert "access was refused" in browser.get(office.decide("deny")).text
    with pytest.raises(ConsentFailed, match="access was refused"):
        office.desk.wait(20)


def test_strangers_do_not_end_it(office: Office, browser: httpx.Client) -> None:
    base = f"http://localhost:{office.address.port}"
    for path in ("/callback?code=x&state=y", "/callback?error=access_denied"):
        assert browser.get(base + path).status_code == 400
    for path in ("/favicon.ico", "/callback", "/callback/more?state=1"):
        assert browser.get(base + path).status_code == 404
    assert browser.get(f"{base}/", headers={"host": "evil.example"}).status_code == 421
    assert (
        browser.post(
            f"{base}/", headers={"host": "evil.example"}, data={"address": "x"}
        ).status_code
        == 404
    )
    with pytest.raises(ConsentFailed, match="2 answers belonged to other links"):
        office.desk.wait(0.05)
    assert browser.get(office.decide()).status_code == 200
    assert office.desk.wait(20).accounts


def test_the_page_offers_the_link_and_takes_a_pasted_address(
    office: Office, browser: httpx.Client
) -> None:
    page = browser.get(office.desk.url)
    assert office.desk.started.url.replace("&", "&amp;") in page.text
    assert (
        browser.post(office.desk.url, data={"address": "https://localhost/?code=1"}).status_code
        == 400
    )
    assert (
        browser.post(office.desk.url, data={"address": "http://[not/an?address"}).status_code == 400
    )
    assert browser.post(office.desk.url, data={"address": "x" * 20_000}).status_code == 413
    taken = browser.post(office.desk.url, data={"address": office.decide()})
    assert "gave its consent" in taken.text
    assert office.desk.wait(20).accounts
    assert (
        "answered already" in browser.post(office.desk.url, data={"address": office.decide()}).text
    )


def test_a_browser_that_asks_twice_gets_one_consent(office: Office, browser: httpx.Client) -> None:
    answered, statuses = office.decide(), []
    asked = [
        threading.Thread(
            target=lambda: statuses.append(httpx.get(answered, timeout=10).status_code)
        )
        for _ in range(4)
    ]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    assert statuses == [200] * 4
    assert office.desk.wait(20).accounts


def test_nothing_is_printed(
    office: Office, browser: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    browser.get(office.decide())
    assert "code" not in "".join(capfd.readouterr())


def test_a_port_that_is_taken_says_so(office: Office) -> None:
    with pytest.raises(
        Misconfigured, match=f"port {office.address.port} of this machine cannot be used"
    ):
        office.open(office.address)


def test_it_listens_on_this_machine_only(office: Office) -> None:
    with closing(
        socket.create_connection(("127.0.0.1", office.address.port), timeout=5)
    ) as connected:
        assert connected.getpeername()[0] == "127.0.0.1"
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection((own, office.address.port), timeout=2)


@pytest.mark.parametrize(
    ("redirect_uri", "address"),
    [
        ("http://localhost:8912/callback", Address(8912, "/callback")),
        ("http://127.0.0.1:1234", Address(1234, "/")),
        ("https://localhost/", None),
        ("http://example.org:8912/callback", None),
        ("http://localhost:port/", None),
        ("http://[localhost/", None),
        ("", None),
    ],
)
def test_where_to_listen(redirect_uri: str, address: Address | None) -> None:
    assert address_of(redirect_uri) == address
