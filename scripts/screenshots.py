"""Takes the pictures of docs/images: a stack with simulated systems, and a headless Chromium.

    make screenshots                                        all of them, anew
    make screenshots ARGS="--only deployments --only run"   some
    .venv/bin/python -m scripts.screenshots --folder /tmp/pictures

With pngquant installed (Debian: apt-get install pngquant) they get a third of their size.
"""

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import TimeoutError as NotInTime
from playwright.sync_api import expect

from settings import PROJECT_ROOT
from tests.support.desk import Desk, browsing, open_front_page
from tests.support.served import served

WIDTH, HEIGHT = 1400, 1000
BYTES_MAX = 200000
#: An alert goes to a new block within half a minute.
ALERTS_SECONDS_MAX = 60
#: New connections are synchronised at once, one after the other.
FIRST_RUNS_SECONDS_MAX = 600
#: A page fills in and fades in; its picture is taken once its text and its animations have been at
#: rest for a second, or after 15 s.
AT_REST = """() => new Promise(done => {
    let before = null, same = 0, looks = 0
    const look = () => {
        looks += 1
        const moving = document.getAnimations().filter(one => one.playState == 'running').length
        const now = document.body.innerText + moving
        same = now == before ? same + 1 : 0
        before = now
        same < 5 && looks < 75 ? setTimeout(look, 200) : done(true)
    }
    look()
})"""

#: Pages that are there from the start, by address.
PAGES = {
    "connection": "/blocks/catalog/xero-connection/create",
}
#: Pages that a deployment writes: name of the picture -> (deployment, key of its artifact).
REPORTS = {
    "report": ("sync-xero", "sync-xero"),
    "audit-log": ("audit-log", "audit-log"),
    "billing-systems": ("pages", "billing-systems"),
    "sync-status": ("pages", "sync-status"),
}


def deployments(desk):
    """Those of the billing systems, after each has run."""
    for system in ("quickbooks", "freshbooks", "netsuite", "sage-intacct", "custom"):
        desk.quick_run(f"sync-{system}")
        desk.await_state("Completed")
    desk.open("/deployments")
    desk.page.get_by_role("searchbox").fill("sync-")
    expect(desk.page.get_by_role("link", name="connect", exact=True)).to_have_count(
        0
    )  # the list has followed


def run(desk):
    """A good run."""
    desk.quick_run("sync-xero")
    desk.await_state("Completed")


def custom_run(desk):
    """The form of a run."""
    desk.open_deployment("sync-xero")
    desk.press("Run")
    desk.page.get_by_role("button", name="Custom run", exact=True).click()


def failed(desk):
    """A run that was refused, and what its report says."""
    block = block_page(desk, "freshbooks")
    desk.edit_block(block, Client_secret="wrong")  # noqa: S106 - that is the point
    desk.quick_run("sync-freshbooks")
    desk.await_state("Failed")
    desk.read_report()


def automations(desk):
    """What is told, and that it goes to the block `alerts`."""
    block = desk.create_alerts("http://127.0.0.1:9/alerts")
    deadline = time.monotonic() + ALERTS_SECONDS_MAX
    while not any(
        block in json.dumps(row["actions"]) for row in ask(desk, "/automations/filter", {})
    ):
        if time.monotonic() > deadline:
            raise RuntimeError("no automation has begun to use the block `alerts`")
        time.sleep(1)
    desk.open("/automations")


#: Pages that are come to by clicking: name of the picture -> how.
WALKS = {
    "run": run,
    "deployments": deployments,
    "custom-run": custom_run,
    "failed": failed,
    "automations": automations,
}
#: The front page, by the width and height of the screen.
FRONT = {
    "front-page": (WIDTH, HEIGHT),
    "front-page-phone": (390, 844),
}
NAMES = (*WALKS, *PAGES, *REPORTS, *FRONT)


def ask(desk, path, body):
    """The answer of Prefect's API to a POST of `body`."""
    url, data = f"{desk.ui_url}/api{path}", json.dumps(body).encode()
    token = base64.b64encode(desk.auth_string.encode()).decode()
    headers = {"content-type": "application/json", "authorization": f"Basic {token}"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
        return json.load(answer)


def block_page(desk, name):
    """The address of a block's page."""
    blocks = ask(desk, "/block_documents/filter", {"include_secrets": False})
    return next("/blocks/block/%s" % block["id"] for block in blocks if block["name"] == name)


def report_page(desk, deployment, key):
    """The address of the newest artifact with this key.

    The deployment runs first where the page shows the present, or where there is no artifact yet.
    """
    wanted = {"artifacts": {"key": {"any_": [key]}}}
    if deployment == "pages" or not ask(desk, "/artifacts/latest/filter", wanted):
        desk.quick_run(deployment)
        desk.await_state("Completed")
    return "/artifacts/artifact/%s" % ask(desk, "/artifacts/latest/filter", wanted)[0]["latest_id"]


def show(desk, name):
    """Brings a page to the screen."""
    if name in WALKS:
        WALKS[name](desk)
    elif name in PAGES:
        desk.open(PAGES[name])
    else:
        desk.open(report_page(desk, *REPORTS[name]))
    # without the notices in its corner
    desk.page.add_style_tag(content="#prefect-design-toast-app { display: none }")


def take_front_page(desk, settings, size, target):
    """Writes the front page as a PNG, once each connection has been synchronised."""
    page = desk.page.context.new_page()
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    open_front_page(page, settings)
    deadline = time.monotonic() + FIRST_RUNS_SECONDS_MAX
    while page.locator('td[data-label="Last success"]', has_not_text="ago").count():
        if time.monotonic() > deadline:
            raise RuntimeError("not every connection has been synchronised")
        time.sleep(2)
        page.reload()
    take(page, target)
    page.close()


def take(page, target):
    """Writes the page as a PNG, once it has come to rest."""
    page.evaluate(AT_REST)
    page.screenshot(path=target)
    if shutil.which("pngquant"):
        command = [
            "pngquant",
            "--force",
            "--ext",
            ".png",
            "--quality",
            "60-90",
            "--strip",
            str(target),
        ]
        subprocess.run(command, check=False)
    if target.stat().st_size > BYTES_MAX:
        print("%s has more than %d bytes; install pngquant" % (target, BYTES_MAX), file=sys.stderr)


def main(arguments=None):
    """Takes the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=PROJECT_ROOT / "docs" / "images", help="where they go"
    )
    parser.add_argument("--only", action="append", choices=NAMES, help="only this one (repeatable)")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            with (
                served(Path(folder) / "home", "--simulator") as settings,
                browsing(WIDTH, HEIGHT) as page,
            ):
                pictures = Path(tempfile.gettempdir()) / "twezah-screenshots"
                desk = Desk(page, settings.ui_url, pictures, settings.prefect_auth_string({}))
                desk.log_in()
                for name in [name for name in NAMES if name in (options.only or NAMES)]:
                    target = options.folder / f"{name}.png"
                    with desk.step("taking %s" % name):
                        if name in FRONT:
                            take_front_page(desk, settings, FRONT[name], target)
                        else:
                            show(desk, name)
                            take(desk.page, target)
                    print(target, flush=True)
        except (RuntimeError, BrowserError, NotInTime, AssertionError) as error:
            notes = "\n".join(getattr(error, "__notes__", ()))
            print(f"screenshots: {error}\n{notes}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
