"""Takes pictures of Prefect's UI with a headless Chromium, as an operator sees it.

    python scripts/screenshots.py http://127.0.0.1:4200 /tmp/pictures

The stack must be up and have synced `--system` at least once; this starts nothing but the browser. With pngquant
installed the pictures are made small enough to keep in docs/images.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER_SECONDS_MAX = 120
#: Without these a fresh profile talks to its maker, or does not start as root or without a graphics card.
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Pages fade in; a picture taken half way through is dark.
    "--force-prefers-reduced-motion",
    "--run-all-compositor-stages-before-draw",
)


class PictureError(RuntimeError):
    """A picture could not be taken; the message says why."""


def ask(ui_url, path, body):
    """The answer of Prefect's API under `ui_url` to a POST of `body`."""
    request = urllib.request.Request(
        f"{ui_url}/api{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def pages(ui_url, system):
    """Name of each picture -> path of its page.

    Raises:
        PictureError: the system has no deployment, run or block on this server.
    """
    by_name = {"deployments": {"name": {"any_": [f"sync-{system}"]}}}
    latest = {**by_name, "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    deployments = ask(ui_url, "/deployments/filter", by_name)
    runs = ask(ui_url, "/flow_runs/filter", {**latest, "sort": "START_TIME_DESC", "limit": 1})
    reports = ask(ui_url, "/artifacts/latest/filter", {"artifacts": {"key": {"any_": [f"sync-{system}"]}}})
    blocks = ask(ui_url, "/block_documents/filter", {"include_secrets": False})
    block = next((one for one in blocks if one["name"] == system), None)
    if not deployments or not runs or not reports or block is None:
        raise PictureError(f"{system} has no deployment, finished run, report or block at {ui_url}; sync it first")
    deployment = f"/deployments/deployment/{deployments[0]['id']}"
    return {
        "dashboard": "/dashboard",
        "deployments": "/deployments",
        "deployment": deployment,
        "deployment-description": f"{deployment}?tab=Description",
        "deployment-run": f"{deployment}/run",
        "runs": "/runs",
        "run": f"/runs/flow-run/{runs[0]['id']}",
        "run-artifacts": f"/runs/flow-run/{runs[0]['id']}?tab=Artifacts",
        "run-details": f"/runs/flow-run/{runs[0]['id']}?tab=Details",
        "reports": f"/artifacts/key/sync-{system}",
        "report": f"/artifacts/artifact/{reports[0]['latest_id']}",
        "blocks": "/blocks",
        "catalog": "/blocks/catalog",
        "block": f"/blocks/block/{block['id']}",
        "block-edit": f"/blocks/block/{block['id']}/edit",
    }


def find_browser():
    """Path of a Chromium.

    Raises:
        PictureError: none is installed.
    """
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    raise PictureError("no Chromium found (Debian: apt-get install chromium)")


def take(browser, url, target, size):
    """Writes the page at `url` as a PNG; each picture gets a profile of its own, so no page remembers another.

    Raises:
        PictureError: the browser wrote nothing.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            browser,
            *QUIET,
            f"--window-size={size}",
            "--virtual-time-budget=15000",
            f"--user-data-dir={profile}",
            f"--screenshot={target}",
            url,
        ]
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=BROWSER_SECONDS_MAX, check=False
        ).stderr
    if not target.exists():
        raise PictureError(f"no picture of {url}: {said.strip()[-500:]}")


def shrink(picture):
    """Makes the file about a quarter of its size, where pngquant is installed."""
    if shutil.which("pngquant"):
        command = ["pngquant", "--force", "--ext", ".png", "--quality", "60-90", "--strip", str(picture)]
        subprocess.run(command, check=False)


def main(arguments=None):
    """Takes the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ui_url", help="Prefect's UI, e.g. http://127.0.0.1:4200")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--system", default="xero", help="whose pages to show (default: %(default)s)")
    parser.add_argument("--size", default="1600,1200", metavar="W,H", help="pixels (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this picture (repeatable)")
    options = parser.parse_args(arguments)
    ui_url = options.ui_url.rstrip("/")
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        browser = find_browser()
        for name, path in pages(ui_url, options.system).items():
            if options.only and name not in options.only:
                continue
            target = options.folder / f"{name}.png"
            target.unlink(missing_ok=True)
            take(browser, ui_url + path, target, options.size)
            shrink(target)
            print(target)
    except (OSError, PictureError, subprocess.TimeoutExpired) as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
