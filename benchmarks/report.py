"""Tables and plots of what was measured: for people in the terminal, as Markdown, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table as RichTable

_COLUMNS = 160  # wide enough that no figure is cut, also where no terminal is
_BAR, _GAP, _NAME, _WIDTH = 18, 8, 290, 420


@attrs.frozen(kw_only=True)
class Table:
    """One section's figures; `bars` are what its plot shows, a ratio for each name."""

    name: str
    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    bars: Sequence[tuple[str, float]] = ()
    axis: str = ""


def show(table: Table) -> None:
    """Print a table."""
    shown = RichTable(title=table.title, caption=table.note)
    for number, heading in enumerate(table.headings):
        shown.add_column(heading, justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*row)
    Console(width=_COLUMNS).print(shown)


def markdown(table: Table) -> str:
    """Return a section of Markdown."""
    lines = [f"## {table.title}", "", table.note, ""]
    if table.bars:
        lines += [f"![{table.title}]({table.name}.svg)", ""]
    lines.append("| " + " | ".join(table.headings) + " |")
    lines.append("|" + "|".join(["---", *["---:"] * (len(table.headings) - 1)]) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, ""])


def svg(table: Table) -> str:
    """Return a plot with a bar for each name, which reads on light and on dark ground."""
    largest = max(value for _, value in table.bars)
    height = (_BAR + _GAP) * len(table.bars) + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_NAME + _WIDTH + 70}" height="{height}"',
        'font-family="sans-serif" font-size="13" fill="#888">',
        f"<title>{escape(table.title)}</title>",
        f'<text x="{_NAME}" y="16">{escape(table.axis)}</text>',
    ]
    for place, (name, value) in enumerate(table.bars):
        y = 28 + place * (_BAR + _GAP)
        width = max(1.0, value / largest * _WIDTH)
        colour = "#2a9d8f" if name.startswith("bridge") else "#9aa5b1"
        parts += [
            f'<text x="{_NAME - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_NAME}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<text x="{_NAME + width + 6:.1f}" y="{y + 14}">{value:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def save(tables: Sequence[Table], heading: str, directory: Path) -> None:
    """Write `results.md` and a plot for each table that has one."""
    directory.mkdir(parents=True, exist_ok=True)
    for table in tables:
        if table.bars:
            (directory / f"{table.name}.svg").write_text(svg(table))
    text = "\n".join([heading, *map(markdown, tables)])
    (directory / "results.md").write_text(text)
