"""A small loyalty app: the backend of one page, which keeps the API key.

It talks to the points API by HTTP only and imports nothing of the product: copy the folder.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

import httpx
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.middleware.trustedhost import TrustedHostMiddleware

PAGE: Final = Path(__file__).parent / "page"
#: There is no login: whoever reaches this address is the member. So only this machine does.
HOST: Final = "127.0.0.1"
#: Longer than the API takes at most, which then says itself that it was too slow.
TIMEOUT_SECONDS: Final = 25
#: Where an answer that asks to wait does not say how long.
WAIT_SECONDS: Final = "5"
#: Everything is the page's own: no style, script or picture comes from elsewhere or from a text.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: What the page shows of the API's answers. The rest is not the browser's.
_BALANCE: Final = (
    "balance_points", "available_points", "held_points", "pending_points", "unpaid_points",
    "expiring_next", "changing", "tier", "tier_multiplier", "tier_progress", "promotions",
)  # fmt: skip
_ENTRY: Final = ("kind", "event_at", "points", "balance_points", "reason")
_SALE: Final = (
    "transaction_number", "due_before", "due_after", "amount", "currency", "tier", "parts",
    "pending",
)  # fmt: skip
#: Refusals that the page has words for. Any other one is ours to repair.
_FOR_CUSTOMERS: Final = {
    "insufficient_points", "idempotency_key_reused", "member_erased", "unknown_member",
}  # fmt: skip
log = logging.getLogger("loyalty_app")


class Config(BaseSettings):
    """What `LOYALTY_APP_...` of the environment says."""

    model_config = SettingsConfigDict(env_prefix="LOYALTY_APP_", hide_input_in_errors=True)

    #: Where the points API is.
    api_url: str = Field(default="http://127.0.0.1:8080", pattern=r"^https?://[^/?#@\s]+$")
    #: Needs the scopes members:read and points:spend, and no other.
    api_key: SecretStr
    #: The `public_id` of the member whose page this is.
    member: UUID
    port: int = Field(default=8090, ge=1, le=65_535)

    @model_validator(mode="after")
    def _key_is_not_sent_in_the_clear(self) -> Self:
        url = httpx.URL(self.api_url)
        if url.scheme != "https" and url.host not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("LOYALTY_APP_API_URL must be https: the key is sent there")
        return self


def signed_in_member(request: Request) -> UUID:
    """Whose page is asked for. An app with a login looks in its session here.

    It is never what the browser says: anybody could name another member.
    """
    config: Config = request.app.state.config
    return config.member


@dataclass(frozen=True)
class Reward:
    """What points are spent on. It has its price here: the browser names the reward only."""

    points: int
    #: By language.
    title: dict[Literal["pt", "en"], str]


REWARDS: Final = {
    "bottle-1.5l": Reward(400, {"pt": "Garrafa de 1,5 L grátis", "en": "Free 1.5 L bottle"}),
    "bottle-5l": Reward(1_000, {"pt": "Garrafão de 5 L grátis", "en": "Free 5 L bottle"}),
    "delivery": Reward(2_500, {"pt": "Entrega em casa grátis", "en": "Free home delivery"}),
}


class RefusedError(Exception):
    """The answer is an error, which the page has words for."""

    def __init__(self, status: int, code: str, retry_after: str = "", **numbers: int) -> None:
        """`retry_after`: the seconds after which the page asks again; "": it does not."""
        super().__init__(code)
        self.status, self.body = status, {"code": code, **numbers}
        self.headers = {"Retry-After": retry_after} if retry_after else {}


class PointsApi:
    """The points API, for one member."""

    def __init__(self, http: httpx.AsyncClient, member: UUID) -> None:
        """`http` sends the key."""
        self._http, self._member = http, member

    async def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """What it tells of the member. Raises RefusedError."""
        return await self._asked("GET", path, params=parameters)

    async def post(self, path: str, key: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Does something, once per key. Raises RefusedError.

        It is not sent again from here: the page does, with the same key, and so no answer that is
        lost on the way leaves the customer in doubt.
        """
        return await self._asked("POST", path, json=body, headers={"Idempotency-Key": str(key)})

    async def _asked(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, f"/api/members/{self._member}{path}", **more)
        except httpx.TransportError as error:  # its text may hold the address, and so the member
            log.warning("the points API does not answer: %s", type(error).__name__)
            raise RefusedError(503, "wait", WAIT_SECONDS) from None
        if answer.is_success:
            told: dict[str, Any] = answer.json()
            return told
        raise _refusal(answer)


