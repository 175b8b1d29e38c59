"""Tables and plots of what was measured: for people in the terminal, as Markdown, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.figures import Figure, Measure, Measured

_COLUMNS = 160  # wide enough that no figure is cut, also where no terminal is
_BAR, _GAP, _NAME, _WIDTH = 18, 8, 400, 420
_OURS, _OTHERS, _LINE, _MARK = "#2a9d8f", "#9aa5b1", "#e76f51", "#8a5cf6"


@attrs.frozen(kw_only=True)
class Table:
    """One section's figures; `bars` are what its plot shows, a value for each name.

    `figures` are those that something is asked of, by name. Each bar may have its `marks`, and
    all of them a `line`.
    """

    name: str
    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[Measure, Measured] = attrs.field(factory=dict)
    bars: Sequence[tuple[str, float]] = ()
    axis: str = ""
    line: float | None = None
    marks: Sequence[float] = ()


def without_figure(names: Sequence[str], why: str, width: int) -> list[str]:
    """Return a row, as wide as the others, that says why there is nothing in it."""
    row = [*names, f"no figure: {why}"]
    return row + [""] * (width - len(row))


def told(measured: Measured) -> str:
    """Return a ratio's median, or that there is none."""
    return f"{measured.median:.2f}" if isinstance(measured, Figure) else "no figure"


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
    lines.append(_line(table.headings))
    lines.append("|" + "|".join(["---", *["---:"] * (len(table.headings) - 1)]) + "|")
    lines += map(_line, table.rows)
    return "\n".join([*lines, ""])


def _line(cells: Sequence[str]) -> str:
    """Return a row; why something failed may be told in several lines, with any characters."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def svg(table: Table) -> str:
    """Return a plot with a bar for each name, which reads on light and on dark ground."""
    values = [value for _, value in table.bars]
    scale = _WIDTH / max(*values, *table.marks, table.line or 0.0)
    height = (_BAR + _GAP) * len(table.bars) + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_NAME + _WIDTH + 70}" height="{height}"',
        'font-family="sans-serif" font-size="13" fill="#888">',
        f"<title>{escape(table.title)}</title>",
        f'<text x="{_NAME}" y="16" text-anchor="middle">{escape(table.axis)}</text>',
    ]
    for place, (name, value) in enumerate(table.bars):
        y = 28 + place * (_BAR + _GAP)
        width = max(1.0, value * scale)
        colour = _OURS if name.startswith("bridge") or table.line is not None else _OTHERS
        parts += [
            f'<text x="{_NAME - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_NAME}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
        ]
        end = width
        if table.marks:
            parts.append(_upright(_NAME + table.marks[place] * scale, y - 2, y + _BAR + 2, _MARK))
            end = _WIDTH  # in a column, where no mark can be taken for what the number belongs to
        parts.append(f'<text x="{_NAME + end + 6:.1f}" y="{y + 14}">{value:.2f}</text>')
    if table.line is not None:
        parts.append(_upright(_NAME + table.line * scale, 22, height - 16, _LINE))
    return "\n".join([*parts, "</svg>", ""])


def _upright(x: float, top: float, bottom: float, colour: str) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" '
        f'stroke="{colour}" stroke-width="2"/>'
    )


def save(tables: Sequence[Table], heading: str, directory: Path) -> None:
    """Write `results.md` and a plot for each table that has one."""
    directory.mkdir(parents=True, exist_ok=True)
    for table in tables:
        if table.bars:
            (directory / f"{table.name}.svg").write_text(svg(table))
    text = "\n".join([heading, *map(markdown, tables)])
    (directory / "results.md").write_text(text)
