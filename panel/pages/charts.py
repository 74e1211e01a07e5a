"""Charts as SVG inside a page: Prefect's UI shows an image whose address holds all of it."""

import re
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree import ElementTree  # noqa: ICN001 - as elsewhere, by its name

import pygal
from pygal.etree import etree
from pygal.style import Style

# pygal leaves an outdated import hook behind, which makes every later import warn. Only pygal's
# plugins need it, and we use none.
sys.meta_path[:] = [hook for hook in sys.meta_path if type(hook).__name__ != "PluginImportFixer"]

# pygal prefers lxml where that is installed, whose elements the code below could not write.
etree.to_etree()

#: Grey that can be read on the light and on the dark theme.
_GREY: Final = "#858c97"
GOOD, BAD = "#2f9e64", "#d64545"
#: One for each connection, in this order.
_COLORS: Final = (
    "#4c8dff",
    "#f2a33c",
    "#9b6bdf",
    "#22b8a6",
    "#e8628f",
    "#8aa53b",
    "#c27c4e",
    "#6c7a89",
)
_WIDTH, _HEIGHT = 860, 220
#: Elements that only a pointer or a script would use: an image has neither.
_UNSEEN: Final = ("<function", "desc", "title", "script")
#: pygal writes coordinates to a hundredth of a pixel or finer; a tenth is enough, and smaller.
_DECIMALS: Final = re.compile(r"(\d\.\d)\d+")
#: Labels on the axis; more would overlap.
_LABELS_MAX: Final = 12


def bars(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[int]],
    colors: Sequence[str] = _COLORS,
) -> str:
    """Stacked bars, one per slot of time, as Markdown.

    Args:
        title: Stands above the chart.
        labels: Name of each slot.
        series: Values of each slot, by name of the series; empty: there is no chart.
        colors: Of the series, in their order.
    """
    chart = pygal.StackedBar(**_options(labels, colors), spacing=6)
    return _image(chart, title, labels, series)


def lines(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[int | None]],
    colors: Sequence[str],
) -> str:
    """Lines as Markdown; arguments as of `bars`. A line is interrupted where a value is None."""
    chart = pygal.Line(
        **_options(labels, colors),
        dots_size=1.6,
        stroke_style={"width": 2},
        allow_interruptions=True,
    )
    return _image(chart, title, labels, series)


def _options(labels: Sequence[str], colors: Sequence[str]) -> dict[str, object]:
    style = Style(
        background="transparent", plot_background="transparent", foreground=_GREY,
        foreground_strong=_GREY, foreground_subtle="#85858555", colors=tuple(colors),
        opacity=".9", guide_stroke_color="#85858566", guide_stroke_dasharray="2,4",
        font_family="Inter, Helvetica, Arial, sans-serif", label_font_size=11,
        major_label_font_size=11, legend_font_size=12, no_data_font_size=20, transition="0s",
    )  # fmt: skip
    return {
        "style": style, "js": [], "no_prefix": True, "width": _WIDTH, "height": _HEIGHT,
        "margin": 6, "margin_bottom": 26, "show_legend": True, "legend_box_size": 11,
        "legend_at_bottom": True, "legend_at_bottom_columns": 7,
        "x_labels_major_every": -(-len(labels) // _LABELS_MAX),
        "show_minor_x_labels": False, "truncate_label": -1, "truncate_legend": 22,
        "min_scale": 3, "max_scale": 5, "print_values": False, "no_data_text": "nothing yet",
        "disable_xml_declaration": True, "pretty_print": False,
        "value_formatter": _number, "include_x_axis": True,
    }  # fmt: skip


def _number(value: float) -> str:
    """`12`, `3.4 k`, `18 M`: as few characters as tell values apart."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:.1f}".removesuffix(".0")


def _image(
    chart: pygal.Graph,
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[int | None]],
) -> str:
    if not series:
        return f"### {title}\n\nNone."
    chart.x_labels = list(labels)
    for name, values in series.items():
        chart.add(name, list(values))
    drawing = chart.render_tree()
    _remove_unseen(drawing)
    svg = _DECIMALS.sub(
        r"\1", ElementTree.tostring(drawing, encoding="unicode").replace(' rx="0" ry="0"', "")
    )
    # In base64, because an address with a blank in it is no image in Markdown.
    return (
        f"### {title}\n\n![{title}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"
    )


def _remove_unseen(element: ElementTree.Element) -> None:
    """Removes what only a pointer or a script would use."""
    for child in list(element):
        name = str(child.tag).rpartition("}")[2]  # (a comment's tag is a function)
        if name.startswith(_UNSEEN) or (name == "rect" and child.get("height") in ("0", "0.0")):
            element.remove(child)
        else:
            _remove_unseen(child)
