"""How an engine of journals is found, checked and made: what its entry point has to offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from bridge.errors import Problem
from bridge.journal.protocol import Journal
from bridge.settings import JournalSettings


class EngineModule(Protocol):
    """The module in which an entry point of the group `bridge.journals` finds its `JournalClass`.

    To import it must not import the client of a database: a journal is configured and checked
    more often than it is made. Where that client is missing, to import it raises
    `ModuleNotFoundError`. `Settings` is an attrs class of the keys in `[journal.NAME]`, beside
    those that all engines share.
    """

    Settings: type[attrs.AttrsInstance]

    def check(
        self,
        settings: JournalSettings,
        /,
        *,
        local: Callable[[Path, int], Sequence[Problem]],
    ) -> Sequence[Problem]:
        """Look, without opening or changing anything, whether opening would succeed.

        Return what needs attention all the same. Raises `ConfigurationError` with the keys of
        `[journal]` that are to blame. `local` checks the journal that `JournalClass.from_settings`
        makes with its own `local`.
        """
        ...


class JournalClass(Protocol):
    """What an entry point of the group `bridge.journals` names; its name is the engine's."""

    def from_settings(
        self, settings: JournalSettings, /, *, local: Callable[[Path, int], Journal]
    ) -> Journal:
        """Return a journal that is not open yet; `settings.own` is an instance of `Settings`.

        `local` makes another journal, on this machine, from its path and its largest size: an
        engine whose servers may be away keeps events there meanwhile, and no longer than needed.
        """
        ...
