"""What a vendor's server, or something in between, can do to us: one row per fault, and what a run makes of it.

The contract suite plays every row against every billing system, the synchronisation's suite against
the database, and docs/hostile-vendors.md holds the same rows as a table (a test compares them).
"""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx

from connectors.kit.errors import (
    ConnectorError,
    ContractBroken,
    PaginationLoop,
    RateLimited,
    Retriable,
    TooManyPages,
    Transient,
    UnexpectedShape,
)

HTML = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"
#: An error body that comes with status 200, by system; what it says is secret.
ERRORS_IN_200: dict[str, Any] = {
    "quickbooks": {"Fault": {"Error": [{"Message": "m", "Detail": "secret", "code": "610"}]}},
    "xero": {"ErrorNumber": 14, "Type": "x", "Message": "secret"},
    "freshbooks": {
        "response": {"errors": [{"errno": 1012, "message": "secret", "value": "secret"}]}
    },
    "sage_intacct": {"ia::result": {"ia::error": {"code": "operationFailed", "message": "secret"}}},
    "netsuite": {"o:errorDetails": [{"detail": "secret", "o:errorCode": "USER_ERROR"}]},
    "stripe": {"error": {"type": "api_error", "code": "610", "message": "secret"}},
    "zoho_books": {"code": 1012, "message": "secret"},
    "business_central": {"error": {"code": "Internal_ServerError", "message": "secret"}},
    "sap_s4hana": {"error": {"code": "/IWBEP/CM_MGW_RT/021", "message": {"value": "secret"}}},
    "magento": {"message": "secret %1", "parameters": ["secret"], "code": 610},
    "wave": {
        "data": None,
        "errors": [{"message": "secret", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}],
    },
    "woocommerce": {"code": "rest_error", "message": "secret", "data": {"status": 500}},
    "custom": {"type": "about:blank", "title": "secret", "status": 610, "detail": "secret"},
    "shopify": {"errors": [{"message": "secret", "extensions": {"code": "undefinedField"}}]},
    "square": {
        "errors": [{"category": "API_ERROR", "code": "SERVICE_UNAVAILABLE", "detail": "secret"}]
    },
    "oracle_fusion": {
        "title": "Bad Request",
        "status": "400",
        "o:errorDetails": [{"detail": "secret", "o:errorCode": "27520", "o:errorPath": ""}],
    },
    "paypal": {"name": "INTERNAL_SERVICE_ERROR", "message": "secret", "debug_id": "d"},
}


@dataclass
class Scene:
    """Where a fault happens: the system, its list's pointer, and how time passes."""

    system: str
    records: str
    sleep: Callable[[float], None]
    memory: dict[str, Any] = field(default_factory=dict)
    #: What is asked for now.
    path: str = ""


#: Turns the vendor's own answer to a request for a list into a hostile one.
Spoil = Callable[[Scene, httpx.Response], httpx.Response]


@dataclass(frozen=True)
class Fault:
    """One fault. `error` None: the run reads on, and comes to the same result.

    `says`: what the message holds (a regular expression). `requests`: how often the same thing is
        asked for, at most.
    `kept`: whether the answer is kept with the pages, for whoever looks into it. `bounds` are
        changes to the system's
    description that make the case quick.
    """

    name: str
    vendor: str
    run: str
    spoil: Spoil
    error: type[ConnectorError] | None = None
    says: str = ""
    requests: int | None = None
    kept: bool = False
    bounds: dict[str, Any] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """Who must act."""
        if self.error is None:
            return "nobody"
        if issubclass(self.error, Retriable):
            return "nobody: the next run goes on"
        return "operator: the block's base URL and account; then the vendor, or us"


def _headers(response: httpx.Response, **changed: str) -> dict[str, str]:
    kept = {"content-type": response.headers.get("content-type", "application/json")}
    return kept | {name.replace("_", "-"): value for name, value in changed.items()}


def _body(content: bytes, **headers: str) -> Spoil:
    return lambda _, response: httpx.Response(
        200, content=content, headers=_headers(response, **headers)
    )


def _typed(content_type: str) -> Spoil:
    return lambda _, response: httpx.Response(
        200, content=response.content, headers={"content-type": content_type}
    )


