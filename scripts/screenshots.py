"""Takes pictures of Prefect's UI with a headless Chromium, as an operator sees it.

    .venv/bin/python scripts/screenshots.py http://127.0.0.1:4200 /tmp/pictures

The stack must be up and have synced `--system` at least once; this starts nothing but the browser. With pngquant
installed the pictures are made small enough to keep in docs/images.
"""

import argparse
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import connect

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_SECONDS_MAX = 30
PAGE_SECONDS_MAX = 20
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
    "--remote-debugging-port=0",
)
#: Pages fill in and fade in; a picture is taken once the text and the animations have come to rest.
STATE = "document.body.innerText + document.getAnimations().filter(a => a.playState == 'running').length"


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
        PictureError: the system has no deployment, finished run, report or block on this server.
    """
    named = system.replace("_", "-")  # blocks and reports have no underscores
    by_name = {"deployments": {"name": {"any_": [f"sync-{named}"]}}}
    finished = {**by_name, "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    deployments = ask(ui_url, "/deployments/filter", by_name)
    runs = ask(ui_url, "/flow_runs/filter", {**finished, "sort": "START_TIME_DESC", "limit": 1})
    reports = ask(ui_url, "/artifacts/latest/filter", {"artifacts": {"key": {"any_": [f"sync-{named}"]}}})
    blocks = ask(ui_url, "/block_documents/filter", {"include_secrets": False})
    block = next((one for one in blocks if one["name"] == named), None)
    if not deployments or not runs or not reports or block is None:
        raise PictureError(f"{system} has no deployment, finished run, report or block at {ui_url}; sync it")
    deployment = f"/deployments/deployment/{deployments[0]['id']}"
    return {
        "dashboard": "/dashboard",
        "deployments": "/deployments",
        "deployment": deployment,
        "description": f"{deployment}?tab=Description",
        "custom-run": f"{deployment}/run",
        "runs": "/runs",
        "run": f"/runs/flow-run/{runs[0]['id']}",
        "run-details": f"/runs/flow-run/{runs[0]['id']}?tab=Details",
        "reports": f"/artifacts/key/sync-{named}",
        "report": f"/artifacts/artifact/{reports[0]['latest_id']}",
        "blocks": "/blocks",
        "block": f"/blocks/block/{block['id']}",
        "block-edit": f"/blocks/block/{block['id']}/edit",
    }


@contextmanager
def browser(width, height):
    """A function that sends a DevTools command to one page of a fresh Chromium, and returns its result.

    Raises:
        PictureError: none is installed, or it does not start.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise PictureError("no Chromium found (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *QUIET, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_page_url(Path(profile)), max_size=None) as socket:
                numbers = itertools.count(1)

                def send(method, **params):
                    number = next(numbers)
                    socket.send(json.dumps({"id": number, "method": method, "params": params}))
                    while True:
                        answer = json.loads(socket.recv(timeout=PAGE_SECONDS_MAX))
                        if answer.get("id") == number:
                            return answer.get("result", {})

                metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                send("Emulation.setDeviceMetricsOverride", **metrics)
                yield send
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS_MAX)


def _page_url(profile):
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            port = (profile / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                found = [one for one in json.load(answer) if one["type"] == "page"]
            if found:
                return found[0]["webSocketDebuggerUrl"]
        except (OSError, IndexError):
            pass
        time.sleep(0.1)
    raise PictureError("Chromium does not start")


def take(send, url, target):
    """Writes the page at `url` as a PNG, once it has come to rest."""
    send("Page.navigate", url=url)
    deadline, before, same = time.monotonic() + PAGE_SECONDS_MAX, None, 0
    while time.monotonic() < deadline and same < 4:
        time.sleep(0.4)
        state = send("Runtime.evaluate", expression=STATE).get("result", {}).get("value")
        same = same + 1 if state == before and state else 0
        before = state
    picture = send("Page.captureScreenshot", format="png")
    target.write_bytes(base64.b64decode(picture["data"]))


def shrink(picture):
    """Makes the file a third of its size, where pngquant is installed."""
    if shutil.which("pngquant"):
        command = ["pngquant", "--force", "--ext", ".png", "--quality", "60-90", "--strip", str(picture)]
        subprocess.run(command, check=False)


def main(arguments=None):
    """Takes the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ui_url", help="Prefect's UI, e.g. http://127.0.0.1:4200")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--system", default="xero", help="whose pages to show (default: %(default)s)")
    parser.add_argument("--width", type=int, default=1600, help="pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=1200, help="pixels (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this picture (repeatable)")
    options = parser.parse_args(arguments)
    ui_url = options.ui_url.rstrip("/")
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        wanted = pages(ui_url, options.system)
        with browser(options.width, options.height) as send:
            for name in options.only or wanted:
                target = options.folder / f"{name}.png"
                take(send, ui_url + wanted[name], target)
                shrink(target)
                print(target)
    except (OSError, PictureError, TimeoutError) as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
