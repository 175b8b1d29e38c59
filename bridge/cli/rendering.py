"""Events as the commands show them: a line for people, JSON for programs, masked or whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import orjson

from bridge.cli.terminal import UsageError, is_terminal, print_line, print_named
from bridge.model.masking import masked, neutralise

Format: TypeAlias = Literal["text", "json", "raw"]
Columns: TypeAlias = Mapping[str, Callable[[Mapping[str, Any]], str]]
"""The headings of a table, each with what stands below it in a row."""

_FACT: Final = 10  # the longest name of a fact: last event
_WIDEST: Final = 10_000


class EventPrinter:
    """Prints events one after another in the chosen format.

    Raises `UsageError` for a format that cannot be masked.
    """

    def __init__(self, *, form: Format, show_personal_data: bool) -> None:
        if form == "raw" and not show_personal_data:
            raise UsageError(
                "what the provider sent cannot be masked: add --show-personal-data to see it"
            )
        self._form = form
        self._shown = show_personal_data
        if form == "text":  # which needs the whole model, as no other format does
            from bridge.delivery.console import Console

            self._console = Console(show_personal_data=show_personal_data)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Print an event, given as JSON, and flush."""
        match self._form:
            case "text":
                from bridge.model.codec import from_dict

                self._console(from_dict(dict(event)))
                return
            case "json":
                value: Any = event if self._shown else masked(event)
            case "raw":
                value = event["raw"]
        print_json(value)


def print_json(value: object) -> None:
    """Write a value as one line of JSON that no terminal acts upon, and flush."""
    sys.stdout.write(_safe(orjson.dumps(value).decode()) + "\n")
    sys.stdout.flush()


def pretty(value: object) -> str:
    """Return a value as indented JSON that no terminal acts upon."""
    lines = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().split("\n")
    return "\n".join(map(_safe, lines))


def _safe(line: str) -> str:
    r"""Write what a terminal may act upon as JSON's own escapes: `\u202e`, not `\\u202e`."""
    if line.isprintable():
        return line
    return "".join(
        character
        if character == neutralise(character)
        else "".join(
            f"\\u{unit:04x}"
            for unit in memoryview(character.encode("utf-16-le", "surrogatepass")).cast("H")
        )
        for character in line
    )


def print_rows(
    rows: Iterable[Mapping[str, Any]],
    columns: Columns,
    *,
    as_json: bool = False,
    cut: str | None = None,
    is_wide: bool = False,
) -> None:
    """Print each row as JSON, or its columns: a table in a terminal, between tabs elsewhere.

    In a table the column `cut` is shortened to what fits; a wide one may be wider than the
    terminal.
    """
    if not as_json and is_terminal():
        _print_table(rows, columns, cut=cut, is_wide=is_wide)
        return
    for row in rows:
        if as_json:
            print_json(row)
        else:
            print_line(*(cell(row) for cell in columns.values()))


def _print_table(
    rows: Iterable[Mapping[str, Any]], columns: Columns, *, cut: str | None, is_wide: bool
) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, expand=cut is not None)
    for name in columns:
        table.add_column(name, no_wrap=name == cut, ratio=1 if name == cut else None)
    for row in rows:
        table.add_row(*(neutralise(cell(row)) for cell in columns.values()))
    out = Console(highlight=False, markup=False, emoji=False)
    if is_wide:
        out.width = _WIDEST
    out.print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print each name with what is told of it: below one another in a terminal."""
    for name, text in facts:
        print_named(name, text, width=_FACT)


def one_line(text: str) -> str:
    """Return a text without its line ends."""
    return " ".join(text.split())


def short_time(text: str) -> str:
    """Return the day and the time of one that JSON gives, to the second."""
    return text[5:19].replace("T", " ")
