"""A fingerprint of everything that decides how a record is read.

The record itself and what is looked up are not part of it.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final

from connectors.kit.spec import Account

_ROOT: Final = Path(__file__).parents[3]
#: The code that maps and judges records; a change in any of these files changes the fingerprint.
_CODE: Final = (
    "connectors/**/*.py",
    "expectations/*.py",
    "loyalty/schema.py",
    "loyalty/currency.py",
)


def mapping_digest(account: Account) -> str:
    """The fingerprint of the account's settings and of the program's own mapping code.

    Secrets are not part of it. Under another fingerprint a record may be read differently.
    """
    settings = {
        "system": account.system,
        "paths": dict(account.paths),
        "region": account.region,
        "timezone": account.timezone,
        "default_currency": account.default_currency,
        "options": dict(account.options),
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[
        :32
    ]


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(_ROOT.glob(pattern)):
            if path.name == "form.py":  # what a form asks is in the settings; its words are not
                continue
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
