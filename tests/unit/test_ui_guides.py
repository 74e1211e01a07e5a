"""The guides as pages of Prefect's UI: links that work there, lines and tables as it shows them, written only when they changed."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from panel.pages import guides, publish
from panel.pages.guide_markdown import for_prefect_ui
from settings import PROJECT_ROOT


class TestGuides:
    def test_links_work_in_the_ui_or_are_words(self) -> None:
        text = (
            "[a](configuration.md#fields) [b](runbook/webhooks.md) [c](../README.md) [d](https://x.example/y) [e](#here) [f](analysts.md) "
            "![g](images/x.png) `[h]` [i](/artifacts)"
        )
        known = {"guide-configuration": "1", "guide-runbook": "2", "guide-operations": "3"}
        assert guides.with_ui_links(text, "operations.md", known) == (
            "[a](/artifacts/artifact/1) [b](/artifacts/artifact/2) c [d](https://x.example/y) e f  `[h]` [i](/artifacts)"
        )
        # From within a folder; a page of the same guide is on this page.
        found = guides.with_ui_links(
            "[a](../operations.md) [b](webhooks.md)", "runbook/*.md", known
        )
        assert found == "[a](/artifacts/artifact/3) b"

    def test_lines_are_joined_and_wide_tables_are_lists(self) -> None:
        wide = "x" * 140
        text = (
            "# A\nOne\ntwo.\n\n1. item\n   goes on\n2. next\n- **b**\n  and c\n```console\n$ a\nb\n```\nend\n\n"
            f"| H | I |\n|---|---|\n| a | b |\n\n| H | I | J |\n| --- | --- | --- |\n| a | | {wide} |\n| c \\| d | e | f |\n"
        )
        assert for_prefect_ui(text).splitlines() == [
            "", "# A", "One two.", "", "1. item goes on", "2. next", "- **b** and c", "```console", "$ a", "b", "```", "", "end", "",
            "| H | I |", "|---|---|", "| a | b |", "", f"- a. J: {wide}", "- c \\| d. I: e; J: f",
        ]  # fmt: skip

    def test_of_the_guides_of_this_product_only_lines_and_tables_change(self) -> None:
        for file in (PROJECT_ROOT / "docs").rglob("*.md"):
            text = file.read_text(encoding="utf-8")
            # (Headings of tables may be left out, or said in each line.)
            rows = r"(?m)^\|.*\n\|[ |-]+$"
            before = re.findall(r"\w+", re.sub(rows, "", text))
            after = iter(re.findall(r"\w+", for_prefect_ui(text)))
            assert all(word in after for word in before), file  # in this order

    def test_every_guide_is_there(self) -> None:
        docs = PROJECT_ROOT / "docs"
        assert all(list(docs.glob(pattern)) for _, pattern in guides.GUIDES.values())
        assert set(publish.GUIDE_KEYS) <= guides.GUIDES.keys()

    def test_only_what_changed_is_written(self, tmp_path: Path) -> None:
        class Client:
            """Prefect's artifacts: key -> [id, description, text]."""

            def __init__(self) -> None:
                self.held: dict[str, list[str]] = {}
                self.writes = 0

            def request(self, *_: object, **__: object) -> Any:
                rows = [
                    {"key": key, "latest_id": one[0], "description": one[1]}
                    for key, one in self.held.items()
                ]
                return SimpleNamespace(json=lambda: rows)

            def create_artifact(self, made: Any) -> Any:
                self.held[made.key] = [str(uuid4()), made.description, made.data]
                return SimpleNamespace(id=self.held[made.key][0])

            def update_artifact(self, artifact: UUID, change: Any) -> None:
                self.writes += 1
                one = next(one for one in self.held.values() if one[0] == str(artifact))
                one[1:] = [change.description, change.data]

        client: Any = Client()
        (tmp_path / "operations.md").write_text("See [c](configuration.md).")
        (tmp_path / "configuration.md").write_text("Words.")
        assert guides.renew(client, tmp_path) == 2
        assert (
            f"/artifacts/artifact/{client.held['guide-configuration'][0]}"
            in client.held["guide-operations"][2]
        )
        assert (guides.renew(client, tmp_path), client.writes) == (0, 2)
        (tmp_path / "configuration.md").write_text("Other words.")
        assert (guides.renew(client, tmp_path), client.writes) == (1, 3)
        assert guides.renew(client, tmp_path / "nowhere") == 0
