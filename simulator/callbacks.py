"""FreshBooks' callbacks: registered by URL, verified with a code that is sent there, which signs what is sent from then on."""

import json
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any, Final

import httpx

PATH: Final = "/events/account/"


@dataclass
class Callback:
    """One registered URL. `code` is sent to it, and is what deliveries are signed with."""

    id: int
    event: str
    uri: str
    code: str
    verified: bool = False

    def json(self) -> dict[str, Any]:
        """As answers show it: never the code."""
        return {
            "callbackid": self.id,
            "event": self.event,
            "uri": self.uri,
            "verified": self.verified,
        }


class Callbacks:
    """The callbacks of an account."""

    def __init__(self, seed: int) -> None:
        self._seed, self._ids = seed, count(2001)
        self.registered: dict[str, Callback] = {}

    def register(self, event: str, uri: str) -> Callback:
        """A new one, not verified yet."""
        number = next(self._ids)
        code = sha256(f"{self._seed}/callback/{number}".encode()).hexdigest()[:33]
        made = self.registered[str(number)] = Callback(number, event, uri, code)
        return made

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """`POST .../callbacks` and `PUT .../callbacks/<id>`."""
        _, _, key = path.partition("/events/callbacks")
        try:
            asked = json.loads(request.content)["callback"]
        except (ValueError, KeyError, TypeError):
            return _refused(400, "Request body is not valid")
        if request.method == "POST" and not key:
            if not str(asked.get("uri", "")).startswith("https://"):
                return _refused(422, "uri must be https")
            return _shown(self.register(str(asked.get("event", "")), str(asked["uri"])))
        found = self.registered.get(key.strip("/"))
        if request.method != "PUT" or found is None:
            return _refused(404, "Requested resource could not be found.")
        if "verifier" in asked:
            if asked["verifier"] != found.code:
                return _refused(422, "verifier is not valid")
            found.verified = True
        return _shown(found)


def _shown(callback: Callback) -> httpx.Response:
    return httpx.Response(200, json={"response": {"result": {"callback": callback.json()}}})


def _refused(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"errno": status, "message": message})
