"""A change of a setting in Prefect is told at once, with who made it."""

import asyncio
import base64
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.server.api.server import create_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from settings import Settings
from tests.flows.test_prefect_guard import walk
from twezah.stack.acting import ACTOR_HEADER
from twezah.stack.settings_watch import Notices, SettingsWatch, is_change, notifier

ID = "0190a0a0-0000-7000-8000-000000000000"
BROWSER = {"sec-fetch-mode": "cors"}
#: Requests to these parts of Prefect's API that change no setting: questions, and runs.
HARMLESS = re.compile(r"filter|paginate|count|get_scheduled_flow_runs|create_flow_run|/schedule$|"
                      r"work_queue_check|branch")  # fmt: skip


def basic(user: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{user}:pw'.encode()).decode()}"}


def test_every_route_that_changes_a_setting_is_watched() -> None:
    """A route that an update of Prefect adds must be watched, or named as harmless."""
    watched = 0
    for path, route in walk(create_app().routes):
        if not path.startswith(("/api/block_documents", "/api/deployments")):
            continue
        for method in set(getattr(route, "methods", None) or ()) - {"GET", "HEAD"}:
            concrete = path.replace("/x", f"/{ID}")
            changes = is_change(method, concrete)
            assert changes != bool(HARMLESS.search(path)), (method, path)
            watched += changes
    assert watched >= 9
    assert not is_change("GET", f"/api/block_documents/{ID}")
    assert not is_change("POST", "/api/flow_runs/")


def asked(told: list[str], method: str, path: str, headers: dict[str, str], **how: Any) -> None:
    """One request to a server behind the watch."""

    async def answer(request: Request) -> Response:
        return Response(status_code=int(request.headers.get("x-answer", "200")))

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST", "PATCH"])])
    done = threading.Event()

    def tell(actor: str) -> None:
        told.append(actor)
        done.set()

    watch = SettingsWatch(app, tell, behind_proxy=how.get("behind_proxy", False))

    async def ask() -> None:
        transport = httpx.ASGITransport(app=watch)
        async with httpx.AsyncClient(transport=transport, base_url="http://prefect") as client:
            await client.request(method, path, headers=headers)
        await asyncio.gather(*watch._telling)

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("headers", "behind_proxy", "actor"),
    [
        (BROWSER | basic("admin"), False, "operator"),
        (BROWSER | basic("ana"), False, "operator ana"),
        (BROWSER | basic("admin") | {"x-forwarded-user": "rui"}, True, "operator rui"),
        (BROWSER | basic("admin") | {"x-forwarded-user": "rui"}, False, "operator"),
        (basic("admin"), False, "program"),
        (basic("admin") | {ACTOR_HEADER: "user ana"}, False, "user ana"),
    ],
)
def test_who_changed_it(headers: dict[str, str], behind_proxy: bool, actor: str) -> None:
    told: list[str] = []
    path = f"/api/block_documents/{ID}"
    asked(told, "PATCH", path, headers, behind_proxy=behind_proxy)
    asked(told, "PATCH", path, headers | {"x-answer": "422"})  # it was refused: nothing changed
    asked(told, "GET", path, headers)
    assert told == [actor]


@pytest.fixture
def installation(dsn: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=dsn)


@pytest.fixture
def notices(installation: Settings) -> Iterator[Notices]:
    made = Notices(installation)
    made.listen()
    yield made
    made.close()


def test_it_is_told_to_whoever_waits(installation: Settings, notices: Notices) -> None:
    tell = notifier(installation)
    assert notices.wait(0.01) == []
    tell("operator ana")
    assert notices.wait(30) == ["operator ana"]
    assert notices.wait(0.01) == []


def test_a_database_that_is_away_fails_no_change(tmp_path: Path) -> None:
    away = Settings(home=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none")
    notifier(away)("operator")
    assert Notices(away).wait(0.01) == []
