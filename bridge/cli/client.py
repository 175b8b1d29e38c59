"""The other end of `bridge.ops.admin`: the running server that a command asks.

While a server runs, it alone writes to its journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from bridge.cli import config as configuration
from bridge.cli.config import ConfigOption
from bridge.cli.terminal import UsageError
from bridge.errors import BridgeError, ConfigurationError, Problem

if TYPE_CHECKING:
    from bridge.cli.asking import Client

Parameters: TypeAlias = Mapping[str, str | int | tuple[str, ...] | None]


class NoServer(BridgeError):
    """Nobody answers at the admin address."""


class Refused(BridgeError):
    """The server answered that it will not; `status` is HTTP's."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class Mistaken(Refused, UsageError):
    """The server does not understand the question, or does not know a name in it."""


class Broken(BridgeError):
    """A stream ended before its time."""


def connect(config: ConfigOption) -> Client:
    """Return a client for the server of a configuration. Raises `ConfigurationError`."""
    from bridge.cli.asking import Client
    from bridge.settings import load_admin

    path = configuration.find(config, or_example=True)
    settings = load_admin(path)
    if not settings.enabled:
        problem = Problem("admin.enabled", "is false, so no command can ask it", file=str(path))
        raise ConfigurationError((problem,))
    return Client(settings)