class _Stream(httpx.SyncByteStream):
    """A body that arrives bit by bit, as from a network."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self._parts


def _streamed(response: httpx.Response, parts: Iterator[bytes], **headers: str) -> httpx.Response:
    return httpx.Response(200, stream=_Stream(parts), headers=_headers(response, **headers))


def _dripping(scene: Scene, response: httpx.Response) -> httpx.Response:
    def parts() -> Iterator[bytes]:
        for byte in response.content:
            scene.sleep(25)  # just within the timeout of one read
            yield bytes([byte])

    return _streamed(response, parts())


def _broken_off(_: Scene, response: httpx.Response) -> httpx.Response:
    def parts() -> Iterator[bytes]:
        yield response.content[:100]
        raise httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body"
        )

    return _streamed(response, parts())


@cache
def bomb(megabytes: int = 100) -> bytes:
    """So many megabytes in a thousandth of the size."""
    return gzip.compress(b" " * (megabytes * 1024 * 1024))


def _bomb(_: Scene, response: httpx.Response) -> httpx.Response:
    return _streamed(response, iter([bomb()]), content_encoding="gzip")


def _packed(_: Scene, response: httpx.Response) -> httpx.Response:
    packed = gzip.compress(response.content)
    return _streamed(
        response, (packed[at : at + 7] for at in range(0, len(packed), 7)), content_encoding="gzip"
    )


def _unasked(_: Scene, response: httpx.Response) -> httpx.Response:
    return _streamed(response, iter([response.content]), content_encoding="zstd")


def _damaged(_: Scene, response: httpx.Response) -> httpx.Response:
    return _streamed(response, iter([b"\x1f\x8b\x08 not gzip at all"]), content_encoding="gzip")


def _error_in_200(scene: Scene, _: httpx.Response) -> httpx.Response:
    return httpx.Response(200, json=ERRORS_IN_200[scene.system])


def _same_page(scene: Scene, response: httpx.Response) -> httpx.Response:
    key = f"first of {scene.path}"
    if key not in scene.memory and not _records(scene, json.loads(response.content)):
        return response  # lists that are read in slices of time begin with empty ones
    body = scene.memory.setdefault(key, response.content)
    return httpx.Response(200, content=body, headers=_headers(response))


def _as_it_is(_: Scene, response: httpx.Response) -> httpx.Response:
    return response


def _records(scene: Scene, page: Any) -> Any:
    found = page
    for key in scene.records.strip("/").split("/"):
        found = found.get(key, []) if key and isinstance(found, dict) else found
    return found


def _large_record(scene: Scene, response: httpx.Response) -> httpx.Response:
    if scene.memory.setdefault("the list", scene.path) != scene.path:
        return response  # one large record, not one in the lines of each document as well
    page = json.loads(response.content)
    found = _records(scene, page)
    if found:
        found[0]["attachment_of_ten_megabytes"] = "0" * 10_000_000
    return httpx.Response(200, json=page, headers=_headers(response))


def _utf16(_: Scene, response: httpx.Response) -> httpx.Response:
    content = response.content.decode().encode("utf-16")
    return httpx.Response(
        200, content=content, headers={"content-type": "application/json; charset=utf-16"}
    )


def _latin(_: Scene, response: httpx.Response) -> httpx.Response:
    text = json.dumps(json.loads(response.content), ensure_ascii=False)
    content = text.encode("windows-1252", errors="replace")
    return httpx.Response(
        200, content=content, headers={"content-type": "application/json; charset=windows-1252"}
    )


def _redirect(_: Scene, __: httpx.Response) -> httpx.Response:
    return httpx.Response(302, headers={"location": "https://elsewhere.test/login?secret=1"})


def _throttled(after: str) -> Spoil:
    return lambda _, __: httpx.Response(429, headers={"retry-after": after})


FAULTS = (
    Fault(
        "endless_pages", "never stops giving pages: there is always a next one",
        "stops at the system's limit of pages", _as_it_is,
        TooManyPages, "more than 2 pages", bounds={"page_limit": 2},
    ),
    Fault(
        "repeated_cursor", "gives the same page again and again (a cursor that does not move)",
        "notices that the records are those of an earlier page", _same_page, PaginationLoop, "same records",
    ),
    Fault(
        "truncated", "cuts the JSON off, with status 200", "asks again twice, then stops",
        lambda _, response: httpx.Response(200, content=response.content[: len(response.content) // 2], headers=_headers(response)),
        UnexpectedShape, r"not valid JSON \(cut off\?\)", requests=3, kept=True,
    ),
    Fault(
        "broken_off", "closes the connection in the middle of an answer", "tries again, as after any broken connection", _broken_off,
        Transient, "the connection ended before the answer did", requests=6,
    ),
    Fault("empty", "answers 200 with nothing in it", "asks again twice, then stops", _body(b""), UnexpectedShape, "empty", 3),
    Fault(
        "error_in_200", "answers 200 with an error in the body", "reads the error's code (never its text) and stops", _error_in_200,
        UnexpectedShape, r"an error answer, code \w+", requests=3, kept=True,
    ),
    Fault(
        "html", "is hidden by a proxy's page, with status 200", "asks again twice, then stops", _body(HTML, content_type="text/html"),
        UnexpectedShape, "HTML", requests=3, kept=True,
    ),
    Fault(
        "another_list", "answers with JSON that is something else", "asks again twice, then stops", _body(b'{"data": {"hello": "world"}}'),
        UnexpectedShape, "no list of records|JSON array", requests=3, kept=True,
    ),
    Fault(
        "nested", "answers with JSON nested a hundred thousand deep", "asks again twice, then stops", _body(b"[" * 100_000),
        UnexpectedShape, "not valid JSON|no list of records", requests=3, kept=True,
    ),
    Fault("wrong_type", "says that its JSON is `text/html`", "reads it: the content counts, not its label", _typed("text/html")),
    Fault("no_type", "says nothing about the type", "reads it", _typed("")),
    Fault("large_record", "gives a record of 10 MB", "reads it, stores it packed", _large_record),
    Fault(
        "too_large", "gives a page beyond the limit (64 MB)", "stops reading there, asks again twice, then stops", _large_record,
        UnexpectedShape, "larger than 1000000 bytes", requests=3, bounds={"body_bytes_limit": 1_000_000},
    ),
    Fault(
        "gzip_bomb", "sends 100 MB packed into 100 KB", "stops unpacking at the limit; memory stays small", _bomb,
        UnexpectedShape, "larger than 1000000 bytes", requests=3, bounds={"body_bytes_limit": 1_000_000},
    ),
    Fault("gzip", "packs its answers with gzip", "unpacks them: we ask for it", _packed),
    Fault(
        "unasked_packing", "packs its answers in a way we did not ask for", "asks again twice, then stops", _unasked,
        UnexpectedShape, r"not asked for \(zstd\)", requests=3,
    ),
    Fault(
        "damaged_gzip", "sends gzip that cannot be unpacked", "tries again, as after any broken connection", _damaged,
        Transient, "cannot be unpacked", requests=6,
    ),
    Fault(
        "slow_drip", "sends one byte every 25 seconds, for ever", "gives up after four timeouts, tries again, then stops", _dripping,
        Transient, "takes too long", requests=6,
    ),
    Fault(
        "redirect", "sends us to another server", "does not go there: the token is for nobody else; names the host", _redirect,
        UnexpectedShape, "redirects are not followed .*elsewhere.test", requests=1,
    ),
    Fault(
        "byte_order_mark", "puts a byte order mark before the JSON", "reads it without",
        lambda _, response: httpx.Response(200, content=b"\xef\xbb\xbf" + response.content, headers=_headers(response)),
    ),
    Fault(
        "wrong_charset", "says `iso-8859-1` and sends UTF-8", "reads UTF-8: what is valid UTF-8 is UTF-8",
        _typed("application/json; charset=iso-8859-1"),
    ),
    Fault("old_charset", "sends JSON in `windows-1252`, and says so", "reads it, stores it as UTF-8", _latin),
    Fault("utf16", "sends JSON in `utf-16`, and says so", "reads it, stores it as UTF-8", _utf16),
    Fault(
        "throttled_for_ever", "says `429`, come back in 10 years", "ends at once; the account rests a day at most", _throttled("315360000"),
        RateLimited, "come back at", requests=1,
    ),
    Fault(
        "throttled_infinitely", "says `429`, `Retry-After: inf`", "ends at once; the account rests a day at most", _throttled("inf"),
        RateLimited, "come back at", requests=1,
    ),
)  # fmt: skip


def table() -> str:
    """The rows as the documentation has them."""
    head = [
        "The vendor, or something in between,",
        "The run",
        "Error",
        "Asked at most",
        "Answer kept",
        "Who must act",
    ]
    rows = [
        [
            fault.vendor,
            fault.run,
            f"`{fault.error.__name__}`" if fault.error else "none",
            str(fault.requests or "-"),
            "yes" if fault.kept else "-",
            fault.who,
        ]
        for fault in FAULTS
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def breaks_the_contract(fault: Fault) -> bool:
    """Whether it ends the run as the vendor's breach."""
    return fault.error is not None and issubclass(fault.error, ContractBroken)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
