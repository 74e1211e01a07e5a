"""Checks deploy/ by the programs that would read it: `python -m scripts.lint_deploy [--require]`.

One line for each file: checked by what, or NOT CHECKED and why. What could not be checked is never
called good; with `--require` it is a failure, for a machine that has all these programs.

Exit code: 0 nothing is wrong with what could be checked; 1 something is.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
SECONDS_MAX = 60
#: Where Debian keeps programs for root.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
#: The password of what is started here.
WORD = "of-this-check"
#: What Patroni's check says of addresses of other machines, and of a section that newer versions
#: have no more: pg_hba stands under postgresql.
PATRONI_LOOKS = ("is not reachable", "must not contain", "bootstrap.pg_hba")
#: The one folder that Debian's service of Redis may write into.
REDIS_DATA = "/var/lib/redis"
#: What no image may have in it: keys and passwords, and what only this machine needs.
KEPT_OUT = ("*", "deploy/secrets", "**/.twezah", "**/.git", "**/.venv")


@dataclass
class Result:
    """What became of one file."""

    #: The file, from the checkout.
    file: str
    #: Which program read it; "" where none could.
    by: str = ""
    #: Why it was not checked; "" where it was.
    missing: str = ""
    #: What is wrong with it.
    problems: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        """One line, and one more for each problem."""
        if self.missing:
            return f"NOT CHECKED  {self.file}: {self.missing}"
        state = "wrong" if self.problems else "checked"
        return "\n".join([f"{state:<11}  {self.file} by {self.by}", *self.problems])


def name_of(file: Path) -> str:
    """As it is called from the checkout."""
    return str(file.relative_to(ROOT))


def program(name: str) -> str | None:
    """Where it is, beside our interpreter or on this machine; None without it."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name, path=PATH)


def by_program(
    file: Path,
    name: str,
    arguments: list[str],
    environment: dict[str, str] | None = None,
    *,
    quiet: bool = False,
) -> Result:
    """What a program of this machine says of a file; of one that is good, nothing where `quiet`."""
    path = program(name)
    if path is None:
        return Result(name_of(file), missing=f"there is no {name} on this machine")
    try:
        result = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
            env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Result(name_of(file), missing=f"{name} did not work ({type(error).__name__})")
    lines = (result.stdout + result.stderr).strip().splitlines()
    if result.returncode and not lines:
        lines = [f"{name} ended with {result.returncode}"]
    is_wrong = result.returncode != 0 or quiet
    return Result(name_of(file), name, problems=lines if is_wrong else [])


def check_units(folder: Path) -> Iterator[Result]:
    """Copies name a program of this machine, because systemd looks whether it exists."""
    for file in sorted((DEPLOY / "systemd").iterdir()):
        name = file.name.replace("@", "@worker")
        text = file.read_text().replace("/srv/twezah/app/.venv/bin/twezah", sys.executable)
        (folder / file.name).write_text(text.replace("/srv/twezah/app", str(ROOT)))
        (folder / name).write_text((folder / file.name).read_text())
        unit = str(folder / name)
        result = by_program(file, "systemd-analyze", ["verify", unit], quiet=True)
        # It also complains of other units of this machine.
        result.problems = [line for line in result.problems if name in line]
        yield result


def check_haproxy(folder: Path) -> Iterator[Result]:
    """HAProxy reads its file with the addresses of the example and a certificate made here."""
    file = DEPLOY / "haproxy.cfg"
    environment = variables(DEPLOY / "haproxy.env.example") | {
        "TWEZAH_CERTIFICATE": str(folder / "tls.pem"),
        "TWEZAH_CA": str(folder / "tls.crt"),
    }
    yield by_program(file, "haproxy", ["-c", "-f", str(file)], environment)


