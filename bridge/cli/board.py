"""`bridge tail -i`: the essentials of the inspector with keys, for a terminal far from a browser.

rich draws it, which is here for the other commands: it measures wide characters and cuts lines. It
reads no keys, which takes a few lines over the standard library; prompt_toolkit or textual would be
a second way to draw.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import sys
import termios
import threading
import tty
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import Any, Final, TypeAlias

import rich.console
from rich.live import Live
from rich.text import Text

from bridge.cli.asking import Client
from bridge.cli.rendering import pretty
from bridge.cli.show import outcome_of
from bridge.cli.terminal import counted
from bridge.delivery.console import Console
from bridge.errors import BridgeError
from bridge.model.codec import from_dict
from bridge.model.masking import masked, neutralise

_MOST: Final = 5000  # events that one can go back to
_LOOK_EVERY: Final = 0.2  # seconds
_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.", re.DOTALL)
_NAMES: Final = {
    **dict.fromkeys(("\x1b[A", "\x1bOA", "k"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB", "j"), "down"),
    **dict.fromkeys(("\x1b[5~", "b"), "page up"),
    **dict.fromkeys(("\x1b[6~", " "), "page down"),
    **dict.fromkeys(("\x1b[H", "\x1b[1~", "g"), "first"),
    **dict.fromkeys(("\x1b[F", "\x1b[4~", "G"), "last"),
    **dict.fromkeys(("\r", "\n"), "details"),
    **dict.fromkeys(("\x1b", "\x7f"), "back"),
    "r": "retry",
    "o": "open",
    "q": "quit",
}
_EMPTY: Final = "no event yet; with --since 1h, those of the last hour"
_HELP: Final = "↑↓ move  Enter details  r retry  o open in the browser  Esc back  q quit"

_Line: TypeAlias = Mapping[str, Any]


class Board:
    """What is shown, and what the keys do; it draws nothing by itself.

    The selection stays with the newest event until one moves away from it.
    """

    def __init__(self, client: Client, *, show_personal_data: bool) -> None:
        self._client = client
        self._shown = show_personal_data
        self._console = Console(show_personal_data=show_personal_data)
        self._entries: list[tuple[_Line, Text]] = []
        self._selected = 0
        self._details: list[str] | None = None
        self._top = 0  # the first line of the details that is shown
        self._height = 1
        self.said = ""

    def add(self, line: _Line) -> None:
        """Take a line of the stream."""
        if "event" not in line:
            return
        is_newest = self._selected >= len(self._entries) - 1
        self._entries.append((line, self._console.line(from_dict(dict(line["event"])))))
        if len(self._entries) > _MOST:
            del self._entries[0]
            self._selected = max(0, self._selected - 1)
        if is_newest:
            self._selected = len(self._entries) - 1

    def tell(self, text: str) -> None:
        """Show a line about the stream itself."""
        self.said = text

    def press(self, key: str) -> bool:
        """Do what a key stands for; return False where it ends the command."""
        self.said = ""
        try:
            match key:
                case "quit":
                    return False
                case "back":
                    self._details = None
                case "details" | "retry" | "open" if not self._entries:
                    self.said = "there is no event yet"
                case "details":
                    self._details, self._top = self._described(), 0
                case "retry":
                    self.said = self._retry()
                case "open":
                    self.said = self._open()
                case _:
                    self._move(key)
        except BridgeError as error:
            self.said = str(error)
        return True

    def _move(self, key: str) -> None:
        steps = {
            "up": -1,
            "down": 1,
            "page up": -self._height,
            "page down": self._height,
            "first": -sys.maxsize,
            "last": sys.maxsize,
        }
        step = steps.get(key, 0)
        if self._details is None:
            self._selected = min(max(self._selected + step, 0), max(len(self._entries) - 1, 0))
        else:
            last = max(len(self._details) - self._height, 0)
            self._top = min(max(self._top + step, 0), last)

    @property
    def _entry(self) -> _Line:
        return self._entries[self._selected][0]

    def _ask(self) -> _Line:
        found: _Line = self._client.get("/event", position=self._entry["position"])
        return found

    def _described(self) -> list[str]:
        found = self._ask()
        event = dict(found["entry"]["event"])
        raw = event.pop("raw", None)
        lines = pretty(event if self._shown else masked(event)).split("\n")
        for each in found["outcomes"]:
            known = outcome_of(each, hiding=None if self._shown else event)
            tries = f" after {counted(known['tries'], 'failure')}" if known["tries"] else ""
            lines += ["", f"{known['subscriber']}: {known['standing']}{tries}"]
            lines += [f"  {known['error']}"] if "error" in known else []
            lines += [f"    {each}" for each in known.get("trace", ())]
        if self._shown:
            lines += ["", "as the provider sent it", *pretty(raw).split("\n")]
        columns = shutil.get_terminal_size().columns
        return [part for line in lines for part in _folded(neutralise(line), columns)]

    def _retry(self) -> str:
        letters = [each["letter"] for each in self._ask()["outcomes"] if "letter" in each]
        if not letters:
            return "this event is no dead letter"
        done = self._client.post("/dead/retry", ids=letters)
        return f"{counted(done['retried'], 'dead letter')} retried"

    def _open(self) -> str:
        if not self._client.url.startswith("http"):
            return "a browser finds the inspector only where [admin] has a token"
        url = f"{self._client.url}/#/event/{self._entry['position']}"
        return url if webbrowser.open(url) else f"no browser here: {url}"

    def draw(self, height: int) -> Text:
        """Return the screen's lines; each is cut where the screen ends."""
        self._height = max(height - 2, 1)
        if self._details is None:
            first = max(0, self._selected - self._height + 1)
            some = islice(self._entries, first, first + self._height)
            lines = [line.copy() for _, line in some]
            if lines:
                lines[self._selected - first].stylize("reverse")
            else:
                lines = [Text(_EMPTY, style="dim")]
        else:
            lines = [Text(line) for line in self._details[self._top : self._top + self._height]]
        lines += [Text()] * (self._height - len(lines))
        lines += [Text(neutralise(self.said), style="yellow"), Text(_HELP, style="dim")]
        text = Text("\n", no_wrap=True, overflow="ellipsis").join(lines)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def _folded(line: str, columns: int) -> list[str]:
    """Return a line in pieces that fit, so that a key is seen to its end."""
    return [line[at : at + columns] for at in range(0, len(line), columns)] or [""]


