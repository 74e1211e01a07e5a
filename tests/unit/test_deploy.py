"""The files of deploy/: good for the programs that read them, and enough for the parts to start."""

import os
import shutil
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import pytest
import yaml

from scripts import lint_deploy
from scripts.lint_deploy import CHECKS, DEPLOY, folder_with_certificate, variables
from settings import Settings
from tests.support.deploy_tools import WANTED
from twezah.stack.part_settings import Name, SettingsMissing, require_shared

PARTS: tuple[Name, ...] = get_args(Name)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_programs_that_read_them_find_nothing_wrong(check: lint_deploy.Check) -> None:
    with folder_with_certificate() as folder:
        results = list(check(folder))
    assert results and [result.to_text() for result in results if result.problems] == []
    missing = [result.missing for result in results if result.missing]
    if missing and os.environ.get(WANTED) != "required":
        pytest.skip(missing[0])
    assert missing == []


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("compose.yaml", "restart: unless-stopped", "restrat: unless-stopped"),
        ("compose.yaml", "data.keys, ca.crt", "data.kyes, ca.crt"),
        ("kubernetes/api.yaml", "replicas: 2", "replicas: two"),
        ("kubernetes/kustomization.yaml", "- api.yaml", "- app.yaml"),
        ("Containerfile", "ENTRYPOINT", "ENTRYPIONT"),
        ("Containerfile.dockerignore", "deploy/secrets", "deploy/secret"),
        ("Containerfile.dockerignore", "!uv.lock", "!uv.lock\n!deploy"),
        ("systemd/twezah@.service", "Type=notify", "Type=notfy"),
        ("haproxy.cfg", "balance leastconn", "balance lestconn"),
        ("redis.conf", "appendonly yes", "appendnolyes"),
        ("redis.conf", "dir /var/lib/redis\n", ""),
        ("sentinel.conf", "down-after-milliseconds", "down-after-millisecond"),
        ("patroni.yml", "scope: twezah", "skope: twezah"),
        ("keepalived.conf", "virtual_router_id 74", "virtual_router_id 7400"),
    ],
)
def test_a_mistake_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, before: str, after: str
) -> None:
    """Or the file is said not to have been checked; it is never called good."""
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy)
    text = (copy / file).read_text()
    assert before in text
    (copy / file).write_text(text.replace(before, after))
    monkeypatch.setattr(lint_deploy, "ROOT", tmp_path)
    monkeypatch.setattr(lint_deploy, "DEPLOY", copy)
    results = {result.file: result for result in lint_deploy.results()}
    result = results[f"deploy/{file}"]
    assert result.problems or result.missing
    assert result.to_text().startswith("NOT CHECKED" if result.missing else "wrong")


def test_what_cannot_be_checked_is_said_and_fails_where_it_must_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lint_deploy, "program", lambda _: None)
    monkeypatch.setattr(lint_deploy, "CHECKS", [lint_deploy.check_haproxy])
    for arguments, code in (([], 0), (["--require"], 1)):
        monkeypatch.setattr("sys.argv", ["lint_deploy", *arguments])
        assert lint_deploy.main() == code
        assert capsys.readouterr().out.startswith("NOT CHECKED  deploy/haproxy.cfg")


