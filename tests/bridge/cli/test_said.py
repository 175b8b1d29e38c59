"""What is written for people, in a terminal of this process."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest

from bridge.cli.main import main
from bridge.cli.rendering import print_rows
from bridge.cli.terminal import print_wrapped, say

NARROW = 30
KEY = "incs/message/whatsapp/" + "wamid." * 6


@pytest.fixture
def look(monkeypatch) -> Iterator[Callable[..., list[str]]]:
    """Return what calls something in a narrow terminal, and returns the lines that are there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, NARROW, 0, 0))
    os.set_blocking(ours, False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(NARROW))
    stream = os.fdopen(theirs, "w")

    def look(*calls: Callable[[], object]) -> list[str]:
        with monkeypatch.context() as context:
            context.setattr(sys, "stdout", stream)
            context.setattr(sys, "stderr", stream)
            for call in calls:
                call()
            stream.flush()
        written = b""
        with suppress(BlockingIOError):
            while chunk := os.read(ours, 65536):
                written += chunk
        return written.decode().replace("\r\n", "\n").splitlines()

    yield look
    stream.close()
    os.close(ours)


def test_a_sentence_breaks_between_words(look):
    """The lines that follow are indented, and a key is whole, however long it is."""
    lines = look(
        partial(say, f"  nothing is known of the event {KEY} here"),
        partial(print_wrapped, "See why it waited, and send it anew."),
        partial(print_wrapped, ""),
    )
    assert lines == [
        "  nothing is known of the",
        "    event",
        f"    {KEY}",
        "    here",
        "See why it waited, and send it",
        "  anew.",
    ]


def test_a_style_is_a_colour(look):
    """What has a style is coloured, and what has none is not."""
    lines = look(partial(say, "good", style="green"), partial(say, "neither"))
    assert lines == ["\x1b[32mgood\x1b[0m", "neither"]


def test_rows_are_a_table(look):
    """In a terminal rows are a table, of which one column may be cut to what fits."""
    columns = {"name": lambda row: row["name"], "error": lambda row: row["error"]}
    table = partial(print_rows, [{"name": "crm", "error": "it failed " * 9}], columns)
    lines = [line for line in map(_plain, look(partial(table, cut="error"))) if line.strip()]
    assert len(lines) == 3
    assert max(map(len, lines)) <= NARROW
    assert lines[0].split() == ["name", "error"]
    assert lines[2].rstrip().endswith("…")
    assert any("it failed " * 8 in line for line in look(partial(table, is_wide=True)))


def test_a_mistake_has_its_place_and_an_indented_text(look, workplace):
    """`bridge check` shows the key and the line, and below them what is wrong."""
    (workplace / "config.toml").write_text('[log]\nlevel = "everything"\n')

    def check() -> None:
        with pytest.raises(SystemExit, match="3"):
            main(["check"])

    first, *rest, last = map(_plain, look(check))
    assert first.split() == ["error", "log.level", "config.toml:2"]
    assert len(rest) > 1
    assert all(line.startswith("        ") for line in rest)
    assert max(map(len, rest)) <= NARROW
    assert last == "config.toml: 1 mistake"


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", line)
