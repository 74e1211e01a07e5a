"""`python -m scripts.systems`: writes what is made of the folders in connectors/.

- the deployments `sync-<system>` and `connect` in prefect.yaml
- the table of systems in README.md
- docs/systems/<system>.md, from `guide.md` and `form.py` (links in a `guide.md` are therefore
  written as from docs/systems/)
- the fields of the forms in docs/configuration.md

Run it after adding a system, or changing a form or a guide. A test says when it was forgotten.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from connectors import SYSTEMS
from connectors.forms import forms
from connectors.kit.errors import block_name
from connectors.kit.spec.form import Form
from connectors.registry import DESCRIBED_WEBHOOKS, WEBHOOKS
from panel.blocks import guide
from panel.connect.webhook_address import subscribes
from panel.markdown import table
from settings import PROJECT_ROOT

CONNECTORS: Final = PROJECT_ROOT / "connectors"
README: Final = "README.md"
DEPLOYMENTS: Final = "prefect.yaml"
CONFIGURATION: Final = "docs/configuration.md"
PAGES: Final = "docs/systems"
_README_MARKS: Final = ("<!-- systems: begin -->\n", "<!-- systems: end -->")
_YAML_MARKS: Final = (
    "  # {part}: begin. Written by `python -m scripts.systems`: edit connectors/ instead.\n",
    "  # {part}: end\n",
)
_ACCESS: Final = {
    "consent": "someone consents in a browser",
    "key": "keys or a certificate",
    "described": "you describe it in the block",
}
#: What the deployment of a vendor says, where the folder has no `deployment.md` of its own. One
#: paragraph a line: Prefect's UI keeps line breaks.
_DEPLOYMENT: Final = """\
**Brings the sales of {title} into the points ledger**, every 5 minutes once connected.

- **Connect**: create a *{block}* block named `{name}` \
([new block](/blocks/catalog/{slug}/create)). Its first run and its schedule start by themselves \
within half a minute.
- **How often**: edit the schedule on the right, from 1 to 60 minutes. Your setting survives \
restarts.
- **What happened**: the [reports](/artifacts/key/sync-{name}), newest on top: fetched, changed, \
rejected and why, points. Also under *Artifacts* of each run.
- **A run failed**: its message says what to do. {refusals} or *PermissionMissing*: correct the \
[block](/blocks) and press **Retry**. Anything else: press **Retry**; it goes on where it stopped. \
Running it twice never counts a sale twice.
- **Older sales**: *Run, Custom run*, and set `since` (and `until`).
"""

#: The deployment of those systems that someone lets us into with a browser.
_CONNECT: Final = """\
  - <<: *by_hand
    name: connect
    entrypoint: flows/connect.py:connect
    # They listen on one port.
    concurrency_limit: {{ limit: 1, collision_strategy: ENQUEUE }}
    tags: [billing, connection]
    description: |
      **Connects an account of {titles}**: consent in the browser, then a test.

      1. Register an application at the vendor and note its client ID and secret ({links}).
      2. Create its [block](/blocks/catalog): client ID and client secret are enough, and what the \
form marks as needed. Name it after the system (`xero`), a further account as you like \
(`xero-lisboa`).
      3. *Run, Custom run* with the block's name. Open the link in the run's artifact and allow \
access, in a browser on the machine that runs this.

      The run ends with the account found and the result of [the test](/deployments). The first \
synchronisation and the schedule then start by themselves within half a minute.

      **A run failed**: its message says what to correct, and where; then press **Retry**. \
