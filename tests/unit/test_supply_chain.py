"""What the product is made of: locked with hashes, listed by command, and checked where possible."""

import json
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from settings import PROJECT_ROOT
from tests.unit.test_stack_bootstrap import load

BAD = "GHSA-xxxx-yyyy-zzzz"


class Osv(BaseHTTPRequestHandler):
    """The OSV database, which knows one vulnerability of one package."""

    knows = ""

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        queries = json.loads(self.rfile.read(length))["queries"]
        named = [query["package"]["name"] == self.knows for query in queries]
        self._answer({"results": [{"vulns": [{"id": BAD}]} if bad else {} for bad in named]})

    def do_GET(self) -> None:
        self._answer({"id": BAD, "modified": "2026-01-01T00:00:00Z", "summary": "It is bad."})

    def _answer(self, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_every_locked_file_has_a_hash() -> None:
    locked = tomllib.loads((PROJECT_ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    files = [
        (package["name"], one)
        for package in locked
        for one in [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
    ]
    assert len(files) > 100
    assert [name for name, one in files if not one["hash"].startswith("sha256:")] == []
    sources = {next(iter(package["source"])) for package in locked}
    assert sources == {"registry", "editable"}, "nothing is installed from anywhere else"


def test_the_bill_of_materials_lists_what_runs(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    count = load("supply_chain").sbom(target)
    bill = json.loads(target.read_text())
    names = {component["name"] for component in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX" and count == len(bill["components"])
    assert {"prefect", "cryptography", "psycopg"} <= names
    assert "pytest" not in names, "what only tests use is no part of the product"


def test_known_vulnerabilities_are_told_and_none_is_no_alarm(
    osv: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = load("supply_chain").vulnerabilities
    monkeypatch.setattr(Osv, "knows", "nothing")
    assert check(osv)[0] == 0
    monkeypatch.setattr(Osv, "knows", "cryptography")
    code, text = check(osv)
    assert code == 1 and BAD in text and "cryptography" in text


def test_a_database_that_cannot_be_reached_is_no_all_clear() -> None:
    code, text = load("supply_chain").vulnerabilities("http://127.0.0.1:9/")
    assert code == 4 and text.startswith("NOT CHECKED")
