"""The guide of the run book's flows names the deployments that there are."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_every_deployment_of_the_run_book_has_its_section() -> None:
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    names = {one["name"]: one for one in project["deployments"]}
    guide = (ROOT / "docs/runbook-flows.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\S+)$", guide, re.MULTILINE)) == {
        name for name, one in names.items() if "run-book" in one["tags"]
    }
    for name in re.findall(r"`([a-z-]+)`", guide):
        assert name in names or name == "sync-", name
