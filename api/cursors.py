"""Cursors of lists: where a page ended, opaque and signed.

A cursor that was made for other filters is refused.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from api.problems import Problem

_MAC_BYTES = 16


class Cursors:
    """The cursors of one list."""

    def __init__(self, key: bytes, what: str) -> None:
        self._key = hmac.digest(key, b"twezah cursor " + what.encode(), hashlib.sha256)

    def write(self, place: Sequence[Any], filters: Mapping[str, Any]) -> str:
        """A cursor after `place` (JSON values)."""
        place_json = json.dumps(list(place), separators=(",", ":")).encode()
        return (
            base64.urlsafe_b64encode(self._mac(place_json, filters) + place_json)
            .decode()
            .rstrip("=")
        )

    def read(self, text: str, filters: Mapping[str, Any]) -> list[Any]:
        """The place in a cursor. Raises Problem (400) if the cursor is not one of this list."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        mac, place_json = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(place_json, filters)):
            detail = (
                "Use `next_cursor` of the last page as it is, with the same filters; "
                "or leave it out to begin anew."
            )
            raise Problem(400, "wrong_cursor", detail)
        place: list[Any] = json.loads(place_json)
        return place

    def _mac(self, place_json: bytes, filters: Mapping[str, Any]) -> bytes:
        of = json.dumps(filters, sort_keys=True, default=str).encode()
        return hmac.digest(self._key, hashlib.sha256(of).digest() + place_json, hashlib.sha256)[
            :_MAC_BYTES
        ]
