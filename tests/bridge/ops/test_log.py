"""The log is readable by people or machines, discreet, and cannot be forged."""

import errno
import io
import json
import logging
import os
import threading
import time
import warnings
from contextlib import redirect_stderr
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp.http_exceptions import BadStatusLine

from bridge.adapter.signing import Secret
from bridge.model import Party, Status
from bridge.ops import log
from bridge.settings import LogSettings
from tests.bridge.serving import PATIENCE


class Stream(io.StringIO):
    """Gives what is written once all of it is."""

    def getvalue(self):
        assert log.flush(PATIENCE)
        return super().getvalue()


@pytest.fixture
def written(own_log):
    """Set up the log as `bridge serve` does."""

    def configure(form="json", level="info", *, secrets=(), stream=None):
        stream = Stream() if stream is None else stream
        log.configure(LogSettings(format=form, level=level), secrets=secrets, stream=stream)
        return stream

    return configure


def record(stream):
    [line] = stream.getvalue().splitlines()
    return json.loads(line)


class Terminal(Stream):
    def isatty(self):
        return True


def test_a_record_becomes_one_json_object(written):
    """The message, its fields, the level, the logger and the time in UTC stand in one object."""
    stream = written()
    logging.getLogger("bridge.ingress.web").info(
        "%s events", 2, extra={"key": "message/whatsapp/wamid.A", "tries": 3, "slow": False}
    )
    fields = record(stream)
    assert datetime.fromisoformat(fields.pop("timestamp")).tzinfo == UTC
    assert fields == {
        "event": "2 events",
        "key": "message/whatsapp/wamid.A",
        "tries": 3,
        "slow": False,
        "level": "info",
        "logger": "bridge.ingress.web",
    }


def test_personal_fields_are_masked(written):
    """Phones keep their ends, texts and tokens nothing at all, whatever the field's type."""
    stream = written()
    logging.getLogger("bridge").warning(
        "no route for +85268415026",
        extra={
            "phone": "+85268415026",
            "wa_id": 85268415026,
            "text": "my code is 123456",
            "tokens": ["a", "b"],
            "conversation": "whatsapp:30058:+85268415026",
            "numbers": ["+85268415026", 5],
        },
    )
    fields = record(stream)
    assert fields["event"] == "no route for +****26"
    assert fields["phone"] == "+****26"
    assert fields["wa_id"] == "****26"
    assert fields["text"] == fields["tokens"] == "********"
    assert fields["conversation"] == "whatsapp:30058:+****26"
    assert fields["numbers"] == ["+****26", 5]


def test_an_object_is_not_represented(written):
    """Of an object only its class is told; plain values are told as they are."""
    stream = written()
    logging.getLogger("bridge").info(
        "x",
        extra={
            "who": Party(name="Lessie"),
            "status": Status.READ,
            "path": Path("bridge.db"),
            "at": datetime(2025, 8, 25, tzinfo=UTC),
            "nothing": None,
        },
    )
    fields = record(stream)
    assert fields["who"] == "<Party>"
    assert fields["status"] == "read"
    assert fields["path"] == "bridge.db"
    assert fields["at"] == "2025-08-25 00:00:00+00:00"
    assert fields["nothing"] is None


def test_a_known_secret_never_shows(written):
    """A configured secret is masked in messages, fields and tracebacks, also within a URL."""
    stream = written(secrets=[Secret("open/sesame"), Secret("open"), Secret("a"), Secret("")])
    logging.getLogger("bridge").error(
        "open/sesame",
        extra={"url": "/callbacks/incs/open%2Fsesame", "word": "banana"},
        exc_info=ValueError("open/sesame"),
    )
    fields = record(stream)
    assert "sesame" not in stream.getvalue()
    assert fields["event"] == "********"
    assert fields["url"] == "/callbacks/incs/********"
    assert fields["word"] == "banana"
    assert fields["exception"].endswith("ValueError: ********")


@pytest.mark.parametrize("form", ["json", "console"])
def test_nobody_forges_a_line(written, form):
    """No line break, escape or override in a message or an exception starts a line."""
    stream = written(form)
    forged = "x\n2026-01-01T00:00:00Z [info] forged \x1b[31m\u202e"
    logging.getLogger("bridge").error(forged, exc_info=ValueError(forged))
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line.startswith("2026-01-01")] == []
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()
    assert "    2026-01-01" in stream.getvalue()