def _refusal(answer: httpx.Response) -> RefusedError:
    """The error as the page is told it; the log has what an operator needs, and no person."""
    try:
        problem = answer.json()
        code = str(problem["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):  # of a proxy in between
        problem, code = {}, "no_problem_details"
    status, request_id = answer.status_code, answer.headers.get("X-Request-ID", "none")
    log.warning("the points API answered %d %r, its request %r", status, code, request_id)
    if status == 429 or status >= 500:
        retry_after = answer.headers.get("Retry-After", WAIT_SECONDS)
        return RefusedError(503, "wait", retry_after)
    if code not in _FOR_CUSTOMERS:  # the key was refused, our request is wrong, ...
        return RefusedError(500, "out_of_order")
    names = ("balance_points", "available_points")
    numbers = {name: problem[name] for name in names if name in problem}
    return RefusedError(status, code, **numbers)


def points_api(request: Request) -> PointsApi:
    """The API for whoever asks."""
    return PointsApi(request.app.state.http, signed_in_member(request))


Api = Annotated[PointsApi, Depends(points_api)]
router = APIRouter(prefix="/api")


@router.get("/account")
async def account(api: Api) -> dict[str, Any]:
    """Points, tier, promotions, and what points can be spent on."""
    rewards = [
        {"reward_id": reward_id, "points": reward.points, "title": reward.title}
        for reward_id, reward in REWARDS.items()
    ]
    return {**_only(await api.get("/balance"), _BALANCE), "rewards": rewards}


@router.get("/history")
async def history(
    api: Api, cursor: Annotated[str | None, Query(max_length=2000)] = None
) -> dict[str, Any]:
    """A page of what moved the balance, the latest first."""
    after = {} if cursor is None else {"cursor": cursor}
    told = await api.get("/history", limit="20", **after)
    items = [
        {**_only(item, _ENTRY), "sale": item["sale"] and _only(item["sale"], _SALE)}
        for item in told["items"]
    ]
    return {"items": items, "next_cursor": told["next_cursor"]}


class SpendBody(BaseModel):
    """What the customer chose, in which language: both are part of what the key stands for."""

    model_config = ConfigDict(extra="forbid")

    reward_id: str = Field(max_length=50)
    language: Literal["pt", "en"]


@router.post("/spend")
async def spend(
    api: Api, body: SpendBody, key: Annotated[UUID, Header(alias="Idempotency-Key")]
) -> dict[str, Any]:
    """Spends points on a reward, once per key; `code` is what the customer shows at the counter.

    The header also keeps other sites out: a browser lets them send none without asking us first.
    """
    reward = REWARDS.get(body.reward_id)
    if reward is None:
        raise RefusedError(404, "unknown_reward")
    code = key.hex[:8].upper()
    # All of it follows from the key and the body: the same request again is the same for the API.
    redemption = {
        "points": reward.points, "reference": f"app {code}", "reason": reward.title[body.language],
    }  # fmt: skip
    done = await api.post("/redemptions", key, redemption)
    return {"code": code, "available_points": done["balance"]["available_points"]}


def _only(told: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: told[name] for name in names}


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return JSONResponse(error.body, error.status, error.headers)


async def _with_headers(
    request: Request, answer: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await answer(request)
    response.headers.update(_HEADERS)
    # Points of a person stay in no cache; the page's files are asked for anew, and rarely sent.
    is_personal = request.url.path.startswith("/api/")
    response.headers["Cache-Control"] = "no-store" if is_personal else "no-cache"
    return response


def create_app(config: Config) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}"}
        async with httpx.AsyncClient(
            base_url=config.api_url, headers=headers, timeout=TIMEOUT_SECONDS
        ) as http:
            app.state.http = http
            yield

    app = FastAPI(lifespan=running, openapi_url=None)
    app.state.config = config
    app.add_exception_handler(RefusedError, _refused)
    app.include_router(router)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    app.middleware("http")(_with_headers)
    # Another site's name that leads here (DNS rebinding) is not answered.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return app


def main() -> None:
    """Serves until a signal."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Addresses name the member: neither requests from the browser nor those to the API are logged.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = Config()
    uvicorn.run(
        create_app(config), host=HOST, port=config.port, access_log=False, server_header=False
    )


if __name__ == "__main__":
    main()
