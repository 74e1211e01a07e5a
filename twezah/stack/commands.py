"""How each part of the stack is started: its command line and its environment."""

import os
import socket
import sys
from pathlib import Path
from typing import Final

from settings import Settings
from twezah.stack.acting import acting_for
from twezah.stack.postgres import asyncpg_url

#: Prefect reads the origins of pages that may use its API from either of these variables.
_CORS_ORIGINS = (
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS",
    "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS",
)


#: Prefect's seams that several of its processes share by Redis; by default each has its own.
_BY_REDIS = {
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
}
#: The variables that tell Prefect where Redis is.
_REDIS_URLS = (
    "PREFECT_REDIS_MESSAGING_URL",
    "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
    "PREFECT_SERVER_DOCKET_URL",
)


def server_command(settings: Settings, *, web_only: bool = False) -> list[str]:
    """Prefect's server with its user interface, behind our guard.

    Args:
        settings: This installation.
        web_only: Without the services (schedules, automations, alerts), which run elsewhere.
    """
    command = [sys.executable, "-m", "twezah.stack.prefect_server"]
    command += ["--host", settings.prefect_host, "--port", str(settings.prefect_port)]
    return [*command, "--web-only"] if web_only else command


def services_command() -> list[str]:
    """Prefect's services alone: schedules, automations, alerts, what is written of events."""
    return [sys.executable, "-m", "twezah.stack.prefect_services"]


def server_environment(settings: Settings) -> dict[str, str]:
    """Environment of Prefect's server: our database, and files under `home`.

    An operator's own PREFECT_ variables win.
    """
    environment = settings.child_environment()
    environment.pop("PREFECT_API_URL")
    starting_prefect = settings.model_copy(update={"prefect_api_url": None})
    if not environment.get("PREFECT_SERVER_API_AUTH_STRING"):
        environment["PREFECT_SERVER_API_AUTH_STRING"] = (
            starting_prefect.prefect_auth_string(environment) or ""
        )
    # Imported here: commands that start nothing import this module.
    from twezah.stack.prefect_guard import ui_origin

    # Prefect's default lets pages of every origin read its answers. Only our own pages need them.
    if not set(_CORS_ORIGINS) & set(environment):
        environment[_CORS_ORIGINS[0]] = ui_origin(starting_prefect)
    if not environment.get("PREFECT_API_DATABASE_CONNECTION_URL"):
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = asyncpg_url(settings.home)
    if settings.prefect_redis_url is not None:
        url = settings.prefect_redis_url.get_secret_value()
        for name, value in (_BY_REDIS | dict.fromkeys(_REDIS_URLS, url)).items():
            environment.setdefault(name, value)
    # Kept on disk, so that a restarted server still frees the slot of a run that died meanwhile.
    environment.setdefault(
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
        "prefect.server.concurrency.lease_storage.filesystem",
    )
    environment.setdefault("PREFECT_UI_STATIC_DIRECTORY", str(settings.home / "prefect" / "ui"))
    environment.setdefault("PREFECT_UI_API_URL", "/api")
    # The interface that guides, pictures and tests know; docs/decisions.md says why it is this one.
    environment.setdefault("PREFECT_SERVER_UI_V2_ENABLED", "false")
    # No buttons that advertise another product.
    environment.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
    # A run that finds another run of its system waits this long before it looks again (30 s by
    # default).
    environment.setdefault("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "5")
    # An hour by default: a dozen runs of each connection would be written anew whenever its
    # deployment changes. There are always the next three.
    environment.setdefault("PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME", "PT15M")
    return environment


#: Sales of the simulated past that a shop, its payment service and the books tell.
SHARED_SALES: Final = 12


def simulator_command(settings: Settings, evolve_every_seconds: float | None = None) -> list[str]:
    """Command line of the simulated billing systems.

    They end when we end, and continue from their saved state when they are started again.
    """
    state = str(settings.home / "simulator.json")
    command = [
        sys.executable,
        "-m",
        "simulator",
        "--port",
        str(settings.simulator_port),
        "--state",
        state,
        "--shared-sales",
        str(SHARED_SALES),
    ]
    if evolve_every_seconds is not None:
        command += ["--evolve-every", str(evolve_every_seconds)]
    return [*command, "--parent-pid", str(os.getpid())]


def api_command() -> list[str]:
    """The HTTP API."""
    return [sys.executable, "-m", "api"]


def worker_command(settings: Settings, *, start_after: Path | None = None) -> list[str]:
    """The warm worker; it takes runs once the file `start_after` exists."""
    command = [sys.executable, "-m", "twezah.worker", "--pool", settings.work_pool]
    return command if start_after is None else [*command, "--start-after", str(start_after)]


def worker_environment(settings: Settings) -> dict[str, str]:
    """Environment of the worker.

    Its temporary files are under `home`, because Prefect's runner keeps a folder there that two
    users of the machine cannot share.
    """
    folder = settings.home / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**settings.child_environment(), "TMPDIR": str(folder)}
    # What its runs change in Prefect, such as the block of a new consent.
    environment.update(acting_for("run"))
    # 10 s by default; a person who starts a run by hand waits for it.
    environment.setdefault("PREFECT_WORKER_QUERY_SECONDS", "2")
    return environment


def caretaker_command(
    simulator_url: str | None,
    *,
    tidy: bool,
    catch_up: bool,
    announce: bool,
    workers_elsewhere: bool = False,
) -> list[str]:
    """Command line of the caretaker, which looks after the server.

    Args:
        simulator_url: Connect systems that have no block to the simulator there.
        tidy: First settle the runs that the last stop left; only for a server of our own.
        catch_up: Start one run for each deployment whose scheduled runs were missed, and for each
            new connection.
        announce: Tell the simulator where webhooks go.
        workers_elsewhere: Runs have their processes on other machines.
    """
    command = [sys.executable, "-m", "twezah.stack.caretaker"]
    if simulator_url is not None:
        command += ["--simulator-url", simulator_url]
    flags = {
        "--tidy": tidy,
        "--drop-missed": not catch_up,
        "--announce": announce,
        "--workers-elsewhere": workers_elsewhere,
    }
    return command + [flag for flag, wanted in flags.items() if wanted]


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """True when someone listens on this port, of this machine or of one of its addresses."""
    anywhere = host in ("", "0.0.0.0", "::")  # noqa: S104 - compared
    try:
        socket.create_connection(("127.0.0.1" if anywhere else host, port), timeout=1).close()
    except OSError:
        return False
    return True