def test_people_are_told_everything_once(written, monkeypatch):
    """On a terminal a field that the message tells is left out; in JSON every field stands."""
    monkeypatch.setenv("NO_COLOR", "1")
    fields = {"subscriber": "crm", "tries": 2, "size": 12}
    told = {"extra": fields}
    plain = written("auto", stream=Terminal())
    logging.getLogger("bridge").info("crm failed, try 2 of 20, 112 bytes", **told)
    date, time, rest = plain.getvalue().split(" ", 2)
    assert rest == "[info] crm failed, try 2 of 20, 112 bytes [bridge] size=12\n"
    assert (len(date), len(time), time[-1]) == (10, 9, "Z")
    pipe = written("auto")
    logging.getLogger("bridge").info("crm failed, try 2 of 20, 112 bytes", **told)
    assert record(pipe).items() >= fields.items()


def test_people_get_lines_and_colours_on_a_terminal_only(written, monkeypatch):
    """`auto` is coloured lines on a terminal, unless NO_COLOR is set, and JSON elsewhere."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = written("auto", stream=Terminal())
    logging.getLogger("bridge").info("ready")
    assert "\x1b[" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = written("auto", stream=Terminal())
    logging.getLogger("bridge").info("ready")
    assert "[info] ready" in plain.getvalue()
    assert "\x1b[" not in plain.getvalue()
    pipe = written("auto")
    logging.getLogger("bridge").info("ready")
    assert record(pipe)["event"] == "ready"


def test_the_level_is_a_threshold(written):
    """What lies below the configured level is not written."""
    stream = written(level="warning")
    logging.getLogger("bridge").info("quiet")
    assert stream.getvalue() == ""


def test_the_access_log_is_off(written):
    """The access log of aiohttp, whose paths hold tokens, stays silent."""
    stream = written(level="debug")
    logging.getLogger("aiohttp.access").info("GET /callbacks/incs/open-sesame")
    assert stream.getvalue() == ""


def test_broken_http_is_nobodys_error(written):
    """A malformed request leaves no traceback, which would quote it; a fault of ours does."""
    stream = written()
    server = logging.getLogger("aiohttp.server")
    server.error("Error handling request", exc_info=BadStatusLine("POST /callbacks/x"))
    assert stream.getvalue() == ""
    server.error("Error handling request", exc_info=RuntimeError("ours"))
    assert record(stream)["exception"].endswith("RuntimeError: ours")


def test_warnings_are_logged(written):
    """A warning of Python's is a line of the log, not loose text among the lines."""
    stream = written()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("deprecated", UserWarning, stacklevel=1)
    assert "deprecated" in record(stream)["event"]


def test_standard_error_is_the_default(written, capsys):
    """Without a stream the log goes to standard error, never to standard output."""
    written(stream=None)
    log.configure(LogSettings(format="json"))
    logging.getLogger("bridge").info("hello")
    log.flush(PATIENCE)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"


def test_a_line_that_cannot_be_written_shows_up_nowhere_else(written, capfd):
    """A log whose stream is gone is silent: no traceback with what was being handled."""
    stream = written()
    stream.close()
    try:
        int("what somebody wrote")
    except ValueError:
        logging.getLogger("bridge.ingress.web").exception("it failed")
    log.flush(PATIENCE)
    assert capfd.readouterr() == ("", "")


class Odd(Exception):
    """Nothing of it can be shown."""

    __notes__ = property(lambda _: 1 / 0)
    __class__ = property(lambda _: 1 / 0)


