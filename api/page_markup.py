"""A page of the panel, which is Markdown, as HTML that a phone can show.

Each cell of a table carries the heading of its column, so that a style sheet can show a row as a
card. Nothing in the text becomes HTML of its own, and nothing is loaded from elsewhere.
"""

from collections.abc import Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

#: Longer pages are cut: those of the panel have some 20,000 characters.
CHARACTERS_MAX: Final = 1_000_000
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def to_html(markdown: str, ui_url: str) -> str:
    """The page as HTML, without `<html>` and `<body>`.

    Args:
        markdown: The page.
        ui_url: Base URL of Prefect's UI: links that begin with `/` lead there.
    """
    tokens = _MARKDOWN.parse(markdown[:CHARACTERS_MAX])
    _label_cells(tokens)
    for token in tokens:
        for child in token.children or ():
            if child.type == "link_open":
                _direct(child, ui_url)
    html: str = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return html


def _label_cells(tokens: Sequence[Token]) -> None:
    """Gives each cell the heading of its column, and the text that a style may depend on."""
    headings: list[str] = []
    column = 0
    for position, token in enumerate(tokens):
        if token.type == "thead_open":
            headings = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            headings.append(_text(tokens[position + 1]))
        elif token.type == "td_open":
            token.attrSet("data-label", headings[column] if column < len(headings) else "")
            token.attrSet("data-text", _text(tokens[position + 1]))
            column += 1


def _text(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ()).strip()


def _direct(link: Token, ui_url: str) -> None:
    href = str(link.attrGet("href") or "")
    if href.startswith("/") and not href.startswith("//"):
        link.attrSet("href", ui_url + href)
    else:
        link.attrSet("rel", "noopener noreferrer")
