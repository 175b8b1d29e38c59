"""The settings of the operators' listener, which its clients read alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import attrs

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError, Problem
from bridge.settings.reader import Reader, text_of
from bridge.settings.structure import between


@attrs.frozen(kw_only=True)
class AdminSettings:
    """The listener for operators: commands, probes and metrics; never the callbacks' own port.

    Its clients can read every event. With a token it listens at `host` and `port`; without one on
    the Unix `socket`, to which only the server's own user can connect; without a socket either,
    on loopback, for every user of the machine.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = attrs.field(default=8081, validator=between(0, 65535))
    socket: Path | None = Path("bridge.sock")
    token: Secret | None = None
    send_token: Secret | None = None
    tokens: Mapping[str, Secret] = attrs.field(factory=dict)
    readers: Mapping[str, Secret] = attrs.field(factory=dict)

    @property
    def own_token(self) -> Secret | None:
        """Return the token that the commands present: `token`, or the first of the others."""
        return self.token or next(iter((*self.tokens.values(), *self.readers.values())), None)

    def __attrs_post_init__(self) -> None:
        """Require a token where others can connect, and each name only once."""
        if both := self.tokens.keys() & self.readers.keys():
            raise ConfigurationError((Problem(f"readers.{min(both)}", "is in tokens as well"),))
        if self.enabled and not self.own_token and not is_loopback(self.host):
            message = f"is required where host is not a loopback address, as {self.host!r} is not"
            raise ConfigurationError((Problem("token", message),))
        if self.send_token and self.own_socket:
            message = "is required beside send_token: without one there is nothing but the socket"
            raise ConfigurationError((Problem("token", message),))

    @property
    def own_socket(self) -> Path | None:
        """Return the socket, unless there is a token, with which it is not needed."""
        return None if self.own_token else self.socket


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_of(socket: Path) -> str:
    """Return the shorter form of a socket's path: systems allow about a hundred bytes."""
    return min(str(socket.absolute()), os.path.relpath(socket), key=len)


def load_admin(path: Path, environ: Mapping[str, str] = os.environ) -> AdminSettings:
    """Read `[admin]` alone, so that a client of the server needs no other secrets.

    Raises `ConfigurationError` with everything that is wrong.
    """
    reader = Reader(text_of(path), path, environ, only="admin")
    settings = reader.section("admin", AdminSettings)
    reader.finish()
    return settings