class Hidden(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize("error", [Odd, Hidden, lambda: SyntaxError("no", (object(), "a", "b", 1))])
@pytest.mark.parametrize("form", ["json", "console"])
def test_what_cannot_be_shown_is_told_all_the_same(own_log, form, error):
    """Of a line whose exception or text raises there is its message, the class and the place."""
    stream = Stream()
    log.configure(LogSettings(format=form), stream=stream, whole_tracebacks=True)

    def fail():
        raise error()

    try:
        fail()
    except Exception:
        logging.getLogger("bridge.delivery").exception("crm failed on %s", "a-key")
    logging.getLogger("shop").warning("%d events", "two")
    first, second = stream.getvalue().splitlines()
    kind = type(error()) if isinstance(error, type) else SyntaxError
    assert f"crm failed on a-key: {kind.__name__} at {__file__}:" in first
    assert f"a line of the log has no text: TypeError at {__file__}:" in second


def test_the_log_outlives_what_others_close(own_log, capfd):
    """Lines come though somebody has shut the log down, or closed standard error."""
    with os.fdopen(os.dup(2), "w") as theirs:
        with redirect_stderr(theirs):
            log.configure(LogSettings(format="json"))
        logging.getLogger("bridge").warning("a")
        logging.shutdown()
    logging.getLogger("bridge").warning("b")
    assert log.flush(PATIENCE)
    log.configure(LogSettings(), stream=Stream())  # which ends the one before
    told = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert told == ["a", "b"]


def test_what_cannot_be_written_is_counted(written):
    """Lines for a stream that refuses them are told of once it takes some again."""

    class Full(Stream):
        is_full = True

        def write(self, text):
            if self.is_full:
                raise OSError(errno.ENOSPC, "no space")
            return super().write(text)

    stream = written(stream=Full())
    logging.getLogger("bridge").info("a")
    logging.getLogger("bridge").info("b")
    assert log.flush(PATIENCE)
    stream.is_full = False
    logging.getLogger("bridge").info("c")
    first, second = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert first.startswith("2 lines of the log were dropped here")
    assert second == "c"


def test_handlers_of_the_program_stay(written):
    """A handler that the program gave to the root logger gets what it got before, and no more."""
    root = logging.getLogger()
    theirs = logging.StreamHandler(Stream())
    root.addHandler(theirs)
    root.setLevel("WARNING")
    first, second = written(), written(level="info")
    logger = logging.getLogger("bridge.ops")
    logger.warning("a")
    logger.info("b")
    assert theirs.stream.getvalue() == "a\n"
    assert first.getvalue() == ""
    assert [json.loads(line)["event"] for line in second.getvalue().splitlines()] == ["a", "b"]


def test_a_level_is_of_the_log_alone(written):
    """A program that looks at DEBUG does so beside a log that is written from ERROR on."""
    root = logging.getLogger()
    theirs = logging.StreamHandler(Stream())
    root.addHandler(theirs)
    root.setLevel("DEBUG")
    ours = written(level="error")
    logging.getLogger("bridge.ops").debug("a")
    assert (theirs.stream.getvalue(), ours.getvalue()) == ("a\n", "")


def test_what_a_subscriber_raised_is_shown_without_its_text(own_log):
    """The lines of code are in the log, the exception's words are not, unless one develops."""
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("a secret word")
    for whole in (False, True):
        stream = Stream()
        log.configure(LogSettings(format="json"), stream=stream, whole_tracebacks=whole)
        logging.getLogger("bridge.delivery.failures").error("it failed", exc_info=caught.value)
        exception = record(stream)["exception"]
        assert ("Expecting value" in exception) is whole
        assert "test_log.py" in exception


class Stuck(io.StringIO):
    """Takes nothing until it is let."""

    def __init__(self):
        super().__init__()
        self.begun, self.let = threading.Event(), threading.Event()

    def write(self, text):
        self.begun.set()
        assert self.let.wait(PATIENCE)
        return super().write(text)


def test_a_reader_that_is_stuck_is_told_what_it_missed(written):
    """Whoever logs goes on; when lines are taken again, how many were dropped comes with them."""
    stream = written(stream=Stuck())
    for number in range(6000):
        logging.getLogger("shop").info("line %d", number)
    assert stream.begun.wait(PATIENCE)
    stream.let.set()
    until = time.monotonic() + PATIENCE
    while "were dropped here" not in stream.getvalue():
        assert time.monotonic() < until
        time.sleep(0.001)
    assert log.flush(PATIENCE)
    *lines, told = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert told.startswith(f"{6000 - len(lines)} lines of the log were dropped here")
    assert len(lines) < 5000
