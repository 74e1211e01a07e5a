"""What Prefect must know about our flows: their names and the forms of their parameters.

To find that out, the flows are imported with all that they use: some ten seconds of CPU time. So it
is computed in its own process (`python -m twezah.stack.flow_descriptions`) and kept until a source
file or a library changes: beside the interpreter, as compiled code is, for all state folders; under
the state folder where that is not ours to write.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from settings import PROJECT_ROOT
from twezah.stack.errors import StackError
from twezah.stack.processes import REASON_CHARACTERS_MAX

#: Packages whose sources a flow's form can depend on.
_PACKAGES = ("twezah", "flows", "panel", "tasks", "connectors", "expectations", "sql", "loyalty")
#: Importing all flows takes ten seconds; on a busy machine it may take minutes.
SECONDS_MAX = 600.0
#: Of a flow, by entrypoint: {"name": ..., "schema": ...}.
Descriptions = dict[str, dict[str, Any]]


def project_deployments() -> list[dict[str, Any]]:
    """The deployments of prefect.yaml, anchors resolved."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (PROJECT_ROOT / "prefect.yaml").read_text(encoding="utf-8")
    project = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader either way
    return list(project["deployments"])


def source_digest() -> str:
    """Changes with any of our sources, with Prefect's or pydantic's version, and with Python's."""
    digest = hashlib.sha256()
    for fact in (sys.version, version("prefect"), version("pydantic"), str(PROJECT_ROOT)):
        digest.update(fact.encode() + b"\0")
    files = [path for package in _PACKAGES for path in (PROJECT_ROOT / package).rglob("*.py")]
    for path in [PROJECT_ROOT / "prefect.yaml", PROJECT_ROOT / "settings.py", *sorted(files)]:
        digest.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def describe() -> Descriptions:
    """Imports every flow of prefect.yaml and describes it."""
    from prefect.flows import Flow, load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    described = {}
    for entrypoint in dict.fromkeys(spec["entrypoint"] for spec in project_deployments()):
        flow: Flow[..., Any] = load_flow_from_entrypoint(str(PROJECT_ROOT / entrypoint))
        schema = parameter_schema(flow).model_dump(mode="json")
        described[entrypoint] = {"name": flow.name, "schema": schema}
    return described


def descriptions(home: Path, digest: str) -> Descriptions:
    """The result of `describe`, from where it is kept if nothing has changed since.

    Raises:
        StackError: a flow cannot be imported; the message has the error.
    """
    places = [Path(sys.prefix) / "share" / "twezah" / "flows.json", home / "prefect" / "flows.json"]
    for place in places:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(place.read_text())
            if record["digest"] == digest:
                return dict(record["flows"])
    flows = _described_elsewhere()
    for place in places:
        try:
            _keep(place, json.dumps({"digest": digest, "flows": flows}))
        except OSError as error:
            if place == places[-1]:
                raise StackError(f"{place} cannot be written: {error.strerror}.") from error
        else:
            break
    return flows


def _described_elsewhere() -> Descriptions:
    result = subprocess.run(
        [sys.executable, "-m", "twezah.stack.flow_descriptions"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        raise StackError(f"The flows cannot be loaded: {lines[-1][:REASON_CHARACTERS_MAX]}")
    flows: Descriptions = json.loads(result.stdout.splitlines()[-1])
    return flows


def _keep(place: Path, text: str) -> None:
    """Writes the file at once, whoever else does the same now."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f"{place.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(place)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe()) + "\n")
