"""The journal of several machines: one stream of NATS JetStream, any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from bridge.errors import ConfigurationError, Problem
from bridge.journal.nats.settings import NatsSettings as Settings
from bridge.process.lazy import lazily, required

if TYPE_CHECKING:
    from bridge.journal.nats.journal import NatsJournal
    from bridge.settings import JournalSettings
else:
    __getattr__, __dir__ = lazily(__name__, "journal")

__all__ = ["NatsJournal", "Settings", "check"]

required("nats")


def check(
    settings: JournalSettings, /, *, local: Callable[[Path, int], Sequence[Problem]]
) -> Sequence[Problem]:
    """See `EngineModule.check`; the servers are not asked."""
    own: Settings = settings.own
    try:
        if own.credentials is not None:
            own.credentials.open("rb").close()
    except OSError as error:
        told = f"the file cannot be read: {error.strerror}"
        raise ConfigurationError((Problem("nats.credentials", told),)) from error
    try:
        return _about_spool(local(own.spool_path, own.spool_max_size) if own.spool else ())
    except ConfigurationError as error:
        raise ConfigurationError(_about_spool(error.problems)) from error


def _about_spool(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(attrs.evolve(problem, key="nats.spool_path") for problem in problems)