def keys_in(text: str) -> Iterator[str]:
    """Return what the keys in a terminal's input stand for."""
    return (_NAMES.get(key, key) for key in _KEY.findall(text))


def show(board: Board, lines: Iterator[_Line], terminal: int) -> None:
    """Show a board in a terminal until one quits; raises what the stream raises."""
    news: SimpleQueue[_Line | BaseException] = SimpleQueue()
    screen = rich.console.Console(highlight=False, emoji=False)
    with _keys_at_once(terminal), Live(console=screen, screen=True, auto_refresh=False) as live:
        threading.Thread(target=_read, args=(lines, news.put), daemon=True).start()
        while True:
            while not news.empty():
                each = news.get()
                if isinstance(each, BaseException):
                    raise each
                board.add(each)
            live.update(board.draw(screen.size.height), refresh=True)
            if select.select([terminal], [], [], _LOOK_EVERY)[0]:
                typed = os.read(terminal, 1024).decode(errors="replace")
                if not typed or not all(board.press(key) for key in keys_in(typed)):
                    return


def _read(lines: Iterator[_Line], put: Callable[[_Line | BaseException], None]) -> None:
    try:
        for line in lines:
            put(line)
    except BaseException as error:  # noqa: BLE001 - the command ends with it
        put(error)


@contextmanager
def _keys_at_once(terminal: int) -> Iterator[None]:
    """Let keys arrive as they are pressed; Ctrl-C still interrupts."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
