"""`.ci/chromium` on machines that have a browser, can get one, or cannot."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from settings import PROJECT_ROOT
from tests.support.desk import WANTED, require_browser

#: As Debian's: without lists of packages there is nothing to install.
APT = """#!/bin/sh
echo "$@" >>"$MACHINE/asked"
case "$*" in
  *update*) touch "$MACHINE/lists" ;;
  *install*) [ -e "$MACHINE/lists" ] || { echo "E: Unable to locate package chromium"; exit 100; }
             printf '#!/bin/sh\\necho Chromium 1.0\\n' >"$MACHINE/bin/chromium"; chmod +x "$MACHINE/bin/chromium" ;;
esac
"""
SILENT_MIRROR = '#!/bin/sh\necho "$@" >>"$MACHINE/asked"\necho "E: Failed to fetch"\nexit 100\n'


@dataclass
class Machine:
    """A machine whose only programs are those in `bin`."""

    folder: Path

    def has(self, program: str, text: str) -> None:
        """Installs a program."""
        target = self.folder / "bin" / program
        target.write_text(text)
        target.chmod(0o755)

    def asked(self) -> list[str]:
        """What apt-get was asked, the options left out."""
        file = self.folder / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        return [
            next(word for word in line.split() if word in ("update", "install")) for line in lines
        ]

    def run(self) -> tuple[int, str]:
        """Exit code and standard error of the script."""
        environment = {"PATH": str(self.folder / "bin"), "MACHINE": str(self.folder)}
        command = [str(shutil.which("bash")), str(PROJECT_ROOT / ".ci" / "chromium")]
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A bare one, used by root; nothing sleeps on it."""
    (tmp_path / "bin").mkdir()
    for program in ("sh", "mktemp", "rm", "tail", "timeout", "touch", "chmod"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    made = Machine(tmp_path)
    made.has("id", "#!/bin/sh\necho 0\n")
    made.has("sleep", "#!/bin/sh\n")
    return made


def test_leaves_a_browser_that_is_there_alone(machine: Machine) -> None:
    machine.has("apt-get", APT)
    machine.has("google-chrome", "#!/bin/sh\n")
    assert machine.run() == (0, "")
    assert machine.asked() == []


def test_installs_one_where_the_lists_of_packages_must_be_fetched_first(machine: Machine) -> None:
    machine.has("apt-get", APT)
    assert machine.run() == (0, "")
    assert machine.asked() == ["update", "install"]
    assert machine.run() == (0, "")
    assert len(machine.asked()) == 2


def test_gives_up_after_three_tries_and_shows_why(machine: Machine) -> None:
    machine.has("apt-get", SILENT_MIRROR)
    code, said = machine.run()
    assert code == 1
    assert "Failed to fetch" in said and "apt-get could not install it" in said
    assert machine.asked() == ["update", "install"] * 3


@pytest.mark.parametrize(("user", "reason"), [("0", "there is no apt-get"), ("1000", "needs root")])
def test_says_what_is_missing(machine: Machine, user: str, reason: str) -> None:
    machine.has("id", f"#!/bin/sh\necho {user}\n")
    if user != "0":
        machine.has("apt-get", APT)
    code, said = machine.run()
    assert code == 1
    assert reason in said and "apt-get install chromium" in said
    assert machine.asked() == []


@pytest.mark.parametrize(
    ("wanted", "outcome"), [("required", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_a_machine_without_one_skips_the_tests_or_fails_where_it_must_have_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(WANTED, wanted)
    with pytest.raises(outcome, match="apt-get install chromium"):
        require_browser()


def test_runs_before_the_tests_which_then_require_it() -> None:
    lines = (PROJECT_ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-2:] == [".ci/chromium", "TWEZAH_BROWSER=required make test"]
