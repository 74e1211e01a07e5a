"""The systemd unit that keeps `twezah up` running, and the messages of `up` to systemd."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from settings import PROJECT_ROOT, Settings

NAME = "twezah.service"
#: `up` reports to systemd every second, less often while it waits for the database to start. When
#: it has not reported for this long, systemd starts it again.
WATCHDOG_SECONDS = 300

#: Restrictions of a unit that runs as an ordinary user. Root is not restricted like this, because
#: an account must then be made for PostgreSQL.
_CONFINED = """
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={home} /tmp
RestrictSUIDSGID=yes
""".strip()

#: The unit, to be filled by `unit`.
_UNIT = """
# Made by `twezah service install`. Settings (TWEZAH_...) belong into {env_file}.
[Unit]
Description=Agua Twezah: every sale becomes loyalty points
Documentation=file://{docs}
Wants=network-online.target
After=network-online.target postgresql.service
# It never stops trying.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={user}
WorkingDirectory={project}
Environment={home_setting}
EnvironmentFile=-{env_file}
ExecStart={command}
# It starts for as long as it takes, and waits for what is away.
TimeoutStartSec=infinity
WatchdogSec={watchdog_seconds}
Restart=always
RestartSec=10
# Wrong usage and wrong settings: somebody must correct them first.
RestartPreventExitStatus=2
# SIGTERM to `up` alone, which stops its parts in order; the rest is killed if that takes too long.
KillMode=mixed
TimeoutStopSec=180
# A part that is killed for want of memory is started again by `up`.
OOMPolicy=continue
LimitNOFILE=65536
UMask=0077
{confined}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def unit(settings: Settings, user: str) -> str:
    """The text of the unit for this installation.

    Raises:
        ValueError: a path has a line break or a character that systemd would expand.

    """
    home, command = str(settings.home), str(Path(sys.executable).with_name("twezah"))
    for path in (home, command, str(PROJECT_ROOT)):
        if any(character in path for character in '\n\r"%$\\'):
            raise ValueError(f"systemd cannot be given this path: {path!r}")
    confined = "" if user == "root" else _CONFINED.format(home=f'"{home}"')
    return _UNIT.lstrip().format(
        docs=(PROJECT_ROOT / "docs" / "operations.md").as_posix().replace(" ", "%%20"),
        user=user,
        project=str(PROJECT_ROOT),
        home_setting=f'"TWEZAH_HOME={home}"',
        env_file=f"{home}/service.env",
        command=f'"{command}" up',
        watchdog_seconds=WATCHDOG_SECONDS,
        confined=confined,
    )


def notify(text: str) -> None:
    """Tell systemd, where it started us: READY=1, WATCHDOG=1, STATUS=..., STOPPING=1."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(0)  # a reader that is stuck must not stop the supervision
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(text.encode())


@contextmanager
def kept_alive(status: str, every_seconds: float = 30.0) -> Iterator[None]:
    """Tells systemd that all is well while something works that may take hours.

    Args:
        status: What is being done, for `systemctl status`.
        every_seconds: How often; less than the unit's WatchdogSec.
    """
    ended = threading.Event()

    def tell() -> None:
        while not ended.is_set():
            notify(f"WATCHDOG=1\nSTATUS={status}")
            ended.wait(every_seconds)

    thread = threading.Thread(target=tell, name="systemd watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
