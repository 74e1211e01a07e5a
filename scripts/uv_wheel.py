"""Finds or fetches the pinned uv: on PATH, with pip, or straight from the package index.

Standard library only.
"""

import configparser
import contextlib
import hashlib
import html
import io
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile

PINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "uv.txt")
PYPI = "https://pypi.org/simple"
TIMEOUT_SECONDS = 60


class Unreachable(Exception):
    """The index does not answer, or does not have the pinned version."""


def pins():
    """The pinned version and the hashes of its files."""
    with open(PINS, encoding="utf-8") as file:
        text = file.read()
    return re.search(r"^uv==(\S+)", text, re.MULTILINE).group(1), set(
        re.findall(r"sha256:([0-9a-f]{64})", text)
    )


def find_or_fetch(tools, environment):
    """Path of a uv of the pinned version.

    Raises:
        Unreachable: it is not here and cannot be fetched.

    """
    version, hashes = pins()
    folder = os.path.join(tools, "uv-" + version)
    kept = os.path.join(folder, "bin", "uv")
    for candidate in (kept, shutil.which("uv")):
        if candidate and has_version(candidate, version):
            return candidate
    shutil.rmtree(folder, ignore_errors=True)
    if not with_pip(folder, environment) or not has_version(kept, version):
        from_simple_index(configured_index() or PYPI, version, hashes, kept)
    if not has_version(kept, version):
        raise Unreachable(
            "uv %s does not run on this machine (%s)" % (version, platform.platform())
        )
    return kept


def has_version(uv, version):
    """True when this program runs and is uv of that version."""
    try:
        answer = subprocess.run(
            [uv, "--version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return answer.stdout.split()[1:2] == [version]


def with_pip(folder, environment):
    """Let pip fetch uv with the indexes and certificates that pip is configured for.

    Returns False if there is no pip or it fails.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
    ]
    command += ["--only-binary", ":all:", "--require-hashes", "--target", folder, "-r", PINS]
    result = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if "No space left" in result.stderr:
        raise OSError(28, "No space left on device")
    return result.returncode == 0


def configured_index():
    """The index that this machine is set up for, or None for PyPI.

    The environment counts first, then pip's files.
    """
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(name):
            return usual(os.environ[name])
    home = os.path.expanduser("~")
    files = [
        os.environ.get("PIP_CONFIG_FILE"),
        os.path.join(home, ".config/pip/pip.conf"),
        os.path.join(home, ".pip/pip.conf"),
    ]
    for path in [*files, "/etc/pip.conf"]:
        parser = configparser.RawConfigParser()
        with contextlib.suppress(configparser.Error, OSError):
            if path and parser.read(path) and parser.has_option("global", "index-url"):
                return usual(parser.get("global", "index-url"))
    return None


def usual(url):
    """The index, or None when it is PyPI itself."""
    return None if url.rstrip("/") == PYPI else url


def from_simple_index(index, version, hashes, target):
    """Download the wheel for this machine from a simple index (PEP 503); take the program out."""
    page_url = index.rstrip("/") + "/uv/"
    page = get(page_url).decode("utf-8", "replace")
    links = (
        urllib.parse.urljoin(page_url, html.unescape(link))
        for link in re.findall(r'href="([^"]+)"', page)
    )
    named = {os.path.basename(urllib.parse.urlsplit(link).path): link for link in links}
    fitting = [name for name in named if name.startswith("uv-%s-" % version) and fits(name)]
    for name in sorted(fitting):
        wheel = get(named[name].split("#")[0])
        if hashlib.sha256(wheel).hexdigest() not in hashes:
            raise Unreachable(
                "the file %s of this index is not the pinned one (sha256 differs)" % name
            )
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            program = archive.read("uv-%s.data/scripts/uv" % version)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target + ".part", "wb") as file:
            file.write(program)
        os.chmod(target + ".part", 0o755)
        os.replace(target + ".part", target)
        return
    raise Unreachable(
        "%s has no uv %s for %s %s" % (page_url, version, sys.platform, platform.machine())
    )


def fits(name):
    """True when a wheel of this name runs here."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if sys.platform == "darwin":
        return "macosx" in name and name.endswith(
            {"aarch64": "_arm64.whl"}.get(machine, "_%s.whl" % machine)
        )
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return libc in name and name.endswith("_%s.whl" % machine)


def get(url):
    """Body of a URL; the proxy comes from the environment.

    The certificates from SSL_CERT_FILE or PIP_CERT.
    """
    certificates = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    context = ssl.create_default_context(cafile=certificates or None)
    request = urllib.request.Request(
        url, headers={"Accept": "text/html", "User-Agent": "twezah-bootstrap"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context) as answer:
            return answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise Unreachable(
            "%s: %s" % (urllib.parse.urlsplit(url).hostname, getattr(error, "reason", error))
        ) from None
