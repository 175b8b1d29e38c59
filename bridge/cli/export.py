"""`bridge export`: the journal as lines of JSON, for `bridge import`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from bridge.cli import config as configuration
from bridge.cli.client import NoServer, connect
from bridge.cli.config import ConfigOption
from bridge.cli.terminal import Exit, UsageError, say
from bridge.errors import BridgeError, ConfigurationError

if TYPE_CHECKING:
    from bridge.settings import JournalSettings

_PRIVATE: Final = 0o600
_PIECE: Final = 1 << 20


class _NotWritten(BridgeError):
    """What is exported cannot be written."""


def export(
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    config: ConfigOption = None,
) -> int:
    """Write the journal as lines of JSON, with nothing masked.

    Events with their keys, the keys that are known without an event, and what each subscriber has
    yet to take. A running server is asked; without one, the journal is opened. To move to another
    journal, stop the server first: what comes after the export is not in it.

    Example: `bridge export journal.ndjson`

    Parameters
    ----------
    file
        A new file, for you alone to read; standard output if left out.
    config
        The configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    """
    path = configuration.find(config, or_example=False)
    with ExitStack() as stack:
        out = sys.stdout.buffer
        if file is not None and str(file) != "-":
            try:
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
            except OSError as error:
                raise UsageError(f"{file} cannot be made: {error.strerror}") from error
            out = stack.enter_context(os.fdopen(descriptor, "wb", buffering=0))

        def write(data: bytes) -> None:
            try:
                while data:
                    data = data[out.write(data) :]
                out.flush()
            except OSError as error:  # not to be taken for one of the connection's
                name = "standard output" if out is sys.stdout.buffer else file
                raise _NotWritten(f"{name} cannot be written: {error.strerror}") from error

        try:
            _copy(path, write)
        except _NotWritten as error:
            if out is sys.stdout.buffer and error.__cause__ is not None:
                raise error.__cause__ from None  # as wherever something is printed
            raise
    say("exported" if file is None else f"exported to {file}")
    return Exit.OK


def _copy(path: Path, write: Callable[[bytes], object]) -> None:
    try:
        connect(path).copy("/export", write)
    except (NoServer, ConfigurationError):  # none is running, or none can be asked
        asyncio.run(_export(configuration.read(path).journal, write))


async def _export(settings: JournalSettings, write: Callable[[bytes], object]) -> None:
    from bridge.installed import journal_of
    from bridge.journal.transfer import lines_of

    async with journal_of(settings) as journal:
        piece = bytearray()
        async for line in lines_of(journal):
            piece += line
            if len(piece) >= _PIECE:
                write(bytes(piece))
                piece.clear()
        write(bytes(piece))
