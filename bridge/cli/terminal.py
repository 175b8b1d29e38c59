"""What a command writes for people, and the exit codes."""

from __future__ import annotations

import os
import sys
import textwrap
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Final, TextIO

from bridge.errors import BridgeError
from bridge.model.masking import neutralise

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


_COLUMNS: Final = 80  # of a terminal that does not tell
# ECMA-48, Select Graphic Rendition; what draws more than words is rich's, which takes a while.
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Exit(IntEnum):
    """What the exit code says, as `docs/operate.md` lists them.

    130 and 143 are what a shell reports of a command that SIGINT or SIGTERM has ended.
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    INTERRUPTED = 130


class UsageError(BridgeError):
    """The command was called in a way that cannot work; the text says what would."""


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether a person reads standard output or the stream, or wants it as if one did."""
    return (stream or sys.stdout).isatty() or bool(os.environ.get("FORCE_COLOR"))


@cache
def talk() -> Console:
    """Return standard error for what is drawn; it knows `NO_COLOR` and `FORCE_COLOR`."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def say(text: str, *, style: str | None = None) -> None:
    """Tell people a line, or several: on a terminal in colour, and wrapped between words."""
    safe = "\n".join(_fitting(line, sys.stderr) for line in text.split("\n"))
    sys.stderr.write(f"{safe if style is None else styled(safe, style, sys.stderr)}\n")
    sys.stderr.flush()


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return a text in a style, such as `bold red`, if the stream is a terminal that shows it.

    https://no-color.org
    """
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")
    if not text or is_plain or not is_terminal(stream):
        return text
    codes = ";".join(_STYLES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def print_wrapped(text: str) -> None:
    """Write a line of data for people, if it is not empty: on a terminal wrapped between words."""
    if text:
        sys.stdout.write(f"{_fitting(text, sys.stdout)}\n")


def _fitting(line: str, stream: TextIO, *, below: int = 0) -> str:
    safe = neutralise(line)
    if not stream.isatty():
        return safe
    columns = os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    if not below or below + max(map(len, safe.split()), default=0) > columns:
        below = len(safe) - len(safe.lstrip()) + 2  # a long word needs the room
    return textwrap.fill(
        safe,
        columns,
        subsequent_indent=" " * below,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,  # a key or an address is copied whole
        break_on_hyphens=False,
    )


def fail(text: str) -> None:
    """Tell people what went wrong."""
    say(f"error: {text}", style="red")


def print_line(*columns: str) -> None:
    """Write a line of data, with tabs between its columns; empty ones at the end are left out."""
    sys.stdout.write("\t".join(map(neutralise, columns)).rstrip("\t") + "\n")


def print_named(name: str, *texts: str, width: int) -> None:
    """Write what is told of a name: in a terminal beside names of that width, wrapped."""
    if not sys.stdout.isatty():
        print_line(name, *texts)
        return
    told = f"{neutralise(name):<{width}}  {'  '.join(texts)}".rstrip()
    sys.stdout.write(f"{_fitting(told, sys.stdout, below=width + 2)}\n")


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: `1 event`, `2 events`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def at_most(count: int, noun: str) -> str:
    """Return a number of things that may be too high in words, as `at most 2 messages`."""
    return f"{'at most ' if count else ''}{counted(count, noun)}"


def ask(prompt: str) -> None:
    """Write a prompt: `input` would write it to standard output, which is for data."""
    sys.stderr.write(prompt)
    sys.stderr.flush()


def refuse_existing(file: Path) -> None:
    """Raise `UsageError` for a file that is there already."""
    if os.path.lexists(file):
        raise UsageError(f"{file} exists already, and is not overwritten")


def confirmed(question: str) -> bool:
    """Ask for a confirmation. Raises `UsageError` where standard input is no terminal."""
    if not sys.stdin.isatty():
        raise UsageError("standard input is no terminal to confirm on: add --yes")
    ask(f"{neutralise(question)} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