def check_compose(folder: Path) -> Iterator[Result]:
    """By the schema of compose files; and everything that it mounts is there or is a secret."""
    del folder
    file = DEPLOY / "compose.yaml"
    schema = ["--builtin-schema", "vendor.compose-spec", str(file)]
    result = by_program(file, "check-jsonschema", schema)
    content = yaml.safe_load(file.read_text())
    for name, config in content["configs"].items():
        if not (DEPLOY / config["file"]).exists():
            result.problems.append(f"the config {name} names no file: {config['file']}")
    for name, service in content["services"].items():
        for secret in service.get("secrets", []):
            source = secret if isinstance(secret, str) else secret["source"]
            if source not in content["secrets"]:
                result.problems.append(f"the service {name} names no secret: {source}")
    yield result


def check_kubernetes(folder: Path) -> Iterator[Result]:
    """By the schemas of Kubernetes' own API."""
    del folder
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        documents = list(yaml.safe_load_all(file.read_text()))
        if file.name == "kustomization.yaml":
            absent = [
                name for name in documents[0]["resources"] if not (file.parent / name).exists()
            ]
            by = "a look whether its files exist (no schema of kustomize here)"
            yield Result(name_of(file), by, problems=[f"no such file: {name}" for name in absent])
            continue
        result = Result(name_of(file), f"the schemas of Kubernetes {version}")
        for document in documents:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except (
                kubernetes_validate.ValidationError,
                kubernetes_validate.SchemaNotFoundError,
            ) as error:
                result.problems.append(f"{document.get('kind')}: {error}")
        yield result


def check_image(folder: Path) -> Iterator[Result]:
    """The file of the image by hadolint; it is not built here."""
    del folder
    file = DEPLOY / "Containerfile"
    yield by_program(file, "hadolint", ["--no-color", str(file)])
    yield compared_lists()


def compared_lists() -> Result:
    """What stays out of the image: Podman and Docker each read a list of their own."""
    podman = DEPLOY / "Containerfile.containerignore"
    docker = DEPLOY / "Containerfile.dockerignore"
    result = Result(name_of(docker), f"a comparison with {podman.name}")
    lists = [file.read_text() if file.exists() else "" for file in (podman, docker)]
    if lists[0] != lists[1]:
        result.problems.append("the two lists differ: what one keeps out, the other takes in")
    lines = lists[1].splitlines()
    result.problems += [f"{name} would go into the image" for name in KEPT_OUT if name not in lines]
    return result


def check_redis(folder: Path) -> Iterator[Result]:
    """Redis has no check of its own: it is started with the file, asked, and ended."""
    file = DEPLOY / "redis.conf"
    (folder / "passwords.conf").write_text(f"requirepass {WORD}\nmasterauth {WORD}\n")
    yield started_redis(file, folder, local(file, folder, port=""), "PING")
    file = DEPLOY / "sentinel.conf"
    text = local(file, folder, port="port 0").replace("change-me", WORD)
    # No names of other machines can be resolved here.
    text = text.replace("box1.example.com", "127.0.0.1")
    yield started_redis(file, folder, text, "PING", "--sentinel")


def local(file: Path, folder: Path, *, port: str) -> str:
    """The text of a Redis file with the files made here, and a socket in place of its port."""
    text = file.read_text()
    for place in ("/etc/twezah", "/etc/redis", REDIS_DATA):
        text = text.replace(place, str(folder))
    lines = [line for line in text.splitlines() if not line.startswith("tls-port")]
    socket = ["tls-port 0", f"unixsocket {folder}/redis.sock"]
    return "\n".join([*lines, *socket, port, ""])


