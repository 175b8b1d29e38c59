"""What a command writes for people, and the exit codes."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Final

from rich.console import Console

from bridge.errors import BridgeError
from bridge.model.masking import neutralise


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


talk: Final = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
"""Standard error. It knows `NO_COLOR` and `FORCE_COLOR`, and uses no colours in a pipe."""


def say(text: str, *, style: str | None = None) -> None:
    """Tell people a line, or several."""
    talk.print("\n".join(neutralise(line) for line in text.split("\n")), style=style)


def fail(text: str) -> None:
    """Tell people what went wrong."""
    say(f"error: {text}", style="red")


def print_line(*columns: str) -> None:
    """Write a line of data, with tabs between its columns; empty ones at the end are left out."""
    sys.stdout.write("\t".join(map(neutralise, columns)).rstrip("\t") + "\n")


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: `1 event`, `2 events`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def at_most(count: int, noun: str) -> str:
    """Return a number of things that may be too high in words, as `at most 2 messages`."""
    return f"{'at most ' if count else ''}{counted(count, noun)}"


def confirmed(question: str) -> bool:
    """Ask for a confirmation. Raises `UsageError` where standard input is no terminal."""
    if not sys.stdin.isatty():
        raise UsageError("standard input is no terminal to confirm on: add --yes")
    talk.print(f"{neutralise(question)} [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
