"""`bridge normalize`: request bodies in, events out, with no server and no configuration."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from bridge.adapter import Adapter, Callback, Parsed, Verified
from bridge.cli import config as configuration
from bridge.cli.adapters import without_secrets
from bridge.cli.config import ConfigOption
from bridge.cli.terminal import Exit, UsageError, fail, say
from bridge.codec import encode
from bridge.errors import CodecError, NotAuthentic
from bridge.payload import instant
from bridge.signing import Secret

STDIN: Final = "-"

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_SEPARATORS: Final = re.compile(r"[ \t\r\n,]*")
# Only where a value ends is asked; numbers stay text, since some are too long to be converted.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)


@attrs.frozen(kw_only=True)
class Body:
    """One body out of a file, and where in it the body begins (both counted from 1)."""

    content: bytes
    line: int = 1
    column: int = 1


def normalize(
    adapter: str,
    /,
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    config: ConfigOption = None,
    received_at: str | None = None,
) -> int:
    """Print the events of request bodies, one JSON object per line.

    A file may hold one body, many of them one after the other (NDJSON), or an array of bodies.
    What cannot be read is told on standard error, and everything else is printed all the same.

    Example: `bridge normalize incs callback.json`

    Parameters
    ----------
    adapter
        Who sent the bodies: an installed adapter (`bridge adapters` lists them), or with
        --config a configured one.
    files
        Files of bodies; `-` or none at all is standard input.
    config
        Use the adapter as this file configures it, so that it knows the channels.
    received_at
        When the bodies arrived, such as 2026-01-31T12:00:00Z, for output that stays the same;
        by default it is now.
    """
    when = datetime.now(UTC) if received_at is None else _instant(received_at)
    reader = without_secrets(adapter) if config is None else _configured(config, adapter)
    done = [_normalize(reader, file, when) for file in files or (STDIN,)]
    return Exit.OK if all(done) else Exit.FAILURE


def _instant(text: str) -> datetime:
    value = instant(text)
    if value is None:
        raise UsageError(
            f"--received-at: expected a time such as 2026-01-31T12:00:00Z, found {text!r}"
        )
    return value


def _configured(config: Path, name: str) -> Adapter:
    settings = configuration.read(config)
    entry = configuration.entry_of(settings, name)
    disarmed = attrs.evolve(entry, settings=_disarmed(entry.settings))
    return configuration.adapter(attrs.evolve(settings, adapters={name: disarmed}), name)


def _disarmed(settings: Any) -> Any:  # noqa: ANN401 - an adapter's own class
    """Return an adapter's settings without secrets: a file has no signature to check."""
    changes: dict[str, object] = {}
    for field in attrs.fields(type(settings)):
        value = getattr(settings, field.name)
        if field.name == "insecure":
            changes["insecure"] = True
        elif isinstance(value, tuple) and value and isinstance(value[0], Secret):
            changes[field.name] = ()
    return attrs.evolve(settings, **changes) if "insecure" in changes else settings


def _normalize(adapter: Adapter, file: str, received_at: datetime) -> bool:
    """Print the events of a file; return whether everything in it could be read."""
    try:
        content = _content(file)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}")
        return False
    readable = True
    for body in bodies(content):
        parsed = _parsed(adapter, body.content, received_at)
        for event in parsed.events:
            try:
                sys.stdout.buffer.write(encode(event) + b"\n")
            except CodecError as error:
                fail(f"{file}:{body.line}:{body.column}: {error}")
                readable = False
        if parsed.malformed is not None:
            line = body.line + parsed.malformed.line - 1
            column = parsed.malformed.column
            if parsed.malformed.line == 1:
                column += body.column - 1
            fail(f"{file}:{line}:{column}: {parsed.malformed.reason}")
            readable = False
    sys.stdout.buffer.flush()
    return readable


def _content(file: str) -> bytes:
    if file != STDIN:
        return Path(file).read_bytes()
    if sys.stdin.isatty():
        say("reading from standard input: paste a body, and end with Ctrl-D")
    return sys.stdin.buffer.read()


def _parsed(adapter: Adapter, content: bytes, received_at: datetime) -> Parsed:
    try:
        # Also here, since `verify` is what unwraps an envelope.
        verified = adapter.verify(Callback(body=content, received_at=received_at))
    except NotAuthentic:
        verified = Verified(payload=content, received_at=received_at)
    return adapter.parse(verified)


def bodies(content: bytes) -> Iterator[Body]:
    """Split a file's content into request bodies, each exactly as it is written there.

    What cannot be told apart becomes one body up to the next line that begins with a brace:
    whoever reads it says what is wrong, and where.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Body(content=content)
        return
    line, line_start, seen = 1, 0, 0
    for start, end in _spans(text):
        breaks = text.count("\n", seen, start)
        if breaks:
            line += breaks
            line_start = text.rindex("\n", seen, start) + 1
        seen = start
        yield Body(content=text[start:end].encode(), line=line, column=start - line_start + 1)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Return where each value begins and ends; of an array, each of its elements."""
    position = _skip(_BLANK, text, 0)
    if position == len(text):
        yield position, position  # nothing at all is no body
    array: int | None = None
    while position < len(text):
        end = position + 1
        if array is None and text[position] == "[":
            array = position
        elif array is not None and text[position] == "]":
            array = None
        else:
            try:
                end = _DECODER.raw_decode(text, position)[1]
            except (ValueError, RecursionError):
                end = text.find("\n{", position) + 1 or len(text)
                if end == len(text):
                    array = None  # one report of a broken end is enough
            yield position, end
        position = _skip(_BLANK if array is None else _SEPARATORS, text, end)
    if array is not None:
        yield array, len(text)  # its end is missing


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()
