"""`bridge normalize`: request bodies in, events out, with no server and no configuration."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import Parameter

from bridge import adapter as contract
from bridge import installed
from bridge.adapter.signing import Secret
from bridge.cli import config as configuration
from bridge.cli.config import ConfigOption
from bridge.cli.options import moment
from bridge.cli.terminal import Exit, fail, say
from bridge.errors import CodecError, NotAuthentic
from bridge.process.raised import raised_at

if TYPE_CHECKING:
    from bridge.cli.bodies import Body

STDIN: Final = "-"


def normalize(
    adapter: str,
    /,
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    config: ConfigOption = None,
    received_at: str | None = None,
) -> int:
    """Print the events of request bodies, one JSON object per line.

    A file may hold one body, many of them one after the other (NDJSON), or an array of bodies.
    Errors go to standard error; everything that can be read is printed.

    Example: `bridge normalize incs callback.json`

    Parameters
    ----------
    adapter
        The adapter that reads the bodies: an installed one (`bridge adapters` lists them), or with
        --config a configured one.
    files
        Files of bodies; `-` or none at all is standard input.
    config
        Use the adapter as this file configures it, so that it knows the channels.
    received_at
        When the bodies arrived, such as 2026-01-31T12:00:00Z, for output that stays the same;
        by default it is now.
    """
    text = moment(received_at, "--received-at")
    when = datetime.now(UTC) if text is None else datetime.fromisoformat(text)
    reader = installed.without_secrets(adapter) if config is None else _configured(config, adapter)
    return max(_normalize(reader, file, when) for file in files or (STDIN,))


def _configured(config: Path, name: str) -> contract.Adapter:
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


def _normalize(adapter: contract.Adapter, file: str, received_at: datetime) -> Exit:
    """Print the events of a file; tell whether it is there, and all in it could be read."""
    from bridge.cli.bodies import bodies

    try:
        content = _content(file)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}")
        return Exit.USAGE
    code = Exit.OK
    for body in bodies(content):
        fault = _print_events(adapter, body, received_at)
        if fault is not None:
            fail(f"{file}:{fault}")
            code = Exit.FAILURE
    sys.stdout.buffer.flush()
    return code


def _content(file: str) -> bytes:
    if file != STDIN:
        return Path(file).read_bytes()
    if sys.stdin.isatty():
        say("reading from standard input: paste a body, and end with Ctrl-D")
    return sys.stdin.buffer.read()


def _print_events(adapter: contract.Adapter, body: Body, received_at: datetime) -> str | None:
    """Print the events of a body; return what is wrong with it, and where in its file."""
    from bridge.model.codec import encode

    try:
        parsed = _parsed(adapter, body.content, received_at)
        lines = [encode(event) + b"\n" for event in parsed.events]
    except CodecError as error:
        return f"{body.line}:{body.column}: {error}"
    except Exception as error:  # noqa: BLE001 - a bug of the adapter's: the other bodies go on
        where = f"{body.line}:{body.column}"
        return f"{where}: the adapter failed: {type(error).__name__} at {raised_at(error)}"
    sys.stdout.buffer.writelines(lines)
    if parsed.malformed is None:
        return None
    line, column = body.place(parsed.malformed.line, parsed.malformed.column)
    return f"{line}:{column}: {parsed.malformed.reason}"


def _parsed(adapter: contract.Adapter, content: bytes, received_at: datetime) -> contract.Parsed:
    try:
        # A file proves nothing, but `verify` is also what opens an envelope.
        verified = adapter.verify(contract.Callback(body=content, received_at=received_at))
    except NotAuthentic:
        verified = contract.Verified(payload=content, received_at=received_at)
    return adapter.parse(verified)
