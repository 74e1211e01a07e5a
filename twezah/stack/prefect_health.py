"""Asks Prefect's API whether it answers.

Without Prefect's client, whose import takes seconds.
"""

import os
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Final

#: The variable that names the authorities of Prefect's certificate.
AUTHORITY: Final = "PREFECT_API_SSL_CERT_FILE"


def is_healthy(api_url: str, *, timeout_seconds: float = 2.0) -> bool:
    """True when the Prefect API at `api_url` answers its health check."""
    # No proxy: the server is on this machine or named by the operator.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    try:
        if api_url.startswith("https:"):  # the authority that Prefect's client trusts
            context = ssl.create_default_context(cafile=os.environ.get(AUTHORITY) or None)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        opener = urllib.request.build_opener(*handlers)
        with opener.open(f"{api_url.rstrip('/')}/health", timeout=timeout_seconds) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (OSError, urllib.error.URLError, ValueError):
        return False
