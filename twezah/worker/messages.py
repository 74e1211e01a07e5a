"""Messages between worker, forkserver and flow run process, over Unix sockets.

They are JSON with a length prefix.

The worker makes one socket pair per flow run and passes one end to the forkserver. The forked child
reads its `Job` from it and answers `{"pid": ...}`; the forkserver adds `{"returncode": ...}` when
the child is gone.
"""

import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any

#: The prefix: length of the body in bytes, unsigned, big-endian.
_LENGTH = struct.Struct("!I")
#: An environment is at most a few hundred kilobytes (Linux refuses more than a few megabytes at
#: exec).
MESSAGE_BYTES_LIMIT = 16 * 2**20


class ConnectionLost(Exception):
    """The other side closed the socket in the middle of a conversation."""


@dataclass(frozen=True)
class Job:
    """One flow run to start: what would have been the arguments of `subprocess.Popen`."""

    #: File in which Prefect's worker describes the run to its supervisor.
    config_path: str
    #: All environment variables.
    env: dict[str, str]
    #: Working directory; None: the forkserver's.
    cwd: str | None
    #: Whether the run's output goes where the worker's goes.
    stream_output: bool


def encode(message: dict[str, Any]) -> bytes:
    """The bytes of one message."""
    body = json.dumps(message).encode()
    return _LENGTH.pack(len(body)) + body


def send_job(connection: socket.socket, job: Job) -> None:
    """Send a job; blocks until it is written."""
    connection.sendall(encode(asdict(job)))


def receive_job(connection: socket.socket) -> Job:
    """Read a job.

    Raises:
        ConnectionLost: the worker is gone.
    """
    return Job(**json.loads(_read(connection, body_length(_read(connection, _LENGTH.size)))))


def body_length(prefix: bytes) -> int:
    """Bytes that follow a prefix.

    Raises:
        ConnectionLost: the prefix is nonsense.
    """
    (length,) = _LENGTH.unpack(prefix)
    if length > MESSAGE_BYTES_LIMIT:
        raise ConnectionLost(f"message of {length} bytes")
    return int(length)


#: Length of the prefix in bytes.
PREFIX_BYTES = _LENGTH.size


def _read(connection: socket.socket, count: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < count:
        chunk = connection.recv(count - len(chunks))
        if not chunk:
            raise ConnectionLost("closed")
        chunks += chunk
    return bytes(chunks)
