"""`twezah up` as a service manager runs it: started, and started again whenever it has ended."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from benchmarks.chaos import processes
from settings import PROJECT_ROOT, Settings

#: How soon `twezah up` is started again; longer each time it ends by itself.
_PAUSE_SECONDS: Final = 1.0
_PAUSE_SECONDS_MAX: Final = 15.0
#: It may take so long to stop everything by itself.
_STOP_SECONDS_MAX: Final = 90.0
_EVOLVE_SECONDS_MAX: Final = 5.0
_APPLY_SECONDS_MAX: Final = 300.0
#: The change of rules is wanted, whatever it gives or takes.
_POINTS_MAX: Final = str(10**15)
#: What the simulator needs to end.
_VENDOR_SECONDS: Final = 3.0


class UpService:
    """Keeps `twezah up --simulator` running until `stop`."""

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> None:
        self.settings = settings
        self.log = settings.home.with_name(f"{settings.home.name}-up.log")
        #: What `twezah up` said last, each time it ended without being killed.
        self.gave_up: list[str] = []
        self.starts = 0
        self._environment = {**os.environ, **environment, "TWEZAH_HOME": str(settings.home)}
        self._program = str(Path(sys.executable).with_name("twezah"))
        self._command = [self._program, "up", "--simulator", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._killed: set[int] = set()
        self._stopping = threading.Event()
        #: Held while `twezah up` is not to be started.
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="up-service", daemon=True)

    @property
    def pid(self) -> int | None:
        """Process number of the `twezah up` that runs, or ran last."""
        return None if self._process is None else self._process.pid

    @property
    def is_ready(self) -> bool:
        """True when the present `twezah up` says that everything has started."""
        try:
            record = json.loads((self.settings.home / "up.json").read_text())
        except (OSError, ValueError):
            return False
        is_present = self._process is not None and self._process.poll() is None
        return is_present and bool(record.get("ready")) and record.get("pid") == self.pid

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread.start()

    def expect_end(self, pid: int) -> None:
        """This process is about to be killed: that is not its own fault."""
        self._killed.add(pid)

    def targets(self) -> list[processes.Target]:
        """The processes of the stack."""
        return processes.find(self.settings.home, self.pid)

    def evolve(self, steps: int) -> bool:
        """Lets so many things happen at the simulated vendors; False where they are away."""
        return self._tell("POST", f"/evolve?steps={steps}", b"")

    def spoil(self, faults: Mapping[str, object]) -> bool:
        """What goes wrong at the vendors from now on; False where they are away."""
        return self._tell("PUT", "/faults", json.dumps(faults).encode())

    def apply_rules(self, rules: str) -> None:
        """Makes these the rules of the points program, for past sales too.

        Raises:
            RuntimeError: `twezah program apply` refused them; the text says why.

        """
        done = subprocess.run(
            [
                self._program, "program", "apply", "-", "--recompute", "--author", "chaos",
                "--reason", "each document by itself", "--confirm", _POINTS_MAX,
            ],
            input=rules, env=self._environment, cwd=PROJECT_ROOT, text=True, check=False,
            capture_output=True, timeout=_APPLY_SECONDS_MAX,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(
                f"the rules were refused: {(done.stdout + done.stderr).strip()[-500:]}"
            )

    def stop(self) -> list[str]:
        """Ends everything by its process number; returns the kinds that had to be killed."""
        self._stopping.set()
        self._thread.join()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self.sweep()

    def start_over(self) -> None:
        """Kills everything; then `twezah up` is started as if nothing had been there."""
        with self._starting:
            if self.pid is not None:
                self.expect_end(self.pid)
            self.sweep()

    def sweep(self) -> list[str]:
        """Kills what is left of the stack; returns its kinds."""
        left = self.targets()
        for target in left:
            if target.kind == "simulator":  # a vendor forgets nothing
                send_signal(target, "terminate")
        time.sleep(_VENDOR_SECONDS if left else 0)
        for _ in range(20):
            targets = self.targets()
            for target in targets:
                send_signal(target, "kill")
            if not targets:
                break
            time.sleep(0.2)
        return sorted({target.kind for target in left})

    def _keep(self) -> None:
        pause_seconds = _PAUSE_SECONDS
        while not self._stopping.is_set():
            self._start()
            process = self._process
            assert process is not None
            while process.poll() is None and not self._stopping.wait(0.2):
                pass
            if self._stopping.is_set():
                return
            if process.pid in self._killed:
                pause_seconds = _PAUSE_SECONDS
            else:
                self.gave_up.append(f"status {process.returncode}: {self._last_words()}")
                pause_seconds = min(2 * pause_seconds, _PAUSE_SECONDS_MAX)
            self._stopping.wait(pause_seconds)

    def _start(self) -> None:
        with self._starting, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])[:500]

    def _tell(self, method: str, path: str, body: bytes) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{self.settings.simulator_url}{path}"
        request = urllib.request.Request(url, body, method=method)  # noqa: S310 - http, ours
        try:
            opener.open(request, timeout=_EVOLVE_SECONDS_MAX).close()
        except (OSError, urllib.error.URLError):
            return False
        return True


def send_signal(target: processes.Target, action: str) -> bool:
    """kill, terminate, suspend or resume a process, if it is still the same one."""
    try:
        process = psutil.Process(target.pid)
        if process.create_time() != target.created:
            return False
        getattr(process, action)()
    except psutil.Error:
        return False
    return True
