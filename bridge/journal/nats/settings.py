"""The settings in `[journal.nats]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from bridge.errors import ConfigurationError, Problem
from bridge.settings import Duration, Size, between, is_loopback, matching
from bridge.settings.wording import mismatch

_DAY: Final = 24 * 3600.0
_STREAM: Final = re.compile(r"[A-Za-z0-9_-]+")
_SERVER: Final = re.compile(r"(nats|tls|ws|wss)://[^@/\s]+/?")


def _check_replicas(_instance: object, _attribute: object, replicas: object) -> None:
    # Of an even number half can fail at most, as of one less: it costs more and saves nothing.
    if type(replicas) is not int or replicas not in (1, 3, 5):
        raise ConfigurationError(mismatch(replicas, "1, 3 or 5"))


def _check_servers(_instance: object, _attribute: object, servers: tuple[str, ...]) -> None:
    if not servers:
        raise ConfigurationError("expected at least one server")
    for server in servers:
        if not _SERVER.fullmatch(server):
            # Not quoted: what stands where a host is expected may be a password.
            raise ConfigurationError(
                'expected servers such as "nats://127.0.0.1:4222" or "tls://nats.example.com", '
                "without a password: that belongs into the file of `credentials`"
            )


@attrs.frozen(kw_only=True)
class NatsSettings:
    """The NATS JetStream servers that keep the journal of several machines.

    `credentials` is a file as `nsc` writes it. `stream` names the streams, `partitions` bounds
    how many processes share the work for one subscriber. A stream that exists keeps its own
    `replicas`. Keys are known for `remember`, at most as long as events are kept. `synced` says
    that the servers sync to disk before they acknowledge, so that one replica is no risk.

    While the servers are away, events go into the file `spool_path`, up to `spool_max_size`;
    without the `spool`, callbacks are refused meanwhile. Before either, callbacks wait for
    `patience`, since most absences are elections. After `max_away` without servers `/readyz` says
    503, although the spool goes on taking callbacks. Paths are relative to the directory of the
    settings' file.
    """

    servers: tuple[str, ...] = attrs.field(
        default=("nats://127.0.0.1:4222",), validator=_check_servers
    )
    credentials: Path | None = None
    stream: str = attrs.field(
        default="bridge", validator=matching(_STREAM, "letters, digits, - and _")
    )
    partitions: int = attrs.field(default=8, validator=between(1, 256))
    replicas: int = attrs.field(default=1, validator=_check_replicas)
    remember: Duration = attrs.field(default=8 * _DAY, validator=between(1))
    synced: bool = False
    timeout: Duration = attrs.field(default=3.0, validator=between(0.1))
    patience: Duration = attrs.field(default=10.0, validator=between(0))
    max_away: Duration = attrs.field(default=300.0, validator=between(0))
    spool: bool = True
    spool_path: Path = Path("spool.db")
    spool_max_size: Size = attrs.field(default=1024 << 20, validator=between(1))

    def doubts(self) -> Iterator[Problem]:
        """Yield a warning for each server that others can listen in on, or write to."""
        urls = [urlsplit(server) for server in self.servers]
        elsewhere = [not is_loopback(url.hostname or "") for url in urls]
        for index, url in enumerate(urls):
            if url.scheme in {"nats", "ws"} and elsewhere[index]:
                told = "without TLS: others can read the events and the credentials; use tls://"
                yield Problem(f"servers[{index}]", told)
        if self.credentials is None and any(elsewhere):
            told = "missing: without users, anybody who reaches a server can read and write"
            yield Problem("credentials", told)
