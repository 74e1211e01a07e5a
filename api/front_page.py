"""GET /: the page "Billing systems", for a browser on a desk or a phone.

The page is written by the runs (panel/pages) and kept by Prefect, which shows it too. This shows
the same text: it has no rights at the ledger for that, and cannot say anything else.
"""

from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Response

from api.operator_login import operator
from api.page_markup import to_html
from api.runs import PrefectAwayError, PublishedPage
from api.state import State

router = APIRouter(include_in_schema=False)
#: Key of the artifact; panel/pages/publish.py writes it.
PAGE: Final = "billing-systems"
#: A page is renewed every ten minutes, and after each run; an older one needs a word.
_OLD: Final = timedelta(minutes=25)
#: The browser loads the page again after so long, without a program.
_AGAIN_SECONDS, _SOON_SECONDS = 60, 5
#: No program, nothing from elsewhere, no frame, no form.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Stands above the page that was seen last.
_AWAY: Final = (
    '<p class="warning">Prefect does not answer at present: this is what it said last. '
    "<code>twezah status</code> says whether it is up.</p>\n"
)
_FRAME: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{again_seconds}">
<meta name="theme-color" content="#0b6e99">
<title>Billing systems</title>
<link rel="stylesheet" href="front/style.css">
<link rel="manifest" href="front/manifest.webmanifest">
<link rel="icon" type="image/png" href="front/icon-192.png">
<link rel="apple-touch-icon" href="front/icon-192.png">
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
_TYPES: Final = {
    "style.css": "text/css",
    "manifest.webmanifest": "application/manifest+json",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
}
Asset = Literal["style.css", "manifest.webmanifest", "icon-192.png", "icon-512.png"]


@router.get("/")
async def front_page(state: Annotated[State, Depends(operator)]) -> Response:
    """The page, for an operator who is logged in."""
    ui_url = state.config.ui_url
    is_away = False
    try:
        state.last_page = await state.runs.page(PAGE) or state.last_page
    except PrefectAwayError:
        is_away = True
    page = state.last_page
    if page is not None:
        warning = _AWAY if is_away else _warning(page, datetime.now(UTC))
        return _answer(warning + to_html(page.markdown, ui_url), _AGAIN_SECONDS)
    if is_away:
        return _later(
            "Prefect does not answer. It may still be starting; <code>twezah status</code> says "
            "whether it is up."
        )
    return _later(f'The page is being written. Prefect is at <a href="{ui_url}">{ui_url}</a>.')


@router.get("/front/{name}")
def front_asset(name: Annotated[Asset, Path()]) -> Response:
    """What the page consists of. Browsers ask for a manifest and icons without the password."""
    body = resources.files("api").joinpath("front", name).read_bytes()
    return Response(body, media_type=_TYPES[name], headers={"Cache-Control": "max-age=3600"})


def _warning(page: PublishedPage, now: datetime) -> str:
    """A word about a page that nobody renews; "" for one that is fresh."""
    age = now - page.renewed_at
    if age <= _OLD:
        return ""
    minutes = round(age.total_seconds() / 60)
    return (
        f'<p class="warning">This page is {minutes} minutes old and should be renewed every ten: '
        "no run has ended since. Is <code>twezah up</code> running, and its worker?</p>\n"
    )


def _later(text: str) -> Response:
    body = f"<h1>Billing systems</h1>\n<p>{text} This page tries again by itself.</p>"
    response = _answer(body, _SOON_SECONDS)
    response.status_code = 503
    response.headers["Retry-After"] = str(_SOON_SECONDS)
    return response


def _answer(body: str, again_seconds: int) -> Response:
    text = _FRAME.format(body=body, again_seconds=again_seconds)
    return Response(text, media_type="text/html", headers={"Content-Security-Policy": _POLICY})
