"""The password of a stack's own Prefect server, for those who ask it over HTTP."""

import base64
from pathlib import Path


def auth_string(home: Path) -> str:
    """What `twezah password` prints for this state folder."""
    return (home / "prefect.password").read_text().strip()


def login_headers(home: Path) -> dict[str, str]:
    """Headers of a request that is let in."""
    token = base64.b64encode(auth_string(home).encode()).decode()
    return {"authorization": f"Basic {token}"}