def started_redis(file: Path, folder: Path, text: str, question: str, *options: str) -> Result:
    """Whether a Redis with this configuration answers."""
    path = program("redis-server")
    if path is None:
        return Result(name_of(file), missing="there is no redis-server on this machine")
    import redis

    copy, socket, elsewhere = folder / file.name, folder / "redis.sock", folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    copy.write_text(text)
    result = Result(name_of(file), "redis-server, which started with it and answered")
    with subprocess.Popen(
        [path, str(copy), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=elsewhere,
    ) as process:  # fmt: skip
        client = redis.Redis(unix_socket_path=str(socket), password=WORD)
        deadline = time.monotonic() + SECONDS_MAX
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.execute_command(question)
                break
            except redis.RedisError:
                time.sleep(0.1)
        else:
            result.problems.append("it did not start, or did not answer")
        client.close()
        process.terminate()
        output = process.communicate(timeout=SECONDS_MAX)[0]
    if any(elsewhere.iterdir()) or f"dir {folder}" not in text.splitlines():
        result.problems.append(f"it writes where it was started, not into {REDIS_DATA}")
    if result.problems:
        result.problems += output.strip().splitlines()[-5:]
    socket.unlink(missing_ok=True)
    return result


def check_patroni(folder: Path) -> Iterator[Result]:
    """Patroni's own check looks for its data and programs on this machine: they are made up."""
    file = DEPLOY / "patroni.yml"
    config = yaml.safe_load(file.read_text())
    from twezah.stack import pginstall

    binaries = pginstall.program("pg_ctl").parent
    data = folder / "data"
    data.mkdir(mode=0o700)
    config["postgresql"] |= {"data_dir": str(data), "bin_dir": str(binaries)}
    # Its check connects to these addresses or binds them. Here they are this machine's, which it
    # dislikes: what it says of addresses is left out.
    text = yaml.safe_dump(config)
    for number in ("11", "12", "13"):
        text = text.replace(f"10.0.0.{number}", "127.0.0.1")
    copy = folder / "patroni.yml"
    copy.write_text(text)
    result = by_program(file, "patroni", ["--validate-config", str(copy)])
    result.problems = [
        line for line in result.problems if not any(word in line for word in PATRONI_LOOKS)
    ]
    result.by += ", but for its addresses, which are not here"
    yield result


def check_keepalived(folder: Path) -> Iterator[Result]:
    """By keepalived; on a machine whose interface has another name, that name is put in."""
    file = DEPLOY / "keepalived.conf"
    interfaces = sorted(entry.name for entry in Path("/sys/class/net").iterdir())
    copy = folder / "keepalived.conf"
    text = file.read_text().replace("interface eth0", f"interface {interfaces[0]}")
    text = text.replace("script_user keepalived_script", "script_user root")
    copy.write_text(text)
    yield by_program(file, "keepalived", ["--config-test", "--use-file", str(copy)])


#: Reads files of deploy/; gets an empty folder with a certificate.
Check = Callable[[Path], Iterator[Result]]
CHECKS: list[Check] = [
    check_units,
    check_haproxy,
    check_compose,
    check_kubernetes,
    check_image,
    check_redis,
    check_patroni,
    check_keepalived,
]


def variables(file: Path) -> dict[str, str]:
    """NAME=value lines."""
    lines = (line for line in file.read_text().splitlines() if line[:1].isalpha())
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def folder_with_certificate(*addresses: str) -> Iterator[Path]:
    """A folder with a certificate that signs itself, its key, and both in one file.

    `addresses`: what it is for besides localhost.
    """
    with tempfile.TemporaryDirectory(prefix="twezah-lint-") as name:
        folder = Path(name)
        certificate, key = self_signed(*addresses)
        (folder / "tls.crt").write_bytes(certificate)
        (folder / "ca.crt").write_bytes(certificate)
        (folder / "tls.key").write_bytes(key)
        (folder / "tls.pem").write_bytes(certificate + key)
        yield folder


def self_signed(*addresses: str) -> tuple[bytes, bytes]:
    """A certificate of localhost and these addresses for an hour, and its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(ip)) for ip in addresses)]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), plain


def results() -> Iterator[Result]:
    """Of every check, in order."""
    for check in CHECKS:
        with folder_with_certificate() as folder:
            yield from check(folder)


def main() -> int:
    """Print what was checked; see the module."""
    parser = argparse.ArgumentParser(prog="python -m scripts.lint_deploy", description=__doc__)
    parser.add_argument(
        "--require", action="store_true", help="what cannot be checked here is a failure"
    )
    required = parser.parse_args().require
    is_wrong = False
    for result in results():
        print(result.to_text(), flush=True)
        is_wrong |= bool(result.problems) or (required and bool(result.missing))
    return 1 if is_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
