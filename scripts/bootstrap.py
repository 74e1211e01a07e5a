"""Makes .venv from uv.lock on a machine that has only Python and a package index.

Standard library only.

    python3 scripts/bootstrap.py [--group bench]

Gets the pinned uv into .tools/ (with pip if there is one, else straight from the index; checked
against scripts/uv.txt), then lets it install the locked dependencies. A second run with nothing
changed ends at once. The syntax stays old enough for an old Python to reach the message that says
it is too old.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = os.path.join(ROOT, ".tools")
VENV = os.path.join(ROOT, ".venv")
OLDEST, NEWEST = (3, 11), (3, 13)
FREE_BYTES_MIN = 1600000000


def main(arguments):
    """Return the exit status: 0 ready, 4 the environment must change first (said on stderr)."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return rerun_with_better_python(arguments)
    groups = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--group"]
    stamp = os.path.join(VENV, ".stamp" + "".join("-" + group for group in groups))
    wanted = fingerprint()
    if read(stamp) == wanted and os.path.exists(os.path.join(VENV, "bin", "python")):
        return 0
    try:
        os.makedirs(TOOLS, exist_ok=True)
        with locked(os.path.join(TOOLS, "lock")):
            if read(stamp) != wanted:
                require_space()
                from_index(groups)
                with open(stamp, "w", encoding="utf-8") as file:
                    file.write(wanted)
    except Problem as problem:
        return say("bootstrap: %s" % problem)
    except OSError as error:
        if error.errno == 28:
            return say("bootstrap: " + DISK_FULL)
        return say("bootstrap: %s" % error)
    return 0


class Problem(Exception):
    """A problem that only the person at the keyboard can solve; the text says how."""


DISK_FULL = (
    "the disk is full. The set-up needs about %.1f GB in %s; free some space and run the same "
    "command again." % (FREE_BYTES_MIN / 1e9, ROOT)
)
NO_INDEX = (
    "cannot reach the package index. Check the network and the proxy (HTTPS_PROXY), or name a "
    "mirror in PIP_INDEX_URL, then run the same command again."
)


def say(text):
    """Print to stderr; returns the exit status for a problem of the environment."""
    sys.stderr.write(text + "\n")
    return 4


def rerun_with_better_python(arguments):
    """Use a fitting python3.x if one is installed; otherwise say what is missing."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        better = shutil.which("python3.%d" % minor)
        if better and subprocess.call([better, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return subprocess.call([better, os.path.abspath(__file__)] + arguments)
    return say(
        "bootstrap: this is Python %d.%d; Twezah needs Python %d.%d to %d.%d. Install one of them "
        "(Debian, Ubuntu: apt install python3.11; macOS: brew install python@3.12) and run the "
        "same command again, or name one: make PYTHON=/path/to/python3.12 ..."
        % (sys.version_info[:2] + OLDEST + NEWEST)
    )


def fingerprint():
    """A digest that changes whenever the environment must be made again.

    It covers the lock file, the project file, the interpreter and the folder.
    """
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml", "scripts/uv.txt", "scripts/bootstrap.py"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    digest.update(("%s|%s|%s" % (sys.version, os.path.realpath(sys.executable), ROOT)).encode())
    return digest.hexdigest()


def read(path):
    """Text of a file, or None."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


@contextlib.contextmanager
def locked(path):
    """One set-up of a checkout at a time; the lock ends with its holder."""
    import fcntl

    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require_space():
    """Raise Problem when the dependencies cannot fit.

    A repair of an existing environment needs less.
    """
    free_bytes = shutil.disk_usage(ROOT).free
    if free_bytes < (FREE_BYTES_MIN if not os.path.isdir(VENV) else FREE_BYTES_MIN // 8):
        raise Problem(DISK_FULL)


def from_index(groups):
    """Fetch uv if needed and let it make the environment."""
    import uv_wheel  # beside this file; needs a Python that got past the version check

    environment = uv_environment(uv_wheel.configured_index())
    try:
        uv = uv_wheel.find_or_fetch(TOOLS, environment)
    except uv_wheel.Unreachable as error:
        raise Problem("%s (%s)" % (NO_INDEX, error)) from None
    say("Setting up Python %d.%d in .venv (about a minute the first time)" % sys.version_info[:2])
    extra = [word for group in groups for word in ("--group", group)]
    # The lock file names files on PyPI. A mirror has them elsewhere, so it is asked by hash.
    if "UV_DEFAULT_INDEX" in environment:
        listing = os.path.join(TOOLS, "requirements.txt")
        run(
            [uv, "export", "--frozen", "--quiet", "--no-emit-project", "--output-file", listing]
            + extra,
            environment,
        )
        run([uv, "venv", "--allow-existing", "--quiet", VENV], environment)
        run([uv, "pip", "install", "--quiet", "--require-hashes", "-r", listing], environment)
        run([uv, "pip", "install", "--quiet", "--no-deps", "-e", ROOT], environment)
    else:
        run([uv, "sync", "--frozen", "--quiet"] + extra, environment)


def uv_environment(index):
    """Environment of uv: this Python and no other, everything inside the checkout.

    There is a cache even without a HOME.
    """
    environment = dict(os.environ)
    environment.pop("VIRTUAL_ENV", None)
    environment.update(
        UV_PYTHON=sys.executable,
        UV_PYTHON_DOWNLOADS="never",
        UV_PROJECT_ENVIRONMENT=VENV,
        VIRTUAL_ENV=VENV,
    )
    if index and "UV_DEFAULT_INDEX" not in environment:
        environment["UV_DEFAULT_INDEX"] = index
    if environment.get("PYTHONDONTWRITEBYTECODE"):
        # Nobody would compile the libraries later, but every process for itself: 2 s each.
        environment.setdefault("UV_COMPILE_BYTECODE", "1")
    if environment.get("PIP_CERT"):
        environment.setdefault("SSL_CERT_FILE", environment["PIP_CERT"])
    home = environment.get("HOME")
    if "UV_CACHE_DIR" not in environment and not (
        home and os.path.isdir(home) and os.access(home, os.W_OK)
    ):
        environment["UV_CACHE_DIR"] = os.path.join(TOOLS, "uv-cache")
    return environment


def run(command, environment):
    """Run uv; raise Problem if it fails.

    The text is ours for the problems that a newcomer meets, and uv's own otherwise.
    """
    # When root runs this, the database runs under another account, which must read its programs.
    os.umask(0o022)
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    if result.returncode == 0:
        return
    sys.stderr.write(result.stderr)
    errors = result.stderr.lower()
    if "no space left" in errors or "os error 28" in errors:
        raise Problem(DISK_FULL)
    if any(
        hint in errors
        for hint in (
            "error sending request",
            "dns error",
            "failed to fetch",
            "timed out",
            "connect",
        )
    ):
        raise Problem(NO_INDEX)
    raise Problem("uv could not install the locked dependencies (its message is above).")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
