"""The log of `bridge serve`: text on a terminal, JSON elsewhere.

The library itself only calls `logging.getLogger("bridge.…")` with fields in `extra`; an application
that embeds it keeps its own set-up and never needs this module. Secrets and personal data are
masked in these lines, and no text can forge a line. A thread writes the lines, so that a slow
reader delays nothing; lines that it cannot write are dropped.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, MutableMapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from enum import Enum
from functools import partial
from logging.handlers import QueueHandler
from pathlib import PurePath
from queue import SimpleQueue
from typing import Any, Final, TextIO
from urllib.parse import quote

import rich.console
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from rich.cells import cell_len

from bridge.adapter.signing import Secret
from bridge.delivery.functions import chain_of
from bridge.ingress.request_id import current
from bridge.model.masking import mask_phone, mask_phones_in, neutralise
from bridge.raised import kind_of, raised_at
from bridge.settings import LogSettings

_MOST_WAITING: Final = 4096  # lines
_MOMENT: Final = 1.0  # seconds
_HIDDEN: Final = "********"
_HIDDEN_FIELDS: Final = frozenset(
    (
        *("body", "raw", "payload", "content", "text", "caption", "username"),
        *("token", "tokens", "secret", "secrets", "password", "authorization", "signature"),
        *("headers", "query", "tail"),
    )
)
_PHONE_FIELDS: Final = frozenset(("phone", "wa_id", "sender", "recipient", "party"))
# What is shorter would be found inside every other word.
_SHORTEST_SECRET: Final = 4
_SUBSCRIBERS: Final = "bridge.delivery"  # loggers of what subscribers raise
_KEPT: Final = frozenset(("level", "logger", "timestamp"))
_SHOWN: Final = _KEPT | {"event", "exception"}

_INDENT: Final = "    "  # of what goes on a line of the log, so that it passes for none
_STYLE: Final = re.compile(r"\x1b\[[\d;]*m")

_log: Final = logging.getLogger(__name__)


def configure(
    settings: LogSettings,
    *,
    secrets: Iterable[Secret] = (),
    stream: TextIO | None = None,
    whole_tracebacks: bool = False,
) -> None:
    """Write this process's log to a stream (standard error). The last call counts.

    Handlers that the program itself gave to the root logger stay, with the levels that they had.
    The given secrets are masked wherever they turn up, also within a URL. Of what a subscriber
    raised, only the lines of code are written, since its text may quote a message; with
    `whole_tracebacks`, everything.
    """
    target = _own(sys.stderr) if stream is None else stream
    handler = _Handler(target, is_own=target not in (stream, sys.stderr))
    handler.setLevel(settings.level.upper())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ExtraAdder(),
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                *(() if whole_tracebacks else (_lines_of_code,)),
                structlog.processors.format_exc_info,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _Discreet(secrets),
                _with_request_id,  # after it: to be found by, an id has to stay as it is
                *(
                    (_once, _for_people(target), partial(_fitted, target))
                    if is_readable(settings, target)
                    else (structlog.processors.JSONRenderer(),)
                ),
            ]
        )
    )
    root = logging.getLogger()
    for earlier in _ours():
        root.removeHandler(earlier)
        earlier.end()
    for theirs in root.handlers:  # what the root logger kept from them, it keeps no longer
        theirs.setLevel(max(theirs.level, root.level))
    root.addHandler(handler)
    root.setLevel(min(root.level, handler.level))
    logging.captureWarnings(capture=True)
    # A line that cannot be written would come out as a traceback, with all that it quotes.
    logging.raiseExceptions = False
    logging.getLogger("aiohttp.access").disabled = True  # a path may hold its token
    logging.getLogger("aiohttp.server").addFilter(_is_ours)


class _Handler(QueueHandler):
    """Hands lines to a thread that writes them; drops what it cannot keep up with."""

    def __init__(self, stream: TextIO, *, is_own: bool) -> None:
        self._stream = stream
        self._is_own = is_own
        self._dropped = 0
        self.start()
        super().__init__(self.queue)

    def start(self) -> None:
        """Begin to write."""
        # Not a `Queue`: a handler of signals that logs may have interrupted its `put`.
        self.queue: SimpleQueue[logging.LogRecord | threading.Event | None] = SimpleQueue()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Let a line be written, or count it where too many are waiting."""
        if self.queue.qsize() >= _MOST_WAITING:
            self._dropped += 1
            return
        self._tell_dropped()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as in the base
        """Log the place of a line that cannot be rendered, and the type of the error."""
        place = f"{record.pathname}:{record.lineno}"
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the arguments'
            message = f"a line of the log has no text: {kind_of(error)} at {place}"
        raised = record.exc_info[1] if record.exc_info else None
        if raised is not None:
            message = f"{message}: {kind_of(raised)} at {raised_at(raised) or place}"
        plain = _log.makeRecord(record.name, record.levelno, "", 0, "%s", (message,), None)
        with suppress(Exception):
            self.queue.put(self.prepare(plain))

    def _tell_dropped(self) -> None:
        with self.lock or nullcontext():
            dropped, self._dropped = self._dropped, 0
        if dropped:
            message = "%d lines of the log were dropped here: their reader did not keep up"
            lost = _log.makeRecord(_log.name, logging.ERROR, "", 0, message, (dropped,), None)
            self.queue.put(self.prepare(lost))

    def _write(self) -> None:
        while (record := self.queue.get()) is not None:
            if isinstance(record, threading.Event):
                record.set()
                continue
            try:
                self._stream.write(f"{record.msg}\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._dropped += 1
                continue  # the next line may meet a stream that takes it
            if self._dropped and self.queue.empty():  # the next line may be hours away
                self._tell_dropped()
        if self._is_own:
            with suppress(OSError):
                self._stream.close()

    def is_written(self, within: float) -> bool:
        """Return whether all lines so far are written, waiting at most so many seconds."""
        written = threading.Event()
        self.queue.put(written)
        return written.wait(within)

    def flush(self) -> None:
        """Wait a moment for all lines to be written, as at the end of the program."""
        self.is_written(_MOMENT)

    def end(self) -> None:
        """End the thread once all is written; `close`, which other code may call, does not."""
        self.queue.put(None)
        self.close()


def _own(stream: TextIO) -> TextIO:
    """Return a file of our own for the same stream: others may close theirs."""
    try:
        copy = os.dup(stream.fileno())
    except (AttributeError, OSError, ValueError):  # not a file, or none
        return stream
    return open(copy, "w", encoding=stream.encoding, errors="backslashreplace")  # noqa: PTH123 - ours


def flush(within: float) -> bool:
    """Return whether all lines so far are written, after waiting at most `within` seconds."""
    return all(handler.is_written(within) for handler in _ours())


def _ours() -> Sequence[_Handler]:
    return [each for each in logging.getLogger().handlers if isinstance(each, _Handler)]


def _go_on_in_a_child() -> None:
    for handler in _ours():
        handler.start()  # its thread is not here


os.register_at_fork(after_in_child=_go_on_in_a_child)


def is_readable(settings: LogSettings, stream: TextIO | None = None) -> bool:
    """Return whether the log on a stream (standard error) is written for people."""
    target = sys.stderr if stream is None else stream
    return settings.format == "console" or (settings.format == "auto" and target.isatty())


def _lines_of_code(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if str(fields.get("logger")).startswith(_SUBSCRIBERS) and fields.get("exc_info"):
        _, error, _ = fields.pop("exc_info")
        fields["exception"] = "\n".join(chain_of(error))
    return fields


def _with_request_id(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    # A handler writes in the thread and context of the one who logs, so this is that one's id.
    request_id = current()
    if request_id is not None:
        fields["request_id"] = request_id
    return fields


class _Discreet:
    """A processor that masks secrets and personal data, and neutralises control characters."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        revealed = {secret.reveal() for secret in secrets}
        spellings = revealed | {quote(secret, safe="") for secret in revealed}
        # The longest first: a secret may contain another.
        self._secrets = sorted(
            (secret for secret in spellings if len(secret) >= _SHORTEST_SECRET),
            key=len,
            reverse=True,
        )

    def __call__(
        self, _logger: object, _method: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {
            name: value if name in _KEPT else self._field(name, value)
            for name, value in fields.items()
        }

    def _field(self, name: str, value: object) -> object:
        if name in _HIDDEN_FIELDS:
            return _HIDDEN
        if name in _PHONE_FIELDS:
            return neutralise(mask_phone(str(value)))
        if name == "exception":
            # Indented, so that no line of it can pass for a line of the log.
            return "\n".join(f"{_INDENT}{self._text(line)}" for line in str(value).split("\n"))
        return self._value(value)

    def _value(self, value: object) -> object:
        match value:
            case None | bool() | int() | float():
                return value
            case Enum():
                return self._value(value.value)
            case str() | PurePath() | datetime():
                return self._text(str(value))
            case list() | tuple() | set() | frozenset():
                return [self._value(item) for item in value]
            case _:
                # The representation of an object may hold anything.
                return f"<{type(value).__name__}>"

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return neutralise(mask_phones_in(text))


def _once(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave out fields that the message contains, and fractions of a second."""
    message = str(fields["event"])
    fields["timestamp"] = f"{fields['timestamp'][:19].replace('T', ' ')}Z"
    return {
        name: value
        for name, value in fields.items()
        if name in _SHOWN or not re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", message)
    }


def _for_people(stream: TextIO) -> structlog.typing.Processor:
    terminal = rich.console.Console(file=stream)  # knows NO_COLOR and FORCE_COLOR
    return structlog.dev.ConsoleRenderer(
        colors=terminal.is_terminal and not terminal.no_color,
        pad_event_to=0,
        pad_level=False,
        exception_formatter=structlog.dev.plain_traceback,
    )


def _fitted(stream: TextIO, _logger: object, _method: str, text: str) -> str:
    """Fold the line above a traceback to the terminal's width, without breaking a key."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (AttributeError, OSError, ValueError):  # no terminal
        return text
    line, end, traceback = text.partition("\n")
    return f"{_folded(line, columns) if columns else line}{end}{traceback}"


def _folded(line: str, columns: int) -> str:
    """Return a line as several that break between words only."""
    first, *words = line.split(" ")
    folded, size = first, cell_len(_STYLE.sub("", first))
    for word in words:
        wide = cell_len(_STYLE.sub("", word))
        fits = size + 1 + wide <= columns
        folded += f" {word}" if fits else f"\n{_INDENT}{word}"
        size = size + 1 + wide if fits else len(_INDENT) + wide
    return folded


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop aiohttp's errors about malformed HTTP: their tracebacks quote the request."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
