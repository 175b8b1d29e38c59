"""Reports: tables as Markdown, plots as SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import attrs

from benchmarks.figures import Figure, Missing
from benchmarks.report import Table, markdown, save, svg, told, without_figure

TABLE = Table(
    name="serving",
    title="End to end",
    note="In the median of 7 turns.",
    headings=("server", "per second", "x bare"),
    rows=[["bare", "13,073", "1.00"], ["bridge", "6,432", "0.44"]],
)
SVG = "{http://www.w3.org/2000/svg}"


def bars(table):
    """Return the width of each bar in a plot."""
    return [rect.get("width") for rect in ET.fromstring(svg(table)).iter(f"{SVG}rect")]


def test_a_table_in_markdown():
    """A section has a title, a note, and a table whose figures stand on the right."""
    assert markdown(TABLE) == (
        "## End to end\n"
        "\n"
        "In the median of 7 turns.\n"
        "\n"
        "| server | per second | x bare |\n"
        "|---|---:|---:|\n"
        "| bare | 13,073 | 1.00 |\n"
        "| bridge | 6,432 | 0.44 |\n"
    )


def test_a_reason_breaks_no_table():
    """What a program said when it failed stays in its cell, lines and bars and all."""
    row = without_figure(("bridge",), "wrk failed: no\nsuch | file", 3)
    text = markdown(attrs.evolve(TABLE, rows=[row]))
    assert text.endswith("\n| bridge | no figure: wrk failed: no such \\| file |  |\n")


def test_a_ratio_in_a_cell():
    """A cell tells the median of the turns, or that there is none."""
    assert told(Figure((0.4, 0.9, 0.5))) == "0.50"
    assert told(Missing("3 requests refused")) == "no figure"


def test_bars_share_one_scale():
    """The longest bar takes the whole width of 420, and one of half its value half of that."""
    assert bars(attrs.evolve(TABLE, bars=[("bare", 2.0), ("bridge", 1.0)])) == ["420.0", "210.0"]


def test_names_in_a_plot_are_escaped():
    """A name with characters of XML's own is still the name in the plot."""
    table = attrs.evolve(TABLE, bars=[("a < b & c", 1.0)])
    words = [text.text for text in ET.fromstring(svg(table)).iter(f"{SVG}text")]
    assert "a < b & c" in words


def test_what_is_written(tmp_path):
    """A folder gets one page with everything under its heading, and a plot where there are bars."""
    plotted = attrs.evolve(TABLE, name="soak", title="Soak", bars=[("after 2 s", 3.0)])
    folder = tmp_path / "results" / "soak"
    save([TABLE, plotted], "# Results\n", folder)
    assert sorted(file.name for file in folder.iterdir()) == ["results.md", "soak.svg"]
    page = (folder / "results.md").read_text()
    assert page == "\n".join(["# Results\n", markdown(TABLE), markdown(plotted)])
