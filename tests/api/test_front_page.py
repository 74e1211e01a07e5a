"""The front page: whom it lets in, what it says, and what it says when there is nothing to say."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.runs import PrefectAwayError, PublishedPage
from settings import Settings
from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.support.database import Databases
from tests.support.waiting import wait_until

LOGIN = ("admin", "front-page-s3cret")
MARKDOWN = "# Billing systems\n\n| Connection | State |\n| --- | --- |\n| [xero](/runs) | fine |\n"


@pytest.fixture(scope="module")
def front(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """An API whose Prefect has the page; a name of its own leads to it, too."""
    dsn = databases.migrated()
    databases.made.remove(dsn.split("/")[-1].split("?")[0])  # it outlives the first test
    settings = settings_for(
        tmp_path_factory.mktemp("front"), dsn, api_public_url="https://Points.example.com/api"
    )
    with open_office(settings, front_login=":".join(LOGIN), ui_url="https://p.example") as office:
        publish(office, MARKDOWN)
        yield office


@pytest.fixture(autouse=True)
def _published(front: Office) -> Iterator[None]:
    yield
    publish(front, MARKDOWN)


def publish(office: Office, markdown: str | None, *, minutes_ago: int = 0) -> None:
    """What Prefect has from now on; None: nothing."""
    renewed_at = datetime.now(UTC) - timedelta(minutes=minutes_ago)

    async def page(key: str) -> PublishedPage | None:
        assert key == "billing-systems"
        return None if markdown is None else PublishedPage(markdown, renewed_at)

    office.runs.page = page  # type: ignore[method-assign]


def ask(office: Office, method: str = "GET", path: str = "/", **more: Any) -> httpx.Response:
    """A request of an operator who is logged in."""
    return office.http.request(method, path, **{"auth": LOGIN, **more})


def test_it_shows_what_the_panel_wrote_and_leads_to_prefect(front: Office) -> None:
    answer = ask(front)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<td data-label="State" data-text="fine">fine</td>' in answer.text
    assert '<a href="https://p.example/runs">xero</a>' in answer.text
    assert "warning" not in answer.text


def test_it_needs_no_program_and_allows_none(front: Office) -> None:
    answer = ask(front)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert not re.search(r' (src|href)="https?://(?!p\.example)', answer.text)


@pytest.mark.parametrize(
    "auth",
    [None, ("admin", "wrong"), ("", ""), ("other", LOGIN[1]), ("admin", LOGIN[1] + " ")],
)
def test_it_asks_for_the_password(front: Office, auth: tuple[str, str] | None) -> None:
    answer = front.http.get("/", auth=auth) if auth else front.http.get("/")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert "twezah password" in answer.json()["detail"]
    assert "xero" not in answer.text and LOGIN[1] not in answer.text


@pytest.mark.parametrize("header", ["Basic", "Basic ***", "Bearer twz_x", "Basic w7w="])
def test_it_refuses_what_is_no_password(front: Office, header: str) -> None:
    assert front.http.get("/", headers={"Authorization": header}).status_code == 401


def test_who_guesses_has_to_wait(front: Office) -> None:
    """Also with the right password then, or a guess would be known by the answer."""

    def guess() -> bool:
        return front.http.get("/", auth=("admin", "guess")).status_code == 429

    wait_until(guess, seconds=60)
    assert ask(front).status_code == 429
    wait_until(lambda: ask(front).status_code == 200, seconds=60)


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.evil.example", "", "[::1", "a@b"])
def test_a_foreign_name_that_leads_here_is_refused(front: Office, host: str) -> None:
    answer = ask(front, headers={"Host": host})
    assert answer.status_code == 400 and "xero" not in answer.text


@pytest.mark.parametrize(
    "host", ["points.example.com", "localhost:8080", "192.168.1.5:8080", "[fe80::1]:8080"]
)
def test_its_own_names_and_addresses_are_let_in(front: Office, host: str) -> None:
    assert ask(front, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    ],
)
def test_requests_of_other_pages_are_refused(front: Office, headers: dict[str, str]) -> None:
    answer = ask(front, headers=headers)
    assert answer.status_code == 403 and "xero" not in answer.text
    assert "access-control-allow-origin" not in answer.headers


def test_a_link_in_a_mail_is_followed(front: Office) -> None:
    """The browser says that another site led here, and that the operator goes there."""
    followed = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert ask(front, headers=followed).status_code == 200


def test_nothing_can_be_changed_there(front: Office) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(front, method).status_code == 405


def test_a_page_that_nobody_renews_says_so(front: Office) -> None:
    publish(front, MARKDOWN, minutes_ago=40)
    answer = ask(front)
    assert answer.status_code == 200 and "40 minutes old" in answer.text and "xero" in answer.text


def test_before_the_page_is_written_it_is_looked_for_again(front: Office) -> None:
    publish(front, None)
    front.state.last_page = None
    answer = ask(front)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
    assert 'http-equiv="refresh" content="5"' in answer.text
    assert 'href="https://p.example"' in answer.text


def test_a_prefect_that_is_away_is_named(front: Office) -> None:
    async def page(key: str) -> PublishedPage | None:
        raise PrefectAwayError("away")

    assert ask(front).status_code == 200
    front.runs.page = page  # type: ignore[method-assign]
    answer = ask(front)
    assert answer.status_code == 200 and "Prefect does not answer" in answer.text
    assert ">xero</a>" in answer.text, "what it said last"
    front.state.last_page = None
    answer = ask(front)
    assert answer.status_code == 503 and "Prefect does not answer" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_it_can_be_installed_on_a_phone(front: Office) -> None:
    """A browser asks for manifest and icons without the password."""
    assert 'rel="manifest" href="front/manifest.webmanifest"' in ask(front).text
    manifest = front.http.get("/front/manifest.webmanifest")
    assert manifest.headers["content-type"].startswith("application/manifest+json")
    told = manifest.json()
    page = manifest.url.join(told["start_url"])
    assert (page.path, told["display"]) == ("/", "standalone")
    sizes = set()
    for icon in told["icons"]:
        picture = front.http.get(manifest.url.join(icon["src"]))
        assert picture.headers["content-type"] == "image/png"
        width, height = (int.from_bytes(picture.content[at : at + 4]) for at in (16, 20))
        assert f"{width}x{height}" == icon["sizes"]
        sizes.add(width)
    assert sizes == {192, 512}
    assert front.http.get("/front/../settings.py").status_code in (404, 422)


def test_without_a_password_of_prefect_there_is_none(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A Prefect server of somebody else, whose password we do not know."""
    settings = settings_for(tmp_path_factory.mktemp("none"), databases.migrated())
    with open_office(settings, front_login=None) as office:
        answer = office.http.get("/", auth=LOGIN)
        assert answer.status_code == 404
        assert "PREFECT_API_AUTH_STRING" in answer.json()["detail"]


def test_the_password_is_that_of_prefects_pages(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Made where the stack makes it; it never shows."""
    from api.config import Config

    own = Settings(home=tmp_path_factory.mktemp("own"), database_url="postgresql://x/y")
    config = Config.of(own)
    assert config.front_login == own.prefect_auth_string() is not None
    assert config.front_login not in repr(config)
