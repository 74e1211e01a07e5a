"""A second process that maps: mapping is half of the work of a large read.

Python uses one core at a time, so a second process doubles what a machine with two cores can do.

It is a fork of the interpreter that a run starts from, made before that starts any thread, so it
costs some milliseconds and shares the imported modules. A run that was started in another way has
none and maps in its own threads, with the same result.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection as Channel
from multiprocessing.connection import Pipe
from typing import Any, Final

from connectors import spec_for
from connectors.kit.spec import Account, ConnectorSpec, Stream, Window
from sql.sync import StoredPage
from tasks.extract.batch import map_batch
from tasks.extract.bulk.spool import Packed, pack

Pages = Sequence[StoredPage]

#: How often a caller that waits for the process looks whether it should map by itself.
_LOOK_SECONDS: Final = 0.005
#: Held by the thread whose batch the process has.
_lock = threading.Lock()
#: To the mapping process; None: there is none, or it ended.
_channel: Channel | None = None


def prepare_run() -> None:
    """Forks the mapping process, where there is a second core for it; it ends with its parent.

    To be called before any thread is started: a fork copies locks that other threads hold, and not
    the threads.
    """
    global _channel  # noqa: PLW0603  (one per process)
    if _channel is not None or sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1:
        return
    ours, theirs = Pipe()
    if os.fork() == 0:
        _serve(theirs)
    theirs.close()
    _channel = ours


def mapped_by_process(
    vendor: Account, stream: Stream, window: Window, pages: Pages, *, hurry: threading.Event
) -> Packed | None:
    """The batch as the mapping process mapped it, once that is free.

    None if there is no such process, if it failed, or if it is busy while `hurry` is set.

    The caller maps then, and meets the failure itself: errors stay in the process that reports
    them.
    """
    while not _lock.acquire(timeout=_LOOK_SECONDS):
        if hurry.is_set():
            return None
    try:
        return None if _channel is None else _asked(_channel, (vendor, stream.name, window, pages))
    finally:
        _lock.release()


def map_and_pack(
    spec: ConnectorSpec, vendor: Account, stream: Stream, window: Window, pages: Pages
) -> Packed:
    """Maps one batch in this process. Raises ConnectorError if a page cannot be read."""
    return pack(map_batch(spec, vendor, stream, window, pages))


def _asked(channel: Channel, question: tuple[Any, ...]) -> Packed | None:
    global _channel  # noqa: PLW0603
    try:
        channel.send(question)
        answer: Packed | None = channel.recv()
    except (EOFError, OSError):  # it was killed, e.g. for want of memory
        _channel = None
        return None
    return answer


def _serve(channel: Channel) -> None:
    """The whole life of the mapping process: a batch in, its frames out, until the parent ends."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        vendor, spec = None, None
        while True:
            asked, name, window, pages = channel.recv()
            if asked != vendor or spec is None:
                vendor, spec = asked, spec_for(asked)
            channel.send(_answer(spec, asked, name, window, pages))
    except (EOFError, OSError):
        pass
    finally:
        os._exit(0)


def _answer(
    spec: ConnectorSpec, vendor: Account, name: str, window: Window, pages: Pages
) -> Packed | None:
    with contextlib.suppress(Exception):
        return map_and_pack(spec, vendor, spec.stream(name), window, pages)
    return None
