"""Webhooks of the simulated billing systems.

Each system that sends webhooks gets an address, and the simulator is told to use it.
"""

import base64
import json
import secrets
import urllib.request
from collections.abc import Callable

from settings import Settings
from sql import webhooks
from sql.db import DbConnection, connect
from sql.endpoints import NewEndpoint, create_endpoint, endpoints


def keep_webhooks_connected(
    settings: Settings, before: list[str], say: Callable[[str], None]
) -> list[str]:
    """Calls `connect_webhooks` in a round of supervision, and says what is new or what failed.

    Polling goes on in any case.

    Args:
        settings: This installation.
        before: What the last round returned.
        say: Gets each line for the operator.

    Returns:
        The connections whose sales the simulator announces.
    """
    try:
        names = connect_webhooks(settings, settings.dsn())
    except Exception as error:  # noqa: BLE001 - a part may be restarting; the next look is soon
        what = "The simulated systems could not be told where to send webhooks"
        say(f"{what}: {type(error).__name__}.")
        return before
    if names != before:
        say(f"Simulated systems that send webhooks: {', '.join(names) or 'none'}.")
    return names


def connect_webhooks(settings: Settings, dsn: str) -> list[str]:
    """Makes the addresses that are missing and tells the simulator all of them.

    Returns the connections whose sales the simulator announces. Only connections that lead to the
    simulator get an address. Repeating it changes nothing. Raises OSError if the simulator does not
    answer.
    """
    from connectors.registry import declaration
    from panel.blocks.connected import connected_blocks

    if settings.api_tls_certificate is not None:  # which the simulator has no reason to trust
        return []
    anywhere = settings.api_host in ("0.0.0.0", "::")  # noqa: S104 - compared
    host = "127.0.0.1" if anywhere else settings.api_host
    host = f"[{host}]" if ":" in host else host
    places: dict[str, dict[str, str]] = {}
    names = []
    with connect(dsn) as db:
        for name, block in sorted(connected_blocks().items()):
            system = block.system
            ours = block.base_url.startswith(f"{settings.simulator_url}/")
            hook = declaration(system, {})
            if not ours or system in places or hook is None:
                continue
            if hook.scheme.certified is not None:  # the simulator is not where its certificate is
                continue
            endpoint_id, secret = _address(db, system, name, settings.fernet_key())
            url = f"http://{host}:{settings.api_port}/api/webhooks/billing/{endpoint_id}"
            places[system] = {"url": url, "secret": secret}
            names.append(name)
        db.commit()
    _tell_simulator(settings.simulator_url, places)
    return names


def _address(db: DbConnection, system: str, name: str, key: bytes) -> tuple[str, str]:
    """The connection's endpoint and its newest secret, made where there is none."""
    for row in endpoints(db):
        if (row.system, row.connection, row.disabled_at) == (system, name, None) and row.secrets:
            endpoint = webhooks.endpoint(db, row.endpoint_id, key)
            if endpoint is not None and not endpoint.options:
                return endpoint.endpoint_id, endpoint.secrets[0]
    made = create_endpoint(
        db, NewEndpoint(system, name, handshake="confirmed" if system == "freshbooks" else "none")
    )
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    secret = f"whsec_{secret}" if system == "custom" else secret
    webhooks.add_secret(db, made.endpoint_no, secret, key, overlap_seconds=0)
    return made.endpoint_id, secret


def _tell_simulator(simulator_url: str, places: dict[str, dict[str, str]]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(  # noqa: S310 - http, ours
        f"{simulator_url}/webhooks", data=json.dumps(places).encode(), headers=headers, method="PUT"
    )
    opener.open(request, timeout=10).close()
