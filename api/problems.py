"""Errors as RFC 9457 problem details: what happened, and what to do.

No value that was sent is repeated.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:problem-type:twezah:"


class WrongValue(BaseModel):
    """One value of the request that cannot be used."""

    where: str = Field(examples=["query.limit"])
    detail: str = Field(examples=["Input should be less than or equal to 500"])


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = Field(examples=[TYPE_PREFIX + "rate_limited"])
    title: str = Field(examples=["Too Many Requests"])
    status: int = Field(examples=[429])
    detail: str = Field(examples=["The limit of this API key is used up. Try again in 3 seconds."])
    request_id: str = Field(
        description="Names the request in the logs.", examples=["8d3c0f5e2b7a4c1d9e6f"]
    )
    errors: list[WrongValue] | None = None
    balance_points: int | None = Field(
        default=None, description="Where points do not suffice: the balance.", examples=[1000]
    )
    held_points: int | None = Field(
        default=None, description="Likewise: points that holds reserve.", examples=[200]
    )
    pending_points: int | None = Field(
        default=None, description="Likewise: points that cannot be spent yet.", examples=[0]
    )
    available_points: int | None = Field(
        default=None, description="Likewise: points that can be spent.", examples=[800]
    )


class Problem(HTTPException):
    """An answer other than success.

    `code` is the last part of its type, and the outcome in the audit table.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None,
        numbers: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """See ProblemDetails; `numbers` are further members of it."""
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.numbers = dict(numbers or {})


def key_reused() -> Problem:
    """The name of a request belongs to another one."""
    detail = "This Idempotency-Key was used with another request. Use a new one."
    return Problem(422, "idempotency_key_reused", detail)


def sentence(refusal: Exception) -> str:
    """The text of a refusal as a problem's `detail`."""
    text = str(refusal)
    return f"{text[0].upper()}{text[1:]}."


def retry_later(code: str, detail: str, *, status: int = 503, seconds: float = 5) -> Problem:
    """Nothing was done; the same request may succeed later."""
    return Problem(status, code, detail, headers={"Retry-After": str(max(1, round(seconds + 0.5)))})


def answer(
    request: Request, problem: Problem, errors: list[dict[str, str]] | None = None
) -> JSONResponse:
    """The problem as a response; the audit is told its code."""
    attempt = request.scope["state"].get("attempt")
    if attempt is not None:
        attempt.outcome = problem.code
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.code,
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail,
        "request_id": request.scope["state"].get("request_id", ""),
        **problem.numbers,
    }
    if errors is not None:
        body["errors"] = errors
    return JSONResponse(body, problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE)


_CODES: Final = {404: "not_found", 405: "method_not_allowed", 400: "bad_request"}


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return answer(request, error)
    detail = {
        404: "There is nothing at this address. /docs shows all there is.",
        405: "This address does not take this method; the header Allow names those it does.",
    }.get(error.status_code, "The request cannot be read.")
    code = _CODES.get(error.status_code, "refused")
    headers = dict(error.headers or {})
    if "GET" in headers.get("Allow", "").split(", "):  # whoever may ask may ask for the head alone
        headers["Allow"] += ", HEAD"
    return answer(request, Problem(error.status_code, code, detail, headers=headers))


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": ".".join(map(str, problem["loc"])), "detail": problem["msg"]}
        for problem in error.errors()[:20]
    ]
    problem = Problem(422, "invalid_request", "Some values cannot be used; `errors` names them.")
    return answer(request, problem, errors)


def install(app: FastAPI) -> None:
    """Lets the application answer every error as a problem."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes these answers."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }
