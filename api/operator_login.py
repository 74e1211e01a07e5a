"""Who may read the front page: whoever knows the password of Prefect's pages.

The browser's own login (HTTP Basic) asks for it, so the page needs no program. A browser sends such
a password by itself, also for requests that another page makes. Those are refused, and nothing
behind this login changes anything.
"""

import base64
import binascii
import hmac
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from api.database import answering
from api.keys import WRONG_PER_MINUTE, from_known_source
from api.limits import too_many
from api.problems import Problem
from api.state import State

_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="Billing systems", charset="UTF-8"'}
_HOW: Final = "Log in with what `twezah password` prints: before the colon the user, then the rest."


async def operator(request: Request) -> State:
    """A dependency: the state, for an operator who is logged in.

    Raises Problem (400, 401, 403, 404, 429, 503).
    """
    state = await from_known_source(request)
    login = state.config.front_login
    if login is None:
        detail = (
            "There is no front page here: it asks for the password of the Prefect server, and "
            "PREFECT_API_AUTH_STRING does not name it."
        )
        raise Problem(404, "no_front_page", detail)
    _require_own_name(request, state.config.front_names)
    _require_own_page(request)
    await _require_password(request, state, login)
    return state


def _require_own_name(request: Request, names: Collection[str]) -> None:
    """Refuses a foreign name that was made to lead here (DNS rebinding)."""
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        host = ""
    if host in names or _is_address(host):
        return
    detail = "This is not the name of this API. Set TWEZAH_API_PUBLIC_URL to the one you use."
    raise Problem(400, "wrong_host", detail)


def _is_address(host: str) -> bool:
    """A page of an address is of that address: nobody can make it lead elsewhere."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _require_own_page(request: Request) -> None:
    headers = request.headers
    origin = headers.get("origin")
    own = headers.get("host", "").lower()
    is_foreign = origin is not None and urlsplit(origin).netloc.lower() != own
    is_followed = headers.get("sec-fetch-mode", "navigate") == "navigate"
    is_embedded = headers.get("sec-fetch-dest", "document") != "document"
    from_elsewhere = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
    if is_foreign or (from_elsewhere and (not is_followed or is_embedded)):
        raise Problem(403, "foreign_page", "Requests of other web pages are refused.")


async def _require_password(request: Request, state: State, login: str) -> None:
    attempt = request.scope["state"]["attempt"]
    wrong = f"wrong-login:{attempt.source.subject(state.config.key)}"
    whose = "your address for wrong passwords"
    if (waiting := state.limits.closed_seconds(wrong)) > 0:
        raise too_many(whose, waiting)
    sent = _password(request.headers.get("authorization", ""))
    if sent is None:
        raise Problem(401, "login_missing", _HOW, headers=_CHALLENGE)
    if hmac.compare_digest(sent, login.encode()):
        return
    async with answering():
        waiting = await state.limits.wait_seconds(wrong, WRONG_PER_MINUTE, burst=WRONG_PER_MINUTE)
    if waiting > 0:
        raise too_many(whose, waiting)
    raise Problem(401, "login_refused", _HOW, headers=_CHALLENGE)


def _password(authorization: str) -> bytes | None:
    """`user:password` of the header; None where there is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
