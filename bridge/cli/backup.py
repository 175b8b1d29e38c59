"""`bridge backup`: a copy of the journal, while it is in use."""

from __future__ import annotations

from pathlib import Path

from bridge.cli import config as configuration
from bridge.cli.options import ServerConfig
from bridge.cli.terminal import Exit, refuse_existing, say
from bridge.errors import ConfigurationError, Problem


def backup(file: Path, /, *, config: ServerConfig = None) -> int:
    """Copy the journal into a file, while the server runs or not.

    The copy is consistent, checked, and for you alone to read (mode 600). It is the journal of
    the moment at which the command began; `bridge serve` takes it in place of the journal's own
    file. An existing file is not overwritten. Run it as the user that the server runs as.

    Example: `bridge backup /var/backups/bridge-2026-11-27.db`

    Parameters
    ----------
    file
        Where to write the copy.
    """
    from bridge.installed import journal_of, read_journal
    from bridge.journal.protocol import FileJournal

    path = configuration.find(config, or_example=False)
    settings = read_journal(path)
    journal = journal_of(settings)
    if not isinstance(journal, FileJournal):
        told = f"{settings.engine} keeps the journal in no file here: use its own tools for a copy"
        raise ConfigurationError((Problem("journal.engine", told, file=str(path)),))
    refuse_existing(file)
    journal.backup(file)
    say(f"copied {journal.location} to {file}: {file.stat().st_size} bytes, and they are sound")
    return Exit.OK
