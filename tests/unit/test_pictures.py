"""The pictures of the documentation: each that is shown exists, each that exists is shown, and none is heavy."""

import re

from settings import PROJECT_ROOT as ROOT

FOLDER = ROOT / "docs" / "images"
BYTES_MAX = 200_000


def test_every_picture_shown_exists_and_every_picture_is_shown() -> None:
    shown = set()
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for description, link in re.findall(
            r"!\[([^\]]*)\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")
        ):
            picture = (document.parent / link).resolve()
            assert picture.is_file(), f"{document.name} shows {link}, which does not exist"
            assert len(description) > 15, (
                f"{document.name}: say what {link} shows, for those who cannot see it"
            )
            shown.add(picture)
    assert shown, "the guides show no picture at all"
    assert set(FOLDER.iterdir()) - shown == set(), (
        "shown nowhere: remove it, and its line in scripts/screenshots.py"
    )


def test_pictures_are_png_and_light() -> None:
    for picture in FOLDER.iterdir():
        content = picture.read_bytes()
        assert content.startswith(b"\x89PNG\r\n"), picture
        assert len(content) < BYTES_MAX, f"{picture}: install pngquant and run `make screenshots`"


def test_every_picture_is_taken_by_the_command() -> None:
    text = (ROOT / "scripts" / "screenshots.py").read_text(encoding="utf-8")
    assert [one.name for one in FOLDER.iterdir() if f'"{one.stem}":' not in text] == []
