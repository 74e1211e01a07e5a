"""What the product is made of, and what is known to be wrong with it.

    python -m scripts.supply_chain sbom sbom.json     # CycloneDX 1.5, with the hash of each file
    python -m scripts.supply_chain vulnerabilities    # asks the OSV database about each version

Both read uv.lock with the uv that the set-up fetched, and only what is installed to run the product.
Exit codes of `vulnerabilities`: 0 none is known; 1 some are known; 4 the database could not be
asked, and nothing is known either way.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NONE_KNOWN, KNOWN, NOT_ASKED = 0, 1, 4
#: What uv says when it reached nobody who could answer.
_UNREACHED = ("error sending request", "dns error", "tcp connect error", "timed out", "HTTP status")


def uv():
    """The uv of the set-up, or one on the path."""
    own = sorted((ROOT / ".tools").glob("uv-*/bin/uv"))
    return str(own[-1]) if own else "uv"


def sbom(target):
    """Writes the bill of materials; returns how many components it has."""
    command = [
        uv(), "export", "--frozen", "--quiet", "--no-default-groups", "--format", "cyclonedx1.5",
        "--preview-features", "sbom-export",
    ]  # fmt: skip
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    target.write_text(text, encoding="utf-8")
    return len(json.loads(text)["components"])


def vulnerabilities(service_url=None):
    """Asks about each locked version; returns the exit code and what to say."""
    command = [uv(), "audit", "--frozen", "--no-default-groups"]
    command += ["--preview-features", "audit-command"]
    if service_url:
        command += ["--service-url", service_url]
    environment = {**os.environ, "UV_HTTP_RETRIES": os.environ.get("UV_HTTP_RETRIES", "1")}
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    said = (result.stdout + result.stderr).strip()
    if result.returncode == 0:
        return NONE_KNOWN, said
    if any(text in said for text in _UNREACHED):
        return NOT_ASKED, (
            "NOT CHECKED: the database of vulnerabilities could not be reached from here. "
            "Nothing is known either way; run it where https://api.osv.dev can be reached.\n" + said
        )
    return (KNOWN if result.returncode == 1 else NOT_ASKED), said


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sbom").add_argument("file", type=Path)
    commands.add_parser("vulnerabilities").add_argument("--service-url")
    options = parser.parse_args()
    if options.command == "sbom":
        print(f"{options.file}: {sbom(options.file)} components")
        return 0
    code, text = vulnerabilities(options.service_url)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