def settings_of(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> Settings:
    """A machine's, with nothing but these variables."""
    for name in list(os.environ):
        if name.startswith(("TWEZAH_", "PREFECT_")):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return Settings()


def are_enough_for_every_part(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    assert "change-me" in given["PREFECT_API_AUTH_STRING"]
    with pytest.raises(SettingsMissing, match="change-me") as refused:
        require_shared(settings_of(monkeypatch, given), "prefect", given)
    assert "TWEZAH_SECRET_KEY" in str(refused.value)
    given = {name: value.replace("change-me", "our-own") for name, value in given.items()}
    settings = settings_of(monkeypatch, given)
    for part in PARTS:
        require_shared(settings, part, given)
    names = {f"TWEZAH_{name.upper()}" for name in Settings.model_fields}
    assert not {name for name in given if name.startswith("TWEZAH_")} - names, "unknown settings"
    assert given["PREFECT_API_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://")


def test_the_settings_of_three_boxes_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    are_enough_for_every_part(monkeypatch, variables(DEPLOY / "twezah.env.example"))


def test_the_settings_of_the_cluster_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = DEPLOY / "kubernetes"
    config = yaml.safe_load((folder / "settings.yaml").read_text())
    secret, files = yaml.safe_load_all((folder / "secret.example.yaml").read_text())
    are_enough_for_every_part(monkeypatch, config["data"] | secret["stringData"])
    mounted = {value for value in config["data"].values() if value.startswith("/secrets/")}
    assert {Path(path).name for path in mounted} <= set(files["stringData"])


def test_the_settings_of_the_compose_file_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the secrets that the comment of compose.env names."""
    text = (DEPLOY / "compose.env").read_text()
    secrets = variables(DEPLOY / "twezah.env.example")
    named = {
        name: value for name, value in secrets.items() if f"{name}" in text.split("\nTWEZAH")[0]
    }
    are_enough_for_every_part(monkeypatch, variables(DEPLOY / "compose.env") | named)


def port_of(address: str) -> int:
    """Of a URL or of HAProxy's `bind`."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    return parts.port or {"https": 443}[parts.scheme]


def test_addresses_that_are_told_are_those_that_haproxy_serves_on_three_boxes() -> None:
    told = variables(DEPLOY / "twezah.env.example")
    served = variables(DEPLOY / "haproxy.env.example")
    for url, bind, name in (
        ("PREFECT_API_URL", "TWEZAH_PREFECT_BIND", "TWEZAH_PREFECT_NAME"),
        ("TWEZAH_PREFECT_PUBLIC_URL", "TWEZAH_PREFECT_BIND", "TWEZAH_PREFECT_NAME"),
        ("TWEZAH_API_PUBLIC_URL", "TWEZAH_API_BIND", "TWEZAH_API_NAME"),
    ):
        assert port_of(told[url]) == port_of(served[bind]), url
        assert urlsplit(told[url]).hostname == served[name], url


def test_addresses_that_are_told_are_those_that_containers_publish() -> None:
    """The same inside, where parts ask HAProxy by its alias, and outside, where browsers do."""
    told = variables(DEPLOY / "compose.env")
    proxy = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["haproxy"]
    served, published = proxy["environment"], dict(map(split_ports, proxy["ports"]))
    for url, kind in (
        ("PREFECT_API_URL", "PREFECT"),
        ("TWEZAH_PREFECT_PUBLIC_URL", "PREFECT"),
        ("TWEZAH_API_PUBLIC_URL", "API"),
    ):
        inside = port_of(served[f"TWEZAH_{kind}_BIND"])
        assert port_of(told[url]) == inside == published[inside], url
        assert urlsplit(told[url]).hostname == served[f"TWEZAH_{kind}_NAME"], url
        assert urlsplit(told[url]).hostname in proxy["networks"]["inside"]["aliases"], url


def test_redis_is_known_by_the_names_in_its_certificates() -> None:
    """Sentinel tells clients what a Redis announces; they look for that in the certificate."""
    redis = dict(directives("redis.conf"))
    sentinel = [value for name, value in directives("sentinel.conf") if name == "sentinel"]
    announced = redis["replica-announce-ip"]
    asked = variables(DEPLOY / "twezah.env.example")["TWEZAH_PREFECT_REDIS_URL"]
    assert announced in asked and f"monitor twezah {announced} 6379 2" in sentinel
    assert {"resolve-hostnames yes", "announce-hostnames yes"} <= set(sentinel)


def directives(file: str) -> list[tuple[str, str]]:
    """Name and value of each line of a file of Redis."""
    lines = [line for line in (DEPLOY / file).read_text().splitlines() if line[:1].isalpha()]
    pairs = (line.partition(" ") for line in lines)
    return [(name, value) for name, _, value in pairs]


def split_ports(text: str) -> tuple[int, int]:
    """Port of the container and of the machine, of "machine:container"."""
    outside, inside = text.split(":")
    return int(inside), int(outside)


def test_containers_that_ask_the_internet_have_a_way_out_and_no_other_has() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    with_way_out = {name for name, service in services.items() if "outside" in service["networks"]}
    assert with_way_out == {"haproxy", "services", "worker", "api1", "api2"}


@pytest.mark.parametrize("part", PARTS)
def test_every_shape_runs_every_part(part: str) -> None:
    manifest = yaml.safe_load_all((DEPLOY / "kubernetes" / f"{part}.yaml").read_text())
    deployment = next(iter(manifest))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == [part] and deployment["spec"]["replicas"] == 2
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert [part] in [service.get("command") for service in services.values()]
    assert f"twezah@{part}" in (DEPLOY / "systemd" / "twezah@.service").read_text()
