"""How many files the server's process may open, of which each connection is one."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from typing import Final

import attrs

from bridge.settings import ServerSettings

_BESIDE: Final = 512
"""Files that are no callbacks' connections: operators' connections, those to providers and to
servers of journals, the journal, and what subscribers open."""

_log: Final = logging.getLogger(__name__)


def with_room(settings: ServerSettings) -> ServerSettings:
    """Let the process open as many files as its connections may take, and some beside them.

    Many systems allow 1,024 at first, and more to whoever asks. Where they do not allow enough,
    there may be fewer connections: a process that can open no more accepts none, so that those
    which are idle would make room for nobody.
    """
    wanted = settings.max_connections + _BESIDE
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        return settings
    more = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    with suppress(OSError, ValueError):  # the system may have a limit beside these
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, most))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit >= wanted:
        return settings
    connections = min(settings.max_connections, max(limit - _BESIDE, limit // 2))
    _log.warning(
        "at most %d connections, since this process may open %d files: allow it %d (ulimit -n, "
        "LimitNOFILE), or set server.max_connections to so many",
        connections,
        limit,
        wanted,
    )
    return attrs.evolve(settings, max_connections=connections)
