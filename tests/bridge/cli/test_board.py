"""`bridge tail -i`: moving through events with keys, in a terminal."""

import os
import pty
import sys
import termios
import threading
import time
import webbrowser
from contextlib import suppress

import pytest

from bridge.adapter.signing import Secret
from bridge.cli.asking import Client
from bridge.cli.board import Board, keys_in
from bridge.cli.main import main
from bridge.settings import AdminSettings
from tests.bridge.cli.processes import ADMIN, PATIENCE


@pytest.fixture
def board(operated):
    """Return a board that has been told of this test's events."""

    def told(*, show_personal_data: bool = False) -> Board:
        client = Client(AdminSettings(port=operated.port, token=Secret(ADMIN)))
        made = Board(client, show_personal_data=show_personal_data)
        conversation = operated.own[1]
        for entry in operated.ask(f"/events?conversation={conversation.replace('+', '%2B')}")[
            "entries"
        ]:
            made.add(entry)
        return made

    return told


def screen(board: Board, height: int = 30) -> list[str]:
    return [line.rstrip() for line in board.draw(height).plain.split("\n")]


def selected(board: Board) -> str:
    """Return the line that is shown in reverse."""
    text = board.draw(30)
    (span,) = [span for span in text.spans if span.style == "reverse"]
    return text.plain[span.start : span.end]


def test_one_moves_with_keys(operated, board):
    """The newest event is selected; keys move to others, and never beyond the ends."""
    operated.receive("a", "b", "c")
    one = board()
    for keys, name in (("", "c"), ("k", "b"), ("\x1b[A\x1b[A", "a"), ("j", "b"), ("GG", "c")):
        for key in keys_in(keys):
            assert one.press(key)
        assert operated.key(name) in selected(one)
    assert one.press("first")
    assert operated.key("a") in selected(one)
    assert not one.press("quit")


def test_details_show_what_became_of_an_event(operated, board):
    """Enter shows the event, masked, with each subscriber's error and frames; Esc goes back."""
    operated.break_crm()
    operated.receive("a", text="my secret")
    operated.settled()
    one = board()
    one.press("details")
    text = "\n".join(screen(one, 200))
    assert '"kind": "message"' in text
    assert "crm: dead after 2 failures" in text
    assert "ValueError: the database is +****80 is away" not in text
    assert "is away" in text
    assert "crm.py" in text
    assert operated.phone not in text
    assert "my secret" not in text
    one.press("page down")
    assert '"kind": "message"' in "\n".join(screen(one, 200))
    assert screen(one, 6)[0] == "{"
    one.press("down")
    assert screen(one, 6)[0] == '  "kind": "message",'
    one.press("back")
    assert operated.key("a") in screen(one)[0]


def test_details_show_a_long_key_to_its_end(operated, board, monkeypatch):
    """What is longer than the terminal is wide goes on below, and nothing of it is cut."""
    monkeypatch.setenv("COLUMNS", "40")
    operated.receive("wamid.an-id-that-is-as-long-as-those-of-a-provider")
    one = board()
    one.press("details")
    lines = screen(one, 200)
    assert max(map(len, lines[:-1])) <= 40  # the last one tells the keys
    assert operated.key("wamid.an-id-that-is-as-long-as-those-of-a-provider") in "".join(lines)


def test_personal_data_is_shown_to_who_asks(operated, board):
    """With --show-personal-data the details hold the text, and what the provider sent."""
    operated.receive("a", text="my secret")
    one = board(show_personal_data=True)
    one.press("details")
    text = "\n".join(screen(one, 500))
    assert "my secret" in text
    assert "as the provider sent it" in text


def test_a_dead_letter_is_retried(operated, board):
    """`r` gives a dead letter its tries again, and says where there is none."""
    operated.break_crm()
    operated.receive("a")
    operated.settled()
    one = board()
    operated.mend_crm()
    one.press("retry")
    assert one.said == "1 dead letter retried"
    operated.settled()
    assert [name for name, *_ in operated.taken()] == ["a"]
    one.press("retry")
    assert one.said == "this event is no dead letter"


def test_the_page_of_an_event_is_opened(operated, board, monkeypatch):
    """`o` opens the event in the browser; where there is none, the address is shown."""
    operated.receive("a")
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or bool(opened[1:]))
    one = board()
    one.press("open")
    (url,) = opened
    assert url.startswith(f"http://127.0.0.1:{operated.port}/#/event/")
    assert one.said == f"no browser here: {url}"
    one.press("open")
    assert one.said == url


def test_without_an_event_and_without_a_server(board):
    """Keys that mean an event say that there is none; a server that is away is said, no crash."""
    one = Board(Client(AdminSettings(port=1, token=Secret(ADMIN))), show_personal_data=False)
    one.press("details")
    assert one.said == "there is no event yet"
    one.add({"position": 1})
    one.press("up")
    assert screen(one)[0] == "no event yet; with --since 1h, those of the last hour"
    one.tell("the connection broke: waiting for the server")
    assert "the connection broke: waiting for the server" in screen(one)


def test_in_a_terminal(operated, monkeypatch):
    """The command draws in a terminal, obeys its keys, and gives it back as it was."""
    operated.break_crm()
    operated.receive("a")
    operated.settled()
    operated.mend_crm()
    master, slave = pty.openpty()
    shown = bytearray()

    def type_keys() -> None:
        give_up = time.monotonic() + PATIENCE
        while operated.key("a").encode() not in shown and time.monotonic() < give_up:
            shown.extend(os.read(master, 65536))
        os.write(master, b"r")
        while b"1 dead letter retried" not in shown and time.monotonic() < give_up:
            shown.extend(os.read(master, 65536))
        os.write(master, b"q")
        with suppress(OSError):  # nobody holds the other end any more
            while read := os.read(master, 65536):
                shown.extend(read)

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    typing = threading.Thread(target=type_keys)
    with open(slave, closefd=False) as terminal, os.fdopen(slave, "w") as out:
        before = termios.tcgetattr(terminal)
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stdout", out)
        typing.start()
        with pytest.raises(SystemExit) as end:
            main(["tail", "-i", "--beginning", *operated.own])
        assert termios.tcgetattr(terminal) == before
    typing.join()
    os.close(master)
    assert end.value.code == 0
    assert b"\x1b[?1049h" in shown  # the terminal's other screen, and back
    assert b"\x1b[?1049l" in shown
    operated.settled()
    assert [name for name, *_ in operated.taken()] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "--interactive needs a terminal"), (("--json",), "leave out --json")],
)
def test_what_it_needs(command, operated, arguments, said):
    """Without a terminal, or with a format for programs, it says so with exit code 2."""
    done = command("tail", "-i", *arguments)
    assert done.code == 2
    assert said in done.err
