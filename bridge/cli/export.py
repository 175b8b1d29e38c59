"""`bridge export`: the journal as lines of JSON, for `bridge import`."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final, NoReturn

from cyclopts import Parameter

from bridge.cli import config as configuration
from bridge.cli.client import NoServer, connect
from bridge.cli.options import ServerConfig
from bridge.cli.terminal import Exit, UsageError, refuse_existing, say
from bridge.errors import BridgeError, ConfigurationError

if TYPE_CHECKING:
    from bridge.cli.asking import Client

_PIECE: Final = 1 << 20


class _NotWritten(BridgeError):
    """What is exported cannot be written."""


def export(
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    config: ServerConfig = None,
) -> int:
    """Write the journal as lines of JSON, with nothing masked.

    Events with their keys, the keys that are known without an event, and what each subscriber has
    yet to take. A running server is asked; without one, the journal is opened. To move to another
    journal, stop the server first: what comes after the export is not in it.

    Example: `bridge export journal.ndjson`

    Parameters
    ----------
    file
        A new file, for you alone to read, which is there once it is whole; standard output if
        left out.
    """
    path = configuration.find(config, or_example=False)
    copy = partial(_copy, _server(path), path)  # loads all that asks, before there is a file
    if file is None or str(file) == "-":
        try:
            copy(partial(_write, sys.stdout.buffer, "standard output"))
        except _NotWritten as error:
            if error.__cause__ is not None:
                raise error.__cause__ from None  # as wherever something is printed
            raise
        say("exported")
        return Exit.OK
    with _ended_by_exceptions(), _new(file) as out:
        copy(partial(_write, out, file))
    say(f"exported to {file}")
    return Exit.OK


@contextmanager
def _new(file: Path) -> Iterator[BinaryIO]:
    """Give a file that gets its name once it is whole; of one that fails nothing is left."""
    refuse_existing(file)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"{file} cannot be made: {error.strerror}") from error
        with os.fdopen(descriptor, "wb", buffering=0) as out:
            yield out
            try:
                os.fsync(out.fileno())
                part.rename(file)
            except OSError as error:
                raise _NotWritten(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _ended_by_exceptions() -> Iterator[None]:
    """Let signals that end a process end the block as Ctrl-C does, so that it can clean up."""

    def end(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(out: BinaryIO, name: object, data: bytes) -> None:
    try:
        while data:
            data = data[out.write(data) :]
        out.flush()
    except OSError as error:  # not to be taken for one of the connection's
        raise _NotWritten(f"{name} cannot be written: {error.strerror}") from error


def _server(path: Path) -> Client | None:
    """Return a client for the server of a configuration, if one can be asked."""
    try:
        return connect(path)
    except ConfigurationError:
        return None


def _copy(server: Client | None, path: Path, write: Callable[[bytes], object]) -> None:
    if server is not None:
        with suppress(NoServer):
            server.copy("/export", write)
            return
    asyncio.run(_export(path, write))


async def _export(path: Path, write: Callable[[bytes], object]) -> None:
    from bridge.installed import journal_of, read_journal
    from bridge.journal.transfer import lines_of

    async with journal_of(read_journal(path)) as journal:
        piece = bytearray()
        async for line in lines_of(journal):
            piece += line
            if len(piece) >= _PIECE:
                write(bytes(piece))
                piece.clear()
        write(bytes(piece))
