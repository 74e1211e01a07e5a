"""A fingerprint of everything that decides what becomes of a record, but the record itself and what is looked up."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final

from connectors.kit.spec import Account

_ROOT: Final = Path(__file__).parents[3]
#: The code that maps and judges records.
_CODE: Final = (
    "connectors/**/*.py",
    "expectations/*.py",
    "loyalty/schema.py",
    "loyalty/currency.py",
)


def mapping_digest(connection: Account) -> str:
    """Of the connection's settings (no secrets) and of the program's own mapping: another one may read a record otherwise."""
    settings = {
        "system": connection.system,
        "paths": dict(connection.paths),
        "region": connection.region,
        "timezone": connection.timezone,
        "default_currency": connection.default_currency,
        "options": dict(connection.options),
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[
        :32
    ]


@cache
def _code() -> str:
    found = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(_ROOT.glob(pattern)):
            found.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