*Refused*: nothing was changed; start another run with other values.
"""


def generated() -> dict[str, str]:
    """Every file that is made of the folders, whole, by its path in the project."""
    return {
        DEPLOYMENTS: _prefect_yaml(_read(DEPLOYMENTS)),
        README: _between(_read(README), _README_MARKS, f"\n{_overview()}\n\n"),
        CONFIGURATION: guide.renewed(_read(CONFIGURATION)),
        **{f"{PAGES}/{name}.md": _page(name, form) for name, form in forms().items()},
    }


def stale() -> list[str]:
    """Files that are not as the folders say, and pages of systems that are gone."""
    wanted = generated()
    changed = [path for path, text in wanted.items() if _read(path) != text]
    return changed + [path for path in _pages() if path not in wanted]


def title(system: str, form: Form) -> str:
    """What people call the system."""
    return SYSTEMS[system].title if system in SYSTEMS else form.block.removesuffix(" Connection")


def _prefect_yaml(text: str) -> str:
    for part, content in (("consent", _connect()), ("systems", "".join(_deployments()))):
        begin, end = (mark.format(part=part) for mark in _YAML_MARKS)
        text = _between(text, (begin, end), content)
    return text


def _connect() -> str:
    specs = [SYSTEMS[system] for system in forms() if system in SYSTEMS]
    consents = {spec.title: spec.consent for spec in specs if spec.consent}
    links = [
        f"[{name}]({consent.register_url})"
        for name, consent in consents.items()
        if consent.register_url
    ]
    *names, last = consents
    return _CONNECT.format(titles=f"{', '.join(names)} or {last}", links=", ".join(links))


def _deployments() -> Iterator[str]:
    for system, form in forms().items():
        name = block_name(system)
        lines = _description(system, form, name).splitlines()
        text = "\n".join(f"      {line}".rstrip() for line in lines)
        yield (
            "  - <<: *sync\n"
            f"    name: sync-{name}\n"
            f"    parameters: {{ system: {name} }}\n"
            f"    tags: [billing, {name}]\n"
            f"{'    schedules: []' + chr(10) if form.pushed_only else ''}"
            "    description: |\n"
            f"{text}\n"
        )


def _description(system: str, form: Form, name: str) -> str:
    own = CONNECTORS / system / "deployment.md"
    if own.exists():
        return _paragraphs(own.read_text(encoding="utf-8"))
    refusals = ", ".join(f"*{error}*" for error in form.refusals)
    values = {"block": form.block, "slug": form.slug, "name": name, "refusals": refusals}
    return _DEPLOYMENT.format(title=title(system, form), **values)


def _paragraphs(markdown: str) -> str:
    """The text with one line a paragraph or item."""
    return re.sub(r"(?<=\S)\n(?![\n-]|$) *", " ", markdown)


def _overview() -> str:
    rows = []
    for system, form in forms().items():
        announced = system in WEBHOOKS or system in DESCRIBED_WEBHOOKS
        rows.append(
            [
                f"[{title(system, form)}]({PAGES}/{system}.md)",
                f"`{block_name(system)}`",
                _ACCESS[form.access],
                _arrival(form, announced=announced),
            ]
        )
    return table(["System", "Name of the block", "How we are let in", "Sales arrive"], rows)


def _arrival(form: Form, *, announced: bool) -> str:
    if form.pushed_only:
        return "within a second"
    return "within a second, or polled" if announced else "polled"


def _page(system: str, form: Form) -> str:
    name = block_name(system)
    steps = (CONNECTORS / system / "guide.md").read_text(encoding="utf-8").strip()
    lines = [
        f"<!-- Written by `python -m scripts.systems` from connectors/{system}/: edit that. -->",
        f"# {title(system, form)}",
        f"Block: *{form.block}*, named `{name}`. Deployment: `sync-{name}`.",
        f"How we are let in: {_ACCESS[form.access]}.",
        "## Connecting it",
        steps,
    ]
    if form.webhook_hint:
        lines += ["## Webhooks", f"Its sales can become points within a second. {_how(system)}"]
    lines += ["## Fields of the block", guide.own_table(system)]
    lines += ["What every block has besides: [configuration](../configuration.md#all-systems)."]
    return "\n\n".join(lines) + "\n"


def _how(system: str) -> str:
    """Who has the system's webhooks sent here."""
    if subscribes(system):
        return (
            "Where this installation has a public https address, they are [subscribed by "
            "themselves](../webhooks.md#by-itself)."
        )
    return (
        "There is no API here that subscribes them: a person enters the address there "
        "([how](../webhooks.md))."
    )


def _pages() -> list[str]:
    return sorted(f"{PAGES}/{path.name}" for path in (PROJECT_ROOT / PAGES).glob("*.md"))


def _between(text: str, marks: tuple[str, str], content: str) -> str:
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise SystemExit(f"the marks {marks[0].strip()} and {marks[1].strip()} are missing")
    return f"{before}{begin}{content}{end}{after}"


def _read(path: str) -> str:
    file = PROJECT_ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else ""


def main() -> int:
    """Writes what is stale, and says what."""
    wanted = generated()
    for path in stale():
        file = PROJECT_ROOT / Path(path)
        if path in wanted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted[path], encoding="utf-8")
        else:
            file.unlink()
        print(f"{'wrote' if path in wanted else 'removed'} {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
