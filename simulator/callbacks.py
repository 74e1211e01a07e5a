"""FreshBooks' callbacks: registered by URL, verified with a code that is sent there, which signs what is sent from then on."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from simulator.subscriptions import Entry, SubscriptionBook

PATH: Final = "/events/account/"
DEFAULT_PAGE: Final = 15
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


def callback_json(entry: Entry) -> dict[str, Any]:
    """As answers show it: never the code."""
    return {
        "callbackid": int(entry.id),
        "event": entry.topics[0],
        "uri": entry.url,
        "verified": entry.enabled,
    }


class Callbacks:
    """The callbacks of an account. The secret of each is its code."""

    def __init__(self, book: SubscriptionBook, outside: Callable[[], Any]) -> None:
        self._book, self._outside, self._ids = book, outside, count(2001)

    def register(self, event: str, uri: str) -> Entry:
        """A new one, not verified yet."""
        code = self._book.next_digest()[:33]
        return self._book.add(uri, (event,), secret=code, key=str(next(self._ids)), enabled=False)

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """`GET` and `POST .../callbacks`; `PUT` and `DELETE .../callbacks/<id>`."""
        key = path.partition("/events/callbacks")[2].strip("/")
        if not self._book.allowed:
            return _refused(403, "The caller does not have permission.")
        if request.method == "GET" and not key:
            return self._listed(request)
        if request.method == "DELETE" and self._book.remove(key):
            return httpx.Response(200, json={"response": {"result": {}}})
        return self._written(request, key)

    def _written(self, request: httpx.Request, key: str) -> httpx.Response:
        try:
            asked = json.loads(request.content)["callback"]
        except (ValueError, KeyError, TypeError):
            return _refused(400, "Request body is not valid")
        if request.method == "POST" and not key:
            if not str(asked.get("uri", "")).startswith("https://"):
                return _refused(422, "uri must be https")
            made = self.register(str(asked.get("event", "")), str(asked["uri"]))
            self._verify(made)
            return _shown(made)
        found = self._book.get(key)
        if request.method != "PUT" or found is None:
            return _refused(404, "Requested resource could not be found.")
        if "verifier" in asked:
            if asked["verifier"] != found.secret:
                return _refused(422, "verifier is not valid")
            found.enabled = True
        elif asked.get("resend"):
            self._verify(found)
        return _shown(found)

    def _listed(self, request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("page", "1"))
        size = int(request.url.params.get("per_page", str(DEFAULT_PAGE)))
        entries = self._book.all()
        shown = entries[(page - 1) * size : page * size]
        result = {
            "callbacks": [callback_json(entry) for entry in shown],
            "page": page,
            "pages": -(-len(entries) // size),
            "per_page": size,
            "total": len(entries),
        }
        return httpx.Response(200, json={"response": {"result": result}})

    def _verify(self, entry: Entry) -> None:
        """Sends the code to the address; whether it arrives does not matter to the answer."""
        form = {"name": "callback.verify", "object_id": entry.id, "verifier": entry.secret}
        content = urlencode(form).encode()
        try:
            self._outside()(httpx.Request("POST", entry.url, content=content, headers=_FORM))
        except httpx.TransportError:
            return


def _shown(entry: Entry) -> httpx.Response:
    body = {"response": {"result": {"callback": callback_json(entry)}}}
    return httpx.Response(200, json=body)


def _refused(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"errno": status, "message": message})
