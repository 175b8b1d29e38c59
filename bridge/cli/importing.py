"""`bridge import`: what `bridge export` wrote, into the configured journal."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

from cyclopts import Parameter

from bridge.cli import config as configuration
from bridge.cli.options import ServerConfig
from bridge.cli.terminal import Exit, UsageError, counted, say
from bridge.errors import ConfigurationError, JournalError, Problem

if TYPE_CHECKING:
    from bridge.journal.protocol import Journal
    from bridge.journal.transfer import Transferred


def importing(
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    config: ServerConfig = None,
) -> int:
    """Take an export into the configured journal, while no server has it open.

    Events that the journal knows are left out, so it may be repeated. Subscribers get what they
    had yet to take, and nothing twice; new ones begin with what comes after the import.

    Example: `bridge import journal.ndjson`

    Parameters
    ----------
    file
        What `bridge export` wrote; standard input if left out.
    """
    from bridge.installed import journal_of, read_journal

    path = configuration.find(config, or_example=False)
    journal = journal_of(read_journal(path))
    if not journal.durable:
        told = "a journal in memory would be gone with this command"
        raise ConfigurationError((Problem("journal.engine", told, file=str(path)),))
    with ExitStack() as stack:
        lines: BinaryIO = sys.stdin.buffer
        if file is not None and str(file) != "-":
            try:
                lines = stack.enter_context(file.open("rb"))
            except OSError as error:
                raise UsageError(f"{file} cannot be read: {error.strerror}") from error
        done = asyncio.run(_import(journal, lines))
    say(
        f"imported {counted(done.new, 'event')} of {done.events}; subscribers have "
        f"{done.pending} to take, and {counted(done.dead, 'dead letter')}"
    )
    return Exit.OK


async def _import(journal: Journal, lines: BinaryIO) -> Transferred:
    from bridge.journal.transfer import take_in

    async with AsyncExitStack() as opened:
        try:
            await opened.enter_async_context(journal)
        except JournalError:
            say("note: a server that has this journal open has to be stopped first")
            raise
        return await take_in(journal, lines)
