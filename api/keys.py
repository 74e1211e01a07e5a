"""Who may do what: API keys in the header Authorization, their scopes and their rate limits."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.database import answering, row, rows
from api.limits import source_subject, too_many
from api.problems import Problem
from api.state import State, state_of
from sql.keys import SCOPES, ApiKey, key_of, prefix_of

#: Requests of one source with a wrong key, per minute: nobody guesses 256 bits, but logs and
#: database have their peace.
WRONG_PER_MINUTE = 30
_bearer = HTTPBearer(auto_error=False, description="An API key, made with `twezah keys create`.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def from_known_source(request: Request) -> State:
    """The state; counts the request of its source. Raises Problem (429, 503)."""
    state = state_of(request)
    attempt = request.scope["state"]["attempt"]
    async with answering():
        subject = source_subject(attempt.source, state.config)
        await state.limits.require(subject, state.config.source_per_minute, "your address", attempt)
    return state


def require(*scopes: str) -> Callable[..., Awaitable[ApiKey]]:
    """A dependency: the key of the request, which has one of these scopes."""
    assert scopes
    assert set(scopes) <= SCOPES.keys()

    async def key(request: Request, bearer: Bearer) -> ApiKey:
        state = await from_known_source(request)
        async with answering():
            api_key = await _opened(state, request, bearer)
            await state.limits.require(
                f"key:{api_key.key_no}",
                api_key.requests_per_minute,
                "this API key",
                request.scope["state"]["attempt"],
            )
            await rows(state.readers, "keys", "touch", {"key_no": api_key.key_no})
        if not set(scopes) & set(api_key.scopes):
            detail = (
                f"This key has no scope {' or '.join(scopes)}: "
                "an administrator gives it one with `twezah keys create`."
            )
            raise Problem(
                403, "insufficient_scope", detail, headers=_challenge("insufficient_scope")
            )
        return api_key

    return key


async def _opened(state: State, request: Request, bearer: Bearer) -> ApiKey:
    attempt = request.scope["state"]["attempt"]
    wrong = f"wrong-key:{attempt.source.subject(state.config.key)}"
    if (waiting := state.limits.closed_seconds(wrong)) > 0:
        raise too_many("your address for wrong keys", waiting)
    prefix = None if bearer is None else prefix_of(bearer.credentials)
    stored = (
        None
        if prefix is None
        else key_of(await row(state.readers, "keys", "find", {"prefix": prefix}))
    )
    if (
        bearer is not None
        and stored is not None
        and stored.opens(bearer.credentials, datetime.now(UTC))
    ):
        attempt.key_no = stored.key_no
        return stored
    if bearer is None:
        detail = "Send an API key: `Authorization: Bearer twz_...`."
        raise Problem(401, "key_missing", detail, headers=_challenge(None))
    if (
        waiting := await state.limits.wait_seconds(wrong, WRONG_PER_MINUTE, burst=WRONG_PER_MINUTE)
    ) > 0:
        raise too_many("your address for wrong keys", waiting)
    detail = "This is no key of ours, or it has expired or been revoked."
    raise Problem(401, "key_refused", detail, headers=_challenge("invalid_token"))


def _challenge(error: str | None) -> dict[str, str]:
    return {"WWW-Authenticate": "Bearer" + (f' error="{error}"' if error else "")}
