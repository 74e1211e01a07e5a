"""Asks Prefect's API whether it answers.

Without Prefect's client, whose import takes seconds.
"""

import urllib.error
import urllib.request
from http import HTTPStatus


def is_healthy(api_url: str, *, timeout_seconds: float = 2.0) -> bool:
    """True when the Prefect API at `api_url` answers its health check."""
    # No proxy: the server is on this machine or named by the operator.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{api_url.rstrip('/')}/health", timeout=timeout_seconds) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (OSError, urllib.error.URLError, ValueError):
        return False
