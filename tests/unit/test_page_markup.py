"""A page of the panel as HTML: cells with their headings, links to Prefect, no HTML of the text's."""

import re

from api.front_page import PAGE
from api.page_markup import CHARACTERS_MAX, to_html
from panel.pages.publish import SYSTEMS

UI = "http://127.0.0.1:4200"


def test_each_cell_has_the_heading_of_its_column() -> None:
    html = to_html("| A | B |\n| --- | --- |\n| **x** | y \\| z |\n", UI)
    assert re.findall(r'<td data-label="(.)" data-text="([^"]*)">(.*?)</td>', html) == [
        ("A", "x", "<strong>x</strong>"),
        ("B", "y | z", "y | z"),
    ]


def test_headings_are_those_of_the_same_table() -> None:
    table = "| {} |\n| --- |\n| x |\n\nBetween.\n\n"
    html = to_html(table.format("First") + table.format("Second"), UI)
    assert re.findall(r'data-label="(\w+)"', html) == ["First", "Second"]


def test_links_of_the_panel_lead_to_prefect_and_others_tell_nothing() -> None:
    html = to_html("[a](/runs) [b](https://x.example/y) [c](//evil.example)", UI)
    assert f'<a href="{UI}/runs">a</a>' in html
    assert '<a href="https://x.example/y" rel="noopener noreferrer">' in html
    assert '<a href="//evil.example" rel="noopener noreferrer">' in html


def test_a_text_brings_no_html_no_programs_and_no_pictures() -> None:
    html = to_html(
        "<script>alert(1)</script> <b>x</b> ![p](https://x/p.png) [q](javascript:alert(1))\n\n"
        '| "><script> |\n| --- |\n| "><img src=x> |\n',
        UI,
    )
    assert not re.search(r"<(script|b|img)\b|href=.javascript", html)
    assert 'data-text="&quot;&gt;&lt;img src=x&gt;"' in html


def test_a_page_without_end_is_cut() -> None:
    assert len(to_html("x" * (2 * CHARACTERS_MAX), UI)) < CHARACTERS_MAX + 20


def test_the_page_is_the_one_that_the_panel_writes() -> None:
    assert PAGE == SYSTEMS
